use std::cell::Cell;
use std::path::Path;
use std::process::Command as Program;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::workdir::WorkDir;

use crate::config::QueueSettings;

use super::*;

thread_local! {
    static MINUTES: Cell<u64> = const { Cell::new(0) };
}

/// The clock of these tests, which run on one thread each.
fn clock() -> Instant {
    Instant::now() + Duration::from_secs(60 * MINUTES.get())
}

/// An app whose handler sleeps.
fn app(root: &Path) -> Arc<App> {
    let executable = root.join("handler");
    // Written by a shell: a file that this process has open for writing cannot be executed.
    let script = "printf '#!/bin/sh\nexec sleep 600\n' > \"$0\" && chmod 755 \"$0\"";
    assert!(Program::new("sh").arg("-c").arg(script).arg(&executable).status().unwrap().success());
    Arc::new(App {
        root: root.into(),
        executable,
        initialization: Duration::from_secs(600),
        function_timeout: None,
        queues: QueueSettings::initial(),
        functions: Vec::new(),
        env: std::env::vars_os().collect(),
        trace_flags: None,
        local_port: None,
    })
}

/// Kills the handler's process after so many minutes, once for each, and returns how the worker ended;
/// none when it goes on with another process.
async fn end_after_kills(minutes: &[u64]) -> Option<bool> {
    let directory = WorkDir::create("strikes").unwrap();
    let (worker, supervisor) = Worker::new(app(directory.path())).unwrap();
    let supervisor = Supervisor { clock, ..supervisor };
    let mut run = tokio::task::spawn_local(supervisor.run());
    let mut pids = worker.pid.subscribe();
    for minutes in minutes {
        let pid = pids.wait_for(Option::is_some).await.unwrap().unwrap();
        MINUTES.set(MINUTES.get() + minutes);
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        pids.wait_for(|now| *now != Some(pid)).await.unwrap();
    }
    let next = async { pids.wait_for(Option::is_some).await.is_ok() };
    tokio::select! {
        end = &mut run => return Some(end.unwrap().unwrap()),
        is_running = next => assert!(is_running),
    }
    worker.kill().await;
    assert!(run.await.unwrap().unwrap());
    None
}

#[tokio::test]
async fn three_kills_end_the_host_also_when_minutes_lie_between_them() {
    let local = tokio::task::LocalSet::new();
    let ends = local.run_until(async {
        [
            end_after_kills(&[0, 0, 0]).await,
            end_after_kills(&[0, 29, 29]).await,
            end_after_kills(&[0, 29]).await,
            end_after_kills(&[0, 29, 31, 29]).await,
        ]
    });
    assert_eq!(ends.await, [Some(false), Some(false), None, None]);
}
