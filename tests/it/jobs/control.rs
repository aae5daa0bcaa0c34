//! Jobs end as they should under cancel, retry, close and late messages.

use crate::state::sql::Sql;
use serde_json::Value;
use std::time::Duration;
use support::{
    gate::Gate,
    invariants,
    job::PROCESSING,
    rig::{DATASETS, Handler, Rig, inline, wake_up},
};

pub async fn holds(rig: &Rig) {
    assert_eq!(invariants::violations(rig).await, Vec::<String>::new());
}

/// Delivers a message; what was answered.
pub async fn say(handler: &Handler, message: &Value) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    let (status, answer) = handler.deliver(&id, message).await;
    assert_eq!(status, 200);
    answer["Logs"][0].as_str().unwrap().to_owned()
}

pub async fn dataset(rig: &Rig) -> Value {
    let bytes = rig.blobs.read(DATASETS, "job_1/dataset.json").await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

pub fn control(rig: &Rig, arguments: &[&str]) -> String {
    let output = rig.chunkctl(&[&["control"], arguments].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout
}

pub fn with_total(mut message: Value, total: i32) -> Value {
    message["total_chunks"] = total.into();
    message
}

pub const ENDED: &str = "select ended_at is not null from chunk_handler.job";

/// I1: in a cancelled job a pending chunk answers cancelled, and one that comes later is stored as
/// failed; neither is claimed.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_in_a_cancelled_job_is_refused() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    sql.job(1, 1).await;
    assert_eq!(sql.value::<String>("select cancel(1)::text").await, "cancelled");
    assert_eq!(sql.claim(0, "a").await.0, "cancelled");
    let late = "select register(1, 1, null, 5::smallint, '{}')::text";
    assert_eq!(sql.value::<String>(late).await, "cancelled");
    assert_eq!(sql.claim(1, "b").await.0, "cancelled");
    let stored = "select bool_and(state = 'failed' and error_code = 'cancelled') from chunk";
    assert!(sql.value::<bool>(stored).await);
    assert_eq!(sql.value::<i64>("select count(*) from attempt").await, 0);
    assert_eq!(invariants::of_rows(&rig).await, Vec::<String>::new());
}

/// I2 I5: cancelled between commit and `complete`: the shard that is there counts for nothing, and
/// a retry by hand completes the chunk.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_the_commit_wins_and_a_retry_completes() {
    let rig = Rig::new().await;
    let gate = Gate::new(&rig, ".manifest.json").await;
    // No renewal tells of the cancel while the manifest is held: it would arrive after it was withdrawn.
    let rarely = ("PIXCRAWLER_LEASE_SECONDS", "60");
    let handler = rig.handler_with(&[("ChunkStorage", &gate.storage), rarely]).await;
    let message = inline(1, 0, &rig.pictures(2));
    let (said, ()) = tokio::join!(say(&handler, &message), async {
        gate.met().await;
        control(&rig, &["cancel", "--job-id", "1"]);
        gate.open();
    });
    assert!(said.contains("lost"), "{said}");
    let row = "select status || ' ' || error_code from chunk_handler.chunk_status";
    assert_eq!(rig.value::<String>(row).await, "failed cancelled");
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.image_hash").await, 0);
    // Its presence would say that the chunk is complete.
    let names = rig.blobs.list(DATASETS, "job_1/chunks/chunk").await.unwrap();
    assert_eq!(names, ["job_1/chunks/chunk_00000.tar"]);
    rig.until("select status = 'cancelled' from chunk_handler.job_progress").await;
    holds(&rig).await;
    control(&rig, &["retry", "--job-id", "1"]);
    assert!(say(&handler, &wake_up(1, 0)).await.contains("completed, 2 of 2"));
    holds(&rig).await;
}

