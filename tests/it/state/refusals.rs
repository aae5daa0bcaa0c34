//! A database that refuses a statement: only a message's own values may end the message.

use chunk_handler::state::{Database, LeaseTerms};
use serde_json::Value;
use std::time::Duration;
use support::rig::{Handler, Rig, envelope, inline};

/// A role that may do everything but claim.
async fn without_the_claim(rig: &Rig) -> String {
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.limited_role(&[
        "grant create on database DATABASE to ROLE",
        "grant create on schema chunk_handler to ROLE",
        "revoke execute on function chunk_handler.claim from public",
    ])
    .await
}

/// The message is held while `mend` is not run, and its chunk completes afterwards.
async fn held_until(rig: &Rig, handler: &Handler, mend: &'static str) {
    let message = inline(1, 0, &rig.pictures(2));
    let (answered, ()) = tokio::join!(handler.deliver("held", &message), async {
        handler.line("no answer yet, asking again").await;
        assert_eq!(rejected(rig).await, 0);
        rig.execute(mend).await;
    });
    assert_eq!(answered.0, 200, "{}", answered.1);
    assert!(said(&answered.1).contains("completed"), "{}", answered.1);
    assert_eq!(rejected(rig).await, 0);
    let status = "select status from chunk_handler.chunk_status";
    assert_eq!(rig.value::<String>(status).await, "completed");
    assert_eq!(rig.value::<i32>("select attempt from chunk_handler.chunk_status").await, 1);
}

async fn rejected(rig: &Rig) -> i64 {
    rig.value("select count(*) from chunk_handler.rejected_message").await
}

fn said(answer: &Value) -> &str {
    answer["Logs"][0].as_str().unwrap_or_default()
}

/// H8 I9: a role without the right to claim loses no message; the chunk runs when the right is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_a_right_loses_no_message() {
    let rig = Rig::new().await;
    let url = without_the_claim(&rig).await;
    let handler = rig.handler_with(&[("DATABASE_URL", &url)]).await;
    let mend = "grant execute on function chunk_handler.claim to public";
    held_until(&rig, &handler, mend).await;
}

/// H8 I9: nor does a schema whose function is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_gone_loses_no_message() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.execute("alter function chunk_handler.claim rename to claimed").await;
    let mend = "alter function chunk_handler.claimed rename to claim";
    held_until(&rig, &handler, mend).await;
}

/// H8: a drain ends the hold, and the host delivers the message again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_claim_is_redelivered_when_the_process_drains() {
    let rig = Rig::new().await;
    let url = without_the_claim(&rig).await;
    let handler = rig.handler_with(&[("DATABASE_URL", &url)]).await;
    let message = inline(1, 0, &rig.pictures(1));
    let (answered, ()) = tokio::join!(handler.deliver("held", &message), async {
        handler.line("no answer yet, asking again").await;
        handler.signal(nix::sys::signal::Signal::SIGTERM);
    });
    assert_eq!(answered.0, 503, "{}", answered.1);
    assert_eq!(rejected(&rig).await, 0);
}

/// I9: values that the database cannot store end the message, which is recorded with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_values_cannot_be_stored_is_recorded() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.execute("alter table chunk_handler.chunk add check (priority <> 9)").await;
    let mut message = inline(1, 0, &rig.pictures(1));
    message["priority"] = 9.into();
    let (status, answer) = handler.deliver("unstorable", &message).await;
    assert_eq!(status, 200, "{answer}");
    assert!(said(&answer).contains("cannot store the message"), "{answer}");
    let reason = "select reason from chunk_handler.rejected_message";
    assert!(rig.value::<String>(reason).await.contains("chunk_priority_check"));
}

/// I9: a complaint about values of the claim itself, not of the message, loses no message.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_breaks_a_constraint_loses_no_message() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let check = "alter table chunk_handler.attempt add constraint odd check (owner is null)";
    rig.execute(check).await;
    held_until(&rig, &handler, "alter table chunk_handler.attempt drop constraint odd").await;
}

/// I9: nor does a column that a newer release added to another table.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_a_newer_release_loses_no_message() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.execute("alter table chunk_handler.job add tenant text not null").await;
    held_until(&rig, &handler, "alter table chunk_handler.job drop column tenant").await;
}

/// A session that began while the server was read-only, as after a failover, stays so: it is closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_read_only_server_is_replaced() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let terms = LeaseTerms::new(Duration::from_secs(60));
    let database = Database::open(&rig.database_url, terms).unwrap();
    set_read_only_for_new_sessions(&rig, "on").await;
    // One call at a time: the pool has one session.
    assert!(database.resume().await.unwrap_err().is_away());
    set_read_only_for_new_sessions(&rig, "off").await;
    database.resume().await.unwrap();
}

async fn set_read_only_for_new_sessions(rig: &Rig, value: &str) {
    let name: String = rig.value("select current_database()::text").await;
    let alter = format!("alter database {name} set default_transaction_read_only = {value}");
    let statement = format!("begin read write; {alter}; commit");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&rig.pool).await.unwrap();
}

/// H8: a message that only the database refuses keeps no chunk permit while it is held.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_message_lets_others_run() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", "1")]).await;
    rig.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin
            raise insufficient_privilege; end $$",
    )
    .await;
    rig.execute(
        "create trigger odd before insert on chunk_handler.attempt for each row
         when (new.job_id = 13) execute function refuse()",
    )
    .await;
    let (bad, good) = (inline(13, 0, &rig.pictures(1)), inline(1, 0, &rig.pictures(1)));
    let (bad, ()) = tokio::join!(handler.deliver("held", &bad), async {
        handler.line("no answer yet, asking again").await;
        let (status, answer) = handler.deliver("healthy", &good).await;
        assert_eq!(status, 200, "{answer}");
        assert!(said(&answer).contains("completed"), "{answer}");
        rig.execute("drop trigger odd on chunk_handler.attempt").await;
    });
    assert!(said(&bad.1).contains("completed"), "{}", bad.1);
}

/// I9 I13: nor does a column of the chunk's own table that this release does not write.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_the_chunks_own_table_loses_no_message() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.execute("alter table chunk_handler.chunk add tenant text not null").await;
    held_until(&rig, &handler, "alter table chunk_handler.chunk drop column tenant").await;
}

/// I9: a record whose number is taken already, as after a restore without sequences, is not taken for
/// one that is there: the message is held until it can be written.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_taken_loses_no_record() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.execute(
        "insert into chunk_handler.rejected (rejected_no, source_key, queue, body, reason)
            overriding system value select 1, 'there', 'chunks', 'there', 'there'",
    )
    .await;
    let (status, answer) = handler.post("/process_chunk", "bad", envelope("not a message")).await;
    assert_eq!(status, 200, "{answer}");
    let recorded =
        "select count(*) from chunk_handler.rejected_message where body = 'not a message'";
    assert_eq!(rig.value::<i64>(recorded).await, 1);
}
