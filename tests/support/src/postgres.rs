//! A Postgres server: the one that is given, or a private one on loopback.

mod binaries;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::{Mutex, MutexGuard};

use crate::checkout::{NOBODY, is_root, reachable};
use crate::child::{Child, Launch};
use crate::workdir::WorkDir;

const START_LIMIT: Duration = Duration::from_secs(60);

/// What kind of server is wanted.
#[derive(Debug, Default, Clone)]
pub struct PostgresOptions {
    /// Where the data is kept from start to start; none: a temporary place.
    pub data_dir: Option<PathBuf>,
    /// The port; 0: a free one.
    pub port: u16,
    /// Whether commits survive a crash of the machine.
    pub durable: bool,
    /// Where the server's log goes (appended); none: beside temporary data.
    pub log: Option<PathBuf>,
}

/// A server that was started here, and how to start it again.
#[derive(Debug)]
struct Private {
    child: Mutex<Child>,
    bin: PathBuf,
    data: PathBuf,
    port: u16,
    durable: bool,
    log: PathBuf,
}

impl Private {
    fn launch(bin: PathBuf, data: PathBuf, port: u16, durable: bool, log: PathBuf) -> Result<Self> {
        let child = Mutex::new(server(&bin, &data, port, durable, &log)?);
        Ok(Self { child, bin, data, port, durable, log })
    }
}

/// A copy of a server's data, for as long as this is kept.
#[derive(Debug)]
pub struct Backup(WorkDir);

/// A server to make databases in. A private one stops when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    base: Url,
    private: Option<Private>,
    // After the child: removed when nothing uses it any more.
    _temporary: Option<WorkDir>,
}

impl Postgres {
    /// Uses a running server; nothing of it is stopped or removed.
    pub fn given(url: &str) -> Result<Self> {
        let base = Url::parse(url).context("the database URL is not a URL")?;
        ensure!(
            matches!(base.scheme(), "postgres" | "postgresql"),
            "the database URL must begin with postgres://"
        );
        Ok(Self { base, private: None, _temporary: None })
    }

    /// Uses the server of `DATABASE_URL`, or starts a private one.
    pub async fn given_or_start(options: PostgresOptions) -> Result<Self> {
        match std::env::var("DATABASE_URL") {
            Ok(url) if !url.is_empty() => {
                eprintln!("using the Postgres server that DATABASE_URL names");
                Self::given(&url)
            }
            _ => Self::start(options).await,
        }
    }

    /// Starts a private server: user `postgres`, no password, only on 127.0.0.1, no Unix socket.
    pub async fn start(options: PostgresOptions) -> Result<Self> {
        let bin = binaries::find_or_install().await?;
        let temporary = match &options.data_dir {
            Some(_) => None,
            None => Some(WorkDir::create("postgres")?),
        };
        let (data, log) = places(&options, temporary.as_ref());
        if !data.join("PG_VERSION").exists() {
            initialise(&bin, &data, &log).await?;
        }
        let mut tries = if options.port == 0 { 5 } else { 1 };
        loop {
            let port = if options.port == 0 { free_port()? } else { options.port };
            let private =
                Private::launch(bin.clone(), data.clone(), port, options.durable, log.clone())?;
            let base = Url::parse(&format!("postgres://postgres@127.0.0.1:{port}/postgres"))?;
            let postgres = Self { base, private: Some(private), _temporary: None };
            tries -= 1;
            match postgres.ready().await {
                Ok(()) => return Ok(Self { _temporary: temporary, ..postgres }),
                // Somebody may have taken the free port between its choice and its use.
                Err(_) if tries > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        let mut url = self.base.clone();
        url.set_path(database);
        url.into()
    }

    /// The address of the database that it was given with, `postgres` for a private one.
    pub fn base_url(&self) -> &str {
        self.base.as_str()
    }

    /// Whether it is a private server, started here.
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Creates an empty database and returns its address.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        self.create(name, "").await
    }

    /// Creates a copy of a database that nobody is connected to and returns its address.
    pub async fn create_database_from(&self, template: &str, name: &str) -> Result<String> {
        self.create(name, &format!("template {}", quoted(template)?)).await
    }

    /// Removes a database, with whoever is connected to it.
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        self.execute(format!("drop database if exists {} with (force)", quoted(name)?)).await
    }

