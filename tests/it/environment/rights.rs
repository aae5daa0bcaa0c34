//! A database that cannot do the work: rights, schema, release, account. Nothing is charged, nothing is
//! lost, and work goes on by itself.

use support::rig::{Handler, Rig, inline};

/// Connects as a role that may not create anything, and may do this much besides.
async fn as_a_limited_role(rig: &Rig, grants: &[&str]) -> String {
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.limited_role(grants).await
}

/// The chunk of a message ends as completed, at its first attempt, with every picture fetched once.
async fn completed_at_once(rig: &Rig, answer: &(u16, serde_json::Value), pictures: usize) {
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("completed"), "{}", answer.1);
    let row =
        "select format('%s %s %s', status, attempt, expiries) from chunk_handler.chunk_status";
    assert_eq!(rig.value::<String>(row).await, "completed 1 0");
    assert_eq!(rig.origin.total(), pictures as u64);
    assert_eq!(rejected(rig).await, 0);
}

async fn rejected(rig: &Rig) -> i64 {
    rig.value("select count(*) from chunk_handler.rejected_message").await
}

/// I13: a schema that fits needs no right to change it.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_create_anything_does_the_work() {
    let rig = Rig::new().await;
    let url = as_a_limited_role(&rig, &[]).await;
    let handler = rig.handler_with(&[("DATABASE_URL", &url)]).await;
    let mut message = inline(1, 0, &rig.pictures(2));
    message["total_chunks"] = 1.into();
    let answer = handler.deliver("one", &message).await;
    completed_at_once(&rig, &answer, 2).await;
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
}

/// I13: a role that may have no connection: log and command line say so, not that a pool timed out; doctor
/// names a limit that is lower than what a handler takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_connections_is_named() {
    let rig = Rig::new().await;
    let url = as_a_limited_role(&rig, &["alter role ROLE connection limit 3"]).await;
    let few = [("DATABASE_URL", &*url)];
    let doctor = rig.chunkctl_with(&few, &["doctor"]).stdout;
    assert!(doctor.contains("may have 3 connections, and a handler takes 5"), "{doctor}");
    let database = rig.database_url.rsplit('/').next().unwrap();
    let none = format!("alter role limited_{database} connection limit 0");
    sqlx::query(sqlx::AssertSqlSafe(none)).execute(&rig.pool).await.unwrap();
    let handler = Handler::spawn(rig.environment(), &few);
    handler.line("too many connections for role").await;
    let said = rig.chunkctl_with(&few, &["status"]);
    assert!(said.stderr.contains("too many connections for role"), "{}", said.stderr);
}

/// I13: a role that may connect to the database and create a schema there, and nothing else, makes the
/// schema and does a whole job.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_connect_and_create_migrates_and_does_a_whole_job() {
    let mut rig = Rig::new().await;
    let url = rig.least_privileged_role().await;
    let limited = "select not exists (select from pg_roles where rolname like 'id-%'
            and (rolsuper or rolcreatedb or rolcreaterole or rolbypassrls or rolreplication))
        and not has_database_privilege('public', current_database(), 'connect, temporary, create')";
    assert!(rig.value::<bool>(limited).await);
    rig.database_url = url;
    let rig = rig;
    let mut host = functions_host::rigged::host(&rig, &[]).await;
    support::job::submit(&rig);
    rig.until(support::job::COMPLETED).await;
    host.stop().await.unwrap();
    let owner = "select nspowner::regrole::text like '%id-%' from pg_namespace
        where nspname = 'chunk_handler'";
    assert!(rig.value::<bool>(owner).await);
    support::job::is_whole(&rig).await;
}

/// I13: a chunk whose completion is refused is held with its work done, and completed once the right
/// is there; meanwhile the process says what it lacks and starts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_completion_is_written_when_it_is_allowed() {
    let rig = Rig::new().await;
    let lacking = "revoke update on chunk_handler.slot from ROLE";
    let url = as_a_limited_role(&rig, &["grant select on chunk_handler.slot to ROLE"]).await;
    let handler = rig.handler_with(&[("DATABASE_URL", &url)]).await;
    let role = url.split(['/', ':']).nth(3).unwrap().to_owned();
    rig.origin.set_delay(std::time::Duration::from_secs(1));
    let message = inline(1, 0, &rig.pictures(2));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        rig.until(support::job::PROCESSING).await;
        let revoke = lacking.replace("ROLE", &role);
        sqlx::query(sqlx::AssertSqlSafe(revoke)).execute(&rig.pool).await.unwrap();
        let shown = "select exists (select from chunk_handler.process
            where degraded like 'database: the role limited_% lacks update on table slot%')";
        rig.until(shown).await;
        let grant = format!("grant update on chunk_handler.slot to {role}");
        sqlx::query(sqlx::AssertSqlSafe(grant)).execute(&rig.pool).await.unwrap();
    });
    completed_at_once(&rig, &answer, 2).await;
    rig.until("select not exists (select from chunk_handler.process where degraded is not null)")
        .await;
}

