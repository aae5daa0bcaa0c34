//! The command line of operators and producers. Parses arguments, calls the library.

/// Says a line on stderr. The one of `std` panics where nobody listens.
macro_rules! eprintln {
    ($($line:tt)*) => { $crate::print::err(format_args!($($line)*)) };
}

mod applied;
mod blocked;
mod capacity;
mod chunks;
mod control;
mod dashboard;
mod doctor;
mod extend;
mod failure;
mod fetch;
mod few_valid;
mod folder;
mod guarded;
mod help;
mod hint;
mod host_busy;
mod kept;
mod known;
mod list;
mod memory;
mod next;
mod object;
mod print;
mod progress;
mod remarks;
mod rows;
mod shell;
mod status;
mod submit;
mod urls;
mod verify;
mod words;

use capacity::Capacity;
use chunk_handler::{
    settings::{DatabaseCredential, Program, Settings},
    state::Database,
    storage::Storage,
    telemetry,
};
use clap::{Parser, Subcommand};
use control::Control;
use dashboard::Dashboard;
use failure::{Failure, bail_as};
use fetch::Fetch;
use print::out;
use shell::{Completions, Man};
use status::Status;
use std::process::ExitCode;
use submit::Submit;
use urls::Urls;
use verify::Verify;

/// Submits jobs to the chunk handler and looks after them.
///
/// Settings come from the environment, then from Values of local.settings.json in the working
/// directory; `chunkctl doctor` shows which.
#[derive(Debug, Parser)]
#[command(
    version = help::version(),
    after_help = "Examples:
  chunkctl migrate
  chunkctl submit --job-id 7 --urls cats.txt --watch
  chunkctl status 7
  chunkctl fetch --job-id 7 --to cats
  chunkctl verify --from cats
  chunkctl urls --job-id 7 --status failed,invalid --format csv
  chunkctl control pause --minutes 30
  chunkctl capacity --images-per-day 1000000
  chunkctl dashboard
  chunkctl doctor

With --json the result is one document on stdout, and an error is {\"error\":{\"code\",\"message\",\"hint\"}},
the last line on stderr; the codes stay what they are."
)]
struct Cli {
    /// Print JSON: one document, whose keys stay; rows have the columns of the views.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Bring the schema up to date and create queues and containers.
    #[command(after_help = "Examples:
  chunkctl migrate
  chunkctl migrate --json")]
    Migrate,
    /// Submit a job: a list of URLs as .txt, .jsonl, .json, .csv or .tsv, each also as .gz, or .parquet.
    Submit(Box<Submit>),
    /// Show the fleet and its jobs.
    Status(Status),
    /// Bring a job's folder to a directory; the same command goes on where it ended.
    Fetch(Fetch),
    /// Check that a job's folder is whole, in storage or in a directory.
    Verify(Verify),
    /// Show what became of each URL of a job, as a list that can be submitted again.
    Urls(Urls),
    /// Say what holds the fleet back, and what more work needs and costs, from the last days.
    Capacity(Capacity),
    /// Serve pages for a browser: the fleet, its slots, jobs, chunks, and what was rejected.
    Dashboard(Dashboard),
    /// Check settings and everything the handler depends on, and say what to do.
    #[command(after_help = "Examples:
  chunkctl doctor
  chunkctl doctor --json | jq '.checks[] | select(.ok | not)'

It also runs where nothing is set, and says what to set first. Exit code 1: a check failed; 2: the
settings cannot be used.")]
    Doctor,
    /// Pause or resume intake, sweep temp space, cancel, close or retry jobs.
    #[command(subcommand)]
    Control(Control),
    /// Write a shell's completions to stdout.
    Completions(Completions),
    /// Write man pages into a directory, one for each command.
    Man(Man),
}

impl Action {
    /// What a watch ends with whose stdout nobody reads any more: how its job ends is not known. None: it
    /// is no watch, and ends by itself.
    fn unread(&self) -> Option<ExitCode> {
        match self {
            Self::Status(status) => status.unread(),
            Self::Submit(submit) if submit.watch => Some(ExitCode::FAILURE),
            _ => None,
        }
    }
}

/// Settings and clients of one run.
#[derive(Clone)]
struct Session {
    settings: Settings,
    database: Database,
    storage: Storage,
    json: bool,
}

