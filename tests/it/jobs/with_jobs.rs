//! Jobs that are deduplicated with other jobs: what those hold is not kept again, and nothing of it is
//! missed because it was forgotten.

use super::{
    control::{control, holds, say},
    keep::{hold, remove},
};
use crate::state::sql::Sql;
use serde_json::{Value, json};
use support::{
    programs::Output,
    rig::{DATASETS, Handler, Rig, inline, wait_for, wake_up},
};

/// Nothing of a job is left to do.
const ALL_ENDED: &str = "select bool_and(ended_at is not null) from chunk_handler.job";

/// A chunk with its URLs in the message, of a job of so many, deduplicated with others.
fn chunk(job: i64, (index, total): (i32, i32), urls: &[String], others: &[i64]) -> Value {
    let mut message = inline(job, index, urls);
    message["total_chunks"] = total.into();
    message["dedupe"] = json!({"scope": "job", "with_jobs": others});
    message
}

/// It keeps whatever its job has: as a chunk does that ran beside the others.
fn beside(mut message: Value) -> Value {
    message["dedupe"] = json!({"scope": "chunk"});
    message
}

/// What each item of a chunk is a duplicate of; null: it is kept.
async fn duplicates(rig: &Rig, job: i64, index: i32) -> Value {
    let manifest = rig.manifest(job, index).await;
    let items = manifest["items"].as_array().unwrap().iter();
    items.map(|item| item["duplicate_of"].clone()).collect()
}

async fn completes(handler: &Handler, message: &Value, images: &str) {
    let said = say(handler, message).await;
    assert!(said.contains(&format!("completed, {images} images valid")), "{said}");
}

fn submit(rig: &Rig, job: &str, urls: &[String], options: &[&str]) -> Output {
    let list = rig.list(&format!("{job}.txt"), urls);
    let fixed = ["submit", "--job-id", job, "--chunk-size", "3", "--urls", list.to_str().unwrap()];
    rig.chunkctl(&[&fixed, options].concat())
}

/// Case 410: what other jobs hold is a duplicate in a job that names them, by command and by message, and in
/// what it grows by; manifest, rows, card and `verify` say so. I3
#[tokio::test(flavor = "multi_thread")]
async fn what_other_jobs_hold_is_not_kept_again() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(9);
    completes(&handler, &chunk(1, (0, 1), &urls[..3], &[]), "3 of 3").await;
    completes(&handler, &chunk(2, (0, 1), &urls[3..5], &[]), "2 of 2").await;
    let list = [&urls[2..4], &urls[5..7]].concat();
    let submitted = submit(&rig, "7", &list, &["--dedupe-with", "2,1"]);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    completes(&handler, &wake_up(7, 0), "1 of 3").await;
    completes(&handler, &wake_up(7, 1), "1 of 1").await;
    assert_eq!(duplicates(&rig, 7, 0).await, json!(["1/00000_00002", "2/00000_00000", null]));
    rig.until(ALL_ENDED).await;
    // The same again is the same, in whatever order; without the other jobs it is not.
    let again = submit(&rig, "7", &list, &["--dedupe-with", "1,2"]);
    assert!(again.code == Some(0) && again.stdout.contains("was submitted before"), "{again:?}");
    let other = submit(&rig, "7", &list, &[]);
    assert!(other.stderr.contains("--dedupe-with 1,2, not none"), "{other:?}");
    // What it grows by is checked as the rest of it is.
    let extended = submit(&rig, "7", &[&urls[..1], &urls[7..8]].concat(), &["--extend"]);
    assert_eq!(extended.code, Some(0), "{extended:?}");
    completes(&handler, &wake_up(7, 2), "1 of 2").await;
    assert_eq!(duplicates(&rig, 7, 2).await, json!(["1/00000_00000", null]));
    rig.until(ALL_ENDED).await;
    let verified = rig.chunkctl(&["verify", "--job-id", "7"]);
    assert!(verified.code == Some(0) && verified.stdout.contains("is whole"), "{verified:?}");
    let rows = rig.chunkctl(&["urls", "--job-id", "7"]);
    assert!(rows.stdout.contains("2/00000_00000"), "{rows:?}");
    let card = rig.blobs.read(DATASETS, "job_7/README.md").await.unwrap();
    let card = String::from_utf8_lossy(&card).into_owned();
    assert!(card.contains("not kept again: 1, 2."), "{card}");
    holds(&rig).await;
}

/// Case 411: a picture that several have is named in the job itself first, then in the job of the lowest
/// number; one that another job holds only as a chunk that runs again is kept. I3
#[tokio::test(flavor = "multi_thread")]
async fn the_own_job_comes_first_and_then_the_lowest() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(3);
    completes(&handler, &chunk(10, (0, 1), &urls[..2], &[]), "2 of 2").await;
    completes(&handler, &chunk(9, (0, 1), &urls, &[]), "3 of 3").await;
    completes(&handler, &beside(chunk(11, (0, 3), &urls[..1], &[])), "1 of 1").await;
    let others = [10, 9, 9];
    completes(&handler, &chunk(11, (1, 3), &urls, &others), "0 of 3").await;
    let expected = json!(["00000_00000", "9/00000_00001", "9/00000_00002"]);
    assert_eq!(duplicates(&rig, 11, 1).await, expected);
    // Nobody delivers its message: it does not run again before this one has run.
    control(&rig, &["retry", "--job-id", "9", "--chunk-index", "0", "--again"]);
    completes(&handler, &chunk(11, (2, 3), &urls, &others), "1 of 3").await;
    let expected = json!(["00000_00000", "10/00000_00001", null]);
    assert_eq!(duplicates(&rig, 11, 2).await, expected);
}

