//! What is old goes, what is open stays, and a job that is reopened has its hashes.

use crate::state::sql::Sql;
use serde_json::{Value, json};
use support::{
    invariants,
    programs::Output,
    proxy::{Calls, Fate, Proxy, Wire},
    rig::{Handler, Rig, envelope, inline, wait_for, wake_up},
};

/// No process removes anything until it is let to.
pub async fn hold(sql: &Sql) {
    sql.execute("update removal set holder = 'test', until = 'infinity'").await;
}

/// Has a process remove what is old, until this is left. The timer does so at once; the background may
/// be quicker, so that the end of the one is not yet that of the other.
pub async fn remove(handler: &Handler, sql: &Sql, key: &str, expected: Value) {
    sql.execute("update removal set holder = 'test', until = '-infinity'").await;
    assert_eq!(check(handler).await, 200);
    let what = format!("{key} is {expected}");
    wait_for(&what, async || left(sql).await.pointer(key) == Some(&expected)).await;
    hold(sql).await;
}

/// Has the timer do every duty.
async fn check(handler: &Handler) -> u16 {
    handler.post("/health_check", "timer", json!({"Data": {}}).to_string()).await.0
}

/// A job of one completed chunk with an attempt and so many hashes, which ended so many days ago;
/// none: it has not ended, and its rows are older than all others.
async fn job(sql: &Sql, job_id: i64, hashes: i64, days: Option<i32>) {
    let job = "insert into job (job_id, total_chunks, ended_as, ended_at, updated_at)
        select $1, 1 + ($2 is null)::integer, case when $2 is not null then 'completed' end, at,
            coalesce(at, clock_timestamp())
        from (select clock_timestamp() - make_interval(days => $2) as at) ended";
    sqlx::query(job).bind(job_id).bind(days).execute(&sql.pool).await.unwrap();
    for rows in [
        "insert into chunk (job_id, chunk_index, state, priority, message, fence, shard_fence,
            totals, shard_blob, shard_samples)
        values ($1, 0, 'completed', 5, '{}', 1, 1, '{}', 'b', 1)",
        "insert into attempt (job_id, chunk_index, fence, owner, invocation_id, claimed_at,
            finished_at, outcome)
        select $1, 0, 1, 'o', 'i', at, at, 'completed'
        from (select clock_timestamp() - interval '2000 days' as at) old",
    ] {
        sqlx::query(rows).bind(job_id).execute(&sql.pool).await.unwrap();
    }
    let rows = "insert into image_hash (job_id, sha256, chunk_index, key)
        select $1, sha256(n::text::bytea), 0, n::text from generate_series(1, $2) n";
    sqlx::query(rows).bind(job_id).bind(hashes).execute(&sql.pool).await.unwrap();
}

/// A health row and a rejected message of each age.
async fn records(sql: &Sql, days: &[i32]) {
    for rows in [
        "insert into health_check (checked_at, active_chunks, pending_chunks, azure_state, report)
        select clock_timestamp() - make_interval(days => d), 0, 0, 'ok', '{}' from unnest($1) d",
        "insert into rejected (source_key, received_at, queue, body, reason)
        select d, clock_timestamp() - make_interval(days => d), 'q', '', '' from unnest($1) d",
    ] {
        sqlx::query(rows).bind(days).execute(&sql.pool).await.unwrap();
    }
}

/// What is there: jobs with the state of their hashes, hashes, attempts, chunks, and the ages of
/// records.
async fn left(sql: &Sql) -> Value {
    sql.value(
        "select jsonb_build_object(
            'jobs', (select jsonb_object_agg(job_id, hashes) from job),
            'hashes', (select jsonb_object_agg(job_id, n)
                from (select job_id, count(*) as n from image_hash group by 1) h),
            'attempts', (select jsonb_agg(job_id order by job_id) from attempt),
            'chunks', (select jsonb_agg(job_id order by job_id) from chunk),
            'health', (select jsonb_agg(age order by age) from (select
                extract(day from clock_timestamp() - checked_at) as age from health_check) h),
            'rejected', (select jsonb_agg(age order by age) from (select
                extract(day from clock_timestamp() - received_at) as age from rejected) r))",
    )
    .await
}

