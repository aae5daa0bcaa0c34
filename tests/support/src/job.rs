//! A job of twelve chunks that something happens to, and what must be true of it afterwards.

use crate::{invariants, rig::Rig};
use std::time::Duration;

const CHUNKS: u64 = 12;
/// Of each chunk.
const PICTURES: usize = 4;
/// Whether the one job of the rig is completed.
pub const COMPLETED: &str = "select status = 'completed' from chunk_handler.job_progress";

/// Whether a chunk of the rig is in work.
pub const PROCESSING: &str =
    "select exists (select from chunk_handler.chunk_status where status = 'processing')";

/// Submits it, from an origin that is slow enough for something to happen meanwhile.
pub fn submit(rig: &Rig) {
    rig.origin.set_delay(Duration::from_millis(700));
    rig.submit(1, &rig.pictures(CHUNKS * PICTURES as u64), PICTURES);
}

/// Waits until chunks are running, and some are over.
pub async fn in_the_middle(rig: &Rig) {
    rig.until("select completed_chunks > 0 and active_chunks > 1 from chunk_handler.job_progress")
        .await;
}

/// Every invariant holds, every chunk and picture is there, and each chunk is charged once.
pub async fn is_whole(rig: &Rig) {
    report(rig).await;
    assert_eq!(invariants::violations(rig).await, Vec::<String>::new());
    let charged = "select count(*) filter (where attempt = 1) = 12 and count(*) = 12
        from chunk_handler.chunk_status where status = 'completed'";
    assert!(rig.value::<bool>(charged).await, "a fault was charged");
    let valid = rig.value::<i64>("select images_valid from chunk_handler.job_progress").await;
    assert_eq!(valid, (CHUNKS * PICTURES as u64) as i64);
}

/// Prints how the attempts ended.
pub async fn report(rig: &Rig) {
    let sql = "select outcome, coalesce(error_code, ''), count(*) from chunk_handler.attempt_log
        group by 1, 2 order by 1, 2";
    let outcomes: Vec<(String, String, i64)> =
        sqlx::query_as(sql).fetch_all(&rig.pool).await.unwrap();
    println!("{outcomes:?}");
}
