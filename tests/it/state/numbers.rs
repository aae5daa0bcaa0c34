//! What the views say: kept sums, how far a chunk is, and the columns that the papers name.

use super::sql::Sql;
use support::{
    checkout, invariants,
    rig::{Rig, inline},
};

/// A renewal says how far its chunk is, and what it holds; nobody says it of one that waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_says_how_far_a_chunk_is() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = [rig.pictures(3), vec![rig.origin.url("/hang/1")]].concat();
    let mut message = inline(1, 0, &urls);
    message["total_chunks"] = 1.into();
    let invocation = handler.deliver("one", &message);
    let looks = async {
        let done = "select exists (select from chunk_handler.chunk_status where items_done = 3)";
        rig.until(done).await;
        let said = "select format('%s %s %s', items_done, images_total, temp_bytes is not null)
            from chunk_handler.chunk_status";
        assert_eq!(rig.value::<String>(said).await, "3 4 t");
        let job = "select format('%s of %s', items_done, images_total)
            from chunk_handler.job_progress";
        assert_eq!(rig.value::<String>(job).await, "3 of 0", "no verdict counts before its chunk");
        let slot = "select slot_no from chunk_handler.attempt_log";
        assert_eq!(rig.value::<Option<i32>>(slot).await, Some(1));
        handler.kill9();
    };
    tokio::select! {
        _ = invocation => panic!("the chunk ended"),
        () = looks => {}
    }
    let sql = Sql::new(&rig, 1).await;
    assert_eq!(sql.expire_all().await, 1);
    let waits = "select status || ' ' || coalesce(items_done::text, 'null') || ' '
        || coalesce(images_total::text, 'null') from chunk_handler.chunk_status";
    assert_eq!(rig.value::<String>(waits).await, "pending null null");
    let slot = "select slot_no from chunk_handler.attempt_log";
    assert_eq!(rig.value::<Option<i32>>(slot).await, Some(1), "and afterwards");
}

/// Sums and reasons of job 1, and whether they are kept.
const SUMS: &str = "select format('%s: %s chunks, %s of %s failed, %s', j.ended_at is not null,
        j.completed_chunks + j.failed_chunks, j.images_failed, j.images_total,
        (select string_agg(reason || ' ' || images, ', ' order by reason) from job_reasons r
            where r.job_id = j.job_id))
    from job_progress j where job_id = 1";
const KEPT: &str = "select sums is not null from job where job_id = 1";
const END: &str =
    "update job set ended_at = clock_timestamp(), ended_as = 'completed' where job_id = 1";

async fn ended_job() -> (Rig, Sql) {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    sql.announce(4).await;
    sql.job(1, 2).await;
    for index in 0..2 {
        let fence = sql.claimed(index).await;
        assert!(sql.complete(index, fence).await);
    }
    sql.execute(
        r#"update chunk set totals = '{"images_total": 5, "images_valid": 2, "images_failed": 3,
            "errors": {"timeout": 1, "http_404": 2}}'"#,
    )
    .await;
    sql.execute(END).await;
    (rig, sql)
}

/// What an ended job adds up to is counted once; a retry, a chunk more and a chunk less count anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_sums_of_an_ended_job_are_kept_until_it_changes() {
    let (rig, sql) = ended_job().await;
    let counted = "true: 2 chunks, 6 of 10 failed, http_404 4, timeout 2";
    let said = async || sql.value::<String>(SUMS).await.replacen("t:", "true:", 1);
    assert_eq!(said().await, counted, "not kept yet");
    assert_eq!(sql.value::<Option<i64>>("select keep_sums(null)").await, Some(1));
    assert_eq!(sql.value::<Option<i64>>("select keep_sums(null)").await, None, "once");
    assert_eq!(said().await, counted);
    let same = "select to_jsonb(c) = j.sums - 'reasons' from job j join job_count c using (job_id)";
    assert!(sql.value::<bool>(same).await);
    // Nothing of it is counted again: a row that is changed by hand is not seen.
    sql.execute("update chunk set totals = totals || '{\"images_failed\": 500}'").await;
    assert_eq!(said().await, counted);
    sql.execute("update chunk set totals = totals || '{\"images_failed\": 3}'").await;
    for (what, change) in [
        ("a retry", "select run_again(1, '{0}', null)"),
        (
            "a chunk more",
            "insert into chunk (job_id, chunk_index, priority, message, state,
            error_code) values (1, 7, 5, '{}', 'failed', 'cancelled')",
        ),
        ("a chunk less", "delete from chunk where chunk_index = 7"),
    ] {
        sql.execute(change).await;
        assert!(!sql.value::<bool>(KEPT).await, "{what}");
        sql.execute("update job set ended_at = clock_timestamp(), ended_as = 'completed'").await;
        assert_eq!(sql.value::<Option<i64>>("select keep_sums(1)").await, Some(1), "{what}");
    }
    let open = "update job set ended_at = null, ended_as = null";
    sql.execute(open).await;
    assert!(!sql.value::<bool>(KEPT).await, "an open job keeps none");
    assert_eq!(sql.value::<Option<i64>>("select keep_sums(1)").await, None);
    drop(rig);
}

