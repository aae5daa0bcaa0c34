//! A machine of the fleet: a host with its handler, behind proxies, started again when it ends.

use crate::jobs::TOKEN;
use functions_host::client::{HostOptions, HostProcess, stage};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use support::{proxy::Calls, rig::Rig, world::Lane};
use tokio::sync::{Mutex as Turn, MutexGuard as Held};

/// MB of temp space that a handler is told it has; it uses 80 %.
const TEMP_MB: u64 = 100;
pub const TEMP_BUDGET_BYTES: u64 = TEMP_MB * 1024 * 1024 * 8 / 10;
/// Divides the ten minutes that a message stays invisible when its host is gone.
const TIME_SCALE: f64 = 60.0;
const SOON: Duration = Duration::from_secs(30);

/// The password in the database URL where the server asks for none.
pub const PASSWORD: &str = "CANARYPASSWORD41d9";

/// What a machine is made of.
pub struct Parts<'a> {
    /// The limit that its handler announces, which no other one does.
    pub limit: u32,
    /// Its database, under a role of its own.
    pub database_url: &'a str,
    pub role: String,
    /// Seconds that its clock is off.
    pub clock: Option<i32>,
    /// Where telemetry goes.
    pub telemetry: &'a str,
}

pub struct Machine {
    options: HostOptions,
    /// The last one is the one that runs.
    hosts: Mutex<Vec<HostProcess>>,
    /// Held by a fault that wants the process for itself.
    turn: Turn<()>,
    /// What its handler is in the database.
    pub role: String,
    // After the processes: they end before what they use.
    pub lane: Lane,
}

impl Machine {
    /// Starts a host with its handler; returns before the handler answers.
    pub async fn start(rig: &Rig, calls: &Calls, parts: Parts<'_>) -> Self {
        let lane = Lane::start(parts.database_url, &rig.storage, calls).await;
        let root = app(rig, parts.limit, parts.clock);
        let status_dir = Some(root.join("status"));
        let mut options =
            HostOptions { time_scale: TIME_SCALE, status_dir, ..HostOptions::new(&root) };
        for (name, value) in environment(rig, &lane, &parts) {
            options = options.env(name, value);
        }
        let (hosts, turn) = Default::default();
        let machine = Self { options, hosts, turn, role: parts.role, lane };
        machine.start_host();
        machine
    }

    fn start_host(&self) {
        self.hosts().push(HostProcess::start(self.options.clone()).unwrap());
    }

    fn hosts(&self) -> MutexGuard<'_, Vec<HostProcess>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a host again that has ended, as the platform does.
    pub fn revive(&self) {
        let is_over = self.hosts().last_mut().unwrap().try_wait().unwrap().is_some();
        if is_over {
            self.start_host();
        }
    }

    /// Process and port of the handler started last.
    pub fn handler(&self) -> Option<(Pid, u16)> {
        let hosts = self.hosts();
        let host = hosts.last()?;
        Some((Pid::from_raw(host.handler_pid()?.cast_signed()), host.handler_port()?))
    }

    /// Sends the handler a signal; its process, when there was one.
    pub fn signal(&self, signal: Signal) -> Option<Pid> {
        let (pid, _) = self.handler()?;
        kill(pid, signal).is_ok().then_some(pid)
    }

    pub fn kill_host(&self) -> bool {
        self.hosts().last().is_some_and(|host| host.kill9().is_ok())
    }

