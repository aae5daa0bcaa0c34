//! A database of the baseline (migrations 1 to 3), filled, under this release.

use chunk_handler::state::Database;
use sqlx::{Connection as _, PgConnection};
use support::{
    checkout, invariants,
    rig::{Rig, inline},
};

/// The database of a release before migration 4, with jobs that ended, run and wait.
async fn baseline() -> Rig {
    let rig = Rig::new().await;
    let text =
        std::fs::read_to_string(checkout::root().join("tests/fixtures/baseline.sql")).unwrap();
    let mut connection = PgConnection::connect(&rig.database_url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rig
}

/// The rows of the baseline are still there after the upgrade, and what was in work is reclaimed.
#[tokio::test(flavor = "multi_thread")]
async fn a_filled_database_of_the_baseline_is_upgraded() {
    let rig = baseline().await;
    let handler = rig.handler().await;
    let known = Database::known_schema_version();
    let version = "select max(version) from chunk_handler._sqlx_migrations where success";
    assert_eq!(rig.value::<i64>(version).await, known);
    assert!(known > 3, "nothing was upgraded");
    rig.until("select outcome = 'expired' from chunk_handler.attempt_log where job_id = 2 and chunk_index = 0")
        .await;
    let jobs = "select string_agg(status, ' ' order by job_id) from chunk_handler.job_progress";
    assert_eq!(rig.value::<String>(jobs).await, "completed running pending");
    let kept = "select count(*) from chunk_handler.image_hash where job_id = 1";
    assert_eq!(rig.value::<i64>(kept).await, 4);
    let (_, answer) = handler.deliver("one", &inline(9, 0, &rig.pictures(2))).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
    assert_eq!(invariants::of_rows(&rig).await, Vec::<String>::new());
}

/// I13: a newer release before an older schema that it may not migrate takes no chunk and says so; it
/// works once somebody has migrated.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_may_not_migrate_waits_for_somebody_who_may() {
    let rig = baseline().await;
    let later = "alter default privileges in schema chunk_handler grant all on tables to ROLE";
    let url = rig.limited_role(&[later]).await;
    let handler = support::rig::Handler::spawn(rig.environment(), &[("DATABASE_URL", &url)]);
    handler.answers().await;
    handler.line("the schema could not be brought up to date").await;
    let message = inline(9, 0, &rig.pictures(2));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        handler.line("no answer yet, asking again").await;
        assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("completed"), "{}", answer.1);
    let attempt = "select attempt from chunk_handler.chunk_status where job_id = 9";
    assert_eq!(rig.value::<i32>(attempt).await, 1);
}
