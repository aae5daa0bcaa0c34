//! The negative controls of `doc/invariants.md`: with the product's guards taken out, the
//! same checks that the other tests trust turn red. Each runs with the guard in place, too.

use crate::state::sql::Sql;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use support::{
    gate::Gate,
    invariants,
    rig::{Handler, Rig, all, inline, wake_up},
};

/// `held` without its predicate on the claim.
const UNFENCED: &str = "
    create or replace function held(p_job bigint, p_index integer, p_token text)
    returns chunk language plpgsql as $$
    declare
        c chunk;
    begin
        select * into c from chunk where job_id = p_job and chunk_index = p_index
            and state = 'processing' for no key update;
        return c;
    end $$";

/// A zombie whose claim expired completes a chunk while its holder, a real process, stands between
/// shard and manifest. Answers whether the zombie was let, and what the checks say in the end.
async fn zombie_completes(altered: Option<&'static str>) -> (bool, Vec<String>) {
    let rig = Rig::new().await;
    let gate = Gate::new(&rig, ".manifest.json").await;
    let sql = Sql::new(&rig, 2).await;
    if let Some(altered) = altered {
        sql.execute(altered).await;
    }
    let holder = rig.handler_with(&[("ChunkStorage", &gate.storage)]).await;
    sql.execute("update fleet set paused_until = 'infinity'").await;
    holder.deliver("registers", &inline(1, 0, &rig.pictures(2))).await;
    sql.execute("update fleet set paused_until = null").await;
    let zombie = sql.claimed(0).await;
    sql.expire_all().await;
    let wake_up = wake_up(1, 0);
    let (_, was_let) = tokio::join!(holder.deliver("works", &wake_up), async {
        gate.met().await;
        let was_let = sql.complete(0, zombie).await;
        gate.open();
        was_let
    });
    rig.until("select status = 'completed' from chunk_handler.chunk_status").await;
    // The row that the zombie wrote names no blobs of its own.
    sql.execute(
        "update chunk set shard_blob = 'job_1/chunks/chunk_00000.tar',
        manifest_blob = 'job_1/chunks/chunk_00000.manifest.json'",
    )
    .await;
    (was_let, invariants::violations(&rig).await)
}

/// I5 I16 (a): without the predicate on the claim a zombie's `complete` counts, and its fence shows it.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_fence_predicate_the_fence_check_is_red() {
    let (was_let, found) = zombie_completes(Some(UNFENCED)).await;
    assert!(was_let);
    let of_fence = "I5: shard 1/0 is of claim Some(\"2\"), the row says 1";
    assert!(found.iter().any(|text| text == of_fence), "{found:?}");
    assert!(found.iter().any(|text| text.starts_with("I16: the row of chunk")), "{found:?}");
    let (was_let, found) = zombie_completes(None).await;
    assert!(!was_let);
    assert_eq!(found, Vec::<String>::new());
}

/// `free_slot` by count: look, then act.
const BY_COUNT: &str = "
    create or replace function free_slot(p_limit integer) returns integer language plpgsql as $$
    declare
        n integer;
        result integer;
    begin
        select count(*) into n from chunk where state = 'processing';
        perform pg_sleep(0.2);
        if n >= p_limit then
            return null;
        end if;
        insert into slot (slot_no) select 1000 + nextval('by_count') returning slot_no into result;
        return result;
    end $$";

/// Forty claims at once, limit ten, sampled: what the sampler found.
async fn forty_claims(altered: Option<&'static str>) -> (i64, Vec<String>) {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 40).await;
    sql.announce(10).await;
    sql.job(1, 40).await;
    sql.execute("create sequence by_count").await;
    if let Some(altered) = altered {
        sql.execute(altered).await;
    }
    let ids: Vec<String> = (0..40).map(|i| format!("claim-{i}")).collect();
    let done = AtomicBool::new(false);
    let claims = async {
        all(ids.iter().enumerate().map(|(i, id)| sql.claim(i as i32, id))).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        done.store(true, Ordering::SeqCst);
    };
    tokio::join!(claims, invariants::sample_slots(&rig, 10, &done)).1
}

/// I4 (b): admission by count grants more than the limit, and the sampler sees it.
#[tokio::test(flavor = "multi_thread")]
async fn with_admission_by_count_the_limit_check_is_red() {
    let (most, found) = forty_claims(Some(BY_COUNT)).await;
    assert!(most > 10, "{most} at once");
    assert!(found.iter().any(|text| text.contains("above the limit of 10")), "{found:?}");
    let (most, found) = forty_claims(None).await;
    assert!((1..=10).contains(&most), "{most} at once");
    assert_eq!(found, Vec::<String>::new());
}

