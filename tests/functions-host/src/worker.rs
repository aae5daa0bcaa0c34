//! The handler process: start, probe, exit codes, strikes, kills.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::config::App;
use crate::http::{Client, Framing, Head};
use crate::invoke::traceparent;
use crate::log::{self, HOST, Level, STAND_IN};
use crate::strikes::{STRIKES, Strikes};

const CONSOLE: &str = "Host.Function.Console";
/// Two invocations that time out within this are "in the same instant". The real host crashes when
/// both dispose the process at once; how near they must be was not measured.
const SAME_INSTANT: Duration = Duration::from_millis(20);
const CRASH: &str = "An unhandled exception has occurred. Host is shutting down. \
    InvalidOperationException: two invocations timed out in the same instant (WorkerProcess.Dispose)";
/// The pause before a new process, as observed.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// How long the last lines of an ended process are waited for.
const LAST_OUTPUT: Duration = Duration::from_millis(100);
/// The real host counts 25 ms for each probe; observed are 28 ms from one to the next.
const PROBE_COUNTED: Duration = Duration::from_millis(25);
const PROBE_PERIOD: Duration = Duration::from_millis(28);

/// Where the handler process is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum State {
    /// The process of this start has not answered yet.
    Starting(u32),
    /// It answered. It may have ended with exit code 0 since, which the host does not notice.
    Ready(u32),
    /// Three strikes, or a crash of the host: there is no process and there will be none.
    GivenUp,
}

enum Order {
    /// Kill the process of this start and start another, without a strike.
    Restart(u32),
    /// Kill the process and be done.
    Kill,
}

/// How one process came to its end.
enum End {
    Exited(ExitStatus),
    NeverAnswered,
    /// One invocation timed out: the process is killed, without a strike.
    TimedOut,
    /// Two invocations timed out at once: the host crashes.
    TimedOutTwice,
    Killed,
}

/// The one handler of a host, over all its processes.
#[derive(Debug)]
pub struct Worker {
    pub port: u16,
    pub http: Client,
    state: watch::Sender<State>,
    pid: watch::Sender<Option<u32>>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Worker {
    /// Picks a port and describes the worker; [`Supervisor::run`] starts it.
    pub fn new(app: Arc<App>) -> Result<(Arc<Self>, Supervisor)> {
        // Freed at once and used for every process of this worker, as the real host does.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (orders, inbox) = mpsc::unbounded_channel();
        let worker = Arc::new(Self {
            port,
            http: Client::new(port),
            state: watch::Sender::new(State::Starting(1)),
            pid: watch::Sender::new(None),
            orders,
        });
        let supervisor =
            Supervisor { app, worker: Arc::clone(&worker), inbox, clock: Instant::now };
        Ok((worker, supervisor))
    }

    /// The state, to be watched.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The id of the running process.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Whether its processes have ended for good.
    pub fn is_over(&self) -> bool {
        self.orders.is_closed()
    }

    /// Kills the process of this start, if it still is the one, and starts another.
    pub fn restart(&self, start: u32) {
        let _ = self.orders.send(Order::Restart(start));
    }

    /// Kills the process for good and waits until it is gone.
    pub async fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
        // The supervisor drops its end when it is done.
        self.orders.closed().await;
    }
}

/// Runs the processes of one worker, one after the other.
#[derive(Debug)]
pub struct Supervisor {
    app: Arc<App>,
    worker: Arc<Worker>,
    inbox: mpsc::UnboundedReceiver<Order>,
    /// The time of a strike; a test lets minutes pass.
    clock: fn() -> Instant,
}

impl Supervisor {
    /// Runs until the worker is killed (true) or has had three strikes (false). The error is a process
    /// that cannot be started, or a crash of the host.
    pub async fn run(mut self) -> Result<bool> {
        let mut strikes = Strikes::default();
        for start in 1.. {
            let (mut child, output) = self.start()?;
            let end = self.watch(start, &mut child).await;
            self.worker.pid.send_replace(None);
            let reason = strike(&end);
            let n_strikes = if reason.is_some() { strikes.add((self.clock)()) } else { 0 };
            let is_crash = matches!(end, End::TimedOutTwice);
            let is_over = n_strikes == STRIKES || is_crash;
            // Before anything that takes time: calls that broke with the process wait for it.
            self.worker.state.send_replace(if is_over {
                State::GivenUp
            } else {
                State::Starting(start + 1)
            });
            self.worker.http.forget();
            let last_lines = output.finish().await;
            if let Some(reason) = reason {
                let executable = self.app.executable.display();
                log::error(HOST, format!("{executable} {reason} {last_lines}"));
                log::error(STAND_IN, format!("strike {n_strikes} of {STRIKES}"));
            }
            if is_crash {
                bail!(CRASH);
            }
            if is_over {
                return Ok(false);
            }
            if matches!(end, End::Killed) || self.is_killed_within(RESTART_PAUSE).await {
                break;
            }
        }
        Ok(true)
    }

    async fn is_killed_within(&mut self, pause: Duration) -> bool {
        let orders = async { while let Some(Order::Restart(_)) = self.inbox.recv().await {} };
        tokio::time::timeout(pause, orders).await.is_ok()
    }

    /// One invocation of this process has timed out: waits for another in the same instant.
    async fn time_out(&mut self, start: u32) -> End {
        let order = async {
            loop {
                match self.inbox.recv().await {
                    Some(Order::Restart(other)) if other == start => return End::TimedOutTwice,
                    Some(Order::Restart(_)) => {}
                    Some(Order::Kill) | None => return End::Killed,
                }
            }
        };
        tokio::time::timeout(SAME_INSTANT, order).await.unwrap_or(End::TimedOut)
    }