/// I8: a cancel frees the slot of a running chunk at once; the process notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_of_a_running_chunk_frees_its_slot_at_once() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.origin.set_delay(Duration::from_secs(30));
    let message = inline(1, 0, &rig.pictures(2));
    let (said, ()) = tokio::join!(say(&handler, &message), async {
        rig.until(PROCESSING).await;
        control(&rig, &["cancel", "--job-id", "1"]);
        assert_eq!(rig.value::<i32>("select active_chunks from chunk_handler.capacity").await, 0);
        rig.until(ENDED).await;
    });
    assert!(said.contains("lease_lost"), "{said}");
    holds(&rig).await;
}

/// I8: one failed chunk is retried by hand, then all; each time the job reopens, and its
/// dataset.json is written again.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_one_chunk_and_of_all_reopens_the_job() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    let handler = rig.handler().await;
    control(&rig, &["pause", "--minutes", "240"]);
    // What an alert asks for opens nothing that a person has closed.
    let paused = control(&rig, &["pause", "--minutes", "15", "--json"]);
    assert!(paused.contains("\"minutes_left\":240"), "{paused}");
    for index in 0..3 {
        let urls = [rig.origin.url(&format!("/img/{index}"))];
        say(&handler, &with_total(inline(1, index, &urls), 3)).await;
    }
    control(&rig, &["resume"]);
    for index in 1..3 {
        let fence = sql.claimed(index).await;
        sql.give_up(index, fence, "failed").await;
    }
    assert!(say(&handler, &wake_up(1, 0)).await.contains("1 of 1"));
    for (arguments, pending, shards) in [
        (&["retry", "--job-id", "1", "--chunk-index", "1"][..], vec![1], 2),
        (&["retry", "--job-id", "1"][..], vec![2], 3),
    ] {
        rig.until(ENDED).await;
        assert_eq!(dataset(&rig).await["shards"].as_array().unwrap().len(), shards - 1);
        control(&rig, arguments);
        let rows = "select array_agg(chunk_index) from chunk
            where state = 'pending' and attempt = 0 and error_code is null";
        assert_eq!(sql.value::<Vec<i32>>(rows).await, pending);
        let status = "select status from chunk_handler.job_progress";
        assert_eq!(rig.value::<String>(status).await, "running");
        assert!(say(&handler, &wake_up(1, pending[0])).await.contains("1 of 1"));
    }
    rig.until(ENDED).await;
    assert_eq!(dataset(&rig).await["totals"]["images_valid"], 3);
    holds(&rig).await;
}

/// I9: a job of messages runs until it is closed; what comes after its end is recorded and
/// registers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_job_ends_and_takes_nothing_more() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    for index in 0..2 {
        say(&handler, &inline(1, index, &[rig.origin.url(&format!("/img/{index}"))])).await;
    }
    let progress = "select status || ' ' || progress from chunk_handler.job_progress";
    assert_eq!(rig.value::<String>(progress).await, "running 100");
    control(&rig, &["close", "--job-id", "1"]);
    rig.until(ENDED).await;
    assert_eq!(dataset(&rig).await["shards"].as_array().unwrap().len(), 2);
    let said = say(&handler, &inline(1, 2, &rig.pictures(1))).await;
    assert!(said.contains("job_ended"), "{said}");
    let reason = "select reason from chunk_handler.rejected_message";
    assert_eq!(rig.value::<String>(reason).await, "job_ended");
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.chunk").await, 2);
    assert!(say(&handler, &wake_up(1, 0)).await.contains("completed already"));
    assert_eq!(rig.value::<String>(progress).await, "completed 100");
    holds(&rig).await;
}

/// A message that comes after the end says nothing about the job, its `total_chunks` neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_message_does_not_raise_the_total_of_a_job_that_ended() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    say(&handler, &with_total(inline(1, 0, &rig.pictures(1)), 1)).await;
    rig.until(ENDED).await;
    for index in 0..2 {
        say(&handler, &with_total(inline(1, index, &rig.pictures(1)), 9)).await;
    }
    let progress = "select progress from chunk_handler.job_progress";
    assert_eq!(rig.value::<f64>(progress).await, 100.0);
    assert_eq!(rig.value::<i32>("select total_chunks from chunk_handler.job").await, 1);
}