/// A picture's hash is known before a chunk that holds it completes; a second chunk with that very
/// picture is run. What the checks say.
async fn hash_of_unfinished_chunk(is_written: bool) -> (Value, Vec<String>) {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 2).await;
    let handler = rig.handler().await;
    sql.job(1, 2).await;
    let picture = reqwest::get(rig.origin.url("/img/0")).await.unwrap().bytes().await.unwrap();
    let insert = "insert into image_hash (job_id, sha256, chunk_index, key)
        select 1, $1, 1, 'never_kept' where $2";
    let insert = sqlx::query(insert).bind(Sha256::digest(&picture).to_vec()).bind(is_written);
    insert.execute(&sql.pool).await.unwrap();
    // Its message is written here: the chunk is known, and has its URLs from its row.
    let message = inline(1, 0, &rig.pictures(1)).to_string();
    let update = "update chunk set message = $1 where chunk_index = 0";
    sqlx::query(update).bind(message).execute(&sql.pool).await.unwrap();
    deliver(&handler, &wake_up(1, 0)).await;
    (rig.manifest(1, 0).await["items"][0]["status"].clone(), invariants::violations(&rig).await)
}

async fn deliver(handler: &Handler, message: &Value) {
    let (status, answer) = handler.deliver("one", message).await;
    assert!(status == 200 && answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
}

/// I3 (c): a hash written outside the completing transaction drops the only copy of a picture, and
/// the check names it.
#[tokio::test(flavor = "multi_thread")]
async fn with_hashes_written_early_the_duplicate_check_is_red() {
    let (status, found) = hash_of_unfinished_chunk(true).await;
    assert_eq!(status, "duplicate");
    assert!(found.iter().any(|text| text.contains("which no completed chunk has")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("which is pending")), "{found:?}");
    let (status, found) = hash_of_unfinished_chunk(false).await;
    assert_eq!(status, "valid");
    assert_eq!(found, Vec::<String>::new());
}

const ALLOWED_BYTES: u64 = 80 * 1024 * 1024;

/// Twenty-one large pictures while the dedupe does not answer, so that bodies pile up; the most temp
/// bytes, and what the walk says of 80 MB.
async fn bodies_pile_up(temp_mb: &str, enough: u64) -> (u64, Vec<String>) {
    let rig = Rig::new().await;
    let handler = rig
        .handler_with(&[
            ("PIXCRAWLER_MAX_BUFFER_MB", "16"),
            ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", temp_mb),
            ("PIXCRAWLER_PER_HOST_CONCURRENCY", "64"),
            ("PIXCRAWLER_LEASE_SECONDS", "60"),
        ])
        .await;
    let mut lock = rig.pool.begin().await.unwrap();
    let statement = "lock table chunk_handler.image_hash in access exclusive mode";
    sqlx::query(statement).execute(&mut *lock).await.unwrap();
    let done = AtomicBool::new(false);
    let work = async {
        let messages: Vec<Value> = (0..3)
            .map(|chunk| {
                let url = |i| rig.origin.url(&format!("/big/{}?mb=6&cl=0", chunk * 100 + i));
                inline(1, chunk, &(0..7).map(url).collect::<Vec<_>>())
            })
            .collect();
        all(messages.iter().zip(["a", "b", "c"]).map(|(m, id)| handler.deliver(id, m))).await;
        done.store(true, Ordering::SeqCst);
    };
    // Long enough for the pile to grow beyond the budget, if it can.
    let unlock = async {
        let end = Instant::now() + Duration::from_secs(20);
        while invariants::walk(rig.temp.path()) < enough && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        lock.rollback().await.unwrap();
    };
    tokio::join!(work, unlock, invariants::sample_temp(&rig, ALLOWED_BYTES, &done)).2
}

/// I6 (d): with a budget that is no limit the walk finds more than 80 MB; with the real one not.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_budget_ignored_the_temp_check_is_red() {
    let (most, found) = bodies_pile_up("100000", ALLOWED_BYTES + 1).await;
    assert_eq!(found.len(), 1, "{most} bytes at most");
    let (most, found) = bodies_pile_up("100", 1).await;
    assert!(most > 0, "the files were needed");
    assert_eq!(found, Vec::<String>::new());
}