/// Job 1 of one chunk with three pictures, which ended 31 days ago and lost its hashes.
async fn forgotten(rig: &Rig, sql: &Sql, handler: &Handler) -> Vec<String> {
    let urls = rig.pictures(5);
    completes(handler, &chunk(1, (0, 1), &urls[..3], &[]), "3 of 3").await;
    rig.until(ALL_ENDED).await;
    let old = "update job set ended_at = ended_at - interval '31 days',
        updated_at = updated_at - interval '31 days'";
    sql.execute(old).await;
    remove(handler, sql, "/jobs", json!({"1": "gone"})).await;
    urls
}

/// A job of which nothing is used: that its hashes are gone shows that retention had its turn.
const ENDED_LONG_AGO: &str = "insert into job (job_id, ended_as, ended_at, updated_at)
    select 99, 'completed', at, at from (select clock_timestamp() - interval '31 days' as at) old";

/// Wakes chunk 0 of job 2 until it says this.
async fn until_it_says(handler: &Handler, text: &str) {
    wait_for(text, async || say(handler, &wake_up(2, 0)).await.contains(text)).await;
}

/// Case 412: hashes that retention took come back from the manifests while the chunk waits, for nothing; they
/// stay while somebody needs them, and go afterwards. I3 I13
#[tokio::test(flavor = "multi_thread")]
async fn forgotten_hashes_come_back_while_the_chunk_waits() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_HISTORY_DAYS", "0")]).await;
    let urls = forgotten(&rig, &sql, &handler).await;
    let said = say(&handler, &chunk(2, (0, 1), &urls[1..], &[1])).await;
    assert!(said.contains("released (hashes_away"), "{said}");
    until_it_says(&handler, "completed").await;
    let expected = json!(["1/00000_00001", "1/00000_00002", null, null]);
    assert_eq!(duplicates(&rig, 2, 0).await, expected);
    let paid = "select attempt from chunk_handler.chunk_status where job_id = 2";
    assert_eq!(rig.value::<i32>(paid).await, 1, "a wait costs no attempt");
    rig.until(ALL_ENDED).await;
    holds(&rig).await;
    sql.execute(ENDED_LONG_AGO).await;
    remove(&handler, &sql, "/jobs", json!({"1": "kept", "2": "kept", "99": "gone"})).await;
    sql.execute("update job set updated_at = ended_at where job_id = 1").await;
    remove(&handler, &sql, "/jobs", json!({"1": "gone", "2": "kept", "99": "gone"})).await;
}

/// Case 412: hashes that are old enough to go stay for whoever uses them, and those whose batch is under way are
/// waited for: a chunk never takes some for all. I3
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_under_way_is_not_missed() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 3).await;
    hold(&sql).await;
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_HISTORY_DAYS", "0")]).await;
    let urls = rig.pictures(5);
    completes(&handler, &chunk(1, (0, 1), &urls[..3], &[]), "3 of 3").await;
    rig.until(ALL_ENDED).await;
    let old = "update job set ended_at = ended_at - interval '31 days',
        updated_at = updated_at - interval '31 days'";
    sql.execute(old).await;
    let mut batch = sql.pool.begin().await.unwrap();
    for statement in [
        "update job set hashes = 'going' where job_id = 1",
        "delete from image_hash where key = '00000_00000'",
    ] {
        sqlx::query(statement).execute(&mut *batch).await.unwrap();
    }
    let message = chunk(2, (0, 1), &urls[..4], &[1]);
    let waits = async {
        let waiting = "select exists (select from pg_stat_activity
            where wait_event_type = 'Lock' and query like '-- use_hashes%')";
        rig.until(waiting).await;
        batch.commit().await.unwrap();
    };
    let (said, ()) = tokio::join!(say(&handler, &message), waits);
    assert!(said.contains("released (hashes_away"), "{said}");
    until_it_says(&handler, "completed, 1 of 4").await;
    holds(&rig).await;
    // There, and old enough to go: they stay for whoever begins with them.
    sql.execute("update job set updated_at = ended_at where job_id = 1").await;
    completes(&handler, &chunk(3, (0, 1), &urls[..3], &[1]), "0 of 3").await;
    sql.execute(ENDED_LONG_AGO).await;
    let left = json!({"1": "kept", "2": "kept", "3": "kept", "99": "gone"});
    remove(&handler, &sql, "/jobs", left).await;
    // Used again a moment later: the row of the job is not written each time.
    let version = "select xmin::text from job where job_id = 1";
    let before = sql.value::<String>(version).await;
    completes(&handler, &chunk(4, (0, 1), &urls[..3], &[1]), "0 of 3").await;
    assert_eq!(sql.value::<String>(version).await, before);
}

