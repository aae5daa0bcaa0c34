//! The Functions host: the real one where there is one, else the stand-in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use nix::sys::signal::Signal;
use support::child::{Child, Launch};
use support::tool::works;

/// A host that stopped by itself is started again after this.
const PAUSE: Duration = Duration::from_millis(500);

/// Which host runs the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// `func` when `func --version` works, else the stand-in
    Auto,
    /// Azure Functions Core Tools
    Func,
    /// The stand-in of this repository
    StandIn,
}

/// A host's program and what it is started with.
#[derive(Debug)]
pub(crate) struct Plan {
    program: Option<PathBuf>,
    /// The directory of host.json, the function folders and the handler.
    pub(crate) root: PathBuf,
    pub(crate) port: u16,
    /// Variables beside those of this process.
    pub(crate) variables: Vec<(String, String)>,
    /// Where its output goes; none: to the terminal.
    pub(crate) log: Option<PathBuf>,
    /// Where the stand-in keeps the times of its timers.
    timers: PathBuf,
}

impl Plan {
    /// Chooses the program; the stand-in is one of those that were built.
    pub(crate) fn new(
        choice: Choice,
        programs: &Path,
        root: PathBuf,
        port: u16,
        timers: PathBuf,
    ) -> Self {
        let func =
            choice == Choice::Func || choice == Choice::Auto && works("func", &["--version"]);
        let program = if func { None } else { Some(programs.join("host-stand-in")) };
        Self { program, root, port, variables: Vec::new(), log: None, timers }
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &'static str {
        if self.program.is_some() { "host stand-in" } else { "func" }
    }

    /// Adds a variable.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    fn start(&self) -> Result<Child> {
        let port = self.port.to_string();
        let mut command = match &self.program {
            Some(stand_in) => {
                let mut command = Command::new(stand_in);
                command
                    .arg("--root")
                    .arg(&self.root)
                    .args(["--port", &port])
                    .arg("--status-dir")
                    .arg(&self.timers);
                command
            }
            None => {
                let mut command = Command::new("func");
                command
                    .args(["start", "--port", &port])
                    .env("FUNCTIONS_CORE_TOOLS_TELEMETRY_OPTOUT", "1");
                command
            }
        };
        command
            .current_dir(&self.root)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        // As a Ctrl-C in a terminal does: host and handler hear of it in the same moment.
        let stop = Launch { stop: Signal::SIGINT, stop_group: true, ..Launch::new(self.name()) };
        let launch = Launch { grace: Duration::from_secs(20), log: self.log.clone(), ..stop };
        launch.start(command)
    }
}

/// A running host; dropping it stops it and its handler.
#[derive(Debug)]
pub(crate) struct Host {
    plan: Plan,
    child: Child,
    restarts: u32,
}

impl Host {
    pub(crate) fn start(plan: Plan) -> Result<Self> {
        let child = plan.start()?;
        Ok(Self { plan, child, restarts: 0 })
    }

    /// Starts the host again whenever it has stopped by itself, as the platform does. Ends only with an
    /// error: when it stopped more than `most` times.
    pub(crate) async fn supervise(&mut self, most: u32) -> Result<()> {
        loop {
            let status = self.child.wait().await?;
            self.restarts += 1;
            if self.restarts > most {
                bail!(
                    "the host ({}) stopped {} times: {status}{}",
                    self.plan.name(),
                    self.restarts,
                    self.child.log_tail()
                );
            }
            eprintln!(
                "the host ({}) stopped by itself ({status}): starting it again",
                self.plan.name()
            );
            tokio::time::sleep(PAUSE).await;
            self.child = self.plan.start()?;
        }
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }
}

/// Waits until the host on a port says that it runs.
pub(crate) async fn answers(port: u16, limit: Duration) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let end = Instant::now() + limit;
    loop {
        let answer = client.get(format!("http://127.0.0.1:{port}/admin/host/status")).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            _ if Instant::now() > end => bail!("the host does not answer on port {port}"),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
