//! Processes that stop for longer than their lease and then go on change nothing.

use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;
use support::{
    gate::Gate,
    invariants,
    job::PROCESSING,
    rig::{DATASETS, Handler, Rig, inline, wait_for, wake_up},
};

/// Delivers chunk 0 of job 1 to a process until it is completed.
async fn overtake(rig: &Rig, by: &Handler) {
    wait_for("another process completes the chunk", async || {
        let (status, _) = by.deliver(&uuid::Uuid::new_v4().to_string(), &wake_up(1, 0)).await;
        assert_eq!(status, 200);
        rig.execute("update chunk_handler.chunk set not_before = null").await;
        rig.value::<bool>("select status = 'completed' from chunk_handler.chunk_status").await
    })
    .await;
}

/// Everything that counts of chunk 0 of job 1: its row, its shard, its manifest, its hashes.
async fn effects(rig: &Rig) -> (String, Vec<u8>, Value, i64) {
    let row = rig.value("select c::text from chunk_handler.chunk c").await;
    let hashes = rig.value("select count(*) from chunk_handler.image_hash").await;
    (row, rig.shard(1, 0).await, rig.manifest(1, 0).await, hashes)
}

/// Wakes a stopped process; it must notice that it lost the chunk, and change nothing.
async fn wakes_without_effect(rig: &Rig, zombie: &Handler, gate: Option<&Gate>) {
    let before = effects(rig).await;
    if let Some(gate) = gate {
        // What it sent before it stopped arrives first.
        gate.open();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    zombie.signal(Signal::SIGCONT);
    wait_for("the zombie gives up", async || {
        let said = ["Chunk not completed", "the row was not completed, left to be reclaimed"];
        zombie.lines().iter().any(|line| said.iter().any(|text| line.contains(text)))
    })
    .await;
    assert_eq!(effects(rig).await, before, "the zombie changed something");
    assert_eq!(invariants::violations(rig).await, Vec::<String>::new());
    let outcome = "select outcome from chunk_handler.attempt_log where fence = 1";
    assert_eq!(rig.value::<String>(outcome).await, "expired");
    let completed = "select count(*) from chunk_handler.attempt_log where outcome = 'completed'";
    assert_eq!(rig.value::<i64>(completed).await, 1);
}

async fn shard_fence(rig: &Rig) -> i64 {
    rig.value("select shard_fence from chunk_handler.chunk_status").await
}

/// I5 S2; case 241: stopped while it stages: another process takes the chunk over.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_stopped_while_staging_wakes_without_effect() {
    let rig = Rig::new().await;
    let first = rig.handler().await;
    rig.origin.set_delay(Duration::from_secs(2));
    let message = inline(1, 0, &rig.pictures(4));
    tokio::join!(first.deliver("first", &message), async {
        rig.until(PROCESSING).await;
        wait_for("it downloads", async || rig.origin.total() > 0).await;
        first.signal(Signal::SIGSTOP);
        rig.origin.set_delay(Duration::ZERO);
        let second = rig.handler().await;
        overtake(&rig, &second).await;
        wakes_without_effect(&rig, &first, None).await;
    });
    assert_eq!(shard_fence(&rig).await, 2);
}

/// I5: stopped in the renewal before the commit, which waits for a locked row.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_stopped_in_its_last_renewal_commits_nothing() {
    let rig = Rig::new().await;
    let first = rig.handler().await;
    rig.origin.set_delay(Duration::from_millis(700));
    let message = inline(1, 0, &rig.pictures(2));
    tokio::join!(first.deliver("first", &message), async {
        rig.until(PROCESSING).await;
        let mut lock = rig.pool.begin().await.unwrap();
        let statement = "select from chunk_handler.chunk for update";
        sqlx::query(statement).execute(&mut *lock).await.unwrap();
        // Both pictures are there after 700 ms; the renewal is asked again and again.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        first.signal(Signal::SIGSTOP);
        assert_eq!(rig.blobs.list(DATASETS, "job_1/").await.unwrap(), Vec::<String>::new());
        lock.rollback().await.unwrap();
        let second = rig.handler().await;
        overtake(&rig, &second).await;
        wakes_without_effect(&rig, &first, None).await;
    });
    assert_eq!(shard_fence(&rig).await, 2);
}

