//! Samples that are gone after a chunk ran again: who relied on a picture that the job has no more is
//! named, whatever the database still knows, and nobody else.

use super::{
    again::{LOST, again, complete, handler_of, late, who_has_what},
    control::{ENDED, holds, say, with_total},
};
use crate::state::sql::Sql;
use serde_json::{Value, json};
use support::{
    origin::picture::jpeg,
    raw::{Act, Raw, answer},
    rig::{DATASETS, Handler, Rig, inline, wake_up},
};

/// An origin whose picture goes by the end of its path, is there only once below `/once`, and below
/// `/later` from the second time on.
fn changing() -> Raw {
    Raw::start(|path, earlier| match (path.rsplit_once('/'), earlier) {
        (Some(("/once" | "/once/other", _)), 1..) | (Some(("/later", _)), 0) => {
            Act::Send(answer(404, "", b"gone"))
        }
        (Some((_, name)), _) => {
            Act::Send(answer(200, "Content-Type: image/jpeg\r\n", &jpeg(1, name)))
        }
        (None, _) => Act::Send(answer(400, "", b"no path")),
    })
}

/// A chunk of some paths and a picture of its own; a job of so many.
fn chunk(rig: &Rig, raw: &Raw, (index, total): (i32, i32), paths: &[&str]) -> Value {
    let mut urls: Vec<String> = paths.iter().map(|path| raw.url(path)).collect();
    urls.push(rig.origin.url(&format!("/img/{index}")));
    with_total(inline(1, index, &urls), total)
}

/// It keeps what another chunk has: as a chunk does that ran beside it.
fn beside(mut message: Value) -> Value {
    message["dedupe"] = json!({"scope": "chunk"});
    message
}

async fn runs(handler: &Handler, message: &Value, images: &str) {
    let said = say(handler, message).await;
    assert!(said.contains(images), "{said}");
}

fn named(handler: &Handler) -> usize {
    let lines = handler.lines();
    lines.iter().filter(|line| line.contains("duplicates of samples that are gone")).count()
}

/// I3: the picture came back under another key, so nothing is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_under_another_key_is_not_gone() {
    let rig = Rig::new().await;
    let raw = changing();
    let handler = handler_of(&rig, &raw).await;
    runs(&handler, &chunk(&rig, &raw, (0, 2), &["/once/a", "/later/a"]), "2 of 3").await;
    runs(&handler, &chunk(&rig, &raw, (1, 2), &["/still/a"]), "1 of 2").await;
    rig.until(ENDED).await;
    again(&rig, "0");
    runs(&handler, &wake_up(1, 0), "2 of 3").await;
    rig.until(ENDED).await;
    assert_eq!(rig.value::<Vec<i32>>(LOST).await, [0, 0]);
    assert_eq!(named(&handler), 0, "{:#?}", handler.lines());
    holds(&rig).await;
}

/// I3: as long as a late duplicate of it is there, the picture is; when that goes too, whoever dropped
/// the first of them is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_an_heir_has_is_gone_with_the_heir() {
    let rig = Rig::new().await;
    let raw = changing();
    let handler = handler_of(&rig, &raw).await;
    runs(&handler, &chunk(&rig, &raw, (0, 3), &["/once/a"]), "2 of 2").await;
    runs(&handler, &beside(chunk(&rig, &raw, (1, 3), &["/once/other/a"])), "2 of 2").await;
    runs(&handler, &chunk(&rig, &raw, (2, 3), &["/still/a"]), "1 of 2").await;
    for (index, lost, times) in [("0", [0, 0, 0], 0), ("1", [0, 0, 1], 1)] {
        rig.until(ENDED).await;
        again(&rig, index);
        runs(&handler, &wake_up(1, index.parse().unwrap()), "1 of 2").await;
        rig.until(ENDED).await;
        assert_eq!(rig.value::<Vec<i32>>(LOST).await, lost, "after chunk {index}");
        assert_eq!(named(&handler), times, "{:#?}", handler.lines());
        holds(&rig).await;
    }
}

/// I3: a chunk that completes later has the picture that was gone in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_a_later_chunk_has_is_not_gone() {
    let rig = Rig::new().await;
    let raw = changing();
    let handler = handler_of(&rig, &raw).await;
    runs(&handler, &chunk(&rig, &raw, (0, 3), &["/once/a"]), "2 of 2").await;
    runs(&handler, &chunk(&rig, &raw, (1, 3), &["/still/a"]), "1 of 2").await;
    again(&rig, "0");
    runs(&handler, &wake_up(1, 0), "1 of 2").await;
    runs(&handler, &chunk(&rig, &raw, (2, 3), &["/still/a"]), "2 of 2").await;
    rig.until(ENDED).await;
    assert_eq!(rig.value::<Vec<i32>>(LOST).await, [0, 0, 0]);
    assert_eq!(named(&handler), 0, "{:#?}", handler.lines());
    holds(&rig).await;
}

