//! `chunkctl submit`: its options, and what it says.

use super::{JobRequest, ReadJob};
use crate::Session;
use anyhow::Context as _;
use chunk_handler::chunk::OutputText;
use clap::{Args, ValueEnum};
use imagecheck::Level;
use std::{io::Read as _, path::PathBuf, process::ExitCode, time::Duration};
use tokio::time::timeout;

/// What stands behind the options.
const HELP: &str = "Examples:
  chunkctl submit --job-id 7 --urls cats.txt --watch
  chunkctl submit --job-id 8 --urls birds.csv --chunk-size 200 --priority 9 --label bird
  zcat all.txt.gz | grep -v thumb | chunkctl submit --job-id 9 --urls -

The list, plain or compressed with gzip (.txt.gz, ...; 1 GiB unpacked at most):
  .txt            one URL a line
  .jsonl, .ndjson an object a line: {\"url\", \"caption\", \"label\", \"class\", \"meta\"}
  .json           one array of such objects, or of URLs
  .csv, .tsv      a table whose first line names a column url; caption, label, class (an integer) and meta
                  (JSON) may be others;
                  a .csv has commas or semicolons
  -               of stdin: what the first line certainly is
UTF-8, or UTF-16 with a byte order mark; lines end in LF, CR LF or CR. Keys and columns may be in any
case; others are kept in the sample's meta. A list of which the content is certainly another than its
name says, that is broken, or that has no http(s) URL is refused. Every other row that is not blank is
an item of a manifest; those without an http(s) URL, above 64 KiB, or that may not be what was meant,
are counted when the list is submitted.";

/// How long a submit waits for the schema, which is up to date but for the first one.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(20);
const MIGRATION_STUCK: &str = "the schema was not brought up to date within 20 s, and nothing was \
    submitted: somebody else migrates, or holds a lock on its tables; run `chunkctl migrate`, \
    which waits as long as it takes, then submit again";

/// Its options.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Submit {
    /// The job's number, 0 to 2^63 - 1.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    job_id: i64,
    /// The list of URLs, read by its suffix as said below; - reads stdin.
    #[arg(long)]
    urls: PathBuf,
    /// URLs of a chunk; default: `PIXCRAWLER_CHUNK_SIZE_IMAGES`.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    chunk_size: Option<u32>,
    /// 0 to 10, highest first.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i16).range(0..=10))]
    priority: i16,
    /// Label of URLs that have none of their own.
    #[arg(long)]
    label: Option<String>,
    /// How thoroughly images are checked.
    #[arg(long, value_enum, default_value_t = CheckLevel::Medium)]
    level: CheckLevel,
    /// Give each sample of the shards a `.txt`: its caption, or its label.
    #[arg(long, value_enum)]
    text: Option<Text>,
    /// Give each sample of the shards a `.cls`: its class, or -1.
    #[arg(long)]
    class: bool,
    /// Wait for the job's end: exit 0 when it completed, 1 when it failed or was cancelled.
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CheckLevel {
    /// Signature and dimensions.
    Fast,
    /// Also the container, to its end.
    Medium,
    /// Also the data of the picture.
    Slow,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Text {
    /// What the list has as `caption`.
    Caption,
    /// What it has as `label`.
    Label,
}

impl Session {
    pub(crate) async fn submit(&self, submit: Submit) -> anyhow::Result<ExitCode> {
        let bytes = read_list(&submit.urls)?;
        let default_size = self.settings.limits.chunk_size_images;
        let request = JobRequest {
            job_id: submit.job_id,
            file_name: submit.urls.to_string_lossy().into_owned(),
            bytes,
            chunk_size: usize::try_from(submit.chunk_size.unwrap_or(default_size))?,
            priority: submit.priority,
            label: submit.label,
            level: match submit.level {
                CheckLevel::Fast => Level::Fast,
                CheckLevel::Medium => Level::Medium,
                CheckLevel::Slow => Level::Slow,
            },
            text: submit.text.map(|text| match text {
                Text::Caption => OutputText::Caption,
                Text::Label => OutputText::Label,
            }),
            class: submit.class,
        };
        let job = ReadJob::new(request)?;
        // Idempotent, and a first submit may come before the first handler.
        let migrate = timeout(MIGRATION_PATIENCE, self.prepare_schema());
        migrate.await.context(MIGRATION_STUCK)??;
        self.refuse_another_place().await?;
        self.storage.create_containers_and_queues().await?;
        let job = super::submit(&self.database, &self.storage, job).await?;
        let state = if job.is_new { "submitted" } else { "was submitted before" };
        if !(self.json && submit.watch) {
            let line = format!(
                "job {} {state}: {} images in {} chunks",
                job.job_id, job.images, job.chunks
            );
            self.say(&serde_json::to_value(&job)?, &line);
        }
        for warning in job.remarks.warnings(job.images) {
            eprintln!("warning: {warning}");
        }
        if let Some(cause) = &job.unsent {
            eprintln!(
                "warning: no message was sent: {cause}\n  the job is registered, and a handler that \
                 may send starts it; `chunkctl doctor` says what is missing"
            );
        }
        if submit.watch {
            return self.status(Some(job.job_id), true).await;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read_list(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("reading stdin")?;
        return Ok(bytes);
    }
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}
