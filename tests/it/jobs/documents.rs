//! A job's documents, however large, and the counts of the whole fleet, however many chunks wait.

use crate::state::sql::Sql;
use support::rig::{DATASETS, Rig};

/// Ends a claim of chunk `index` of job 1 with samples that others hold too.
async fn complete_with_late_duplicates(rig: &Rig, sql: &Sql, index: i32, n: i32) {
    let fence = sql.claimed(index).await;
    assert!(sql.complete(index, fence).await);
    // What the row names is looked for before the job ends.
    let metadata = [("claim", "claim"), ("sha256", "00")];
    for kind in ["tar", "manifest.json"] {
        let name = format!("job_1/chunks/chunk_{index:05}.{kind}");
        rig.blobs.create_with(DATASETS, &name, &metadata).await.unwrap();
    }
    let late = "update chunk set late_duplicates = (
            select jsonb_agg(jsonb_build_object('key', format('00000_%s', lpad(i::text, 100, '0')),
                'duplicate_of', format('00001_%s', lpad(i::text, 100, '0'))))
            from generate_series(1, $2) i)
        where chunk_index = $1";
    sqlx::query(late).bind(index).bind(n).execute(&sql.pool).await.unwrap();
}

/// A `dataset.json` above 64 MiB, more than anything that is read, is written again after a retry.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_is_written_again() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    sql.announce(2).await;
    sql.job(1, 2).await;
    complete_with_late_duplicates(&rig, &sql, 0, 300_000).await;
    let fence = sql.claimed(1).await;
    sql.give_up(1, fence, "failed").await;
    let handler = rig.handler().await;
    rig.until("select ended_at is not null from chunk_handler.job").await;
    let first = rig.blobs.read(DATASETS, "job_1/dataset.json").await.unwrap();
    assert!(first.len() > 64 << 20, "{} bytes", first.len());
    handler.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(rig.chunkctl(&["control", "retry", "--job-id", "1"]).code, Some(0));
    complete_with_late_duplicates(&rig, &sql, 1, 1).await;
    let _next = rig.handler().await;
    rig.until("select ended_at is not null from chunk_handler.job").await;
    let second = rig.blobs.read(DATASETS, "job_1/dataset.json").await.unwrap();
    assert!(second.len() > first.len(), "{} bytes after {}", second.len(), first.len());
}

/// Six million waiting chunks took longer to count than a call may: counting ends at 100,000.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_chunks_are_counted_up_to_a_bound() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    sql.job(1, 99_999).await;
    let handler = rig.handler().await;
    let counted = async || {
        let timer = r#"{"Data":{},"Metadata":{}}"#.to_owned();
        let (status, answer) = handler.post("/health_check", "timer", timer).await;
        assert_eq!(status, 200, "{answer}");
        let row = "select pending_chunks from health order by checked_at desc limit 1";
        sql.value::<i64>(row).await
    };
    assert_eq!(counted().await, 99_999);
    sql.job(2, 10_000).await;
    assert_eq!(counted().await, 100_000);
}