/// What is done about an old or missing schema where people log in with Entra.
const SCHEMA_OF_THE_APP: &str = "the schema is missing or old, or this role may not use it. With \
    PIXCRAWLER_DATABASE_CREDENTIAL=entra the app makes it when it starts, for who makes it owns it: \
    deploy and start the app; its log says what it lacks";

fn main() -> ExitCode {
    let cli = match help::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match &cli.action {
        // A directory is verified wherever it was brought to, without any settings.
        Action::Verify(Verify { from: Some(directory), .. }) => {
            return ended(verify::directory(directory, cli.json), cli.json);
        }
        Action::Completions(asked) => return ended(shell::completions(asked, cli.json), cli.json),
        Action::Man(asked) => return ended(shell::man(asked, cli.json), cli.json),
        _ => {}
    }
    let settings = match Settings::load(Program::Chunkctl) {
        Ok(settings) => settings,
        Err(violations) => {
            if matches!(cli.action, Action::Doctor) {
                doctor::say_what_to_set(&violations, cli.json);
            }
            return failure::tell_violations(&violations, cli.json);
        }
    };
    // Its output is the result: logs only when asked for.
    if settings.log_filter != "info" {
        telemetry::install(&settings.log_filter, telemetry::Output::Stderr, None);
    }
    for slip in &settings.slips {
        eprintln!("warning: {slip}");
    }
    let json = cli.json;
    ended(run(cli, settings), json)
}

fn ended(done: anyhow::Result<ExitCode>, json: bool) -> ExitCode {
    print::ended(done.unwrap_or_else(|error| {
        Failure::of(&error).tell(json);
        ExitCode::FAILURE
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn run(cli: Cli, settings: Settings) -> anyhow::Result<ExitCode> {
    let database = Database::of_settings(&settings)?;
    let storage = Storage::open(&settings)?;
    let session = Session { settings, database, storage, json: cli.json };
    let login = session.database.clone();
    let unread = cli.action.unread();
    let done = tokio::select! {
        never = login.keep_login() => match never {},
        done = session.act(cli.action) => done,
        () = print::nobody_reads(), if unread.is_some() => Ok(unread.unwrap_or_default()),
    };
    if let Err(error) = &done {
        Failure::of_run(error, &login).await.tell(session.json);
        return Ok(ExitCode::FAILURE);
    }
    done
}

impl Session {
    async fn act(&self, action: Action) -> anyhow::Result<ExitCode> {
        // The developer's own tools may take longer than a call to the database may; without a token
        // each call says why.
        self.database.token().await.unwrap_or_default();
        match action {
            Action::Migrate => self.migrate().await,
            Action::Submit(submit) => self.submit(*submit).await,
            Action::Status(status) => self.status(status).await,
            Action::Fetch(fetch) => self.fetch(fetch).await,
            Action::Verify(verify) => self.verify(verify).await,
            Action::Urls(urls) => self.urls(urls).await,
            Action::Capacity(asked) => self.capacity(asked).await,
            Action::Dashboard(options) => self.clone().dashboard(options).await,
            Action::Doctor => self.doctor().await,
            Action::Control(control) => self.control(control).await,
            Action::Completions(asked) => shell::completions(&asked, self.json),
            Action::Man(asked) => shell::man(&asked, self.json),
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
                bail_as!(Schema, "{SCHEMA_OF_THE_APP}");
            }
        }
        Ok(self.database.prepare().await?)
    }

    async fn migrate(&self) -> anyhow::Result<ExitCode> {
        self.prepare_schema().await?;
        self.storage.create_containers_and_queues().await?;
        self.say(
            &serde_json::json!({
                "migrated": true, "schema_version": Database::known_schema_version(),
            }),
            "the schema is up to date; queues and containers exist",
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Nothing of a job is written to, or looked for in, another account or container than the fleet's.
    async fn refuse_another_place(&self) -> anyhow::Result<()> {
        let own = self.settings.place();
        match self.database.fleet_storage().await? {
            Some(fleet) if fleet != own => bail_as!(
                OtherFleet,
                "the database belongs to account and containers {fleet}, and ChunkStorage here is \
                 {own}; correct ChunkStorage or DATABASE_URL"
            ),
            Some(_) | None => Ok(()),
        }
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
