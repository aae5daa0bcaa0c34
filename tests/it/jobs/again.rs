//! A completed chunk runs again: under the same names, with its hashes exchanged, and whoever relied on
//! a sample that is gone afterwards is named.

use super::control::{ENDED, control, dataset, holds, say, with_total};
use crate::state::sql::Sql;
use serde_json::Value;
use support::{
    origin::picture::jpeg,
    raw::{Act, Raw, answer},
    rig::{DATASETS, Handler, Rig, inline, wait_for, wake_up},
};

pub fn again(rig: &Rig, index: &str) {
    control(rig, &["retry", "--job-id", "1", "--chunk-index", index, "--again"]);
}

/// I2 I3: everything a chunk keeps it keeps again, although the last shard is there to be adopted, and
/// no picture is a duplicate of itself; the job ends again.
#[tokio::test(flavor = "multi_thread")]
async fn a_completed_chunk_runs_again_under_the_same_names() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(3);
    say(&handler, &with_total(inline(1, 0, &urls[..2]), 2)).await;
    say(&handler, &with_total(inline(1, 1, &urls[2..]), 2)).await;
    rig.until(ENDED).await;
    let output = rig.chunkctl(&["control", "retry", "--job-id", "1", "--chunk-index", "0"]);
    assert!(output.stdout.contains("chunk 1/0 is unknown or did not fail"), "{output:?}");
    again(&rig, "0");
    let row = "select status || ' ' || attempt || ' ' || fence || ' ' || shard_blob
        from chunk_handler.chunk_status where chunk_index = 0";
    assert_eq!(rig.value::<String>(row).await, "pending 0 1 job_1/chunks/chunk_00000.tar");
    let status = "select status from chunk_handler.job_progress";
    assert_eq!(rig.value::<String>(status).await, "running");
    // It is not over, so nothing can be asked of it.
    let refused =
        rig.chunkctl(&["control", "retry", "--job-id", "1", "--chunk-index", "0", "--again"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(say(&handler, &wake_up(1, 0)).await.contains("completed, 2 of 2"));
    assert_eq!(rig.origin.requests("/img/0"), 2, "it was adopted");
    rig.until(ENDED).await;
    let manifest = rig.manifest(1, 0).await;
    assert_eq!((&manifest["fence"], &manifest["images_valid"]), (&2.into(), &2.into()));
    let dataset = dataset(&rig).await;
    assert_eq!(dataset["shards"][0]["sha256"], manifest["shard"]["sha256"]);
    assert_eq!(dataset["totals"]["images_valid"], 3);
    holds(&rig).await;
}

/// I8: one of two failed chunks runs again, by a retry or with `--again`, in a job that was cancelled and in
/// one that was not: all four jobs end alike, completed, and the command, the rows, the documents and
/// `status` say of the other chunk that it is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_stays_failed_is_told_of_whatever_became_of_its_job() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    control(&rig, &["pause", "--minutes", "60"]);
    for job_id in 1..=4 {
        for index in 0..2 {
            let urls = [rig.origin.url(&format!("/img/{job_id}{index}"))];
            say(&handler, &with_total(inline(job_id, index, &urls), 2)).await;
        }
    }
    control(&rig, &["resume"]);
    for job_id in ["1", "2"] {
        control(&rig, &["cancel", "--job-id", job_id]);
    }
    rig.execute(
        "update chunk_handler.chunk set state = 'failed', error_code = 'nothing_reachable'
            where job_id > 2",
    )
    .await;
    let all_ended = "select count(ended_at) = 4 from chunk_handler.job";
    rig.until(all_ended).await;
    for job_id in ["1", "2", "3", "4"] {
        let one = ["retry", "--job-id", job_id, "--chunk-index", "0"];
        let again = if ["2", "4"].contains(&job_id) { &["--again"][..] } else { &[] };
        let said = control(&rig, &[&one, again].concat());
        let rest = format!("that do not: 1 (`chunkctl control retry --job-id {job_id}` runs");
        assert!(said.contains(&rest), "{said}");
        say(&handler, &wake_up(job_id.parse().unwrap(), 0)).await;
    }
    rig.until(all_ended).await;
    let rows = "select count(*) = 4 from chunk_handler.job_progress
        where (status, completed_chunks, failed_chunks, total_chunks) = ('completed', 1, 1, 2)";
    assert!(rig.value::<bool>(rows).await);
    let totals = &dataset(&rig).await["totals"];
    assert_eq!((&totals["chunks"], &totals["chunks_completed"]), (&2.into(), &1.into()));
    let card = rig.blobs.read(DATASETS, "job_1/README.md").await.unwrap();
    assert!(String::from_utf8_lossy(&card).contains("1 of 2 chunks are complete"));
    let status = rig.chunkctl(&["status", "--job-id", "1"]).stdout;
    assert!(status.contains("chunk 1/1 failed: cancelled"), "{status}");
    assert!(status.contains("retry --job-id 1 --chunk-index 1"), "{status}");
    holds(&rig).await;
}