/// Case 413: where a manifest is gone, too, nobody knows what the job holds: the chunk fails, and says what
/// is missing; a submit is refused. Made again, it goes on. I3 I9
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_known_is_not_passed_over() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_HISTORY_DAYS", "0")]).await;
    let urls = forgotten(&rig, &sql, &handler).await;
    let manifest = "job_1/chunks/chunk_00000.manifest.json";
    rig.blobs.delete(DATASETS, manifest).await.unwrap();
    let refused = submit(&rig, "7", &urls, &["--dedupe-with", "1"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = format!("the manifest {manifest} is not there");
    assert!(refused.stderr.contains(&said) && refused.stderr.contains("--again"), "{refused:?}");
    assert_eq!(sql.value::<i64>("select count(*) from job where job_id = 7").await, 0);
    say(&handler, &chunk(2, (0, 1), &urls, &[1])).await;
    until_it_says(&handler, "failed").await;
    let row = "select concat_ws(': ', error_code, error_message) from chunk_handler.chunk_status
        where job_id = 2";
    let row = rig.value::<String>(row).await;
    let lost = format!("hashes_lost: the images of job 1 are not known any more: {said}; ");
    let command = "`chunkctl control retry --job-id 1 --chunk-index 0 --again` makes it again";
    assert_eq!(row, lost + command);
    control(&rig, &["retry", "--job-id", "1", "--chunk-index", "0", "--again"]);
    completes(&handler, &wake_up(1, 0), "3 of 3").await;
    control(&rig, &["retry", "--job-id", "2"]);
    completes(&handler, &wake_up(2, 0), "2 of 5").await;
    rig.until(ALL_ENDED).await;
    holds(&rig).await;
}

/// Case 414: a job that nobody knows holds nothing: a submit is refused, and so is one of the job with itself; a
/// chunk runs, and the log names it. Of a cancelled job counts what completed.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_knows_holds_nothing() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(4);
    for (others, reason) in [
        ("5", "job 5 of --dedupe-with is unknown"),
        ("7", "dedupe.with_jobs has 7, the job itself"),
    ] {
        let refused = submit(&rig, "7", &urls, &["--dedupe-with", others]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(reason), "{refused:?}");
    }
    let jobs = "select count(*) from chunk_handler.job_progress";
    assert_eq!(rig.value::<i64>(jobs).await, 0);
    completes(&handler, &chunk(1, (0, 2), &urls[..1], &[]), "1 of 1").await;
    // One that still runs may keep more: that is said.
    let beside = submit(&rig, "3", &urls, &["--dedupe-with", "1"]);
    assert!(beside.stderr.contains("--dedupe-with that still run: 1;"), "{beside:?}");
    control(&rig, &["cancel", "--job-id", "1"]);
    let after = submit(&rig, "4", &urls, &["--dedupe-with", "1"]);
    assert!(after.code == Some(0) && !after.stderr.contains("still run"), "{after:?}");
    completes(&handler, &chunk(2, (0, 1), &urls, &[1, 5]), "3 of 4").await;
    assert_eq!(duplicates(&rig, 2, 0).await[0], "1/00000_00000");
    let lines = handler.lines();
    let named = lines.iter().filter(|line| line.contains("holds nothing")).count();
    assert_eq!(named, 1, "{lines:?}");
}

/// Once a chunk asks for other jobs, no release runs that would not look at them; whoever
/// registers it. A chunk that does not ask changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_release_runs_no_chunk_that_names_other_jobs() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    let oldest = "select min_handler from fleet";
    let urls = rig.pictures(4);
    let text = |message: &Value| serde_json::to_string(message).unwrap();
    let register = async |message: &Value| {
        let register = "select register($1, 0, 1, 5::smallint, $2)::text";
        let register = sqlx::query_scalar::<_, String>(register);
        let register = register.bind(message["job_id"].as_i64().unwrap()).bind(text(message));
        register.fetch_one(&sql.pool).await.unwrap();
    };
    let mut plain = chunk(1, (0, 1), &urls, &[]);
    plain["source"] = json!({"items": [{"url": urls[0], "meta": {"with_jobs": [1], "x": "\0"}}]});
    register(&plain).await;
    assert_eq!(submit(&rig, "2", &urls, &[]).code, Some(0));
    assert!(sql.value::<i32>(oldest).await < 11);
    register(&chunk(3, (0, 1), &urls, &[1])).await;
    assert_eq!(sql.value::<i32>(oldest).await, 11);
    let submitted = submit(&rig, "4", &urls, &["--dedupe-with", "2"]);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    sql.execute("update fleet set min_handler = 7").await;
    let extended = submit(&rig, "4", &urls[..1], &["--extend", "--new-only"]);
    assert_eq!(extended.code, Some(0), "{extended:?}");
    let extended = submit(&rig, "4", &rig.pictures(5)[4..], &["--extend"]);
    assert_eq!(extended.code, Some(0), "{extended:?}");
    assert_eq!(sql.value::<i32>(oldest).await, 11, "of an extension, too");
}