/// Who ends a job keeps what it adds up to, and the upkeep what nobody kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ends_is_counted_by_who_ends_it() {
    let (rig, sql) = ended_job().await;
    let handler = rig.handler().await;
    rig.until("select sums is not null from chunk_handler.job where job_id = 1").await;
    let mut message = inline(2, 0, &rig.pictures(2));
    message["total_chunks"] = 1.into();
    handler.deliver("one", &message).await;
    rig.until("select sums is not null from chunk_handler.job where job_id = 2").await;
    let sum = "select images_valid from job_progress where job_id = 2";
    assert_eq!(sql.value::<i64>(sum).await, 2);
    sql.execute("delete from chunk where job_id = 1").await;
    assert_eq!(invariants::of_rows(&rig).await, Vec::<String>::new());
}

const FOLD: &str = "select fold_sums(1000)";
const LEFT: &str = "select count(*) from job_sum where job_id = 1";

/// A chunk that is made up here has other faults.
async fn wrong_sums(rig: &Rig) -> Vec<String> {
    let found = invariants::of_rows(rig).await;
    found.into_iter().filter(|fault| fault.contains(" has kept ")).collect()
}

/// I8: sums follow whatever is done to a chunk, before they are folded and after; of a job that is gone
/// nothing is left for the next one of its number.
#[tokio::test(flavor = "multi_thread")]
async fn sums_follow_the_chunks_whoever_changes_them() {
    let (rig, sql) = ended_job().await;
    let holds = async |what: &str| {
        for _ in 0..2 {
            assert_eq!(wrong_sums(&rig).await, Vec::<String>::new(), "{what}");
            sql.value::<i64>(FOLD).await;
        }
        assert_eq!(sql.value::<i64>(FOLD).await, 0, "{what}: once");
        assert!(sql.value::<i64>(LEFT).await < 20, "{what}: few of many");
    };
    holds("completed").await;
    for (what, change) in [
        ("run again", "select run_again(1, '{0}', null)"),
        ("lost", "select run_again(1, '{1}', array[shard_fence]) from chunk where chunk_index = 1"),
        (
            "came",
            r#"insert into chunk (job_id, chunk_index, priority, message, totals, shard_fence, shard_claim,
                shard_blob, manifest_blob, fence, again_fence)
            select 1, 7, 5, '{}', '{"images_valid": 3, "success_rate": 0.5}', 0, 'c', 'b', 'm', 0, 0"#,
        ),
        (
            "other totals",
            "update chunk set totals = totals || '{\"bytes_in\": 9}' where totals is not null",
        ),
        ("another job", "insert into job (job_id) values (2)"),
        ("moved", "update chunk set job_id = 2 where chunk_index = 7"),
        ("went", "delete from chunk where chunk_index = 7"),
    ] {
        sql.execute(change).await;
        holds(what).await;
    }
    assert!(sql.value::<bool>("select count(*) > 0 from job_sums").await);
    // The negative control: sums that nobody noted are found.
    sql.execute("update job_sum set value = value + 1 where name = 'images_total'").await;
    let found = wrong_sums(&rig).await;
    assert!(
        found.len() == 1 && found[0].starts_with("I8: job 1 has kept 6 images_total"),
        "{found:?}"
    );
    sql.execute("select recount_sums(1)").await;
    holds("counted anew").await;
    // What no release writes holds up nobody, and goes when it is mended.
    for odd in ["\"many\"", "1.5", "null", "1e300", "2"] {
        let change = format!(
            "update chunk set totals = totals || '{{\"bytes_out\": {odd}, \"errors\": {odd}}}'"
        );
        sqlx::query(sqlx::AssertSqlSafe(change)).execute(&sql.pool).await.unwrap();
        sql.value::<i64>(FOLD).await;
    }
    let said = "select images_failed || ' ' || bytes_out from job_progress where job_id = 1";
    assert_eq!(sql.value::<String>(said).await, "3 2");
    sql.execute("update chunk set totals = '{\"images_total\": 8}' where chunk_index = 0").await;
    for gone in ["attempt", "chunk", "job"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {gone}")))
            .execute(&sql.pool)
            .await
            .unwrap();
    }
    assert_eq!(sql.value::<i64>("select count(*) from job_sum").await, 0);
}

