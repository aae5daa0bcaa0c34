//! pgbouncer before a database, where this machine has it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Url;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use crate::checkout::{NOBODY, is_root};
use crate::child::{Child, Launch};
use crate::postgres::free_port;
use crate::workdir::WorkDir;

const START_LIMIT: Duration = Duration::from_secs(20);

/// For how long a client has a session of the server.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// As long as it is connected.
    Session,
    /// As long as a transaction.
    Transaction,
    /// As long as a statement.
    Statement,
}

/// A running pooler; dropping it stops it.
#[derive(Debug)]
pub struct Pooler {
    url: Url,
    child: Child,
    // After the child: removed when nothing uses it any more.
    _temporary: WorkDir,
}

/// Whether this machine has the program (Debian: `apt-get install pgbouncer`).
pub fn is_installed() -> bool {
    program().is_some()
}

impl Pooler {
    /// Starts one for a database, as operators set it up: it knows nothing of start-up options and
    /// leaves them out.
    pub async fn start(database_url: &str, mode: Mode) -> Result<Self> {
        let leaves_out = "ignore_startup_parameters = options,extra_float_digits";
        Self::start_with(database_url, mode, leaves_out).await
    }

    /// Starts one as it comes: it refuses what it does not know.
    pub async fn start_strict(database_url: &str) -> Result<Self> {
        Self::start_with(database_url, Mode::Session, "").await
    }

    async fn start_with(database_url: &str, mode: Mode, more: &str) -> Result<Self> {
        let program = program().context("pgbouncer is not installed")?;
        let temporary = WorkDir::create("pooler")?;
        let mut url = Url::parse(database_url)?;
        let port = free_port()?;
        let settings = temporary.join("pgbouncer.ini");
        fs::write(&settings, ini(&url, port, mode) + more)?;
        let mut pgbouncer = Command::new(program);
        pgbouncer.arg(&settings).current_dir("/");
        if is_root() {
            // It refuses to run as root.
            pgbouncer.uid(NOBODY).gid(NOBODY);
        }
        let log = temporary.join("log");
        File::create(&log)?;
        let child = Launch::new("pgbouncer").log(log).start(pgbouncer)?;
        url.set_port(Some(port)).ok().context("the database URL takes no port")?;
        let mut pooler = Self { url, child, _temporary: temporary };
        pooler.answers().await?;
        Ok(pooler)
    }

    /// The database behind it.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    async fn answers(&mut self) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        let options: PgConnectOptions = self.url.as_str().parse()?;
        let options = options.extra_float_digits(None);
        loop {
            self.child.check()?;
            match PgConnection::connect_with(&options).await {
                Ok(connection) => return Ok(connection.close().await?),
                Err(error) if Instant::now() > end => bail!("pgbouncer does not answer: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian puts it where only root looks.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    places.map(|place| place.join("pgbouncer")).find(|program| program.is_file())
}

fn ini(url: &Url, port: u16, mode: Mode) -> String {
    let mode = match mode {
        Mode::Session => "session",
        Mode::Transaction => "transaction",
        Mode::Statement => "statement",
    };
    let database = url.path().trim_start_matches('/');
    let (host, upstream) = (url.host_str().unwrap_or_default(), url.port().unwrap_or(5432));
    let password = url.password().map(|text| format!(" password={text}")).unwrap_or_default();
    let user = url.username();
    format!(
        "[databases]
{database} = host={host} port={upstream} dbname={database} user={user}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
server_login_retry = 1
"
    )
}