/// The job ended long ago, so that its hashes went, and a manifest of it is gone.
async fn hashes_and_a_manifest_go(rig: &Rig, sql: &Sql) {
    rig.until(ENDED).await;
    sql.execute("delete from image_hash; update job set hashes = 'gone'").await;
    rig.blobs.delete(DATASETS, "job_1/chunks/chunk_00000.manifest.json").await.unwrap();
}

/// I3: neither hashes nor manifest say what the chunk had, but the manifests of those do who relied on
/// it: one dropped a picture, another has one as a late duplicate and inherits its hash.
#[tokio::test(flavor = "multi_thread")]
async fn without_hashes_and_manifest_the_others_say_what_is_gone() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    let raw = changing();
    let handler = handler_of(&rig, &raw).await;
    runs(&handler, &chunk(&rig, &raw, (0, 3), &["/once/a", "/once/b"]), "3 of 3").await;
    runs(&handler, &chunk(&rig, &raw, (1, 3), &["/still/a"]), "1 of 2").await;
    runs(&handler, &beside(chunk(&rig, &raw, (2, 3), &["/still/b"])), "2 of 2").await;
    hashes_and_a_manifest_go(&rig, &sql).await;
    again(&rig, "0");
    runs(&handler, &wake_up(1, 0), "1 of 3").await;
    rig.until(ENDED).await;
    assert_eq!(rig.value::<Vec<i32>>(LOST).await, [0, 1, 0]);
    assert_eq!(named(&handler), 1, "{:#?}", handler.lines());
    let owners = "select array_agg(chunk_index order by chunk_index) from image_hash";
    assert_eq!(sql.value::<Vec<i32>>(owners).await, [0, 1, 2, 2]);
    let late = "select late_duplicates = '[]' from chunk where chunk_index = 2";
    assert!(sql.value::<bool>(late).await);
    holds(&rig).await;
}

/// I8: of a chunk that nobody knows nothing runs again, nor any other for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_chunk_has_no_other_run_again() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    let handler = rig.handler().await;
    say(&handler, &with_total(inline(1, 0, &rig.pictures(1)), 1)).await;
    hashes_and_a_manifest_go(&rig, &sql).await;
    let output =
        rig.chunkctl(&["control", "retry", "--job-id", "1", "--chunk-index", "99", "--again"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("chunk 1/99 is unknown or not over"), "{output:?}");
    let unchanged = "select ended_at is not null and hashes = 'gone' from job";
    assert!(sql.value::<bool>(unchanged).await);
    assert_eq!(sql.value::<i64>("select count(*) from chunk where state = 'completed'").await, 1);
}

/// I3: two run again, one a late duplicate of the other, which loses the picture: the late one has it
/// from then on, until it completes without it; if it fails instead, it still has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_runs_again_inherits_too() {
    for completes in [false, true] {
        let rig = Rig::new().await;
        let sql = Sql::new(&rig, 1).await;
        sql.announce(10).await;
        sql.job(1, 2).await;
        let samples = [[("x", "0_0")], [("x", "1_0")]];
        for (index, samples) in (0..).zip(&samples) {
            let fence = sql.claimed(index).await;
            complete(&sql, index, fence, samples).await;
        }
        assert_eq!(who_has_what(&sql).await.0, json!([[], [late("1_0", "0_0")]]));
        assert_eq!(sql.value::<i32>("select run_again(1, '{0,1}', null)").await, 2);
        let fence = sql.claimed(0).await;
        complete(&sql, 0, fence, &[]).await;
        let inherited = (json!([[], []]), vec!["x 1 1_0".to_owned()]);
        assert_eq!(who_has_what(&sql).await, inherited);
        let fence = sql.claimed(1).await;
        let (hashes, gone) = if completes {
            complete(&sql, 1, fence, &[]).await;
            (Vec::new(), vec!["0_0", "1_0"])
        } else {
            sql.give_up(1, fence, "failed").await;
            (inherited.1, Vec::new())
        };
        let settled = "select coalesce(array_agg(key order by key), '{}') from settle_samples(1)";
        assert_eq!(sql.value::<Vec<String>>(settled).await, gone);
        assert_eq!(who_has_what(&sql).await, (json!([[], []]), hashes));
        let left = sql.value::<i64>("select count(*) from earlier_sample").await;
        assert_eq!(left, gone.len() as i64);
    }
}
