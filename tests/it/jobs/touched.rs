//! The end of a job is looked for where something happened, and whatever may end one is noticed.

use crate::state::sql::Sql;
use sqlx::migrate::Migrator;
use std::path::Path;
use support::{checkout, rig::Rig};

/// Jobs 1 to 3: every chunk failed before anything could be noticed.
const OVER: &str = "
    insert into job (job_id, total_chunks) values (1, 1), (2, 1), (3, 1);
    insert into chunk (job_id, chunk_index, priority, message, state, error_code)
        select j, 0, 5, '{}', 'failed', 'code' from generate_series(1, 3) j;";

/// The upkeep does not look at jobs to which nothing happened, however many are open.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_job_to_which_something_happened_is_looked_at() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    sql.execute(OVER).await;
    let _handler = rig.handler().await;
    sql.execute("update job set closed_at = clock_timestamp() where job_id = 2").await;
    sql.execute("insert into job_touched (job_id) values (3), (3), (99)").await;
    let ended = "select array_agg(job_id order by job_id) from job where ended_at is not null";
    rig.until("select count(*) = 2 from chunk_handler.job where ended_at is not null").await;
    assert_eq!(sql.value::<Vec<i64>>(ended).await, [2, 3]);
    // Those that ended are looked at once more, and then nothing is left to be looked at.
    rig.until("select count(*) = 0 from chunk_handler.job_touched").await;
    assert_eq!(sql.value::<Vec<i64>>(ended).await, [2, 3]);
}

/// What may end a job, and what cannot.
const CHANGES: &[(&str, &str, bool)] = &[
    ("a claim", "select claim(1, 0, null, 'o', 'i', 'a', 60, 5::smallint, null)", false),
    ("a renewal", "update chunk set lease_until = lease_until + interval '1 s'", false),
    ("a release", "select give_up(1, 0, 'a', 'released', 'c', 'm', 5, 0, 0, 0)", false),
    ("a claim again", "select claim(1, 0, null, 'o', 'i', 'b', 60, 5::smallint, null)", false),
    (
        "a completion",
        r#"select complete(1, 0, 'b', 2, 'b', '{}', '{"blob": "b"}', 'm', '{}', '{}')"#,
        true,
    ),
    ("another claim", "select claim(1, 1, null, 'o', 'i', 'c', 60, 5::smallint, null)", false),
    ("a failure", "select give_up(1, 1, 'c', 'failed', 'c', 'm', 5, 0, 0, 0)", true),
    ("a retry", "select retry(1, 1)", false),
    ("a registration", "select register(1, 9, null, 5::smallint, '{}')", false),
    ("a chunk that is removed", "delete from chunk where chunk_index = 9", true),
    ("a smaller total", "update job set total_chunks = 3", true),
    ("a close", "update job set closed_at = clock_timestamp()", true),
    (
        "the last of many lost workers",
        "update chunk set expiries = 19 where chunk_index = 2;
        select claim(1, 2, null, 'o', 'i', 'd', -1, 5::smallint, null); select reclaim(null)",
        true,
    ),
    ("a cancel", "select cancel(1)", true),
];

/// Whatever may end a job is noticed, in the transaction that does it; nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_may_end_a_job_touches_it() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    sql.announce(5).await;
    sql.job(1, 4).await;
    for (what, statement, touches) in CHANGES {
        sql.execute("delete from job_touched").await;
        sql.execute(statement).await;
        let touched = "select count(*) > 0 and bool_and(job_id = 1) from job_touched";
        assert_eq!(sql.value::<bool>(touched).await, *touches, "{what}");
    }
}

/// A cancel touches a large job once, and not with each of its chunks.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_touches_a_job_once() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    sql.job(1, 1000).await;
    sql.execute("select cancel(1)").await;
    assert_eq!(sql.value::<i64>("select count(*) from job_touched").await, 1);
}

/// The schema with which real migrations begin, as the product would have made it.
async fn baseline(rig: &Rig) {
    let all = checkout::root().join("src/state/migrations");
    let here = rig.temp.path().join("migrations");
    std::fs::create_dir(&here).unwrap();
    for file in std::fs::read_dir(all).unwrap().flatten() {
        if file.file_name().to_string_lossy().as_ref() < "0004" {
            std::fs::copy(file.path(), here.join(file.file_name())).unwrap();
        }
    }
    let mut migrator = Migrator::new(Path::new(&here)).await.unwrap();
    migrator.create_schema("chunk_handler");
    migrator.dangerous_set_table_name("chunk_handler._sqlx_migrations");
    let mut connection = rig.pool.acquire().await.unwrap();
    sqlx::raw_sql("set search_path = chunk_handler").execute(&mut *connection).await.unwrap();
    migrator.run(&mut *connection).await.unwrap();
    sqlx::raw_sql(OVER).execute(&mut *connection).await.unwrap();
    drop(connection.detach());
}

/// A job whose last chunk ended under the schema of an earlier release ends after the upgrade.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_over_before_the_upgrade_ends() {
    let rig = Rig::new().await;
    baseline(&rig).await;
    let _handler = rig.handler().await;
    rig.until("select count(*) = 3 from chunk_handler.job where ended_as = 'failed'").await;
}
