//! `cargo xtask demo`: a whole job on this machine, with nothing set up before.

mod app;
mod result;
mod sample;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use support::azurite::{Azurite, AzuriteOptions};
use support::checkout::root;
use support::child::Launch;
use support::origin::{Origin, OriginOptions};
use support::postgres::{Postgres, PostgresOptions, free_port};
use support::workdir::WorkDir;

use crate::build;
use crate::host::{self, Choice, Host, Plan};
use result::Outcome;
use sample::{Peak, Watch};

/// The profile that the handler runs under, and its temp budget.
const ENVIRONMENT: &str = "azure_functions";
const BUDGET_MB: u64 = 400;
/// A job that takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(600);
/// How often a host may stop by itself before the demo gives up.
const MOST_RESTARTS: u32 = 5;

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                                 24 chunks of 100 images
  cargo xtask demo --chunks 40 --chunk-size 500    a larger job
  PIXCRAWLER_MAX_BUFFER_MB=96 cargo xtask demo     more memory for bodies than the 16 MB of the demo
  DATABASE_URL=postgres://… cargo xtask demo       in a database of yours; nothing in it is removed";

/// Run a job of real pictures through the handler, from nothing to shards, and show what happened.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// How many chunks the job has
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    chunks: u64,
    /// How many images a chunk has
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    chunk_size: u64,
    /// How long the origin waits before each answer, in milliseconds
    #[arg(long, default_value_t = 120)]
    delay_ms: u64,
    /// The host that runs the handler
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    host: Choice,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let _only_one = claim_directory()?;
    let programs = build::debug_programs().await?;
    let (app, timers) = (directory().join("app"), directory().join("timers"));
    let mut plan = Plan::new(options.host, &programs, app, free_port()?, timers);
    let parts = Parts::start(&options).await?;
    parts.describe_to(&mut plan);
    app::stage(&plan, &programs)?;

    eprintln!(
        "starting the host ({}); logs are in {}",
        plan.name(),
        directory().join("logs").display()
    );
    let port = plan.port;
    let mut host = Host::start(plan)?;
    let outcome = tokio::select! {
        ended = host.supervise(MOST_RESTARTS) => { ended?; bail!("the host ended") }
        outcome = parts.run_job(&options, &programs, port) => outcome?,
    };
    let restarts = host.restarts();
    drop(host);
    drop(parts);
    outcome.print(restarts);
    ensure!(outcome.is_good(), "the job did not end as it should");
    Ok(ExitCode::SUCCESS)
}

/// Everything that runs beside the host. Stopped in the order of the fields.
#[derive(Debug)]
struct Parts {
    origin: Origin,
    azurite: Azurite,
    _postgres: Postgres,
    database: String,
    temp: WorkDir,
}

impl Parts {
    async fn start(options: &Options) -> Result<Self> {
        eprintln!("starting Postgres, Azurite and an origin with pictures");
        let temp = WorkDir::create("demo")?;
        let data = AzuriteOptions { dir: Some(temp.join("azurite")), ..AzuriteOptions::default() };
        let private = PostgresOptions::default();
        let (postgres, azurite) =
            tokio::try_join!(Postgres::given_or_start(private), Azurite::start(data))?;
        let database = match postgres.is_private() {
            true => postgres.create_database("chunk_handler").await?,
            false => postgres.base_url().to_owned(),
        };
        let delay = Duration::from_millis(options.delay_ms);
        let padding = (100_000, 200_000);
        let origin = Origin::start(OriginOptions { delay, padding, ..OriginOptions::default() })?;
        fs::create_dir(temp.join("temp"))?;
        Ok(Self { origin, azurite, _postgres: postgres, database, temp })
    }

