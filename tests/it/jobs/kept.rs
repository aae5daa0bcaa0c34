//! A completed chunk runs again in vain: what it had completed with counts, as long as it is there.

use super::{
    again::again,
    control::{ENDED, control, dataset, holds, say, with_total},
};
use crate::state::sql::Sql;
use serde_json::Value;
use support::{
    gate::Gate,
    invariants,
    origin::picture::jpeg,
    raw::{Act, Raw, answer},
    rig::{DATASETS, Rig, inline, wake_up},
};

const SHARD: &str = "job_1/chunks/chunk_00000.tar";
const ROW: &str = "select concat_ws(' ', status, error_code, 'shard of', shard_fence)
    from chunk_handler.chunk_status where chunk_index = 0";

/// An origin that answers each path once.
fn once() -> Raw {
    Raw::start(|path, earlier| match earlier {
        0 => Act::Send(answer(200, "Content-Type: image/jpeg\r\n", &jpeg(1, path))),
        _ => Act::Reset(Vec::new()),
    })
}

/// What of chunk 0 is in storage is what `dataset.json` lists.
async fn is_listed(rig: &Rig) -> Value {
    let dataset = dataset(rig).await;
    let mut shard = rig.manifest(1, 0).await["shard"].clone();
    shard["file"] = "chunks/chunk_00000.tar".into();
    assert!(dataset["shards"].as_array().unwrap().contains(&shard), "{dataset} {shard}");
    dataset
}

/// I2 I3: its origin is gone: its shard stays in the dataset, its hashes count, and the row says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_origin_is_gone_keeps_what_it_has() {
    let rig = Rig::new().await;
    let raw = once();
    let origins = format!("{},{}", rig.origin.address(), raw.address);
    let handler = rig.handler_with(&[("PIXCRAWLER_ALLOWED_ORIGINS", &origins)]).await;
    let (url, other) = (raw.url("/a"), rig.origin.url("/img/1"));
    say(&handler, &with_total(inline(1, 0, &[url]), 2)).await;
    say(&handler, &with_total(inline(1, 1, &[other]), 2)).await;
    rig.until(ENDED).await;
    let before = dataset(&rig).await;
    again(&rig, "0");
    // Until it completes again it counts, as in the sums of the job.
    let sum = "select images_valid from chunk_handler.job_progress";
    assert_eq!(rig.value::<i64>(sum).await, 2);
    let said = say(&handler, &wake_up(1, 0)).await;
    assert!(said.contains("failed (nothing_reachable"), "{said}");
    rig.until(ENDED).await;
    assert_eq!(rig.value::<String>(ROW).await, "completed nothing_reachable shard of 1");
    let why = "select error_message from chunk_handler.chunk_status where chunk_index = 0";
    let why = rig.value::<String>(why).await;
    assert!(why.starts_with("it ran again in vain, and what it had completed with"), "{why}");
    assert_eq!(is_listed(&rig).await, before);
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.image_hash").await, 2);
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.earlier_sample").await, 0);
    holds(&rig).await;
    assert_eq!(rig.chunkctl(&["status", "--job-id", "1", "--watch"]).code, Some(0));
}

/// I2: a cancel takes neither shard nor manifest of a chunk that was to run again.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_chunk_that_ran_again_keeps_what_it_has() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    say(&handler, &with_total(inline(1, 0, &rig.pictures(2)), 1)).await;
    rig.until(ENDED).await;
    again(&rig, "0");
    control(&rig, &["cancel", "--job-id", "1"]);
    rig.until(ENDED).await;
    assert_eq!(rig.value::<String>(ROW).await, "completed cancelled shard of 1");
    assert_eq!(is_listed(&rig).await["totals"]["images_valid"], 2);
    holds(&rig).await;
}

/// I2 I5: a process that does not know of the cancel yet commits its shard too late: that changes
/// nothing, since the end of the job has sealed what it lists.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_after_the_cancel_changes_nothing() {
    let rig = Rig::new().await;
    let first = rig.handler().await;
    say(&first, &with_total(inline(1, 0, &rig.pictures(2)), 1)).await;
    rig.until(ENDED).await;
    again(&rig, "0");
    let gate = Gate::new(&rig, "comp=blocklist").await;
    // A commit waits an eighth of a lease for its answer: longer than a cancel takes on a busy machine.
    let lease = ("PIXCRAWLER_LEASE_SECONDS", "120");
    let handler = rig.handler_with(&[("ChunkStorage", &gate.storage), lease]).await;
    let wake_up = wake_up(1, 0);
    let (said, ()) = tokio::join!(say(&handler, &wake_up), async {
        gate.met().await;
        control(&rig, &["cancel", "--job-id", "1"]);
        rig.until(ENDED).await;
        gate.open();
    });
    assert_eq!(rig.value::<String>(ROW).await, "completed cancelled shard of 1");
    is_listed(&rig).await;
    holds(&rig).await;
    assert!(said.contains("lease_lost"), "{said}");
}

