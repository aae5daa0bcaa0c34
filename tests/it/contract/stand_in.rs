//! A job runs to its end, and a stop loses nothing, under the stand-in for the Functions host.

use functions_host::rigged;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::time::Duration;
use support::rig::{Rig, wait_for};

fn is_alive(pid: u32) -> bool {
    kill(Pid::from_raw(pid.cast_signed()), None).is_ok()
}

/// All slots taken again and again: everything is answered, charged once, and the job ends.
/// C4 C6 F6 X3
#[tokio::test(flavor = "multi_thread")]
async fn a_job_larger_than_the_fleet_runs_to_its_end() {
    let rig = Rig::new().await;
    rig.origin.set_delay(Duration::from_millis(100));
    rig.submit(1, &rig.pictures(48), 4);
    let mut host = rigged::host(&rig, &[("PIXCRAWLER_FLEET_MAX_CHUNKS", "3")]).await;
    let mut most = 0;
    wait_for("the job completes", async || {
        most = most.max(rig.value::<i32>("select active_chunks from chunk_handler.capacity").await);
        rig.value::<String>("select status from chunk_handler.job_progress").await == "completed"
    })
    .await;
    assert!(most <= 3, "{most} at once");
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.attempt_log").await, 12);
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.rejected_message").await, 0);
    assert_eq!(rig.value::<i64>("select images_valid from chunk_handler.job_progress").await, 48);
    host.stop().await.unwrap();
}

/// H2 H3: the host stops with work in flight: no process and no lease is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_work_in_flight_leaves_no_process_and_no_lease() {
    let rig = Rig::new().await;
    rig.origin.set_delay(Duration::from_secs(60));
    rig.submit(1, &rig.pictures(6), 2);
    let mut host = rigged::host(&rig, &[("PIXCRAWLER_LEASE_SECONDS", "600")]).await;
    rig.until("select active_chunks = 3 from chunk_handler.capacity").await;
    let handler = host.handler_pid().unwrap();
    host.interrupt().unwrap();
    host.wait().await.unwrap();
    wait_for("the handler ends", async || !is_alive(handler)).await;
    assert_eq!(rig.value::<i32>("select active_chunks from chunk_handler.capacity").await, 0);
    let charged = "select sum(attempt)::bigint from chunk_handler.chunk_status";
    assert_eq!(rig.value::<i64>(charged).await, 0);
}

/// H1 H2: the handler alone gets SIGTERM: a new one is started, no strike, nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_stopped_alone_is_restarted_and_loses_nothing() {
    let rig = Rig::new().await;
    rig.origin.set_delay(Duration::from_millis(500));
    rig.submit(1, &rig.pictures(40), 2);
    let mut host = rigged::host(&rig, &[("PIXCRAWLER_FLEET_MAX_CHUNKS", "2")]).await;
    rig.until("select completed_chunks >= 1 from chunk_handler.job_progress").await;
    let first = host.handler_pid().unwrap();
    kill(Pid::from_raw(first.cast_signed()), Signal::SIGTERM).unwrap();
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    assert_ne!(host.handler_pid(), Some(first));
    assert!(!host.lines().iter().any(|line| line.contains("strike")));
    let twice = "select count(*) from chunk_handler.attempt_log where outcome = 'completed'";
    assert_eq!(rig.value::<i64>(twice).await, 20);
    host.stop().await.unwrap();
}

/// H1: three kills in a row stop the host, loudly, as they stop the real one.
#[tokio::test(flavor = "multi_thread")]
async fn three_kills_of_the_handler_stop_the_host() {
    let rig = Rig::new().await;
    let mut host = rigged::host(&rig, &[]).await;
    for _ in 0..3 {
        let pid = host.handler_pid().unwrap();
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        wait_for("another handler, or the end", async || {
            host.handler_pid() != Some(pid) || host.try_wait().unwrap().is_some()
        })
        .await;
    }
    assert_eq!(host.wait().await.unwrap().code(), Some(0));
    assert!(host.lines().iter().any(|line| line.contains("strike")), "{:#?}", host.lines());
}