    /// The variables of the handler and of chunkctl.
    fn variables(&self) -> [(&'static str, String); 9] {
        [
            ("FUNCTIONS_WORKER_RUNTIME", "custom".into()),
            ("AzureWebJobsStorage", self.azurite.connection_string()),
            ("ChunkStorage", self.azurite.connection_string()),
            ("DATABASE_URL", self.database.clone()),
            ("PIXCRAWLER_ENVIRONMENT", ENVIRONMENT.into()),
            ("PIXCRAWLER_ALLOWED_ORIGINS", self.origin.address().to_string()),
            ("PIXCRAWLER_TEMP_DIR", self.temp.join("temp").display().to_string()),
            // Little memory, so that bodies take the way through temp files too.
            (
                "PIXCRAWLER_MAX_BUFFER_MB",
                std::env::var("PIXCRAWLER_MAX_BUFFER_MB").unwrap_or("16".into()),
            ),
            // One origin stands for many hosts here.
            ("PIXCRAWLER_PER_HOST_CONCURRENCY", "64".into()),
        ]
    }

    fn describe_to(&self, plan: &mut Plan) {
        for (name, value) in self.variables() {
            plan.set(name, value);
        }
        plan.log = Some(directory().join("logs/host.log"));
    }

    /// Submits a job as soon as the host answers, follows it to its end and looks at what it left.
    async fn run_job(&self, options: &Options, programs: &Path, port: u16) -> Result<Outcome> {
        host::answers(port, Duration::from_secs(120)).await?;
        let job_id = new_job_id();
        let watch = Watch::connect(&self.database, job_id).await?;
        watch.wait_for_the_handler(ENVIRONMENT).await?;
        let walk = Peak::watch(self.temp.join("temp"));
        let started = Instant::now();
        self.submit(options, programs, job_id).await?;
        let (job, most_active) = watch.until_the_end(&self.origin, LIMIT).await?;
        let took = started.elapsed();
        let ledger = sample::ledger_peak(watch.pool(), port).await;
        let walk = walk.finish();
        let chunkctl = |arguments: &[&str]| self.chunkctl(programs, arguments);
        let fetched = result::fetch(chunkctl, job_id, &directory())?;
        Ok(Outcome { job_id, job, most_active, took, ledger, walk, fetched })
    }

    /// The command line, as somebody would run it beside the app.
    fn chunkctl(&self, programs: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs.join("chunkctl"));
        command.args(arguments).envs(self.variables()).current_dir(directory().join("app"));
        command
    }

    async fn submit(&self, options: &Options, programs: &Path, job_id: i64) -> Result<()> {
        let n = options.chunks * options.chunk_size;
        let list = self.temp.join("urls.txt");
        fs::write(&list, self.origin.urls(n).join("\n"))?;
        eprintln!(
            "submitting job {job_id}: {} chunks of {} images",
            options.chunks, options.chunk_size
        );
        let (job, size) = (job_id.to_string(), options.chunk_size.to_string());
        let mut submit =
            self.chunkctl(programs, &["submit", "--job-id", &job, "--chunk-size", &size]);
        submit.arg("--urls").arg(&list);
        let mut chunkctl =
            Launch::new("chunkctl").log(directory().join("logs/chunkctl.log")).start(submit)?;
        let status = chunkctl.wait().await?;
        ensure!(status.success(), "chunkctl submit failed: {status}{}", chunkctl.log_tail());
        Ok(())
    }
}

/// Where the app is staged and the results are put.
fn directory() -> PathBuf {
    root().join("target/demo")
}

/// One demo at a time has the directory; what the last one left in it goes.
fn claim_directory() -> Result<File> {
    let directory = directory();
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let lock = File::create(directory.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another `cargo xtask demo` uses {}", directory.display());
    }
    for entry in fs::read_dir(&directory)?.flatten().filter(|entry| entry.path().is_dir()) {
        fs::remove_dir_all(entry.path())?;
    }
    fs::create_dir(directory.join("logs"))?;
    Ok(lock)
}

/// A number that no job in a database of somebody else is likely to have.
fn new_job_id() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    1_000_000_000 + i64::from(now.subsec_nanos())
}