/// Hashes, attempts, health rows, messages and jobs go when they are older than the settings keep;
/// what is younger stays, and so does everything of a job that has not ended, however old it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_settings_keep_goes_and_nothing_else() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_JOBS_DAYS", "400")]).await;
    for (job_id, days) in [(1, Some(401)), (2, Some(31)), (3, Some(29)), (4, None)] {
        job(&sql, job_id, 5, days).await;
    }
    records(&sql, &[29, 31, 89, 91]).await;
    let expected = json!({
        "jobs": {"2": "gone", "3": "kept", "4": "kept"},
        "hashes": {"3": 5, "4": 5},
        "attempts": [3, 4],
        "chunks": [2, 3, 4],
        // The timer's own row is today's.
        "health": [0, 29],
        "rejected": [29, 31, 89],
    });
    remove(&handler, &sql, "", expected).await;
}

/// A job that was reopened and ended again has attempts once more, and they go in their turn.
#[tokio::test(flavor = "multi_thread")]
async fn the_attempts_of_a_second_end_go_too() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    let handler = rig.handler().await;
    job(&sql, 1, 0, Some(31)).await;
    remove(&handler, &sql, "/attempts", Value::Null).await;
    sql.execute(
        "insert into attempt (job_id, chunk_index, fence, owner, invocation_id, finished_at, outcome)
        values (1, 0, 2, 'o', 'i', clock_timestamp(), 'completed');
        update job set ended_at = clock_timestamp()",
    )
    .await;
    remove(&handler, &sql, "/attempts", json!([1])).await;
    sql.execute(
        "update job set ended_at = ended_at - interval '31 days',
            attempts_gone_at = attempts_gone_at - interval '32 days'",
    )
    .await;
    remove(&handler, &sql, "/attempts", Value::Null).await;
}

/// A setting of 0 keeps for ever, one by one: here only rejected messages have an age.
#[tokio::test(flavor = "multi_thread")]
async fn zero_days_keep_for_ever() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    let zero = ["HASHES", "HISTORY", "JOBS"].map(|what| format!("PIXCRAWLER_KEEP_{what}_DAYS"));
    let zero: Vec<(&str, &str)> = zero.iter().map(|name| (name.as_str(), "0")).collect();
    let handler = rig.handler_with(&zero).await;
    job(&sql, 1, 5, Some(4000)).await;
    records(&sql, &[89, 4000]).await;
    let expected = json!({
        "jobs": {"1": "kept"}, "hashes": {"1": 5}, "attempts": [1], "chunks": [1],
        "health": [0, 89, 4000], "rejected": [89],
    });
    remove(&handler, &sql, "", expected).await;
}

/// One process in the fleet removes, once a minute: while another has had its turn, the timer and the
/// background of this one remove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn only_whose_turn_it_is_removes() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    let handler = rig.handler().await;
    job(&sql, 1, 5, Some(31)).await;
    assert_eq!(check(&handler).await, 200);
    let removed = "select report ->> 'rows_removed' from chunk_handler.health limit 1";
    assert_eq!(rig.value::<String>(removed).await, "0");
    assert_eq!(left(&sql).await["hashes"], json!({"1": 5}));
    sql.execute("update removal set until = '-infinity'").await;
    rig.until("select hashes = 'gone' from chunk_handler.job").await;
    let minute = "select until > clock_timestamp() + interval '10 s' and holder <> 'test'
        from removal";
    assert!(sql.value::<bool>(minute).await, "nobody removes anything for the rest of the minute");
}

/// Rows go in small batches: between two of them a job of many has some hashes left, and a process
/// that is killed there leaves the rest to the next.
#[tokio::test(flavor = "multi_thread")]
async fn rows_go_in_batches_and_a_killed_process_leaves_the_rest() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    job(&sql, 1, 4001, Some(31)).await;
    let calls = Calls::default();
    let address = rig.database_url.split('@').nth(1).unwrap().split('/').next().unwrap();
    let proxy = Proxy::start("postgres", Wire::Postgres, address, &calls).await.unwrap();
    let url = rig.database_url.replace(address, &proxy.address().to_string());
    let mut batches = 0;
    calls.restart(move |call| {
        batches += usize::from(call.what == "run remove_hashes");
        if batches == 2 { Fate::HoldBefore } else { Fate::Pass }
    });
    let handler = rig.handler_with(&[("DATABASE_URL", &url)]).await;
    sql.execute("update removal set until = '-infinity'").await;
    calls.held().await;
    let state = left(&sql).await;
    assert_eq!((&state["jobs"]["1"], &state["hashes"]["1"]), (&"going".into(), &2001.into()));
    handler.kill9();
    hold(&sql).await;
    let next = rig.handler().await;
    remove(&next, &sql, "/jobs", json!({"1": "gone"})).await;
    assert_eq!(left(&sql).await["hashes"], Value::Null);
}

