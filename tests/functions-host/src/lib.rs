//! The stand-in for the Azure Functions host, for machines without one.
//!
//! It shows a custom handler what the real host was seen to do: start and readiness, requests byte
//! for byte, queue and timer rules, exit codes and strikes, timeouts, and the ways it stops. The
//! README lists these facts, each with the test that proves it, and what the stand-in does not do.
//!
//! It is a program of its own (`host-stand-in`), because a handler watches its parent process.
//! [`client`] starts it from tests and developer commands.

mod admin;
mod answer;
mod binding;
pub mod client;
mod config;
mod cron;
pub mod dotnet;
mod http;
mod invoke;
mod log;
pub mod payload;
mod queue;
pub mod rigged;
mod script;
pub mod storage;
mod strikes;
mod timer;
mod worker;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use nix::unistd::{Pid, getppid};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use admin::Current;
use config::App;
use log::{HOST, STAND_IN};
use script::ScriptHost;

/// The first line of every run.
pub const BANNER: &str =
    "stand-in for the Azure Functions host, not the real one; behaves as host 4.1037 was seen to";
/// The line that says that the handler has answered.
pub const STARTED: &str = "Host started";
/// How long a stopping host waits for open invocations.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How often host.json and the parent process are checked.
const CHECK_PERIOD: Duration = Duration::from_millis(500);
const DEFAULT_PORT: u16 = 7071;

/// How the stand-in is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The app root.
    pub root: PathBuf,
    /// The port of the admin API; 0 is a free one, none is what local.settings.json says.
    pub port: Option<u16>,
    /// Bodies with Content-Length, as under Core Tools.
    pub core_tools: bool,
    /// Divides the two times that the real host has hard-coded: a fetched message is invisible for
    /// 10 minutes and is renewed after 5.
    pub time_scale: f64,
    /// Timers fire only when they are called by hand.
    pub no_timer: bool,
    /// Where timers keep their status; none: a directory for this app root under the temporary one.
    pub status_dir: Option<PathBuf>,
    /// Stop when the parent process is gone.
    pub end_with_parent: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            port: None,
            core_tools: false,
            time_scale: 1.0,
            no_timer: false,
            status_dir: None,
            end_with_parent: false,
        }
    }
}

/// Why a run comes to its end.
enum Ending {
    /// By a signal, or because the parent is gone.
    Stopped,
    /// The host cannot go on, and says why.
    GivenUp(String),
}

/// Runs until it is stopped or gives up, which are both exit code 0. The error is an app that cannot
/// be run, or the crash of a host that met two timeouts at once.
pub async fn run(options: Options) -> Result<()> {
    let mut signals = Signals::new()?;
    let parent = getppid();
    log::info(STAND_IN, BANNER);
    let app = App::load(&options.root)?;
    let listener = bind(options.port.or(app.local_port).unwrap_or(DEFAULT_PORT)).await?;
    // The client reads the address from this line.
    log::info(STAND_IN, format!("admin API at http://{}", listener.local_addr()?));
    let status_dir = options.status_dir.clone().unwrap_or_else(|| default_status_dir(&app.root));
    let (fatal, mut reasons) = mpsc::unbounded_channel();
    let start = |app: App| {
        let script = ScriptHost::start(app, &options, status_dir.clone(), fatal.clone())?;
        let starting = Arc::clone(&script);
        tokio::spawn(async move {
            starting.ready().await;
            log::info(HOST, STARTED);
        });
        anyhow::Ok(script)
    };
    let mut host_json = HostJson::new(&app.root);
    let current = Current::new(start(app)?);
    tokio::spawn(axum::serve(listener, admin::router(current.clone())).into_future());
    let mut retired: Vec<Arc<ScriptHost>> = Vec::new();
    let ending = loop {
        tokio::select! {
            () = signals.any() => break Ending::Stopped,
            () = parent_gone(parent), if options.end_with_parent => break Ending::Stopped,
            Some(reason) = reasons.recv() => break Ending::GivenUp(reason?),
            () = host_json.edited() => match App::load(&options.root) {
                Ok(app) => {
                    log::info(HOST, "host.json has changed: starting another handler while the old one finishes its work");
                    let old = current.replace(start(app)?);
                    retired.push(Arc::clone(&old));
                    tokio::spawn(async move { old.stop(None).await });
                }
                Err(error) => log::error(STAND_IN, format!("host.json has changed, going on with the old one: {error:#}")),
            },
        }
    };
    retired.push(current.script());
    end(ending, retired).await;
    Ok(())
}

async fn end(ending: Ending, scripts: Vec<Arc<ScriptHost>>) {
    match ending {
        Ending::GivenUp(reason) => {
            log::error(HOST, format!("{reason}. Shutting down Functions Host"));
            log::warn(
                STAND_IN,
                "stopping by itself; messages that were taken stay invisible until their time is over",
            );
            let mut kills: JoinSet<_> = scripts
                .into_iter()
                .map(|script| async move { script.worker.kill().await })
                .collect();
            while kills.join_next().await.is_some() {}
        }
        Ending::Stopped => {
            log::info(HOST, "stopping");
            let stops = scripts.into_iter().map(|script| async move {
                let pid = script.worker.pid();
                if !script.stop(Some(STOP_PATIENCE)).await {
                    log::warn(HOST, "Host did not shutdown within its allotted time");
                    let pid =
                        pid.map_or("the handler".into(), |pid| format!("handler process {pid}"));
                    log::warn(STAND_IN, format!("{pid} is left running, as the real host does"));
                }
            });
            let mut stops: JoinSet<_> = stops.collect();
            while stops.join_next().await.is_some() {}
        }
    }
}

async fn bind(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.with_context(|| {
        format!("port {port} of 127.0.0.1 is not free: choose another with --port (0: any)")
    })
}

fn default_status_dir(root: &Path) -> PathBuf {
    let hash = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let name: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    std::env::temp_dir().join("host-stand-in").join(name)
}

async fn parent_gone(parent: Pid) {
    while getppid() == parent {
        tokio::time::sleep(CHECK_PERIOD).await;
    }
    log::warn(STAND_IN, "the parent process is gone");
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Watches host.json, and only that.
struct HostJson {
    path: PathBuf,
    seen: Option<SystemTime>,
}

impl HostJson {
    fn new(root: &Path) -> Self {
        let path = root.join("host.json");
        Self { seen: modified(&path), path }
    }

    async fn edited(&mut self) {
        loop {
            tokio::time::sleep(CHECK_PERIOD).await;
            let now = modified(&self.path);
            if now.is_some() && now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|data| data.modified()).ok()
}
