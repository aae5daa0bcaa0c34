//! Whole jobs under a host while database, storage or disk fail in ways of their own: nothing is lost,
//! nothing doubled, nothing charged, and the process lives.

use functions_host::{client::HostProcess, rigged};
use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};
use support::{
    invariants,
    job::{self, COMPLETED},
    proxy::Fate,
    rig::{Rig, wait_for},
    world::World,
};

/// Longer than the lease of the rig, 4 s.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(6);

/// Runs a job through a host with a fault in the middle, and checks everything afterwards.
async fn survives(rig: &Rig, extra: &[(&str, &str)], fault: impl AsyncFnOnce()) {
    job::submit(rig);
    let limit = [("PIXCRAWLER_FLEET_MAX_CHUNKS", "4")];
    let mut host = rigged::host(rig, &[&limit, extra].concat()).await;
    let first = host.handler_pid();
    job::in_the_middle(rig).await;
    fault().await;
    // A chunk may have been noted as woken by a call whose answer was lost, and its message with it.
    rig.a_minute_passes().await;
    rig.until(COMPLETED).await;
    lives(&host, first);
    host.stop().await.unwrap();
    job::is_whole(rig).await;
}

/// The handler is the one of the start.
fn lives(host: &HostProcess, first: Option<u32>) {
    assert_eq!(host.handler_pid(), first, "the process ended: {:#?}", host.lines());
}

/// I1 I2 I3 I5 I8: every connection to the database is ended, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_terminated_lose_and_charge_nothing() {
    let rig = Rig::new().await;
    survives(&rig, &[], async || {
        let mut ended = 0;
        for _ in 0..6 {
            let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
            ended += rig.value::<i64>(sql).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        println!("{ended} connections ended");
        assert!(ended > 6, "only {ended}");
    })
    .await;
}

/// I1 I2 I3 I5 I8: nobody can read or write a chunk for longer than a lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_loses_and_charges_nothing() {
    let rig = Rig::new().await;
    survives(&rig, &[], async || {
        let mut lock = rig.pool.begin().await.unwrap();
        let statement = "lock table chunk_handler.chunk in access exclusive mode";
        sqlx::query(statement).execute(&mut *lock).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        lock.rollback().await.unwrap();
    })
    .await;
}

/// Blob and queue, of host and handler, behind the proxies of a world.
async fn survives_storage(fault: impl AsyncFnOnce(&World)) -> World {
    let world = World::around(Rig::new().await).await;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    survives(&world.rig, &behind, async || fault(&world).await).await;
    world
}

/// I1 I2 I3 I5 I8: storage says nothing for longer than a lease.
#[tokio::test(flavor = "multi_thread")]
async fn storage_that_stalls_loses_and_charges_nothing() {
    survives_storage(async |world| {
        let [_, blob, queue] = &world.proxies;
        [blob, queue].iter().for_each(|proxy| proxy.stall());
        tokio::time::sleep(LONGER_THAN_A_LEASE).await;
        [blob, queue].iter().for_each(|proxy| proxy.resume());
    })
    .await;
}

/// I1 I2 I3 I5 I8: each call to storage takes longer than a commit may, an eighth of the lease: its
/// answer is not waited for, and the chunk is completed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn slow_storage_loses_and_charges_nothing() {
    let world = survives_storage(async |world| {
        let slow = Fate::Delay(Duration::from_millis(700));
        world.calls.restart(move |call| if call.proxy == "postgres" { Fate::Pass } else { slow });
    })
    .await;
    let slow = world.calls.seen().iter().filter(|call| call.proxy != "postgres").count();
    println!("{slow} calls were slow");
}

/// A handler that can write no file of more than a megabyte, and is told so by an error.
fn limited_handler(rig: &Rig) -> std::path::PathBuf {
    let path = rig.temp.path().join("limited");
    let handler = support::programs::handler();
    // In units of 512 bytes, in some shells of 1024.
    let script = format!("#!/bin/sh\ntrap '' XFSZ\nulimit -f 2048\nexec '{handler}'\n");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// I1 I6 I8 X7: the disk stays full: chunks are released with `disk_full`, uncharged, their files are
/// removed, and a process with room completes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_charges_nothing_and_another_process_completes() {
    let rig = Rig::new().await;
    let urls: Vec<String> = (0..24).map(|n| rig.origin.url(&format!("/big/{n}?mb=6"))).collect();
    rig.submit(1, &urls, 8);
    // Memory for one body or two: the others need files.
    let small = [
        ("PIXCRAWLER_MAX_BUFFER_MB", "16"),
        ("PIXCRAWLER_PER_HOST_CONCURRENCY", "64"),
        ("PIXCRAWLER_LEASE_SECONDS", "20"),
    ];
    let mut full = rigged::host_of(&rig, "full", &limited_handler(&rig), &small).await;
    let first = full.handler_pid();
    rig.until(
        "select exists (select from chunk_handler.attempt_log
            where outcome = 'released' and error_code = 'disk_full')
            and exists (select from chunk_handler.process where degraded like 'temp space%')",
    )
    .await;
    lives(&full, first);
    job::report(&rig).await;
    let charged = "select sum(attempt)::bigint from chunk_handler.chunk_status
        where status = 'pending'";
    assert_eq!(rig.value::<Option<i64>>(charged).await.unwrap_or(0), 0);
    let temp = rig.temp.path().join("pixcrawler-chunks");
    wait_for("the files are gone", async || invariants::walk(&temp) == 0).await;
    full.stop().await.unwrap();

    let handler = support::programs::handler();
    let handler = Path::new(&handler);
    let mut roomy = rigged::host_of(&rig, "roomy", handler, &small).await;
    rig.until(COMPLETED).await;
    roomy.stop().await.unwrap();
    job::report(&rig).await;
    let valid = rig.value::<i64>("select images_valid from chunk_handler.job_progress").await;
    assert_eq!(valid, 24);
    let charged = "select sum(attempt)::bigint from chunk_handler.chunk_status";
    assert_eq!(rig.value::<i64>(charged).await, 3, "a full disk was charged");
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}
