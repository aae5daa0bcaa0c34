//! The command line of operators and producers. Parses arguments, calls the library.
#![expect(clippy::print_stderr, reason = "a command line prints")]

mod doctor;
mod blocked;
mod few_valid;
mod host_busy;
mod kept;
mod list;
mod memory;
mod remarks;
mod rows;
mod status;
mod submit;

use anyhow::{Context as _, bail};
use chunk_handler::{
    chunk::ChunkId,
    jobs::{Applied, Command},
    redact::cause_chain,
    settings::{DatabaseCredential, Program, Settings},
    state::{self, Database},
    storage::Storage,
    telemetry,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use imagecheck::Level;
use std::{
    fmt,
    io::{Read as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use submit::{JobRequest, ReadJob};
use tokio::time::timeout;

/// Submits jobs to the chunk handler and looks after them.
///
/// Settings come from the environment, then from Values of local.settings.json in the working
/// directory; `chunkctl doctor` shows which.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  chunkctl migrate
  chunkctl submit --job-id 7 --urls cats.txt --watch
  chunkctl status --job-id 7
  chunkctl control pause --minutes 30
  chunkctl doctor"
)]
struct Cli {
    /// Print JSON: one object or array, with the columns of the views.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Bring the schema up to date and create queues and containers.
    Migrate,
    /// Submit a job: a list of URLs as .txt, .jsonl, .json, .csv or .tsv, each also as .gz.
    #[command(after_help = "Examples:
  chunkctl submit --job-id 7 --urls cats.txt --watch
  chunkctl submit --job-id 8 --urls birds.csv --chunk-size 200 --priority 9 --label bird
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
are counted when the list is submitted.")]
    Submit(Submit),
    /// Show the fleet and its jobs.
    Status {
        /// Only this job; with --watch, end when it does.
        #[arg(long)]
        job_id: Option<i64>,
        /// Go on, with a progress bar.
        #[arg(long)]
        watch: bool,
    },
    /// Check settings and everything the handler depends on, and say what to do.
    Doctor,
    /// Pause or resume intake, sweep temp space, cancel, close or retry jobs.
    #[command(subcommand)]
    Control(Control),
}

#[derive(Debug, Args)]
struct Submit {
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

#[derive(Debug, Subcommand)]
enum Control {
    /// Start no chunk for a while; running ones go on. A longer pause stays.
    Pause {
        /// How long.
        #[arg(long)]
        minutes: Option<u32>,
    },
    /// Lift a pause.
    Resume,
    /// Have every process remove what dead ones left in its temp space.
    Sweep,
    /// Fail what is not over of a job.
    Cancel {
        /// The job.
        #[arg(long)]
        job_id: i64,
    },
    /// Say that no more chunks of a job come.
    Close {
        /// The job.
        #[arg(long)]
        job_id: i64,
    },
    /// Run failed chunks of a job again.
    Retry {
        /// The job.
        #[arg(long)]
        job_id: i64,
        /// Only this chunk.
        #[arg(long)]
        chunk_index: Option<i32>,
        /// Although it completed: its shard is damaged or gone, or what it dropped duplicates for.
        #[arg(long, requires = "chunk_index")]
        again: bool,
    },
}

/// Settings and clients of one run.
struct Session {
    settings: Settings,
    database: Database,
    storage: Storage,
    json: bool,
}

const USAGE: u8 = 2;
/// How long a submit waits for the schema, which is up to date but for the first one.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(20);
const MIGRATION_STUCK: &str = "the schema was not brought up to date within 20 s, and nothing was \
    submitted: somebody else migrates, or holds a lock on its tables; run `chunkctl migrate`, \
    which waits as long as it takes, then submit again";

/// What is done about an old or missing schema where people log in with Entra.
const SCHEMA_OF_THE_APP: &str = "the schema is missing or old, or this role may not use it. With \
    PIXCRAWLER_DATABASE_CREDENTIAL=entra the app makes it when it starts, for who makes it owns it: \
    deploy and start the app; its log says what it lacks";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let settings = match Settings::load(Program::Chunkctl) {
        Ok(settings) => settings,
        Err(violations) => {
            for violation in violations {
                eprintln!("{violation}");
            }
            return ExitCode::from(USAGE);
        }
    };
    // Its output is the result: logs only when asked for.
    if settings.log_filter != "info" {
        telemetry::install(&settings.log_filter, telemetry::Output::Stderr, None);
    }
    for warning in &settings.warnings {
        eprintln!("warning: {warning}");
    }
    match run(cli, settings) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", cause_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(cli: Cli, settings: Settings) -> anyhow::Result<ExitCode> {
    let database = Database::of_settings(&settings)?;
    let storage = Storage::open(&settings)?;
    let session = Session { settings, database, storage, json: cli.json };
    let login = session.database.clone();
    let done = tokio::select! {
        never = login.keep_login() => match never {},
        done = session.act(cli.action) => done,
    };
    let of_database = |error: &anyhow::Error| {
        error.downcast_ref::<state::Error>().is_some_and(state::Error::is_away)
    };
    match done {
        Err(error) if of_database(&error) => {
            eprintln!("error: {}", cause_chain(&*error));
            // The pool has one word for every login that does not come about.
            if let Err(hindrance) = login.try_login().await {
                eprintln!("no login: {hindrance}");
            }
            eprintln!("`chunkctl doctor` says what to do");
            Ok(ExitCode::FAILURE)
        }
        done => done,
    }
}

impl Session {
    async fn act(&self, action: Action) -> anyhow::Result<ExitCode> {
        // The developer's own tools may take longer than a call to the database may; without a token
        // each call says why.
        self.database.token().await.unwrap_or_default();
        match action {
            Action::Migrate => self.migrate().await,
            Action::Submit(submit) => self.submit(submit).await,
            Action::Status { job_id, watch } => self.status(job_id, watch).await,
            Action::Doctor => self.doctor().await,
            Action::Control(control) => self.control(control).await,
        }
    }

    /// Brings the schema up to date. With Entra a person is another role than the app, and who makes a
    /// table owns it: there only the app does.
    async fn prepare_schema(&self) -> anyhow::Result<()> {
        if self.settings.database_credential == DatabaseCredential::Entra {
            // A database that is away says nothing about its schema.
            self.database.describe().await?;
            let version = self.database.schema_version().await.ok().flatten();
            if version.is_none_or(|version| version < Database::known_schema_version()) {
                bail!(SCHEMA_OF_THE_APP);
            }
        }
        Ok(self.database.prepare().await?)
    }

    async fn migrate(&self) -> anyhow::Result<ExitCode> {
        self.prepare_schema().await?;
        self.storage.create_containers_and_queues().await?;
        self.say(
            &serde_json::json!({"migrated": true}),
            "the schema is up to date; queues and containers exist",
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Nothing of a job is written to, or looked for in, another account or container than the fleet's.
    async fn refuse_another_place(&self) -> anyhow::Result<()> {
        let own = self.settings.place();
        match self.database.fleet_storage().await? {
            Some(fleet) if fleet != own => bail!(
                "the database belongs to account and containers {fleet}, and ChunkStorage here is \
                 {own}; correct ChunkStorage or DATABASE_URL"
            ),
            Some(_) | None => Ok(()),
        }
    }

    async fn submit(&self, submit: Submit) -> anyhow::Result<ExitCode> {
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
        };
        let job = ReadJob::new(request)?;
        // Idempotent, and a first submit may come before the first handler.
        let migrate = timeout(MIGRATION_PATIENCE, self.prepare_schema());
        migrate.await.context(MIGRATION_STUCK)??;
        self.refuse_another_place().await?;
        self.storage.create_containers_and_queues().await?;
        let job = submit::submit(&self.database, &self.storage, job).await?;
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

    async fn control(&self, control: Control) -> anyhow::Result<ExitCode> {
        let command = match control {
            Control::Pause { minutes } => match Command::pause(minutes) {
                Ok(command) => command,
                Err(error) => {
                    eprintln!("error: --minutes: {error}");
                    return Ok(ExitCode::from(USAGE));
                }
            },
            Control::Resume => Command::Resume,
            Control::Sweep => Command::Sweep,
            Control::Cancel { job_id } => Command::Cancel { job_id },
            Control::Close { job_id } => Command::Close { job_id },
            Control::Retry { job_id, chunk_index: Some(chunk_index), again: true } => {
                Command::RunAgain { id: ChunkId { job_id, chunk_index } }
            }
            Control::Retry { job_id, chunk_index, .. } => Command::Retry { job_id, chunk_index },
        };
        self.refuse_another_place().await?;
        let applied = command.apply(&self.database, &self.storage).await?;
        let summary = applied.to_string();
        self.say(&serde_json::json!({"result": summary}), &summary);
        if matches!(applied, Applied::UnknownJob { .. }) {
            bail!("no such job; `chunkctl status` lists the jobs");
        }
        if matches!(applied, Applied::NotReopened { .. }) {
            bail!("nothing was changed; put the blob back, or submit the list under a new number");
        }
        if matches!(applied, Applied::NotOver { .. } | Applied::NotFailed { .. }) {
            bail!("nothing was changed; `chunkctl status` shows what is known");
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Prints the result in the form asked for.
    fn say(&self, json: &serde_json::Value, text: &str) {
        if self.json {
            out(format_args!("{json}"));
        } else {
            out(format_args!("{text}"));
        }
    }
}

/// Prints a line. A reader that has seen enough (`| head`) is no failure.
fn out(line: fmt::Arguments<'_>) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
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