/// I2: what the new attempt has overwritten before the cancel is lost, and nothing says otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancelled_attempt_overwrote_is_not_listed() {
    let rig = Rig::new().await;
    let first = rig.handler().await;
    say(&first, &with_total(inline(1, 0, &rig.pictures(2)), 1)).await;
    rig.until(ENDED).await;
    again(&rig, "0");
    let gate = Gate::new(&rig, ".manifest.json").await;
    let handler = rig.handler_with(&[("ChunkStorage", &gate.storage)]).await;
    let wake_up = wake_up(1, 0);
    tokio::join!(say(&handler, &wake_up), async {
        gate.met().await;
        control(&rig, &["cancel", "--job-id", "1"]);
        gate.open();
    });
    rig.until(ENDED).await;
    assert_eq!(rig.value::<String>(ROW).await, "failed cancelled shard of");
    assert_eq!(dataset(&rig).await["shards"], serde_json::json!([]));
    holds(&rig).await;
}

/// I1 I2: what storage has lost does not come back with the row: the chunk runs once more, and fails.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_does_not_count_again() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    let handler = rig.handler().await;
    say(&handler, &with_total(inline(1, 0, &rig.pictures(2)), 1)).await;
    rig.until(ENDED).await;
    again(&rig, "0");
    rig.blobs.delete(DATASETS, SHARD).await.unwrap();
    for _ in 0..2 {
        rig.until("select status = 'pending' from chunk_handler.chunk_status").await;
        let fence = sql.claimed(0).await;
        assert_eq!(sql.give_up(0, fence, "failed").await.as_deref(), Some("failed"));
    }
    rig.until(ENDED).await;
    assert_eq!(rig.value::<String>(ROW).await, "failed code shard of");
    assert_eq!(dataset(&rig).await["shards"], serde_json::json!([]));
    holds(&rig).await;
}

/// I8: every way of failing keeps the result; a release and a retry that is not the last go on.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_failing_keeps_what_the_chunk_has() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    sql.announce(1).await;
    sql.job(1, 1).await;
    let first = sql.claimed(0).await;
    assert!(sql.complete(0, first).await);
    let run_again = "select run_again(1, '{0}', null)";
    for (outcome, times) in [("failed", 1), ("retried", 4)] {
        assert_eq!(sql.value::<i32>(run_again).await, 1);
        let fence = sql.claimed(0).await;
        assert_eq!(sql.give_up(0, fence, "released").await.as_deref(), Some("released"));
        assert_eq!(rig.value::<String>(ROW).await, "pending code shard of 1");
        for _ in 0..times {
            sql.due().await;
            let fence = sql.claimed(0).await;
            sql.give_up(0, fence, outcome).await;
        }
        assert_eq!(rig.value::<String>(ROW).await, "completed code shard of 1", "{outcome}");
    }
    assert_eq!(sql.value::<i32>(run_again).await, 1);
    for _ in 0..20 {
        sql.due().await;
        sql.claimed(0).await;
        assert_eq!(sql.expire_all().await, 1);
    }
    assert_eq!(rig.value::<String>(ROW).await, "completed worker_lost shard of 1");
    for claims in [false, true] {
        assert_eq!(sql.value::<i32>(run_again).await, 1);
        if claims {
            sql.claimed(0).await;
        }
        assert_eq!(sql.value::<String>("select cancel(1)::text").await, "cancelled");
        assert_eq!(rig.value::<String>(ROW).await, "completed cancelled shard of 1");
    }
    assert_eq!(invariants::of_rows(&rig).await, Vec::<String>::new());
    assert_eq!(sql.value::<i32>(run_again).await, 1);
    let fence = sql.claimed(0).await;
    assert!(sql.complete(0, fence).await);
    assert_eq!(rig.value::<String>(ROW).await, format!("completed shard of {fence}"));
}