/// I1: the largest `total_chunks` seen keeps a job open until there are as many chunks.
#[tokio::test(flavor = "multi_thread")]
async fn a_larger_total_keeps_the_job_open() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let url = |index: i32| [rig.origin.url(&format!("/img/{index}"))];
    say(&handler, &inline(1, 0, &url(0))).await;
    say(&handler, &with_total(inline(1, 1, &url(1)), 3)).await;
    // A message for a chunk that is over may know of more chunks, too; a smaller total is old.
    for total in [4, 2] {
        let said = say(&handler, &with_total(wake_up(1, 0), total)).await;
        assert!(said.contains("completed already"), "{said}");
    }
    say(&handler, &inline(1, 2, &url(2))).await;
    let open = "select status || ' ' || total_chunks from chunk_handler.job_progress";
    assert_eq!(rig.value::<String>(open).await, "running 4");
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.job_over").await, 0);
    say(&handler, &inline(1, 3, &url(3))).await;
    rig.until(ENDED).await;
    assert_eq!(rig.value::<String>(open).await, "completed 4");
    holds(&rig).await;
}

/// I3: two chunks side by side keep the same pictures: the second to complete records them as late
/// duplicates, in its row and in dataset.json; its manifest says valid.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_to_complete_records_late_duplicates() {
    let rig = Rig::new().await;
    let gate = Gate::new(&rig, "comp=blocklist").await;
    let patient = [("ChunkStorage", gate.storage.as_str()), ("PIXCRAWLER_LEASE_SECONDS", "40")];
    let slow = rig.handler_with(&patient).await;
    let fast = rig.handler().await;
    let urls = rig.pictures(3);
    let (second, first) = (with_total(inline(1, 1, &urls), 2), inline(1, 0, &urls[..2]));
    tokio::join!(say(&slow, &second), async {
        gate.met().await;
        assert!(say(&fast, &first).await.contains("2 of 2"));
        gate.open();
    });
    rig.until(ENDED).await;
    let late = "select late_duplicates from chunk_handler.chunk where chunk_index = 1";
    let late = rig.value::<Value>(late).await;
    let manifest = rig.manifest(1, 1).await;
    assert_eq!(
        (&manifest["images_valid"], &manifest["duplicates_removed"]),
        (&3.into(), &0.into())
    );
    let kept = rig.manifest(1, 0).await;
    for (n, entry) in late.as_array().unwrap().iter().enumerate() {
        assert_eq!(entry["key"], manifest["items"][n]["key"]);
        let original = kept["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| item["sha256"] == manifest["items"][n]["sha256"]);
        assert_eq!(entry["duplicate_of"], original.unwrap()["key"]);
    }
    assert_eq!(late.as_array().unwrap().len(), 2);
    let dataset = dataset(&rig).await;
    assert_eq!(dataset["late_duplicates"], late);
    assert_eq!(
        (&dataset["totals"]["images_valid"], &dataset["totals"]["late_duplicates"]),
        (&5.into(), &2.into())
    );
    let none = "select late_duplicates = '[]' from chunk_handler.chunk where chunk_index = 0";
    assert!(rig.value::<bool>(none).await);
    holds(&rig).await;
}

/// I5: a claim that was cancelled stops, although its chunk was retried and claimed again within a
/// heartbeat, even by the same process.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_claim_stops_although_its_chunk_runs_again() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    let handler = rig.handler().await;
    rig.origin.set_delay(Duration::from_secs(12));
    let message = inline(1, 0, &rig.pictures(1));
    tokio::join!(
        async {
            let (_, answer) = handler.deliver("first", &message).await;
            assert!(answer["Logs"][0].as_str().unwrap().contains("lease_lost"), "{answer}");
            let second =
                "select status = 'processing' and fence = 2 from chunk_handler.chunk_status";
            assert!(rig.value::<bool>(second).await, "it ran on to its end");
        },
        async {
            rig.until("select active_chunks = 1 from chunk_handler.capacity").await;
            sql.execute("select cancel(1)").await;
            sql.execute("select retry(1, null)").await;
            handler.deliver("second", &wake_up(1, 0)).await;
        }
    );
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}
