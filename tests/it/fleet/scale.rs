//! Ten thousand chunks at once are woken a few at a time, in their order.

use functions_host::rigged;
use functions_host::storage::Account;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use support::{invariants, rig::Rig};

const LIMIT: i64 = 10;
/// How long the queue is watched.
const WATCHED: Duration = Duration::from_secs(15);

/// Ten thousand chunks of one picture each, as `submit` registers them; the last ten have priority.
/// Written here: as many source blobs would take the emulator a minute.
async fn submitted(rig: &Rig) {
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let job = "insert into chunk_handler.job (job_id, total_chunks) values (1, 10000)";
    sqlx::query(job).execute(&rig.pool).await.unwrap();
    let chunks = "insert into chunk_handler.chunk (job_id, chunk_index, priority, message)
        select 1, i, case when i >= 9990 then 9 else 5 end,
            jsonb_build_object('version', 1, 'job_id', 1, 'chunk_index', i,
                'source', jsonb_build_object('urls', jsonb_build_array($1 || i)))::text
        from generate_series(0, 9999) i";
    let url = rig.origin.url("/img/");
    sqlx::query(chunks).bind(url).execute(&rig.pool).await.unwrap();
}

/// The most messages that were visible at once; a peek shows 32 at most.
async fn most_visible(rig: &Rig) -> usize {
    let queue = Account::parse(&rig.storage).unwrap().queue("chunks");
    let (mut most, end) = (0, Instant::now() + WATCHED);
    while Instant::now() < end {
        most = most.max(queue.peek().await.unwrap().map_or(0, |messages| messages.len()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    most
}

/// The chunks in the order in which they were first claimed.
async fn order(rig: &Rig) -> Vec<i32> {
    let sql = "select chunk_index from chunk_handler.attempt where fence = 1 order by claimed_at";
    sqlx::query_scalar(sql).fetch_all(&rig.pool).await.unwrap()
}

/// I4 S2 X3: the queue never holds more than twice the limit, and chunks are taken by priority, then
/// by age, as far as ten that run side by side keep an order.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_chunks_are_woken_a_few_at_a_time_and_in_order() {
    let rig = Rig::new().await;
    submitted(&rig).await;
    let mut host = rigged::host(&rig, &[("PIXCRAWLER_FLEET_MAX_CHUNKS", &LIMIT.to_string())]).await;
    let done = AtomicBool::new(false);
    let watch = async {
        let most = most_visible(&rig).await;
        done.store(true, Ordering::SeqCst);
        most
    };
    let sampler = invariants::sample_slots(&rig, LIMIT, &done);
    let (visible, (most, found)) = tokio::join!(watch, sampler);
    host.stop().await.unwrap();
    let order = order(&rig).await;
    println!("{} claims, {most} at once, {visible} messages visible", order.len());
    assert!((1..=2 * LIMIT as usize).contains(&visible), "{visible} messages");
    assert_eq!(found, Vec::<String>::new());
    assert!(order.len() > 50, "only {} claims", order.len());
    let slack = 3 * LIMIT as usize;
    for (place, index) in order.iter().enumerate() {
        let ideal = if *index >= 9990 { index - 9990 } else { index + 10 };
        let late = place.abs_diff(ideal as usize);
        assert!(late <= slack, "chunk {index} was claimed as number {place}: {order:?}");
    }
    assert_eq!(invariants::of_rows(&rig).await, Vec::<String>::new());
}