/// A message that comes while `broken` holds is not rejected, and its chunk runs when it is mended.
async fn held_while(broken: &'static str, shown: &'static str, mended: &'static str) {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.execute(broken).await;
    rig.until(shown).await;
    let message = inline(1, 0, &rig.pictures(2));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        waits(&handler).await;
        rig.execute(mended).await;
    });
    completed_at_once(&rig, &answer, 2).await;
}

async fn waits(handler: &Handler) {
    handler.line("no answer yet, asking again").await;
}

/// I13: a schema that needs a newer release: an older one takes no chunk and shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_too_old_takes_no_chunk() {
    held_while(
        "update chunk_handler.fleet set min_handler = 1000",
        "select exists (select from chunk_handler.process where degraded like 'release:%')",
        "update chunk_handler.fleet set min_handler = 4",
    )
    .await;
}

/// I13: a database knows its storage account: a process with another one takes no chunk.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_another_account_takes_no_chunk() {
    held_while(
        "update chunk_handler.fleet set storage = 'another'",
        "select exists (select from chunk_handler.process
            where degraded like 'storage account: the database belongs to account and containers another%')",
        "update chunk_handler.fleet set storage = null",
    )
    .await;
}

/// A schema that was made again under a living process has that process's limit, not the first row's.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_made_again_is_announced_again() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_FLEET_MAX_CHUNKS", "7")]).await;
    let limit = "select max_chunks = 7 from chunk_handler.capacity";
    rig.until(limit).await;
    rig.execute("drop schema chunk_handler cascade").await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.until(limit).await;
    let answer = handler.deliver("one", &inline(1, 0, &rig.pictures(2))).await;
    completed_at_once(&rig, &answer, 2).await;
}

/// I4: a slot whose chunk is gone is free again.
#[tokio::test(flavor = "multi_thread")]
async fn the_slot_of_a_removed_chunk_is_freed() {
    let rig = Rig::new().await;
    let _handler = rig.handler().await;
    rig.execute("update chunk_handler.slot set job_id = 9, chunk_index = 0 where slot_no = 1")
        .await;
    rig.until("select active_chunks = 0 from chunk_handler.capacity").await;
}

/// I13: rows that the handler needs and somebody removed are made again.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_row_tables_are_made_again() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_FLEET_MAX_CHUNKS", "7")]).await;
    for table in ["waker", "failure_export", "fleet", "slot"] {
        let statement = format!("delete from chunk_handler.{table}");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&rig.pool).await.unwrap();
    }
    rig.until(
        "select exists (select from chunk_handler.fleet where max_chunks = 7)
            and (select count(*) from chunk_handler.slot) = 7
            and (select count(*) from chunk_handler.waker) = 1
            and (select count(*) from chunk_handler.failure_export) = 1",
    )
    .await;
    let answer = handler.deliver("one", &inline(1, 0, &rig.pictures(2))).await;
    completed_at_once(&rig, &answer, 2).await;
}

/// I13: a process without descriptors takes no picture for lost: the chunk is done again.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_descriptors_loses_no_picture() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let limit = |n: u64| {
        let pid = handler.pid().to_string();
        let limit = format!("--nofile={n}:");
        let done = std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(done.unwrap().success());
    };
    let open = std::fs::read_dir(format!("/proc/{}/fd", handler.pid())).unwrap().count() as u64;
    limit(open + 3);
    rig.origin.set_delay(std::time::Duration::from_millis(500));
    let (_, answer) = handler.deliver("one", &inline(1, 0, &rig.pictures(12))).await;
    let said = answer["Logs"][0].as_str().unwrap().to_owned();
    assert!(!said.contains("images valid") && !said.contains("nothing_reachable"), "{said}");
    limit(20_000);
    rig.until("select not exists (select from chunk_handler.process where degraded is not null)")
        .await;
    rig.execute("update chunk_handler.chunk set not_before = null where state = 'pending'").await;
    let (_, answer) = handler.deliver("two", &support::rig::wake_up(1, 0)).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("12 of 12 images valid"), "{answer}");
    assert_eq!(rig.value::<i32>("select attempt from chunk_handler.chunk_status").await, 1);
}

/// A process that has just started is shown as it is, and not as it was before it knew its fleet: one
/// that ends soon would alarm people for half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_has_started_is_not_shown_as_degraded() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    handler.line("\"ready\"").await;
    handler.kill9();
    let shown = "select degraded from chunk_handler.process";
    assert_eq!(rig.value::<Option<String>>(shown).await, None);
}
