//! `cargo xtask dev`: the parts to work with, on fixed ports and with data that stays.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use sqlx::{Connection, PgConnection};
use support::azurite::{self, Azurite, AzuriteOptions};
use support::checkout::root;
use support::postgres::{Postgres, PostgresOptions};

use crate::build;
use crate::host::{self, Choice, Host, Plan};

const POSTGRES_PORT: u16 = 55432;
const STORAGE_PORTS: [u16; 3] = [10000, 10001, 10002];
const DATABASE: &str = "chunk_handler";

const EXAMPLES: &str = "\
Examples:
  cargo xtask dev                              until Ctrl-C; chunkctl works in a second terminal
  cargo xtask dev --port 7072                  another port for the host
  PIXCRAWLER_MAX_CONCURRENT_CHUNKS=2 cargo xtask dev
                                               a variable wins over local.settings.json";

/// Run Postgres, Azurite and the handler under the Functions host, to work with.
///
/// Data is kept in target/dev. `ready` on a line of its own says that an invocation can be served.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The host's port
    #[arg(long, default_value_t = 7071)]
    port: u16,
    /// The port of Postgres
    #[arg(long, default_value_t = POSTGRES_PORT)]
    postgres_port: u16,
    /// Azurite's port for blobs
    #[arg(long, default_value_t = STORAGE_PORTS[0])]
    blob_port: u16,
    /// Azurite's port for queues
    #[arg(long, default_value_t = STORAGE_PORTS[1])]
    queue_port: u16,
    /// Azurite's port for tables
    #[arg(long, default_value_t = STORAGE_PORTS[2])]
    table_port: u16,
    /// The host that runs the handler
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    host: Choice,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let given = own("DATABASE_URL");
    options.ensure_ports_are_free(given.is_some())?;
    let _only_one = claim_directory()?;
    let programs = build::debug_programs().await?;
    build::handler_in_root(&programs)?;
    eprintln!("./handler is a debug build now; `cargo xtask build` makes the one to deploy");
    let timers = directory().join("timers");
    let mut plan = Plan::new(options.host, &programs, root(), options.port, timers);

    let mut postgres = match &given {
        Some(url) => Postgres::given(url)?,
        None => options.postgres().await?,
    };
    let mut azurite = options.azurite().await?;
    options.set_variables(&mut plan, &postgres);
    let database = given.or_else(|| variable(&plan, "DATABASE_URL")).or_else(setting_of_database);
    let database = database.unwrap_or_else(|| postgres.url(DATABASE));

    eprintln!("starting the host ({}); data and logs of the parts are in target/dev", plan.name());
    let mut host = Host::start(plan)?;
    tokio::select! {
        outcome = host.supervise(u32::MAX) => outcome?,
        outcome = announce(&options, &database) => outcome?,
        outcome = watch_parts(&mut postgres, &mut azurite) => outcome?,
    }
    Ok(ExitCode::FAILURE)
}

impl Options {
    fn storage_ports(&self) -> [u16; 3] {
        [self.blob_port, self.queue_port, self.table_port]
    }

    fn ensure_ports_are_free(&self, postgres_is_given: bool) -> Result<()> {
        let mut wanted = vec![
            ("the host", self.port, "--port"),
            ("Azurite's blobs", self.blob_port, "--blob-port"),
            ("Azurite's queues", self.queue_port, "--queue-port"),
            ("Azurite's tables", self.table_port, "--table-port"),
        ];
        if !postgres_is_given {
            wanted.push(("Postgres", self.postgres_port, "--postgres-port"));
        }
        for (part, port, option) in wanted {
            if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
                bail!(
                    "port {port} for {part} is taken ({error}); choose another with {option} PORT"
                );
            }
        }
        Ok(())
    }

    async fn postgres(&self) -> Result<Postgres> {
        let options = PostgresOptions {
            data_dir: Some(directory().join("postgres")),
            port: self.postgres_port,
            durable: true,
            log: Some(directory().join("postgres.log")),
        };
        let postgres = Postgres::start(options).await?;
        if !postgres.has_database(DATABASE).await? {
            postgres.create_database(DATABASE).await?;
        }
        eprintln!("Postgres: {}", postgres.url(DATABASE));
        Ok(postgres)
    }

    async fn azurite(&self) -> Result<Azurite> {
        let options = AzuriteOptions {
            dir: Some(directory().join("azurite")),
            ports: Some(self.storage_ports()),
            log: Some(directory().join("azurite.log")),
        };
        let azurite = Azurite::start(options).await?;
        eprintln!("Azurite: ports {:?}", self.storage_ports());
        Ok(azurite)
    }

    /// Says what `local.settings.json` cannot know: addresses on other ports than the usual.
    fn set_variables(&self, plan: &mut Plan, postgres: &Postgres) {
        if self.postgres_port != POSTGRES_PORT && own("DATABASE_URL").is_none() {
            plan.set("DATABASE_URL", postgres.url(DATABASE));
        }
        if self.storage_ports() != STORAGE_PORTS {
            for name in ["AzureWebJobsStorage", "ChunkStorage"] {
                if own(name).is_none() {
                    plan.set(name, azurite::connection_string(self.storage_ports()));
                }
            }
        }
        for (name, value) in &plan.variables {
            eprintln!("for chunkctl in a second terminal: export {name}='{value}'");
        }
    }
}

/// Where data is kept from start to start.
fn directory() -> PathBuf {
    root().join("target/dev")
}

/// One `dev` at a time has the directory; its logs begin anew.
fn claim_directory() -> Result<File> {
    let directory = directory();
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let lock = File::create(directory.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another `cargo xtask dev` uses {}", directory.display());
    }
    for log in ["postgres.log", "azurite.log"] {
        File::create(directory.join(log))?;
    }
    Ok(lock)
}

/// A variable of this process that is not empty.
fn own(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn variable(plan: &Plan, wanted: &str) -> Option<String> {
    plan.variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
}

fn setting_of_database() -> Option<String> {
    let settings = fs::read(root().join("local.settings.json")).ok()?;
    let settings: serde_json::Value = serde_json::from_slice(&settings).ok()?;
    Some(settings["Values"]["DATABASE_URL"].as_str()?.to_owned())
}

/// Prints `ready` when host and handler can serve an invocation; then waits for ever.
async fn announce(options: &Options, database: &str) -> Result<()> {
    // A handler that cannot start says why on the terminal, again and again.
    host::answers(options.port, Duration::from_secs(86_400)).await?;
    while schema_of(database).await.is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("ready");
    std::future::pending().await
}

/// Succeeds when the handler has brought its schema up to date.
async fn schema_of(database: &str) -> Result<()> {
    let mut connection = PgConnection::connect(database).await?;
    sqlx::query("select from chunk_handler.capacity").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Fails when Postgres or Azurite ended by itself.
async fn watch_parts(postgres: &mut Postgres, azurite: &mut Azurite) -> Result<()> {
    loop {
        postgres.check()?;
        azurite.check()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
