//! A job is over when all its indexes are, and what cannot belong to it is refused.

use crate::state::sql::Sql;
use functions_host::storage::Account;
use serde_json::Value;
use support::{
    invariants,
    rig::{Handler, Rig, inline, wait_for, wake_up},
};

const ENDED: &str = "select ended_at is not null from chunk_handler.job";
const PROGRESS: &str =
    "select status || ' ' || round(progress)::text from chunk_handler.job_progress";

/// Delivers a message; what was answered.
async fn say(handler: &Handler, message: &Value) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    let (status, answer) = handler.deliver(&id, message).await;
    assert_eq!(status, 200);
    answer["Logs"][0].as_str().unwrap().to_owned()
}

fn of(total: i32, mut message: Value) -> Value {
    message["total_chunks"] = total.into();
    message
}

/// The text of `chunkctl status`.
fn status(rig: &Rig) -> String {
    rig.chunkctl(&["status"]).stdout
}

/// The reasons of what the handlers recorded of the poison queue, which takes what a message says to
/// the registration and to nothing else.
async fn recorded(rig: &Rig, messages: &[Value]) -> Vec<String> {
    let poison = Account::parse(&rig.storage).unwrap().queue("chunks-poison");
    poison.create().await.unwrap();
    for message in messages {
        poison.put(&message.to_string()).await.unwrap();
    }
    wait_for("the poison queue is empty", async || poison.count().await.unwrap() == 0).await;
    let reasons = "select reason from chunk_handler.rejected_message order by received_at";
    sqlx::query_scalar(reasons).fetch_all(&rig.pool).await.unwrap()
}

/// I1: a chunk above the total makes up for none below it: the job waits for the index that nobody
/// sent, says so, and ends when it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_with_its_indexes_and_not_with_their_number() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let chunk = |index: i32| inline(1, index, &[rig.origin.url(&format!("/img/{index}"))]);
    say(&handler, &of(2, chunk(0))).await;
    assert!(say(&handler, &chunk(5)).await.contains("1 of 1"));
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.job_over").await, 0);
    assert_eq!(rig.value::<String>(PROGRESS).await, "running 67");
    let shown = status(&rig);
    assert!(shown.contains("waits for 1 chunk that nobody sent: 1\n"), "{shown}");
    assert!(shown.contains("chunkctl control close --job-id 1"), "{shown}");
    assert!(say(&handler, &of(2, chunk(1))).await.contains("1 of 1"));
    rig.until(ENDED).await;
    assert_eq!(rig.value::<String>(PROGRESS).await, "completed 100");
    assert!(!status(&rig).contains("waits for"), "nothing is missing");
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// I9: a job that was closed ends with what it has, shows 100 %, and registers nothing more; the
/// sender's message is recorded with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_job_registers_nothing_more() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    assert_eq!(rig.chunkctl(&["control", "pause"]).code, Some(0));
    say(&handler, &of(3, inline(1, 0, &rig.pictures(1)))).await;
    assert_eq!(rig.chunkctl(&["control", "close", "--job-id", "1"]).code, Some(0));
    assert_eq!(recorded(&rig, &[of(9, inline(1, 1, &rig.pictures(1)))]).await, ["job_closed"]);
    let said = say(&handler, &of(9, inline(1, 1, &rig.pictures(1)))).await;
    assert!(said.contains("job_closed"), "{said}");
    let total = "select total_chunks from chunk_handler.job_progress";
    assert_eq!(rig.value::<i32>(total).await, 1, "it has as many chunks as it has");
    let known = say(&handler, &of(9, inline(1, 0, &rig.pictures(1)))).await;
    assert!(known.contains("paused"), "{known}");
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.chunk").await, 1);
    assert_eq!(rig.value::<i32>("select total_chunks from chunk_handler.job").await, 3);
    assert_eq!(rig.value::<String>(PROGRESS).await, "pending 0");
    assert_eq!(rig.chunkctl(&["control", "resume"]).code, Some(0));
    assert!(say(&handler, &wake_up(1, 0)).await.contains("1 of 1"));
    rig.until(ENDED).await;
    assert_eq!(rig.value::<String>(PROGRESS).await, "completed 100");
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// A job that was cancelled before all of it was sent shows 100 %, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_cancelled_early_shows_its_whole_progress() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    sql.job(1, 1).await;
    sql.execute("update job set total_chunks = 4").await;
    assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "1"]).code, Some(0));
    rig.until(ENDED).await;
    assert_eq!(rig.value::<String>(PROGRESS).await, "cancelled 100");
    assert!(!status(&rig).contains("waits for"), "nothing is waited for");
}

