//! A freed slot is soon taken again while chunks wait for it.

use functions_host::rigged;
use std::{path::Path, time::Duration};
use support::{invariants, rig::Rig};

/// A slot that is empty for longer is forgotten: it waits for a message that nobody sends.
const STUCK_SECONDS: f64 = 6.0;

async fn times(rig: &Rig, sql: &'static str) -> Vec<f64> {
    sqlx::query_scalar(sql).fetch_all(&rig.pool).await.unwrap()
}

/// Runs a job of chunks that take this long each, at most `limit` at once in all; says how long the
/// slots stayed empty.
async fn refills(limit: usize, chunk: Duration) {
    let chunks = 8 * limit;
    let rig = Rig::new().await;
    rig.origin.set_delay(chunk);
    rig.submit(1, &rig.pictures(chunks as u64), 1);
    let fleet = [("PIXCRAWLER_FLEET_MAX_CHUNKS", &*limit.to_string())];
    let mut host = rigged::host(&rig, &fleet).await;
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    host.stop().await.unwrap();
    stayed_empty(&rig, limit, chunks).await;
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// Says how long freed slots stayed empty while chunks waited: none was forgotten.
async fn stayed_empty(rig: &Rig, limit: usize, chunks: usize) {
    let claims =
        "select extract(epoch from claimed_at)::float8 from chunk_handler.attempt_log order by 1";
    let ends =
        "select extract(epoch from finished_at)::float8 from chunk_handler.attempt_log order by 1";
    let (claims, ends) = (times(rig, claims).await, times(rig, ends).await);
    assert_eq!(claims.len(), chunks, "each chunk is claimed once");
    // Beyond the first `limit`, the n-th claim can only be granted once n chunks have ended: in
    // between at least one slot is empty.
    let mut gaps: Vec<f64> = claims.iter().skip(limit).zip(&ends).map(|(c, e)| c - e).collect();
    gaps.sort_by(f64::total_cmp);
    let (median, p95, most) =
        (gaps[gaps.len() / 2], gaps[gaps.len() * 95 / 100], gaps[gaps.len() - 1]);
    println!(
        "limit {limit}: a freed slot stayed empty for {median:.3} s (median), {p95:.3} s (p95), \
         {most:.3} s at most"
    );
    assert!(gaps[0] >= 0.0, "more than {limit} at once");
    assert!(most < STUCK_SECONDS, "a slot was empty for {most:.1} s: {gaps:.2?}");
}

/// S2: with a steady backlog a freed slot is taken again within seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_freed_slot_is_taken_again_while_chunks_wait() {
    refills(10, Duration::from_secs(1)).await;
}

/// S2: so it is where the fleet has fewer slots than its hosts have room: what the queue holds is
/// answered "full" at once, and the message for a freed slot comes to a host that polls seldom.
#[tokio::test(flavor = "multi_thread")]
async fn a_freed_slot_is_taken_again_by_a_host_that_polls_seldom() {
    refills(4, Duration::from_secs(4)).await;
}

/// Two hosts share a full fleet: only what can start is woken, so that hardly an invocation is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_fleet_is_not_asked_for_nothing() {
    const CHUNKS: usize = 60;
    let rig = Rig::new().await;
    rig.origin.set_delay(Duration::from_secs(3));
    rig.submit(1, &rig.pictures(CHUNKS as u64), 1);
    let handler = support::programs::handler();
    let fleet = [("PIXCRAWLER_FLEET_MAX_CHUNKS", "10")];
    let start = |name| rigged::host_of(&rig, name, Path::new(&handler), &fleet);
    let (mut first, mut second) = tokio::join!(start("first"), start("second"));
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    for host in [&mut first, &mut second] {
        host.stop().await.unwrap();
    }
    let called = "Executing 'Functions.process_chunk'";
    let lines = [first.lines(), second.lines()].concat();
    let n = lines.iter().filter(|line| line.contains(called)).count();
    println!("{n} invocations for {CHUNKS} chunks");
    assert!(n >= CHUNKS, "the lines of the host have other words");
    assert!(n <= CHUNKS * 12 / 10, "{n} invocations for {CHUNKS} chunks");
    stayed_empty(&rig, 10, CHUNKS).await;
}