/// A usage error, and what nobody knows: nothing happens.
#[tokio::test(flavor = "multi_thread")]
async fn again_needs_a_chunk_that_is_known() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    sql.job(1, 1).await;
    let retry = |arguments: &[&str]| {
        rig.chunkctl(&[&["control", "retry", "--again", "--job-id"], arguments].concat()).code
    };
    assert_eq!(retry(&["1"]), Some(2));
    assert_eq!(retry(&["1", "--chunk-index", "7"]), Some(1));
    assert_eq!(retry(&["2", "--chunk-index", "0"]), Some(1));
    assert!(sql.value::<bool>("select generation = 0 from job").await);
}

/// I3: until the new attempt completes, the hashes of the last one count for others.
#[tokio::test(flavor = "multi_thread")]
async fn until_it_completes_its_hashes_count_for_others() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(3);
    say(&handler, &with_total(inline(1, 0, &urls[..2]), 2)).await;
    again(&rig, "0");
    assert!(say(&handler, &with_total(inline(1, 1, &urls), 2)).await.contains("1 of 3"));
    assert_eq!(rig.manifest(1, 1).await["duplicates_removed"], 2);
    assert!(say(&handler, &wake_up(1, 0)).await.contains("2 of 2"));
    rig.until(ENDED).await;
    holds(&rig).await;
}

/// An origin whose picture is there once.
fn fading() -> Raw {
    Raw::start(|path, earlier| match (path, earlier) {
        ("/once", 1..) => Act::Send(answer(404, "", b"gone")),
        _ => Act::Send(answer(200, "Content-Type: image/jpeg\r\n", &jpeg(1, "the one"))),
    })
}

/// A handler that may ask both origins.
pub async fn handler_of(rig: &Rig, raw: &Raw) -> Handler {
    let origins = format!("{},{}", rig.origin.address(), raw.address);
    rig.handler_with(&[("PIXCRAWLER_ALLOWED_ORIGINS", &origins)]).await
}

/// Chunk 0 has a picture that its origin no longer has, and chunk 1 dropped it as a duplicate.
async fn one_relies_on_the_other(rig: &Rig, handler: &Handler, raw: &Raw) {
    let own = rig.origin.url("/img/7");
    say(handler, &with_total(inline(1, 0, &[raw.url("/once"), own]), 2)).await;
    let other = rig.origin.url("/img/8");
    let said = say(handler, &with_total(inline(1, 1, &[raw.url("/still"), other]), 2)).await;
    assert!(said.contains("1 of 2"), "{said}");
    rig.until(ENDED).await;
}

pub const LOST: &str =
    "select array_agg(lost_duplicates order by chunk_index) from chunk_handler.chunk";
const COMMAND: &str = "chunkctl control retry --job-id 1 --chunk-index 1 --again";

/// I3: who dropped a picture for a sample that is gone is named once, with the command, which brings the
/// picture back.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_dropped_a_picture_for_a_lost_sample_are_named() {
    let rig = Rig::new().await;
    let raw = fading();
    let handler = handler_of(&rig, &raw).await;
    one_relies_on_the_other(&rig, &handler, &raw).await;
    again(&rig, "0");
    assert!(say(&handler, &wake_up(1, 0)).await.contains("1 of 2"));
    rig.until(ENDED).await;
    assert_eq!(rig.value::<Vec<i32>>(LOST).await, [0, 1]);
    let named = || handler.lines().iter().filter(|line| line.contains(COMMAND)).count();
    assert_eq!(named(), 1, "{:#?}", handler.lines());
    let status = rig.chunkctl(&["status", "--job-id", "1"]).stdout;
    assert!(
        status.contains("chunk 1/1 dropped 1 duplicate") && status.contains(COMMAND),
        "{status}"
    );
    holds(&rig).await;
    again(&rig, "1");
    assert!(say(&handler, &wake_up(1, 1)).await.contains("2 of 2"));
    rig.until(ENDED).await;
    assert_eq!(rig.value::<Vec<i32>>(LOST).await, [0, 0]);
    assert_eq!(named(), 1);
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.earlier_sample").await, 0);
    assert_eq!(dataset(&rig).await["totals"]["images_valid"], 3);
    holds(&rig).await;
}

/// I3: one whose shard is lost and that fails has no samples any more, once its job ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_lost_and_fails_keeps_no_hash() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    let raw = fading();
    let handler = handler_of(&rig, &raw).await;
    one_relies_on_the_other(&rig, &handler, &raw).await;
    // Of its two pictures one is lost to chunk 1, the other is only its own.
    again(&rig, "1");
    rig.blobs.delete(DATASETS, "job_1/chunks/chunk_00000.tar").await.unwrap();
    assert!(say(&handler, &wake_up(1, 1)).await.contains("1 of 2"));
    rig.until("select state = 'pending' from chunk_handler.chunk where chunk_index = 0").await;
    let fence = sql.claimed(0).await;
    sql.give_up(0, fence, "failed").await;
    rig.until(ENDED).await;
    assert_eq!(rig.value::<Vec<i32>>(LOST).await, [0, 1]);
    let owners = "select array_agg(distinct chunk_index) from chunk_handler.image_hash";
    assert_eq!(rig.value::<Vec<i32>>(owners).await, [1]);
    assert_eq!(dataset(&rig).await["shards"].as_array().unwrap().len(), 1);
    holds(&rig).await;
}