    fn start(&self) -> Result<(Child, Output)> {
        let id = Uuid::new_v4().to_string();
        let port = self.worker.port.to_string();
        let mut child = Command::new(&self.app.executable)
            .current_dir(&self.app.root)
            .env_clear()
            .envs(&self.app.env)
            .env("FUNCTIONS_APP_ROOT_PATH", &self.app.root)
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", &port)
            .env("FUNCTIONS_HTTPWORKER_PORT", &port)
            .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id)
            .env("FUNCTIONS_HTTPWORKER_ID", &id)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.app.executable.display()))?;
        let pid = child.id().unwrap_or_default();
        // The client reads the process id from this line.
        log::info(HOST, format!("handler process {pid} started on port {port}, worker {id}"));
        self.worker.pid.send_replace(Some(pid));
        let output = Output::log(&mut child);
        Ok((child, output))
    }

    async fn watch(&mut self, start: u32, child: &mut Child) -> End {
        let worker = Arc::clone(&self.worker);
        let app = Arc::clone(&self.app);
        let answered = answers_in_time(&worker.http, &app);
        tokio::pin!(answered);
        let (mut probing, mut ended) = (true, false);
        loop {
            tokio::select! {
                in_time = &mut answered, if probing => {
                    if !in_time {
                        kill(child).await;
                        return End::NeverAnswered;
                    }
                    probing = false;
                    worker.state.send_replace(State::Ready(start));
                }
                status = child.wait(), if !ended => match status {
                    Ok(status) if status.code() == Some(0) => {
                        ended = true;
                        let text = "the handler exited with code 0; the real host does not notice it: \
                            no restart, every call will get 'connection refused'";
                        log::warn(STAND_IN, text);
                    }
                    Ok(status) => return End::Exited(status),
                    Err(error) => return End::Exited(unknown_end(&error)),
                },
                order = self.inbox.recv() => match order {
                    Some(Order::Restart(wanted)) if wanted != start => {}
                    Some(Order::Restart(_)) => {
                        let end = self.time_out(start).await;
                        kill(child).await;
                        return end;
                    }
                    Some(Order::Kill) | None => {
                        kill(child).await;
                        return End::Killed;
                    }
                },
            }
        }
    }
}

/// Only the process itself is killed, without a signal before, as .NET does it.
async fn kill(child: &mut Child) {
    let _ = child.start_kill();
    let _ = child.wait().await;
}

fn unknown_end(error: &std::io::Error) -> ExitStatus {
    log::error(STAND_IN, format!("cannot wait for the handler: {error}"));
    ExitStatus::from_raw(nix::sys::signal::Signal::SIGKILL as i32)
}

/// .NET reports a signal as 128 + its number.
fn describe(status: ExitStatus) -> String {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    format!("code {code} (0x{code:X})")
}

/// Probes until something answers HTTP; false when `initializationTimeout` has passed.
///
/// Only the pauses between probes count towards the limit, so that 30 s take about 34 s, as observed.
/// A probe that is accepted but not answered delays those after it.
async fn answers_in_time(http: &Client, app: &App) -> bool {
    let probes = app.initialization.as_millis().div_ceil(PROBE_COUNTED.as_millis());
    for _ in 0..probes {
        let started = Instant::now();
        let head = probe_head(http, app);
        match http.probe(&head).await {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                tokio::time::sleep(PROBE_PERIOD.saturating_sub(started.elapsed())).await;
            }
            // Something listens. The real host takes any answer for a sign that the handler is ready.
            _ => return true,
        }
    }
    false
}

fn probe_head(http: &Client, app: &App) -> Head {
    Head {
        path: "/".into(),
        headers: vec![("Host", http.authority())],
        traceparent: traceparent(app.trace_flags),
        framing: Framing::Chunked,
    }
}

/// Why an end counts against the handler; none when it does not.
fn strike(end: &End) -> Option<String> {
    match end {
        End::Killed | End::TimedOut | End::TimedOutTwice => None,
        End::Exited(status) if status.code() == Some(200) => {
            log::info(HOST, "the handler exited with code 200: a restart that is not counted");
            None
        }
        End::Exited(status) => Some(format!("exited with {}", describe(*status))),
        End::NeverAnswered => Some("did not answer: Initializing HttpWorker timed out.".into()),
    }
}

/// What one process writes, on its way to the log.
struct Output {
    copies: JoinSet<()>,
    last_errors: Arc<Mutex<VecDeque<String>>>,
}

impl Output {
    fn log(child: &mut Child) -> Self {
        let mut copies = JoinSet::new();
        let last_errors = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stdout) = child.stdout.take() {
            copies.spawn(copy_lines(stdout, |line| log::info(CONSOLE, line)));
        }
        if let Some(stderr) = child.stderr.take() {
            let errors = Arc::clone(&last_errors);
            copies.spawn(copy_lines(stderr, move |line| log_error_line(line, &errors)));
        }
        Self { copies, last_errors }
    }

    /// Logs what is left, and returns the last lines of stderr.
    async fn finish(mut self) -> String {
        // What the process started may hold the other ends open.
        let rest = async { while self.copies.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_OUTPUT, rest).await;
        self.copies.detach_all();
        let errors = self.last_errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }
}

fn log_error_line(line: &str, last: &Mutex<VecDeque<String>>) {
    let warning = line.to_lowercase().contains("warn");
    log::write(if warning { Level::Warning } else { Level::Error }, CONSOLE, line);
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    last.push_back(line.into());
    if last.len() > 3 {
        last.pop_front();
    }
}

async fn copy_lines(output: impl AsyncRead + Unpin, log: impl Fn(&str)) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        log(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
        line.clear();
    }
}

#[cfg(test)]
mod tests;
