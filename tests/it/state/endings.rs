//! Each way in which a claim can end is visible in both views.

use super::sql::Sql;
use support::{invariants, rig::Rig};

/// A row of both views: attempt and its error, chunk, its error and what it is charged.
type Row = (i32, String, Option<String>, String, Option<String>, i32);

async fn shown(sql: &Sql) -> Vec<Row> {
    let rows = "select a.chunk_index, a.outcome, a.error_code, c.status, c.error_code, c.attempt
        from attempt_log a join chunk_status c using (job_id, chunk_index)
        where a.finished_at >= a.claimed_at order by a.chunk_index";
    sqlx::query_as(rows).fetch_all(&sql.pool).await.unwrap()
}

fn row(index: i32, attempt: [&str; 2], chunk: [&str; 2], charged: i32) -> Row {
    let code = |code: &str| (!code.is_empty()).then(|| code.to_owned());
    (index, attempt[0].into(), code(attempt[1]), chunk[0].into(), code(chunk[1]), charged)
}

/// I1 I8: completed, failed, released, retried, expired, cancelled: each shows in `attempt_log` and in
/// `chunk_status`, with its code and its charge.
#[tokio::test(flavor = "multi_thread")]
async fn every_ending_shows_in_both_views() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    sql.announce(6).await;
    sql.job(1, 6).await;
    // The expired one first: letting leases run out takes every lease there is.
    sql.claimed(4).await;
    assert_eq!(sql.expire_all().await, 1);
    assert!(sql.complete(0, sql.claimed(0).await).await);
    for (index, outcome) in [(1, "failed"), (2, "released"), (3, "retried")] {
        let fence = sql.claimed(index).await;
        assert_eq!(sql.give_up(index, fence, outcome).await.as_deref(), Some(outcome));
    }
    sql.claimed(5).await;
    let ended = [
        row(0, ["completed", ""], ["completed", ""], 1),
        row(1, ["failed", "code"], ["failed", "code"], 1),
        row(2, ["released", "code"], ["pending", "code"], 0),
        row(3, ["retried", "code"], ["pending", "code"], 1),
        row(4, ["expired", "lease_expired"], ["pending", "lease_expired"], 0),
    ];
    assert_eq!(shown(&sql).await, ended);
    assert_eq!(sql.value::<String>("select cancel(1)::text").await, "cancelled");
    let cancelled = shown(&sql).await;
    assert_eq!(cancelled[5], row(5, ["cancelled", "cancelled"], ["failed", "cancelled"], 1));
    // What a claim ended with stays, whatever becomes of its chunk.
    assert_eq!(cancelled[2], row(2, ["released", "code"], ["failed", "cancelled"], 0));
    assert_eq!(invariants::of_rows(&rig).await, Vec::<String>::new());
}
