//! Postgres, blob or queue are away for longer than a lease: nothing lost, nothing doubled, nothing
//! charged, no hot loop, and the process lives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{proxy::Fate, rig::wake_up, world::World};

/// Longer than the lease of the rig, 4 s.
const OUTAGE: Duration = Duration::from_secs(6);

/// Cuts every call to one service in the middle of a chunk, then lets it be.
async fn survives_without(service: &'static str) {
    let world = World::new().await;
    world.submit(2).await;
    let handler = world.handler().await;
    world.rig.origin.set_delay(Duration::from_secs(1));
    let away = Arc::new(AtomicBool::new(false));
    let is_away = Arc::clone(&away);
    world.calls.restart(move |call| {
        let is_cut = call.proxy == service && is_away.load(Ordering::SeqCst);
        if is_cut { Fate::Cut } else { Fate::Pass }
    });
    let message = wake_up(2, 0);
    let mut n_cut = 0;
    let outage = async {
        world.rig.until("select active_chunks = 1 from chunk_handler.capacity").await;
        let before = world.calls.seen().len();
        away.store(true, Ordering::SeqCst);
        tokio::time::sleep(OUTAGE).await;
        away.store(false, Ordering::SeqCst);
        let seen = world.calls.seen();
        n_cut = seen[before..].iter().filter(|call| call.proxy == service).count();
    };
    let (_, ()) = tokio::join!(handler.deliver("first", &message), outage);
    world.rig.origin.set_delay(Duration::ZERO);
    let said = world.completes(&handler, 2).await;
    println!("{service} away for {OUTAGE:?}: {n_cut} calls tried meanwhile; {said:?}");
    assert!(handler.exit().is_none(), "the process ended");
    assert_eq!(world.status(2).await, "completed", "{said:?}");
    // A failed call is tried again after 250 ms at the soonest, by a handful of tasks.
    assert!(n_cut < 300, "{n_cut} calls in {OUTAGE:?} are a hot loop");
    let outcomes: i64 = world
        .rig
        .value("select count(*) from chunk_handler.attempt_log where outcome = 'completed' and job_id = 2")
        .await;
    assert_eq!(outcomes, 1);
    let attempt: i32 =
        world.rig.value("select attempt from chunk_handler.chunk_status where job_id = 2").await;
    assert_eq!(attempt, 1, "an outage charges nothing");
}

/// I1 I8 PR8
#[tokio::test(flavor = "multi_thread")]
async fn postgres_away_for_longer_than_a_lease_loses_and_charges_nothing() {
    survives_without("postgres").await;
}

/// I1 I8
#[tokio::test(flavor = "multi_thread")]
async fn blob_storage_away_for_longer_than_a_lease_loses_and_charges_nothing() {
    survives_without("blob").await;
}

/// I1 I8
#[tokio::test(flavor = "multi_thread")]
async fn the_queue_away_for_longer_than_a_lease_loses_and_charges_nothing() {
    survives_without("queue").await;
}