/// I9: a message with other URLs for a known chunk is recorded and changes nothing; the same URLs are
/// a wake-up, whatever else it says.
#[tokio::test(flavor = "multi_thread")]
async fn other_urls_for_a_known_chunk_are_recorded_and_change_nothing() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    assert_eq!(rig.chunkctl(&["control", "pause"]).code, Some(0));
    let known = of(2, inline(1, 0, &rig.pictures(2)));
    say(&handler, &known).await;
    let rows = "select jsonb_build_array(j.total_chunks, j.generation, c.message, c.priority)
        from chunk_handler.job j join chunk_handler.chunk c using (job_id)";
    let before: Value = rig.value(rows).await;
    let other = of(9, inline(1, 0, &rig.pictures(3)));
    let mut urgent = known.clone();
    urgent["priority"] = 9.into();
    assert!(say(&handler, &other).await.contains("other_source"));
    assert_eq!(rig.value::<Value>(rows).await, before);
    let reasons = recorded(&rig, &[other, urgent, known.clone()]).await;
    assert_eq!(reasons, ["other_source", "other_source"]);
    assert_eq!(rig.value::<Value>(rows).await, before);
    // It tells of more chunks, and of the same URLs.
    assert_eq!(recorded(&rig, &[of(9, known)]).await.len(), 2);
    assert_eq!(rig.value::<i32>("select total_chunks from chunk_handler.job").await, 9);
}

/// Sources are compared as what they mean, and a registered text that cannot be read is no other one.
#[tokio::test(flavor = "multi_thread")]
async fn sources_are_compared_by_what_they_say() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    let urls = |urls: &str| format!(r#"{{"source":{{"urls":[{urls}]}},"priority":5}}"#);
    let one = urls(r#""http://a/1""#);
    for (known, message, is_other) in [
        (Some(one.clone()), Some(one.clone()), false),
        (Some(one.clone()), None, false),
        (None, Some(one.clone()), false),
        (
            Some(one.clone()),
            Some(r#"{"priority":9,"source":{"urls":["http://a/1"]}}"#.into()),
            false,
        ),
        (Some(one.clone()), Some(urls(r#""http://a/2""#)), true),
        (Some(one.clone()), Some(urls(r#""http://a/1","http://a/2""#)), true),
        (Some(urls(r#""\u0000""#)), Some(urls(r#""\u0000" "#)), false),
        (Some(urls(r#""\u0000""#)), Some(urls(r#""""#)), true),
        (Some("no JSON".to_owned()), Some(one), false),
    ] {
        let ask = sqlx::query_scalar("select other_source($1, $2)").bind(&known).bind(&message);
        let answer: bool = ask.fetch_one(&sql.pool).await.unwrap();
        assert_eq!(answer, is_other, "{known:?} and {message:?}");
    }
}

/// I9: a message that registers nothing, since it has no source and nobody knows its chunk, changes
/// nothing of its job: one that names a large total would keep it open for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_rejected_leaves_the_total_alone() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.origin.set_delay(std::time::Duration::from_secs(2));
    let first = of(1, inline(1, 0, &rig.pictures(1)));
    let (_, said) = tokio::join!(say(&handler, &first), async {
        rig.until("select exists (select from chunk_handler.chunk)").await;
        say(&handler, &of(90_000, wake_up(1, 77))).await
    });
    assert!(said.contains("no source"), "{said}");
    rig.until(ENDED).await;
    assert_eq!(rig.value::<String>(PROGRESS).await, "completed 100");
    // One that its job knows may still say how many there are.
    assert!(say(&handler, &of(2, wake_up(1, 0))).await.contains("completed"));
}

/// A command for a chunk that did not fail changes nothing, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_chunk_that_did_not_fail_is_told() {
    let rig = Rig::new().await;
    rig.submit(1, &rig.pictures(1), 1);
    for index in ["0", "88"] {
        let retry = ["control", "retry", "--job-id", "1", "--chunk-index", index];
        let told = rig.chunkctl(&retry);
        assert_eq!(told.code, Some(1), "{told:?}");
        assert!(told.stdout.contains("is unknown or did not fail"), "{told:?}");
    }
    assert_eq!(rig.chunkctl(&["control", "retry", "--job-id", "1"]).code, Some(0));
}