/// A job that is larger than a batch goes in several; from the first on it cannot be reopened.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_being_removed_cannot_be_reopened() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    job(&sql, 1, 0, Some(31)).await;
    sql.execute(
        "insert into chunk (job_id, chunk_index, state, priority, message, error_code)
        select 1, n, 'failed', 5, '{}', 'panic' from generate_series(1, 3000) n;
        update job set going_at = clock_timestamp(), hashes = 'going'",
    )
    .await;
    let output = retry(&rig, &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("being removed"), "{output:?}");
    let reopen = sqlx::query("update job set ended_at = null, ended_as = null, hashes = 'kept'");
    let refused = reopen.execute(&sql.pool).await.unwrap_err().to_string();
    assert!(refused.contains("an_open_job_stays"), "{refused}");
    sql.execute("update job set updated_at = ended_at").await;
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_JOBS_DAYS", "30")]).await;
    let nothing = json!({"jobs": null, "hashes": null, "attempts": null, "chunks": null,
        "health": [0], "rejected": null});
    remove(&handler, &sql, "", nothing).await;
}

fn retry(rig: &Rig, replaced: &[(&str, &str)]) -> Output {
    rig.chunkctl_with(replaced, &["control", "retry", "--job-id", "1"])
}

async fn say(handler: &Handler, message: &Value) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    let (status, answer) = handler.deliver(&id, message).await;
    assert_eq!(status, 200);
    answer["Logs"][0].as_str().unwrap().to_owned()
}

/// A job of three chunks that ended 31 days ago and lost its hashes: two completed, of which one has a
/// late duplicate, the last failed. Its hashes as they were.
async fn forgetful_job(rig: &Rig, sql: &Sql, handler: &Handler) -> Value {
    let urls = rig.pictures(4);
    let with = |mut message: Value, key: &str, value: Value| {
        message[key] = value;
        message
    };
    let first = with(inline(1, 1, &urls[..3]), "total_chunks", 3.into());
    assert!(say(handler, &first).await.contains("completed, 3 of 3"));
    // Looks only at itself, so it keeps what chunk 1 has: as a chunk does that ran beside it.
    let second = with(inline(1, 0, &urls[2..]), "dedupe", json!({"scope": "chunk"}));
    assert!(say(handler, &second).await.contains("completed, 2 of 2"));
    // Known, and failed before it did anything.
    sql.execute("update fleet set paused_until = 'infinity'").await;
    say(handler, &inline(1, 2, &urls)).await;
    sql.execute("update fleet set paused_until = null").await;
    let fence = sql.claimed(2).await;
    sql.give_up(2, fence, "failed").await;
    rig.until("select ended_at is not null from chunk_handler.job").await;
    let before = hashes(sql).await;
    assert_eq!(before.as_array().unwrap().len(), 4);
    sql.execute(
        "update job set ended_at = ended_at - interval '31 days',
            updated_at = updated_at - interval '31 days'",
    )
    .await;
    remove(handler, sql, "/jobs", json!({"1": "gone"})).await;
    assert_eq!(hashes(sql).await, json!([]));
    before
}

async fn hashes(sql: &Sql) -> Value {
    sql.value("select coalesce(jsonb_agg(to_jsonb(h) order by sha256), '[]') from image_hash h")
        .await
}