/// A process behind a gate is stopped there, and another completes the chunk.
async fn stopped_at(needle: &'static str) -> Rig {
    let rig = Rig::new().await;
    let gate = Gate::new(&rig, needle).await;
    let first = rig.handler_with(&[("ChunkStorage", &gate.storage)]).await;
    let second = rig.handler().await;
    let message = inline(1, 0, &rig.pictures(3));
    tokio::join!(first.deliver("first", &message), async {
        gate.met().await;
        first.signal(Signal::SIGSTOP);
        overtake(&rig, &second).await;
        wakes_without_effect(&rig, &first, Some(&gate)).await;
    });
    rig
}

/// I5: its block arrives after the other's commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_staged_too_late_changes_nothing() {
    let rig = stopped_at("comp=block&").await;
    assert_eq!(shard_fence(&rig).await, 2);
}

/// I5: its commit arrives after the other's.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_too_late_changes_nothing() {
    let rig = stopped_at("comp=blocklist").await;
    assert_eq!(shard_fence(&rig).await, 2);
}

/// I5: its shard is committed, its manifest arrives after the other's shard and manifest.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_too_late_changes_nothing() {
    let rig = stopped_at(".manifest.json").await;
    assert_eq!(shard_fence(&rig).await, 2);
}

/// I5: shard and manifest are there, and it stops before `complete`: the other adopts them, which
/// keep the fence of their writer.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_stopped_before_complete_is_adopted_from() {
    let rig = Rig::new().await;
    let gate = Gate::new(&rig, ".manifest.json").await;
    let first = rig.handler_with(&[("ChunkStorage", &gate.storage)]).await;
    let second = rig.handler().await;
    let message = inline(1, 0, &rig.pictures(3));
    tokio::join!(first.deliver("first", &message), async {
        gate.met().await;
        let mut lock = rig.pool.begin().await.unwrap();
        let statement = "select from chunk_handler.chunk for update";
        sqlx::query(statement).execute(&mut *lock).await.unwrap();
        gate.open();
        wait_for("shard and manifest are there", async || {
            rig.blobs.list(DATASETS, "job_1/").await.unwrap().len() == 2
        })
        .await;
        first.signal(Signal::SIGSTOP);
        // The server ends what waits for the row within half a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        lock.rollback().await.unwrap();
        assert!(rig.value::<bool>(PROCESSING).await);
        overtake(&rig, &second).await;
        wakes_without_effect(&rig, &first, None).await;
    });
    assert_eq!(shard_fence(&rig).await, 1);
    assert_eq!(rig.value::<i64>("select fence from chunk_handler.chunk_status").await, 2);
    assert_eq!(rig.origin.total(), 3, "nothing is downloaded again");
}

/// I5: the zombie's commit arrives between the other's staging and its commit, and takes the staged
/// blocks with it: the other does the chunk again, uncharged, over the zombie's shard.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombies_commit_that_destroys_staged_blocks_is_overwritten() {
    let rig = Rig::new().await;
    let gates = (Gate::new(&rig, "comp=blocklist").await, Gate::new(&rig, "comp=blocklist").await);
    let first = rig.handler_with(&[("ChunkStorage", &gates.0.storage)]).await;
    let patient = [("ChunkStorage", gates.1.storage.as_str()), ("PIXCRAWLER_LEASE_SECONDS", "40")];
    let second = rig.handler_with(&patient).await;
    let message = inline(1, 0, &rig.pictures(3));
    tokio::join!(first.deliver("first", &message), async {
        gates.0.met().await;
        first.signal(Signal::SIGSTOP);
        tokio::join!(overtake(&rig, &second), async {
            gates.1.met().await;
            gates.0.open();
            wait_for("the zombie's shard is there", async || {
                rig.blobs.list(DATASETS, "job_1/").await.unwrap().len() == 1
            })
            .await;
            gates.1.open();
        });
        wakes_without_effect(&rig, &first, None).await;
    });
    let outcome =
        "select string_agg(outcome || coalesce('/' || error_code, ''), ' ' order by fence)
        from chunk_handler.attempt_log";
    let outcomes = rig.value::<String>(outcome).await;
    assert_eq!(outcomes, "expired/lease_expired released/storage_conflict completed");
    assert_eq!(shard_fence(&rig).await, 3);
}
