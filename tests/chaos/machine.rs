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
use support::{rig::Rig, world::World};
use tokio::sync::{Mutex as Turn, MutexGuard as Held};

/// MB of temp space that a handler is told it has; it uses 80 %.
const TEMP_MB: u64 = 100;
pub const TEMP_BUDGET_BYTES: u64 = TEMP_MB * 1024 * 1024 * 8 / 10;
/// Divides the ten minutes that a message stays invisible when its host is gone.
const TIME_SCALE: f64 = 60.0;
const SOON: Duration = Duration::from_secs(30);

/// The password in the database URL where the server asks for none.
const PASSWORD: &str = "CANARYPASSWORD41d9";

pub struct Machine {
    options: HostOptions,
    /// The last one is the one that runs.
    hosts: Mutex<Vec<HostProcess>>,
    /// Held by a fault that wants the process for itself.
    turn: Turn<()>,
}

impl Machine {
    /// Starts a host whose handler announces this limit; returns before the handler answers.
    pub fn start(world: &World, limit: u32, telemetry: &str) -> Self {
        let root = app(&world.rig, limit);
        let status_dir = Some(root.join("status"));
        let mut options =
            HostOptions { time_scale: TIME_SCALE, status_dir, ..HostOptions::new(&root) };
        for (name, value) in environment(world, limit, telemetry) {
            options = options.env(name, value);
        }
        let machine = Self { options, hosts: Mutex::default(), turn: Turn::default() };
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

fn environment(world: &World, limit: u32, telemetry: &str) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = world.rig.environment().into_iter().collect();
    for (name, value) in &world.behind {
        variables.push(((*name).to_owned(), value.clone()));
    }
    for (name, value) in [
        ("AzureWebJobsStorage", world.rig.storage.as_str()),
        ("PIXCRAWLER_FLEET_MAX_CHUNKS", &limit.to_string()),
        ("PIXCRAWLER_MAX_BUFFER_MB", "16"),
        ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", &TEMP_MB.to_string()),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", telemetry),
        ("RUST_LOG", "info,chunk_handler=debug"),
    ] {
        variables.push((name.to_owned(), value.to_owned()));
    }
    variables
}

/// An app root with our functions, with shorter waits, and with a handler that meets a limit on file
/// sizes as it meets a full disk: with an error instead of a signal.
fn app(rig: &Rig, n: u32) -> PathBuf {
    let root = rig.temp.path().join(format!("machine_{n}"));
    let handler = rig.temp.path().join(format!("handler_{n}"));
    let script = format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}'\n", support::programs::handler());
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

fn password(url: &str) -> Option<&str> {
    let (_, user) = url.split_once('@')?.0.rsplit_once('/')?;
    user.split_once(':').map(|(_, password)| password)
}

/// What no log may show: the password, the storage key, and the token in the URLs.
pub fn secrets(rig: &Rig) -> Vec<String> {
    let key = rig.storage.split("AccountKey=").nth(1).unwrap().split(';').next().unwrap();
    let password = password(&rig.database_url).unwrap();
    [key, password, TOKEN, "sig="].map(str::to_owned).to_vec()
}