/// I8: the fold waits for nobody: what somebody holds is left for the next time, and nothing is counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn sums_that_somebody_holds_are_left() {
    let (rig, sql) = ended_job().await;
    assert!(sql.value::<i64>(FOLD).await > 0);
    for (held, is_left) in
        [("select from job_sum for update", false), ("select from job for update", true)]
    {
        let mut other = sql.pool.begin().await.unwrap();
        sqlx::query(held).execute(&mut *other).await.unwrap();
        let changed = "update chunk_handler.chunk set totals = totals || '{\"images_valid\": 9}'
            where chunk_index = 0";
        rig.execute(changed).await;
        sqlx::query("set lock_timeout = 1").execute(&sql.pool).await.unwrap();
        assert_eq!(sql.value::<i64>(FOLD).await == 0, is_left, "{held}");
        sqlx::query("reset lock_timeout").execute(&sql.pool).await.unwrap();
        assert_eq!(wrong_sums(&rig).await, Vec::<String>::new(), "{held}");
        other.rollback().await.unwrap();
        sql.value::<i64>(FOLD).await;
        assert_eq!(wrong_sums(&rig).await, Vec::<String>::new(), "{held}: afterwards");
        rig.execute("update chunk_handler.chunk set totals = totals || '{\"images_valid\": 2}'")
            .await;
    }
}

/// A pause says since when, also one that an earlier release began; a longer one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_says_since_when() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    let since = "select paused_since::text from capacity";
    assert_eq!(sql.value::<Option<String>>(since).await, None);
    sql.execute("update fleet set paused_until = clock_timestamp() + interval '1 min'").await;
    let first = sql.value::<Option<String>>(since).await;
    assert!(first.is_some());
    sql.execute("update fleet set paused_until = paused_until + interval '1 min'").await;
    assert_eq!(sql.value::<Option<String>>(since).await, first);
    sql.execute("update fleet set paused_until = null").await;
    assert_eq!(sql.value::<Option<String>>(since).await, None);
    sql.execute("update fleet set paused_until = clock_timestamp() + interval '1 min'").await;
    assert_ne!(sql.value::<Option<String>>(since).await, first);
}

/// doc/formats.md names every view, and its columns in their order.
#[tokio::test(flavor = "multi_thread")]
async fn the_papers_name_every_column_of_every_view() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    let views: Vec<(String, Vec<String>)> = sqlx::query_as(
        "select table_name::text, array_agg(column_name::text order by ordinal_position)
        from information_schema.columns join information_schema.views using (table_schema, table_name)
        where table_schema = 'chunk_handler' group by 1 order by 1",
    )
    .fetch_all(&sql.pool)
    .await
    .unwrap();
    let text = std::fs::read_to_string(checkout::root().join("doc/formats.md")).unwrap();
    let table = text.split("\n## Views\n").nth(1).unwrap().split("\n## ").next().unwrap();
    for (view, columns) in &views {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{view}` |")));
        let row = row.unwrap_or_else(|| panic!("view {view} is not in doc/formats.md"));
        let mut words = row.split('`').skip(1).step_by(2).skip(1);
        for column in columns {
            assert!(words.any(|word| word == column), "{view}.{column} is missing or out of order");
        }
    }
    let named = table.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(named, views.len(), "a view that is none is named");
}