    /// Whether a database is there.
    pub async fn has_database(&self, name: &str) -> Result<bool> {
        let mut connection = PgConnection::connect(self.base.as_str()).await?;
        let query =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)");
        let found = query.bind(name).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(found)
    }

    /// Fails with the end of the server's log when a private server is no longer running.
    pub fn check(&mut self) -> Result<()> {
        self.private.as_mut().map_or(Ok(()), |private| private.child.get_mut().check())
    }

    /// Ends a private server as a crash does, without a checkpoint, and starts it again on the same
    /// data and port (`pg_ctl restart -m immediate`). Returns once it answers.
    pub async fn restart_immediately(&self) -> Result<()> {
        self.while_down(|_| Ok(())).await
    }

    /// Copies the data directory of a private server that is down for it as after a crash, and goes on.
    pub async fn back_up(&self) -> Result<Backup> {
        let place = WorkDir::create("backup")?;
        let to = place.join("data");
        self.while_down(|data| copy(data, &to)).await?;
        Ok(Backup(place))
    }

    /// Puts the data directory back as it was at a backup: what was committed since is gone.
    pub async fn restore(&self, backup: &Backup) -> Result<()> {
        let from = backup.0.join("data");
        self.while_down(|data| {
            fs::remove_dir_all(data).with_context(|| format!("removing {}", data.display()))?;
            copy(&from, data)
        })
        .await
    }

    /// Ends a private server as a crash does, and starts it again after this long.
    pub async fn stay_away(&self, pause: Duration) -> Result<()> {
        let (private, mut child) = self.crash().await?;
        tokio::time::sleep(pause).await;
        self.start_again(private, &mut child).await
    }

    /// Makes a private server ask everybody but its own user for a password.
    pub async fn ask_for_passwords(&self) -> Result<()> {
        self.set_rules(
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
        )
        .await
    }

    /// Gives a private server another `pg_hba.conf`.
    pub async fn set_rules(&self, rules: &str) -> Result<()> {
        fs::write(self.own()?.data.join("pg_hba.conf"), rules)?;
        self.execute("select pg_reload_conf()".into()).await
    }

    /// Makes a private server speak TLS, from the next connection on.
    pub async fn speak_tls(&self, certificate: &Path, key: &Path) -> Result<()> {
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.own()?.data.join(name);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, Permissions::from_mode(0o600))?;
            if is_root() {
                chown(&to, Some(NOBODY), Some(NOBODY))?;
            }
        }
        self.execute("alter system set ssl = on".into()).await?;
        self.execute("select pg_reload_conf()".into()).await
    }

    /// Tells a private server to stop once everybody has left: until then it refuses logins.
    pub async fn stop_taking_logins(&self) -> Result<()> {
        self.own()?.child.lock().await.signal(Signal::SIGTERM)
    }

    fn own(&self) -> Result<&Private> {
        self.private.as_ref().context("the server was not started here")
    }

    async fn while_down(&self, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let (private, mut child) = self.crash().await?;
        tokio::task::block_in_place(|| work(&private.data))?;
        self.start_again(private, &mut child).await
    }

    async fn crash(&self) -> Result<(&Private, MutexGuard<'_, Child>)> {
        let private = self.own()?;
        let mut child = private.child.lock().await;
        child.signal(Signal::SIGQUIT)?;
        child.wait().await?;
        Ok((private, child))
    }

    async fn start_again(&self, private: &Private, child: &mut Child) -> Result<()> {
        let Private { bin, data, port, durable, log, .. } = private;
        *child = server(bin, data, *port, *durable, log)?;
        self.answers(child).await
    }

    /// Stops a private server.
    pub async fn stop(self) -> Result<()> {
        Ok(tokio::task::spawn_blocking(move || drop(self)).await?)
    }

    async fn create(&self, name: &str, how: &str) -> Result<String> {
        let statement = format!("create database {} {how}", quoted(name)?);
        self.execute(statement).await.with_context(|| format!("creating database {name}"))?;
        Ok(self.url(name))
    }

    async fn execute(&self, statement: String) -> Result<()> {
        let mut connection = PgConnection::connect(self.base.as_str()).await?;
        connection.execute(AssertSqlSafe(statement)).await?;
        Ok(connection.close().await?)
    }

    async fn ready(&self) -> Result<()> {
        match &self.private {
            Some(private) => self.answers(&mut *private.child.lock().await).await,
            None => Ok(()),
        }
    }

    async fn answers(&self, child: &mut Child) -> Result<()> {
        let end = Instant::now() + START_LIMIT;
        loop {
            child.check()?;
            match PgConnection::connect(self.base.as_str()).await {
                Ok(connection) => return Ok(connection.close().await?),
                Err(error) if Instant::now() > end => bail!("Postgres does not answer: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Whether this system has the programs of a server: nothing has to be installed for a private one.
pub fn is_installed() -> bool {
    binaries::on_this_system().is_some()
}

/// A port of 127.0.0.1 that nobody uses at the moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn places(options: &PostgresOptions, temporary: Option<&WorkDir>) -> (PathBuf, PathBuf) {
    let data = match (&options.data_dir, temporary) {
        (None, Some(directory)) => directory.join("data"),
        (kept, _) => reachable(kept.clone().unwrap_or_default()),
    };
    let log = options.log.clone().unwrap_or_else(|| data.with_extension("log"));
    (data, log)
}

/// Copies a data directory with its owners and rights.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(from).arg(to);
    let status = cp.status().context("starting cp")?;
    ensure!(status.success(), "copying {}: {status}", from.display());
    Ok(())
}

/// Makes a data directory, whole or not at all.
async fn initialise(bin: &Path, data: &Path, log: &Path) -> Result<()> {
    let unfinished = data.with_extension("new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)
        .with_context(|| format!("creating {}", unfinished.display()))?;
    fs::set_permissions(&unfinished, Permissions::from_mode(0o700))?;
    let mut initdb = Command::new(bin.join("initdb"));
    initdb.arg("--pgdata").arg(&unfinished).args([
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
    ]);
    initdb.args(["--locale=C", "--no-sync"]);
    if is_root() {
        chown(&unfinished, Some(NOBODY), Some(NOBODY))?;
        initdb.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    let mut child = Launch::new("initdb").log(log).start(initdb)?;
    let status = child.wait().await?;
    ensure!(status.success(), "initdb failed: {status}{}", child.log_tail());
    fs::rename(&unfinished, data).with_context(|| format!("creating {}", data.display()))
}

fn server(bin: &Path, data: &Path, port: u16, durable: bool, log: &Path) -> Result<Child> {
    let mut postgres = Command::new(bin.join("postgres"));
    postgres.arg("-D").arg(data);
    let mut set = |setting: String| {
        postgres.args(["-c", &setting]);
    };
    set(format!("port={port}"));
    set("listen_addresses=127.0.0.1".into());
    set("unix_socket_directories=".into());
    set("max_connections=200".into());
    set("logging_collector=off".into());
    if !durable {
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            set(format!("{setting}=off"));
        }
    }
    if is_root() {
        // The server refuses to run as root.
        postgres.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    // Fast shutdown when asked, immediate shutdown when this process is gone.
    let launch = Launch {
        stop: Signal::SIGINT,
        on_orphaned: Signal::SIGQUIT,
        ..Launch::new("Postgres").log(log)
    };
    launch.start(postgres)
}

fn quoted(name: &str) -> Result<String> {
    let plain = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    ensure!(plain && !name.is_empty(), "{name:?} is no database name: letters, digits and _ only");
    Ok(format!("\"{name}\""))
}