/// I3: a job that is reopened after its hashes went gets them back from its manifests before a chunk
/// of it runs: that chunk finds its pictures in the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_reopened_has_its_hashes_again() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    // The invariants are counted from attempts.
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_HISTORY_DAYS", "0")]).await;
    let before = forgetful_job(&rig, &sql, &handler).await;
    let output = retry(&rig, &[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(hashes(&sql).await, before, "each belongs to the chunk that completed it first");
    let said = say(&handler, &wake_up(1, 2)).await;
    rig.until("select status = 'completed' from chunk_handler.chunk_status where chunk_index = 2")
        .await;
    let duplicates = "select duplicates_removed from chunk_handler.chunk_status
        where chunk_index = 2";
    assert_eq!(rig.value::<i64>(duplicates).await, 4, "{said}");
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// I3 I9: where the hashes cannot be had, the job stays as it ended, and whoever asked is told why:
/// the command line, and the record of a control message. No way of reopening it goes past that.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_hashes_cannot_be_had_is_not_reopened() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    let handler = rig.handler().await;
    let before = forgetful_job(&rig, &sql, &handler).await;
    let unchanged = "select ended_at is not null and hashes <> 'kept'
        and not exists (select from chunk where state = 'pending') from job";
    let elsewhere = ("PIXCRAWLER_DATASET_CONTAINER", "elsewhere");
    assert_eq!(rig.chunkctl_with(&[elsewhere], &["migrate"]).code, Some(0));
    let dead =
        rig.storage.replace("BlobEndpoint=http://127.0.0.1:", "BlobEndpoint=http://127.0.0.2:");
    // Else the other container would be refused before anything is read.
    sql.execute("update fleet set storage = null").await;
    for (replaced, reason) in [
        (elsewhere, "--job-id 1 --chunk-index 0 --again` makes it again"),
        (("ChunkStorage", dead.as_str()), "storage is away (read blob)"),
    ] {
        let output = retry(&rig, &[replaced]);
        assert_eq!(output.code, Some(1), "{output:?}");
        let said = format!("{} {}", output.stdout, output.stderr);
        assert!(said.contains(reason), "{output:?}");
        assert!(sql.value::<bool>(unchanged).await, "{reason}");
    }
    let reopen = sqlx::query("select retry(1, null)").execute(&sql.pool).await;
    let refused = reopen.unwrap_err().to_string();
    assert!(refused.contains("an_open_job_has_its_hashes"), "{refused}");
    sql.execute("update chunk set shard_fence = shard_fence + 1 where chunk_index = 1").await;
    let message = r#"{"version":1,"action":"retry","job_id":1}"#;
    assert_eq!(handler.post("/control", "control", envelope(message)).await.0, 200);
    let recorded = "select reason from chunk_handler.rejected_message";
    let recorded = rig.value::<String>(recorded).await;
    assert!(recorded.contains("is not that of the shard"), "{recorded}");
    assert!(sql.value::<bool>(unchanged).await, "after the control message");
    sql.execute("update chunk set shard_fence = shard_fence - 1 where chunk_index = 1").await;
    assert_eq!(retry(&rig, &[]).code, Some(0));
    assert_eq!(hashes(&sql).await, before);
}

/// I3: a chunk whose manifest is not its own any more runs again with any other that does: nobody has
/// its hashes.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_without_its_manifest_runs_again_after_the_hashes_went() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    hold(&sql).await;
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_HISTORY_DAYS", "0")]).await;
    let before = forgetful_job(&rig, &sql, &handler).await;
    sql.execute("update chunk set shard_fence = shard_fence + 1 where chunk_index = 1").await;
    let again = |index| {
        let chunk = ["--job-id", "1", "--chunk-index", index, "--again"];
        rig.chunkctl(&[&["control", "retry"], &chunk[..]].concat())
    };
    let other = again("0");
    assert_eq!(other.code, Some(0), "{other:?}");
    assert!(other.stdout.contains("and with it chunks [1]"), "{other:?}");
    assert!(hashes(&sql).await.as_array().unwrap().len() < before.as_array().unwrap().len());
    assert!(sql.value::<bool>("select ended_at is null and hashes = 'kept' from job").await);
}

/// `doctor` shows each table that grows, how large it is and how long its rows stay.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_shows_what_is_kept() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    job(&sql, 1, 4000, None).await;
    sql.execute("analyze image_hash").await;
    let output =
        rig.chunkctl_with(&[("PIXCRAWLER_KEEP_REJECTED_DAYS", "7")], &["--json", "doctor"]);
    let kept = output.json()["kept"].clone();
    let kept = |table: &str| kept.as_array().unwrap().iter().find(|k| k["table"] == table).cloned();
    for table in ["attempt", "chunk", "health_check", "image_hash", "job", "rejected"] {
        assert!(kept(table).is_some_and(|k| k["bytes"].as_i64() > Some(0)), "{table}");
    }
    let hashes = kept("image_hash").unwrap();
    assert_eq!((&hashes["rows"], &hashes["days"]), (&4000.into(), &30.into()));
    assert_eq!(kept("rejected").unwrap()["days"], 7);
}
