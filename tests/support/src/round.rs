//! A short round of real faults, each of another process, for pages that tell them apart.

use crate::rig::{Handler, Rig, all, inline, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;

/// The job of the round, and its chunks: two for each process.
pub const JOB: i64 = 7;
const CHUNKS: i32 = 8;

/// Kills a process, stops another, and freezes a third until its leases are gone; a fourth does all chunks.
/// Those that live are given back.
pub async fn faults(rig: &Rig) -> [Handler; 2] {
    let steady = rig.handler().await;
    let (killed, stopped, frozen) = (rig.handler().await, rig.handler().await, rig.handler().await);
    // Nothing ends before the faults.
    rig.origin.set_delay(Duration::from_secs(60));
    let at_work = "select count(*) = 6 from chunk_handler.chunk_status where status = 'processing'";
    let work = async {
        tokio::join!(deal(rig, &killed, 0), deal(rig, &stopped, 2), deal(rig, &frozen, 4))
    };
    let harm = async {
        rig.until(at_work).await;
        killed.kill9();
        frozen.signal(Signal::SIGSTOP);
        rig.until("select count(*) = 4 from chunk_handler.attempt_log where outcome = 'expired'")
            .await;
        stopped.signal(Signal::SIGTERM);
        frozen.signal(Signal::SIGCONT);
    };
    tokio::join!(work, harm);
    stopped.ended().await;
    rig.origin.set_delay(Duration::from_millis(200));
    wait_for("all chunks complete", async || {
        all([0, 2, 4, 6].map(|first| deal(rig, &steady, first))).await;
        let over = "select count(*) = 8 from chunk_handler.chunk_status where status = 'completed'";
        rig.value::<bool>(over).await
    })
    .await;
    // The frozen one has said since that it lives.
    rig.until(
        "select exists (select from chunk_handler.process p join chunk_handler.attempt_log a using (owner)
            where a.outcome = 'expired' and p.seen_at > a.finished_at)",
    )
    .await;
    [steady, frozen]
}

/// Two chunks, as the host brings them.
async fn deal(rig: &Rig, handler: &Handler, first: i32) -> Vec<(u16, Value)> {
    let urls = rig.pictures(24);
    all((first..first + 2).map(|index| {
        let mut message = inline(JOB, index, &urls[index as usize * 3..][..3]);
        message["total_chunks"] = CHUNKS.into();
        async move { handler.deliver(&format!("{index}-{}", handler.pid), &message).await }
    }))
    .await
}