    /// The process for a fault of its own, unless another one has it.
    pub fn turn(&self) -> Option<Held<'_, ()>> {
        self.turn.try_lock().ok()
    }

    /// Processes of its hosts that were not killed by us.
    pub fn host(&self) -> Option<Pid> {
        let hosts = self.hosts();
        hosts.last().map(|host| Pid::from_raw(host.pid().cast_signed()))
    }

    /// All that its hosts and handlers wrote.
    pub fn lines(&self) -> Vec<String> {
        self.hosts().iter().flat_map(HostProcess::lines).collect()
    }

    /// Waits until a handler answered once.
    pub async fn ready(&self) {
        let end = tokio::time::Instant::now() + SOON;
        while !self.lines().iter().any(|line| line.ends_with(functions_host::STARTED)) {
            assert!(tokio::time::Instant::now() < end, "no handler: {:#?}", self.lines());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn environment(rig: &Rig, lane: &Lane, parts: &Parts<'_>) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = rig.environment().into_iter().collect();
    for (name, value) in &lane.behind {
        variables.push(((*name).to_owned(), value.clone()));
    }
    for (name, value) in [
        ("AzureWebJobsStorage", rig.storage.as_str()),
        ("PIXCRAWLER_FLEET_MAX_CHUNKS", &parts.limit.to_string()),
        ("PIXCRAWLER_MAX_BUFFER_MB", "16"),
        ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", &TEMP_MB.to_string()),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", parts.telemetry),
        ("RUST_LOG", "info,chunk_handler=debug"),
    ] {
        variables.push((name.to_owned(), value.to_owned()));
    }
    variables
}

/// An app root with our functions, with shorter waits, and with a handler that meets a limit on file
/// sizes as it meets a full disk: with an error instead of a signal.
fn app(rig: &Rig, n: u32, clock: Option<i32>) -> PathBuf {
    let root = rig.temp.path().join(format!("machine_{n}"));
    let handler = rig.temp.path().join(format!("handler_{n}"));
    let clock = clock.zip(clock_faker()).map(|(seconds, faker)| {
        // The clock that counts how long something took is right on every machine.
        format!(
            "FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME={seconds:+}s LD_PRELOAD='{}' ",
            faker.display()
        )
    });
    let (clock, program) = (clock.unwrap_or_default(), support::programs::handler());
    let script = format!("#!/bin/sh\ntrap '' XFSZ\n{clock}exec '{program}'\n");
    fs::write(&handler, script).unwrap();
    fs::set_permissions(&handler, Permissions::from_mode(0o755)).unwrap();
    stage(&root, &handler).unwrap();
    edit(&root.join("host.json"), |host| {
        let queues = &mut host["extensions"]["queues"];
        queues["visibilityTimeout"] = json!("00:00:01");
        queues["maxPollingInterval"] = json!("00:00:01");
    });
    let timer = root.join("health_check/function.json");
    edit(&timer, |function| function["bindings"][0]["schedule"] = json!("*/10 * * * * *"));
    root
}

/// What gives a process a clock of its own, where this machine has it (Debian: `apt-get install
/// libfaketime`).
pub fn clock_faker() -> Option<PathBuf> {
    let name = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    Some(PathBuf::from(name)).filter(|faker| faker.is_file())
}

fn edit(path: &Path, change: impl Fn(&mut Value)) {
    let mut json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// A rig whose database URL has a password, be it one that nobody asks for.
pub async fn rig_with_password() -> Rig {
    let mut rig = Rig::new().await;
    if password(&rig.database_url).is_none() {
        rig.database_url = rig.database_url.replacen('@', &format!(":{PASSWORD}@"), 1);
    }
    rig
}

/// The same database for another role.
pub fn as_role(url: &str, role: &str) -> String {
    let (scheme, rest) = url.split_once("//").unwrap();
    let (_, place) = rest.split_once('@').unwrap();
    format!("{scheme}//{role}:{PASSWORD}@{place}")
}

fn password(url: &str) -> Option<&str> {
    let (_, user) = url.split_once('@')?.0.rsplit_once('/')?;
    user.split_once(':').map(|(_, password)| password)
}

/// What no log may show: the password, the storage key, and the token in the URLs.
pub fn secrets(rig: &Rig) -> Vec<String> {
    let key = rig.storage.split("AccountKey=").nth(1).unwrap().split(';').next().unwrap();
    let password = password(&rig.database_url).unwrap();
    [key, password, PASSWORD, TOKEN, "sig="].map(str::to_owned).to_vec()
}
