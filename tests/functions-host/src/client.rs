//! Starts the stand-in as a child process and talks to it: for tests and developer commands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::STARTED;
use support::{checkout, programs};

/// Called with every line of the host's log.
pub type OnLine = Arc<dyn Fn(&str) + Send + Sync>;

/// How to start the stand-in.
#[derive(Clone)]
pub struct HostOptions {
    /// The stand-in; none: `host-stand-in` in the directory of the running program.
    pub program: Option<PathBuf>,
    /// The app root: host.json, local.settings.json, function folders.
    pub root: PathBuf,
    /// Added to this process's environment; wins over local.settings.json.
    pub env: BTreeMap<OsString, OsString>,
    /// The port of the admin API; 0 is a free one.
    pub port: u16,
    pub core_tools: bool,
    pub time_scale: f64,
    pub no_timer: bool,
    pub status_dir: Option<PathBuf>,
    pub on_line: Option<OnLine>,
}

impl HostOptions {
    /// An app root on a free port, with everything as the real host does it.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            program: None,
            root: root.into(),
            env: BTreeMap::new(),
            port: 0,
            core_tools: false,
            time_scale: 1.0,
            no_timer: false,
            status_dir: None,
            on_line: None,
        }
    }

    /// Sets a variable of the host and its handler.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Has every line of the log handed to a function.
    pub fn on_line(mut self, on_line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_line = Some(Arc::new(on_line));
        self
    }

    fn command(&self) -> Result<Command> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => programs::program("host-stand-in")?,
        };
        let mut command = Command::new(program);
        command.arg("--root").arg(&self.root).arg("--end-with-parent");
        command.arg("--port").arg(self.port.to_string());
        command.arg("--time-scale").arg(self.time_scale.to_string());
        if let Some(directory) = &self.status_dir {
            command.arg("--status-dir").arg(directory);
        }
        for (flag, given) in [("--core-tools", self.core_tools), ("--no-timer", self.no_timer)] {
            if given {
                command.arg(flag);
            }
        }
        command.envs(&self.env).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, with the handler in it: Ctrl-C in a terminal reaches neither.
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }
}

impl fmt::Debug for HostOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment may hold secrets.
        f.debug_struct("HostOptions")
            .field("root", &self.root)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Makes an app root: this checkout's host.json and functions, and a program as their handler.
pub fn stage(root: &Path, handler: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    let checkout = checkout::root();
    fs::copy(checkout.join("host.json"), root.join("host.json")).context("copying host.json")?;
    for entry in fs::read_dir(checkout)?.flatten() {
        let function = entry.path().join("function.json");
        if function.exists() {
            let folder = root.join(entry.file_name());
            fs::create_dir_all(&folder)?;
            fs::copy(&function, folder.join("function.json"))?;
        }
    }
    fs::copy(handler, root.join("handler")).context("copying the handler")?;
    Ok(())
}

/// A running stand-in. Dropping it kills it and its handler, an orphaned one too.
#[derive(Debug)]
pub struct HostProcess {
    child: Child,
    pid: Pid,
    log: watch::Receiver<Log>,
    http: reqwest::Client,
}

/// What the host has written so far.
#[derive(Debug, Default)]
struct Log {
    lines: Vec<String>,
    url: Option<String>,
    handler_pid: Option<u32>,
    handler_port: Option<u16>,
    n_open: usize,
}

