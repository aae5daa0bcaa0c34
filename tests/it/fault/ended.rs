//! Jobs whose process is killed, stopped or drained in the middle keep every invariant.

use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use support::{
    invariants,
    rig::{Handler, Rig, all, inline, wait_for, wake_up},
};

const CHUNKS: i32 = 12;

/// Twelve messages of pictures of their own, pictures of everybody, and things that are none.
fn messages(rig: &Rig) -> Vec<Value> {
    let message = |index: i32| {
        let mut urls: Vec<String> =
            (0..4).map(|n| rig.origin.url(&format!("/img/{}", index * 4 + n))).collect();
        urls.extend((0..3).map(|n| rig.origin.url(&format!("/same/{n}/{index}"))));
        urls.extend(["/404", "/html", "/cut/1"].map(|path| rig.origin.url(path)));
        let mut message = inline(1, index, &urls);
        message["total_chunks"] = CHUNKS.into();
        message
    };
    (0..CHUNKS).map(message).collect()
}

/// Wakes everything that waits, as the queue would, until the job has ended.
async fn drive(rig: &Rig, handler: &Handler) {
    wait_for("the job ends", async || {
        rig.execute("update chunk_handler.chunk set not_before = null").await;
        let pending: Vec<i32> = sqlx::query_scalar(
            "select chunk_index from chunk_handler.chunk where state <> 'completed' limit 4",
        )
        .fetch_all(&rig.pool)
        .await
        .unwrap();
        let deliver = async |index: i32| {
            let id = uuid::Uuid::new_v4().to_string();
            handler.deliver(&id, &wake_up(1, index)).await;
        };
        all(pending.into_iter().map(deliver)).await;
        rig.value::<String>("select status from chunk_handler.job_progress").await == "completed"
    })
    .await;
}

/// Every message is delivered to two processes at once; one of them meets the fault while it works.
async fn job_with(fault: impl AsyncFnOnce(&Handler)) -> Rig {
    let rig = Rig::new().await;
    let limit = [("PIXCRAWLER_FLEET_MAX_CHUNKS", "4")];
    let (first, second) = (rig.handler_with(&limit).await, rig.handler_with(&limit).await);
    rig.origin.set_delay(Duration::from_millis(150));
    let messages = messages(&rig);
    let done = AtomicBool::new(false);
    let deliver = async |handler: &Handler| {
        all(messages.iter().map(async |message| {
            handler.deliver(&uuid::Uuid::new_v4().to_string(), message).await;
        }))
        .await;
    };
    let work = async {
        tokio::join!(
            deliver(&first),
            async {
                deliver(&second).await;
                drive(&rig, &second).await;
                done.store(true, Ordering::SeqCst);
            },
            async {
                let works =
                    "select exists (select from chunk_handler.chunk where state = 'processing')";
                rig.until(works).await;
                fault(&first).await;
            }
        );
    };
    let (_, (_, found)) = tokio::join!(work, invariants::sample_slots(&rig, 4, &done));
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
    rig
}

/// I1-I5 I8: kill -9 of one of two processes that share a job.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_job_leaves_every_invariant() {
    job_with(async |first| first.kill9()).await;
}

/// I1-I5 I8: one of two processes stops for longer than its lease, and wakes.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_job_leaves_every_invariant() {
    job_with(async |first| {
        first.signal(Signal::SIGSTOP);
        tokio::time::sleep(Duration::from_secs(7)).await;
        first.signal(Signal::SIGCONT);
    })
    .await;
}

/// I1-I5 I8: one of two processes is told to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_in_the_middle_of_a_job_leaves_every_invariant() {
    job_with(async |first| first.signal(Signal::SIGTERM)).await;
}
