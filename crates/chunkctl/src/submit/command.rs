//! `chunkctl submit`: its options, and what it says.

use super::{JobRequest, ReadJob, wanted::Wanted};
use crate::{
    Session,
    extend::Given,
    failure::bail_as,
    list::{Chosen, Field, Format, Listed, Names, Source},
    object::add,
    rows::Division,
    words::count,
};
use anyhow::Context as _;
use chunk_handler::state::JobProgress;
use clap::Args;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::time::timeout;

/// What stands behind the options.
const HELP: &str = "Examples:
  chunkctl submit --job-id 7 --urls cats.txt --watch
  chunkctl submit --job-id 8 --urls birds.csv --chunk-size 200 --priority 9 --label bird
  chunkctl submit --job-id 8 --urls birds.csv --formats jpeg,png --min-size 200 --max-aspect-ratio 3
  chunkctl submit --job-id 7 --extend --new-only --urls more.txt
  chunkctl submit --job-id 9 --urls dogs.txt --dedupe-with 7,8
  zcat all.txt.gz | grep -v thumb | chunkctl submit --job-id 9 --urls -
  chunkctl submit --job-id 10 --urls laion400m/ --chunk-size 10000
  chunkctl submit --job-id 11 --urls cc3m.tsv --columns caption,url

The list, each kind but Parquet plain or compressed with gzip (.txt.gz, ...):
  .txt            one URL a line
  .jsonl, .ndjson an object a line: {\"url\": ..., \"caption\": ..., \"label\": ..., \"meta\": ...}
  .json           one array of such objects, or of URLs
  .csv, .tsv      a table whose first line names a column url; a .csv has commas or semicolons
  .parquet        the same, row group by row group
  -               of stdin: what the first line certainly is, or --format says
Keys and columns, in any case: url, image_url or uri; caption or text; label; class (an integer); meta
(JSON). Of several that mean the same the first named here counts. Others are kept in the sample's meta.
--url-column and the like win over all of that.
UTF-8, or UTF-16 with a byte order mark; lines end in LF, CR LF or CR. A list of which the content is
certainly another than its name says, that is broken, or that has no http(s) URL is refused, before
anything is written. Every other row that is not blank is an item of a manifest; those without an http(s)
URL, above 64 KiB, or that may not be what was meant, are counted when the list is submitted.
Of a folder all files are read, in the order of their names: hidden ones (. or _ before the name) are
passed over, and one of another suffix is refused. It is read twice, in little memory.";

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
    /// The list of URLs, read by its suffix as said below, or a folder of lists; - reads stdin. Several,
    /// in the order given, are one list.
    #[arg(long, required = true, num_args = 1..)]
    urls: Vec<PathBuf>,
    /// What the list is, whatever its name and content say.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    columns: ColumnOptions,
    /// URLs of a chunk, 1 to 10000; default: `PIXCRAWLER_CHUNK_SIZE_IMAGES`, with --extend that of the job.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    chunk_size: Option<u32>,
    /// 0 to 10, highest first; default: 5, with --extend that of the job.
    #[arg(long, value_parser = clap::value_parser!(i16).range(0..=10))]
    priority: Option<i16>,
    /// Label of URLs that have none of their own.
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    wanted: Wanted,
    /// Add the list to a job that is known, as chunks after its last one; they are checked and written
    /// out as the others are. A list that was added before changes nothing.
    #[arg(long, conflicts_with = "Wanted")]
    extend: bool,
    /// With --extend: leave out URLs that the job has, and take each once. Its memory grows with the list, by 100 bytes a
    /// URL at most.
    #[arg(long, requires = "extend")]
    new_only: bool,
    /// Wait for the job's end: exit 0 when it completed, 1 when it failed or was cancelled.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// What columns and keys are called that mean something.
#[derive(Debug, Args)]
struct ColumnOptions {
    /// The column or key of URLs.
    #[arg(long, value_name = "NAME")]
    url_column: Option<String>,
    /// The column or key of captions.
    #[arg(long, value_name = "NAME")]
    caption_column: Option<String>,
    /// The column or key of labels.
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// The column or key of classes, which are integers.
    #[arg(long, value_name = "NAME")]
    class_column: Option<String>,
    /// The columns of a table (.csv, .tsv) whose first line does not name them.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
}

impl From<ColumnOptions> for Names {
    fn from(options: ColumnOptions) -> Self {
        let ColumnOptions { url_column, caption_column, label_column, class_column, columns } =
            options;
        let chosen = [
            (Field::Url, "--url-column", url_column),
            (Field::Caption, "--caption-column", caption_column),
            (Field::Label, "--label-column", label_column),
            (Field::Class, "--class-column", class_column),
        ];
        let chosen = chosen
            .into_iter()
            .filter_map(|(field, option, name)| name.map(|name| Chosen { field, name, option }));
        let columns = (!columns.is_empty()).then_some(columns);
        Self { chosen: chosen.collect(), columns }
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
            return self.watch_job(job_id).await;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn take_list(&self, submit: Submit) -> anyhow::Result<Taken> {
        let files = self.files(&submit.urls, submit.format, submit.columns.into())?;
        let default_size = self.settings.limits.chunk_size_images;
        let request = JobRequest {
            job_id: submit.job_id,
            files,
            division: Division {
                chunk_size: usize::try_from(submit.chunk_size.unwrap_or(default_size))?,
                label: submit.label,
                growth: None,
            },
            priority: submit.priority.unwrap_or(DEFAULT_PRIORITY),
            validation: submit.wanted.validation(),
            dedupe: submit.wanted.dedupe(),
            output: submit.wanted.output(),
            robots: submit.wanted.robots(),
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
        let others = request.dedupe.with_jobs.clone();
        let job = ReadJob::new(request)?;
        self.prepare().await?;
        let job = super::submit(&self.database, &self.storage, job).await?;
        let known = if job.is_new { None } else { self.database.job_progress(job.job_id).await? };
        if known.as_ref().is_some_and(|known| known.status == "cancelled") {
            bail_as!(
                JobRefuses,
                "job {0} was submitted before and is cancelled, and nothing of it runs; `chunkctl control \
                 retry --job-id {0}` reopens it",
                job.job_id
            );
        }
        let mut warnings = job.remarks.warnings(job.images);
        if job.is_new {
            warnings.extend(self.running(&others).await?);
        }
        let level = serde_json::to_value(job.level)?;
        let mut json = serde_json::to_value(&job)?;
        if let Some(known) = &known {
            add(&mut json, "status", known.status.clone());
            add(&mut json, "total_chunks", known.total_chunks);
        }
        let what = format!("{} in {}", count(job.images, "image"), count(job.chunks, "chunk"));
        Ok(Taken {
            line: match &known {
                None => format!("job {} submitted: {what}", job.job_id),
                Some(known) => format!(
                    "job {} was submitted before: {what}, level {}; {}",
                    job.job_id,
                    level.as_str().unwrap_or_default(),
                    as_it_is(known)
                ),
            },
            json,
            warnings,
            unsent: job.unsent,
        })
    }

    /// Of the jobs that a new one is deduplicated with, those that still run: what people should know of it.
    async fn running(&self, others: &BTreeSet<i64>) -> anyhow::Result<Option<String>> {
        let mut running = Vec::new();
        for job_id in others {
            if self.database.has_ended(*job_id).await? == Some(false) {
                running.push(job_id.to_string());
            }
        }
        let jobs = running.join(", ");
        Ok((!running.is_empty()).then(|| {
            format!(
                "jobs of --dedupe-with that still run: {jobs}; a picture that one of them keeps after a chunk \
                 has looked can be kept here as well"
            )
        }))
    }

    /// Makes what a list is written to. Idempotent, and a first submit may come before the first handler.
    async fn prepare(&self) -> anyhow::Result<()> {
        let migrate = timeout(MIGRATION_PATIENCE, self.prepare_schema());
        migrate.await.context(MIGRATION_STUCK)??;
        self.refuse_another_place().await?;
        Ok(self.storage.create_containers_and_queues().await?)
    }

    /// The files of a list, with what is passed over told.
    fn files(
        &self,
        paths: &[PathBuf],
        format: Option<Format>,
        names: Names,
    ) -> anyhow::Result<Source> {
        let temp_root: &Path = &self.settings.temp_root;
        let (files, passed_over) = Listed::of_paths(paths, format, temp_root)?;
        if !passed_over.is_empty() {
            eprintln!("warning: hidden files are not read: {}", passed_over.join(", "));
        }
        Ok(Source { files, format, names })
    }
}

/// What a job that was known before is now.
fn as_it_is(job: &JobProgress) -> String {
    let JobProgress { status, completed_chunks, failed_chunks, total_chunks, .. } = job;
    let over = completed_chunks + failed_chunks;
    format!("it is {status}, with {over} of {} over", count(*total_chunks, "chunk"))
}