/// Completes a chunk of job 1 with samples: pairs of a hash and a key.
pub async fn complete(sql: &Sql, index: i32, fence: i64, samples: &[(&str, &str)]) {
    let (hashes, keys): (Vec<Vec<u8>>, Vec<&str>) =
        samples.iter().map(|(hash, key)| (hash.as_bytes().to_vec(), *key)).unzip();
    let complete = r#"select complete(1, $1, (select token from attempt where job_id = 1
            and chunk_index = $1 and fence = $2), $2, 'claim', '{"images_valid": 0}',
        '{"blob": "b", "bytes": 0, "sha256": "", "samples": 0}', 'm', $3, $4)"#;
    let complete = sqlx::query_scalar(complete).bind(index).bind(fence).bind(hashes).bind(keys);
    let held: bool = complete.fetch_one(&sql.pool).await.unwrap();
    assert!(held);
}

/// Every chunk's late duplicates, and who has which hash.
pub async fn who_has_what(sql: &Sql) -> (Value, Vec<String>) {
    let late = "select jsonb_agg(late_duplicates order by chunk_index) from chunk";
    let hashes =
        "select coalesce(array_agg(convert_from(sha256, 'utf8') || ' ' || chunk_index || ' ' || key
        order by sha256), '{}') from image_hash";
    (sql.value(late).await, sql.value(hashes).await)
}

pub fn late(key: &str, of: &str) -> Value {
    serde_json::json!({"key": key, "duplicate_of": of})
}

/// I3: a sample that is gone leaves its hash to its first late duplicate, which is none from then on; one
/// that has another key now tells its late duplicates.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_duplicate_inherits_the_hash_of_a_sample_that_is_gone() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    sql.announce(10).await;
    sql.job(1, 3).await;
    let run_again = "select run_again(1, '{0}', null)";
    for index in 0..3 {
        sql.claimed(index).await;
    }
    complete(&sql, 0, 1, &[("x", "0_0"), ("y", "0_1"), ("z", "0_2")]).await;
    complete(&sql, 2, 1, &[("x", "2_0"), ("y", "2_1")]).await;
    complete(&sql, 1, 1, &[("x", "1_0")]).await;
    assert_eq!(sql.value::<i32>(run_again).await, 1);
    let fence = sql.claimed(0).await;
    // x is gone, y has another key, z is what it was.
    complete(&sql, 0, fence, &[("y", "0_3"), ("z", "0_2")]).await;
    let (lists, hashes) = who_has_what(&sql).await;
    let expected = serde_json::json!([[], [], [late("2_0", "1_0"), late("2_1", "0_3")]]);
    assert_eq!(lists, expected);
    assert_eq!(hashes, ["x 1 1_0", "y 0 0_3", "z 0 0_2"]);
    // The pair of x comes back, and is late itself.
    assert_eq!(sql.value::<i32>(run_again).await, 1);
    let fence = sql.claimed(0).await;
    complete(&sql, 0, fence, &[("x", "0_0"), ("z", "0_2")]).await;
    let (lists, hashes) = who_has_what(&sql).await;
    let expected = serde_json::json!([[late("0_0", "1_0")], [], [late("2_0", "1_0")]]);
    assert_eq!(lists, expected);
    assert_eq!(hashes, ["x 1 1_0", "y 2 2_1", "z 0 0_2"]);
    let gone = "select array_agg(key order by key) from earlier_sample where is_gone";
    assert_eq!(sql.value::<Vec<String>>(gone).await, ["0_1", "0_3"]);
}

/// I3: a completion that finds its sample late holds an exchange up until it is there to be seen: the
/// sample inherits the hash, and is not late any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_of_hashes_waits_for_completions_under_way() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 3).await;
    sql.announce(10).await;
    sql.job(1, 2).await;
    let first = sql.claimed(0).await;
    complete(&sql, 0, first, &[("x", "0_0")]).await;
    sql.execute("select run_again(1, '{0}', null)").await;
    let (again, other) = (sql.claimed(0).await, sql.claimed(1).await);
    let mut under_way = sql.pool.begin().await.unwrap();
    let late = r#"select complete(1, 1, (select token from attempt where chunk_index = 1
            and fence = $1), $1, 'claim', '{"images_valid": 0}',
        '{"blob": "b", "bytes": 0, "sha256": "", "samples": 0}', 'm', '{"\\x78"}', '{"1_0"}')"#;
    sqlx::query(late).bind(other).execute(&mut *under_way).await.unwrap();
    tokio::join!(complete(&sql, 0, again, &[]), async {
        let waits = "select exists (select from pg_locks where not granted)";
        wait_for("the exchange waits", async || sql.value(waits).await).await;
        under_way.commit().await.unwrap();
    });
    let (lists, hashes) = who_has_what(&sql).await;
    assert_eq!(lists, serde_json::json!([[], []]));
    assert_eq!(hashes, ["x 1 1_0"]);
}