impl HostProcess {
    /// Starts it; returns before it has read anything.
    pub fn start(options: HostOptions) -> Result<Self> {
        let mut command = options.command()?;
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let pid =
            Pid::from_raw(child.id().context("the stand-in has no process id")?.cast_signed());
        let (sender, log) = watch::channel(Log { n_open: 2, ..Log::default() });
        let sender = Arc::new(sender);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        tokio::spawn(read_lines(stdout, Arc::clone(&sender), options.on_line.clone()));
        tokio::spawn(read_lines(stderr, sender, options.on_line.clone()));
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { child, pid, log, http })
    }

    /// Its process id, which is also the group it shares with its handler.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Waits until the handler has answered its probe; fails when the host ends before.
    pub async fn ready(&self, limit: Duration) -> Result<()> {
        let started = format!("Host: {STARTED}");
        self.line(limit, |line| line.ends_with(&started)).await.map(drop)
    }

    /// Waits for a line of the log, old or new, that this function likes.
    pub async fn line(&self, limit: Duration, likes: impl Fn(&str) -> bool) -> Result<String> {
        let found = |log: &Log| log.lines.iter().find(|line| likes(line)).cloned();
        let mut log = self.log.clone();
        let waiting = log.wait_for(|log| found(log).is_some() || log.n_open == 0);
        let waited = tokio::time::timeout(limit, waiting).await;
        let line =
            waited.map_err(|_| anyhow!("not within {limit:?}"))?.ok().and_then(|log| found(&log));
        line.with_context(|| {
            format!("the host ended without it; its log:\n{}", self.lines().join("\n"))
        })
    }

    /// Its log so far, stdout and stderr.
    pub fn lines(&self) -> Vec<String> {
        self.log.borrow().lines.clone()
    }

    /// The handler started last.
    pub fn handler_pid(&self) -> Option<u32> {
        self.log.borrow().handler_pid
    }

    /// The port of the handler started last.
    pub fn handler_port(&self) -> Option<u16> {
        self.log.borrow().handler_port
    }

    /// The address of the admin API, once the host has said it.
    pub fn url(&self) -> Option<String> {
        self.log.borrow().url.clone()
    }

    /// Calls a function by hand; returns once the host has taken the call, not when it has ended.
    pub async fn admin(&self, name: &str, input: &str) -> Result<()> {
        let body = json!({ "input": input }).to_string();
        let status = self.post(&format!("/admin/functions/{name}"), body).await?;
        ensure!(status == 202, "calling {name} by hand: status {status}");
        Ok(())
    }

    /// Has the host fetch nothing new.
    pub async fn drain(&self) -> Result<()> {
        let status = self.post("/admin/host/drain", String::new()).await?;
        ensure!(status == 202, "drain: status {status}");
        Ok(())
    }

    /// GET of the admin API, for `/admin/host/status` and `/admin/host/drain/status`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let text =
            self.http.get(self.address(path)?).send().await?.error_for_status()?.text().await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// POST to the admin API; returns the status.
    pub async fn post(&self, path: &str, body: String) -> Result<u16> {
        let request =
            self.http.post(self.address(path)?).header("Content-Type", "application/json");
        Ok(request.body(body).send().await?.status().as_u16())
    }

    /// Asks the host, and only the host, to stop.
    pub fn interrupt(&self) -> Result<()> {
        Ok(kill(self.pid, Signal::SIGINT)?)
    }

    /// Asks host and handler to stop in the same moment, as Ctrl-C in a terminal does.
    pub fn interrupt_group(&self) -> Result<()> {
        Ok(killpg(self.pid, Signal::SIGINT)?)
    }

    /// Kills the host, and only the host.
    pub fn kill9(&self) -> Result<()> {
        Ok(kill(self.pid, Signal::SIGKILL)?)
    }

    /// Kills host and handler.
    pub fn kill9_group(&self) -> Result<()> {
        Ok(killpg(self.pid, Signal::SIGKILL)?)
    }

    /// Asks both to stop, waits until the host has ended, and kills what is left of the two.
    ///
    /// A host waits 10 s for open invocations; a handler it leaves behind has 5 s more.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.interrupt_group()?;
        let status = match tokio::time::timeout(Duration::from_secs(15), self.wait()).await {
            Ok(status) => status?,
            Err(_) => {
                self.kill9_group()?;
                self.wait().await?
            }
        };
        for _ in 0..100 {
            // An empty group can no longer be signalled.
            if killpg(self.pid, None).is_err() {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // It may have ended just now.
        let _ = self.kill9_group();
        Ok(status)
    }

    /// Waits until the host has ended; its handler may be left.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// How the host ended, or none while it runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    fn address(&self, path: &str) -> Result<String> {
        match self.url() {
            Some(url) => Ok(format!("{url}{path}")),
            None => bail!("the host has not named its address yet"),
        }
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let is_running = matches!(self.child.try_wait(), Ok(None));
        // Once the host was waited for, only a handler that is left proves that the group is ours.
        let handler = self.handler_pid().map(|pid| Pid::from_raw(pid.cast_signed()));
        let is_left = handler.is_some_and(|handler| getpgid(Some(handler)) == Ok(self.pid));
        if is_running || is_left {
            // They may have ended just now.
            let _ = self.kill9_group();
        }
    }
}

async fn read_lines(
    output: Option<impl AsyncRead + Unpin>,
    log: Arc<watch::Sender<Log>>,
    on_line: Option<OnLine>,
) {
    if let Some(output) = output {
        let mut lines = BufReader::new(output).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line).into_owned();
            if let Some(on_line) = &on_line {
                on_line(&line);
            }
            log.send_modify(|log| log.take(line));
        }
    }
    log.send_modify(|log| log.n_open -= 1);
}

impl Log {
    /// Keeps a line, and what it says about addresses.
    fn take(&mut self, line: String) {
        let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest);
        if let Some(url) = after("StandIn: admin API at ") {
            self.url = Some(url.into());
        }
        if let Some((pid, port)) = after("Host: handler process ").and_then(started) {
            (self.handler_pid, self.handler_port) = (Some(pid), Some(port));
        }
        self.lines.push(line);
    }
}

/// `{pid} started on port {port}, …`.
fn started(text: &str) -> Option<(u32, u16)> {
    let (pid, rest) = text.split_once(" started on port ")?;
    Some((pid.parse().ok()?, rest.split_once(',')?.0.parse().ok()?))
}
