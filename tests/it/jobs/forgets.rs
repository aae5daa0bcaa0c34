//! Storage that forgets what it acknowledged: the end of a job finds it before the documents say
//! otherwise.

use super::control::{ENDED, control, dataset, holds, say, with_total};
use crate::state::sql::Sql;
use support::{
    invariants,
    rig::{DATASETS, Handler, Rig, inline, wake_up},
};

/// Says that blobs are gone, in the log.
const LOST: &str = "storage has lost shards or manifests";

fn blob(index: i32, kind: &str) -> String {
    format!("job_1/chunks/chunk_{index:05}.{kind}")
}

/// Runs the first `n` of so many chunks of one picture each.
async fn first_chunks(rig: &Rig, handler: &Handler, n: i32, total: i32) {
    for index in 0..n {
        run(rig, handler, index, total).await;
    }
}

async fn run(rig: &Rig, handler: &Handler, index: i32, total: i32) {
    let url = rig.origin.url(&format!("/img/{index}"));
    let said = say(handler, &with_total(inline(1, index, &[url]), total)).await;
    assert!(said.contains("1 of 1"), "{said}");
}

/// I2: a shard that is gone, a manifest that is gone, and a shard that says the right things and is empty:
/// those chunks run again, said once, before a document says that they are there.
#[tokio::test(flavor = "multi_thread")]
async fn storage_that_forgets_a_shard_or_a_manifest_has_its_chunk_run_again() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    first_chunks(&rig, &handler, 4, 5).await;
    rig.blobs.delete(DATASETS, &blob(0, "tar")).await.unwrap();
    rig.blobs.delete(DATASETS, &blob(1, "manifest.json")).await.unwrap();
    let (claim, sha256): (String, String) = sqlx::query_as(
        "select shard_claim, shard_sha256 from chunk_handler.chunk where chunk_index = 2",
    )
    .fetch_one(&rig.pool)
    .await
    .unwrap();
    let metadata = [("claim", claim.as_str()), ("sha256", &sha256)];
    rig.blobs.create_with(DATASETS, &blob(2, "tar"), &metadata).await.unwrap();
    run(&rig, &handler, 4, 5).await;
    let pending = "select array_agg(chunk_index order by chunk_index) = '{0,1,2}'
        from chunk_handler.chunk where state = 'pending' and attempt = 0";
    rig.until(pending).await;
    assert!(dataset_is_missing(&rig).await, "it lists what is not there");
    for index in 0..3 {
        assert!(say(&handler, &wake_up(1, index)).await.contains("1 of 1"));
    }
    rig.until(ENDED).await;
    let said = handler.lines().iter().filter(|line| line.contains(LOST)).count();
    assert_eq!(said, 1, "{:#?}", handler.lines());
    assert_eq!(dataset(&rig).await["totals"]["images_valid"], 5);
    holds(&rig).await;
}

async fn dataset_is_missing(rig: &Rig) -> bool {
    rig.blobs.list(DATASETS, "job_1/dataset").await.unwrap().is_empty()
}

/// A shard that is lost every time does not keep its origins busy: a back-off begins with the second
/// loss, and ends when somebody asks. What changed meanwhile is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_lost_again_and_again_waits() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    sql.job(1, 1).await;
    for (n, seconds) in [0, 5, 10].into_iter().enumerate() {
        let fence = sql.claimed(0).await;
        assert!(sql.complete(0, fence).await);
        assert_eq!(sql.value::<i32>("select run_again(1, '{0}', '{77}')").await, 0);
        let lost = "select run_again(1, '{0}', array[shard_fence]) from chunk";
        assert_eq!(sql.value::<i32>(lost).await, 1);
        let wait = "select coalesce(round(extract(epoch from not_before - updated_at)), 0)::integer
            from chunk";
        assert_eq!(sql.value::<i32>(wait).await, seconds, "loss {n}");
        sql.due().await;
    }
    assert!(sql.complete(0, sql.claimed(0).await).await);
    sql.execute("select run_again(1, '{0}', null)").await;
    assert!(sql.value::<bool>("select losses = 0 and not_before is null from chunk").await);
    assert_eq!(invariants::of_rows(&rig).await, Vec::<String>::new());
}

/// I1 I2: nothing of a cancelled job runs again: what is gone has failed, and a manifest that says
/// otherwise goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_lists_only_what_is_there() {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 1).await;
    let handler = rig.handler().await;
    first_chunks(&rig, &handler, 3, 4).await;
    rig.blobs.delete(DATASETS, &blob(0, "tar")).await.unwrap();
    // As a process leaves it that was killed between manifest and row.
    rig.blobs.create(DATASETS, &blob(3, "manifest.json")).await.unwrap();
    sql.execute("select register(1, 3, 4, 5::smallint, '{}')").await;
    control(&rig, &["cancel", "--job-id", "1"]);
    rig.until(ENDED).await;
    let row = "select status || ' ' || error_code || ' ' || error_message
        from chunk_handler.chunk_status where chunk_index = 0";
    let row = rig.value::<String>(row).await;
    assert!(row.starts_with("failed cancelled its shard or manifest is gone"), "{row}");
    let left: Vec<String> = rig.blobs.list(DATASETS, "job_1/chunks/").await.unwrap();
    let of = |index: i32| left.iter().filter(|name| name.contains(&format!("{index:05}"))).count();
    assert_eq!([0, 1, 2, 3].map(of), [0, 2, 2, 0], "{left:?}");
    assert_eq!(dataset(&rig).await["shards"].as_array().unwrap().len(), 2);
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.image_hash").await, 2);
    holds(&rig).await;
}
