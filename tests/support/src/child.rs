//! Child processes that never outlive this one.
//!
//! Every child gets its own process group, so that a Ctrl-C in the terminal reaches only this process,
//! which then stops its children in order. On Linux a child is also tied to this process: when this
//! process ends in any way, the kernel sends the child [`Launch::on_orphaned`]. That signal belongs to
//! the *thread* that started the child, so all children are started by one thread that ends only with
//! the process.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigHandler, Signal, killpg, signal};
use nix::unistd::{Pid, getppid};

const POLL: Duration = Duration::from_millis(10);
/// How long a killed group may take to vanish; members that nobody reaps are given up on.
const VANISH: Duration = Duration::from_secs(3);

/// How a child is started and stopped.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What messages call it.
    pub name: String,
    /// Where its stdout and stderr go (appended); none: to those of this process.
    pub log: Option<PathBuf>,
    /// The signal that asks it to stop.
    pub stop: Signal,
    /// Whether the whole group is asked, as a terminal does, or only the child itself.
    pub stop_group: bool,
    /// How long it may take to stop before its group is killed.
    pub grace: Duration,
    /// What the kernel sends it when this process has ended.
    pub on_orphaned: Signal,
}

impl Launch {
    /// A child that stops on SIGTERM within 10 s.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            log: None,
            stop: Signal::SIGTERM,
            stop_group: false,
            grace: Duration::from_secs(10),
            on_orphaned: Signal::SIGKILL,
        }
    }

    /// Sends stdout and stderr to the end of a file.
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// Starts the command.
    pub fn start(self, mut command: Command) -> Result<Child> {
        let (out, err) = match &self.log {
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                let file = file.with_context(|| format!("opening log {}", path.display()))?;
                (file.try_clone()?.into(), file.into())
            }
            None => (Stdio::inherit(), Stdio::inherit()),
        };
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        tie_to_this_process(&mut command, self.on_orphaned);
        let program = command.get_program().to_string_lossy().into_owned();
        let process = start_on_lasting_thread(command)
            .with_context(|| format!("starting {} ({program})", self.name))?;
        let child =
            Child { group: Pid::from_raw(process.id().cast_signed()), process, launch: self };
        groups().push(child.group);
        Ok(child)
    }
}

/// A running child; dropping it stops it.
#[derive(Debug)]
pub struct Child {
    launch: Launch,
    process: Process,
    group: Pid,
}

impl Child {
    /// Its process id, which is also its group's.
    pub fn pid(&self) -> Pid {
        self.group
    }

    /// How it ended, or none while it runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Waits until it has ended.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Fails with the end of its log when it is no longer running.
    pub fn check(&mut self) -> Result<()> {
        match self.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}{}", self.launch.name, self.log_tail()),
        }
    }

    /// The last lines of its log, for messages.
    pub fn log_tail(&self) -> String {
        let text = self.launch.log.as_ref().and_then(|path| fs::read(path).ok());
        let text = String::from_utf8_lossy(text.as_deref().unwrap_or_default()).into_owned();
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(20);
        lines[from..].iter().map(|line| format!("\n  | {line}")).collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(nix::sys::signal::kill(self.group, signal)?)
    }

    /// Stops it and waits until its whole group is gone.
    pub async fn stop(self) -> Result<()> {
        Ok(tokio::task::spawn_blocking(move || drop(self)).await?)
    }

    fn ended_within(&mut self, limit: Duration) -> bool {
        wait_until(limit, || !matches!(self.process.try_wait(), Ok(None)))
    }

    fn ask_to_stop(&mut self) {
        // A failure means that it has just ended, which the wait below sees.
        let _ = match self.launch.stop_group {
            true => killpg(self.group, self.launch.stop),
            false => nix::sys::signal::kill(self.group, self.launch.stop),
        };
        if !self.ended_within(self.launch.grace) {
            eprintln!(
                "{} did not stop within {:?}: killing it",
                self.launch.name, self.launch.grace
            );
            let _ = killpg(self.group, Signal::SIGKILL);
            self.ended_within(VANISH);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.ask_to_stop();
        }
        // What it started and left behind has a moment to notice and to end by itself.
        if !wait_until(VANISH, || killpg(self.group, None).is_err()) {
            wait_until(VANISH, || killpg(self.group, Signal::SIGKILL).is_err());
        }
        groups().retain(|group| *group != self.group);
    }
}

/// Runs a command to its end, with the output of this process; dropping the future stops it.
pub async fn run(name: &str, command: Command) -> Result<ExitStatus> {
    let launch = Launch { stop_group: true, on_orphaned: Signal::SIGTERM, ..Launch::new(name) };
    launch.start(command)?.wait().await
}

/// Like [`run`], and fails unless the command succeeded.
pub async fn run_ok(name: &str, command: Command) -> Result<()> {
    let status = run(name, command).await?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}

/// Kills all children and their groups at once: the last thing before leaving in a hurry.
pub fn kill_all() {
    for group in groups().drain(..) {
        let _ = killpg(group, Signal::SIGKILL);
    }
}

fn groups() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}

type Order = (Command, mpsc::Sender<io::Result<Process>>);

fn start_on_lasting_thread(command: Command) -> io::Result<Process> {
    static STARTER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, answer) = mpsc::channel();
    let starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    starter.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

fn tie_to_this_process(command: &mut Command, on_orphaned: Signal) {
    let parent = Pid::this();
    #[expect(
        unsafe_code,
        reason = "between fork and exec it makes only async-signal-safe system calls"
    )]
    unsafe {
        command.pre_exec(move || {
            // A shell starts background commands with these ignored, which children would inherit.
            for ignored in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP] {
                signal(ignored, SigHandler::SigDfl)?;
            }
            #[cfg(target_os = "linux")]
            nix::sys::prctl::set_pdeathsig(on_orphaned)?;
            // The parent may have ended before the line above.
            match getppid() == parent {
                true => Ok(()),
                false => Err(io::Error::from_raw_os_error(nix::libc::ESRCH)),
            }
        });
    }
}
