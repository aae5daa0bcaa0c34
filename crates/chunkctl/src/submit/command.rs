//! `chunkctl submit`: its options, and what it says.

use super::{JobRequest, ReadJob};
use crate::{Session, extend::Given};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use imagecheck::Level;
use std::{io::Read as _, path::PathBuf, process::ExitCode, time::Duration};
use tokio::time::timeout;

/// What stands behind the options.
const HELP: &str = "Examples:
  chunkctl submit --job-id 7 --urls cats.txt --watch
  chunkctl submit --job-id 8 --urls birds.csv --chunk-size 200 --priority 9 --label bird
  chunkctl submit --job-id 7 --extend --new-only --urls more.txt
  zcat all.txt.gz | grep -v thumb | chunkctl submit --job-id 9 --urls -

The list, plain or compressed with gzip (.txt.gz, ...; 1 GiB unpacked at most):
  .txt            one URL a line
  .jsonl, .ndjson an object a line: {\"url\": ..., \"label\": ..., \"meta\": ...}
  .json           one array of such objects, or of URLs
  .csv, .tsv      a table whose first line names a column url; label and meta (JSON) may be others;
                  a .csv has commas or semicolons
  -               of stdin: what the first line certainly is
UTF-8, or UTF-16 with a byte order mark; lines end in LF, CR LF or CR. Keys and columns may be in any
case; others are kept in the sample's meta. A list of which the content is certainly another than its
name says, that is broken, or that has no http(s) URL is refused. Every other row that is not blank is
an item of a manifest; those without an http(s) URL, above 64 KiB, or that may not be what was meant,
are counted when the list is submitted.";

/// Of a job of which nobody says another one.
const DEFAULT_PRIORITY: i16 = 5;
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
    /// URLs of a chunk; default: `PIXCRAWLER_CHUNK_SIZE_IMAGES`, with --extend that of the job.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    chunk_size: Option<u32>,
    /// 0 to 10, highest first; default: 5, with --extend that of the job.
    #[arg(long, value_parser = clap::value_parser!(i16).range(0..=10))]
    priority: Option<i16>,
    /// Label of URLs that have none of their own.
    #[arg(long)]
    label: Option<String>,
    /// How thoroughly images are checked.
    #[arg(long, value_enum, default_value_t = CheckLevel::Medium)]
    level: CheckLevel,
    /// Add the list to a job that is known, as chunks after its last one; they are checked as the
    /// others are. A list that was added before changes nothing.
    #[arg(long, conflicts_with = "level")]
    extend: bool,
    /// With --extend: leave out URLs that the job has.
    #[arg(long, requires = "extend")]
    new_only: bool,
    /// How the list is written, whatever its name says.
    #[arg(long, value_enum)]
    format: Option<ListFormat>,
    /// Wait for the job's end: exit 0 when it completed, 1 when it failed or was cancelled.
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ListFormat {
    Txt,
    Jsonl,
    Json,
    Csv,
    Tsv,
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

impl ListFormat {
    /// A name that says so.
    fn name(self) -> &'static str {
        match self {
            Self::Txt => "list.txt",
            Self::Jsonl => "list.jsonl",
            Self::Json => "list.json",
            Self::Csv => "list.csv",
            Self::Tsv => "list.tsv",
        }
    }
}

/// What is said of a list that was taken.
struct Taken {
    json: serde_json::Value,
    line: String,
    warnings: Vec<String>,
    /// Why no message could be sent for it here.
    unsent: Option<String>,
}

impl Session {
    pub(crate) async fn submit(&self, submit: Submit) -> anyhow::Result<ExitCode> {
        let (job_id, watch) = (submit.job_id, submit.watch);
        let taken = self.take_list(submit).await?;
        if !(self.json && watch) {
            self.say(&taken.json, &taken.line);
        }
        for warning in taken.warnings {
            eprintln!("warning: {warning}");
        }
        if let Some(cause) = &taken.unsent {
            eprintln!(
                "warning: no message was sent: {cause}\n  the job is registered, and a handler that \
                 may send starts it; `chunkctl doctor` says what is missing"
            );
        }
        if watch {
            return self.status(Some(job_id), true).await;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn take_list(&self, submit: Submit) -> anyhow::Result<Taken> {
        let bytes = read_list(&submit.urls)?;
        let default_size = self.settings.limits.chunk_size_images;
        let name = submit.format.map(|format| format.name().to_owned());
        let request = JobRequest {
            job_id: submit.job_id,
            file_name: name.unwrap_or_else(|| submit.urls.to_string_lossy().into_owned()),
            bytes,
            chunk_size: usize::try_from(submit.chunk_size.unwrap_or(default_size))?,
            priority: submit.priority.unwrap_or(DEFAULT_PRIORITY),
            label: submit.label,
            level: match submit.level {
                CheckLevel::Fast => Level::Fast,
                CheckLevel::Medium => Level::Medium,
                CheckLevel::Slow => Level::Slow,
            },
        };
        if submit.extend {
            self.prepare().await?;
            let chunk_size = submit.chunk_size.map(usize::try_from).transpose()?;
            let given = Given { chunk_size, priority: submit.priority, new_only: submit.new_only };
            let job = Box::pin(self.extend(request, given)).await?;
            return Ok(Taken {
                json: serde_json::to_value(&job)?,
                line: job.line(),
                warnings: job.remarks.warnings(job.images),
                unsent: job.unsent,
            });
        }
        let job = ReadJob::new(request)?;
        self.prepare().await?;
        let job = super::submit(&self.database, &self.storage, job).await?;
        let state = if job.is_new { "submitted" } else { "was submitted before" };
        Ok(Taken {
            json: serde_json::to_value(&job)?,
            line: format!(
                "job {} {state}: {} images in {} chunks",
                job.job_id, job.images, job.chunks
            ),
            warnings: job.remarks.warnings(job.images),
            unsent: job.unsent,
        })
    }

    /// Makes what a list is written to. Idempotent, and a first submit may come before the first handler.
    async fn prepare(&self) -> anyhow::Result<()> {
        let migrate = timeout(MIGRATION_PATIENCE, self.prepare_schema());
        migrate.await.context(MIGRATION_STUCK)??;
        self.refuse_another_place().await?;
        Ok(self.storage.create_containers_and_queues().await?)
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
