//! Who goes first: chunks of a higher priority, and locks in one order.

use super::sql::Sql;
use std::sync::atomic::{AtomicI64, Ordering};
use support::rig::{Rig, all};

/// Three chunks of priority 10 in job 2.
const FIRST: [&str; 2] = [
    "insert into job (job_id, total_chunks) values (2, 3)",
    "insert into chunk (job_id, chunk_index, priority, message)
        select 2, i, 10, '{}' from generate_series(0, 2) i",
];

async fn with_a_higher_priority() -> (Rig, Sql) {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 3).await;
    sql.announce(4).await;
    sql.job(1, 6).await;
    for statement in FIRST {
        sql.execute(statement).await;
    }
    (rig, sql)
}

/// Of four slots three are left to the three chunks of a higher priority that wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_lets_those_of_a_higher_priority_go_first() {
    let (_rig, sql) = with_a_higher_priority().await;
    assert_eq!(sql.claim(0, "a").await.0, "claimed");
    assert_eq!(sql.claim(1, "b").await.0, "outranked");
    // They are not due: nobody is let go first.
    sql.execute("update chunk set not_before = 'infinity' where job_id = 2").await;
    assert_eq!(sql.claim(1, "b").await.0, "claimed");
    sql.execute("update chunk set not_before = null where job_id = 2").await;
    assert_eq!(sql.claim(2, "c").await.0, "outranked");
}

/// What has waited for ten minutes waits for nobody any more, and cancelled jobs rank nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_longer_than_ten_minutes_for_a_higher_priority() {
    let (_rig, sql) = with_a_higher_priority().await;
    assert_eq!(sql.claim(0, "a").await.0, "claimed");
    sql.execute(
        "update chunk set created_at = clock_timestamp() - interval '11 minutes'
        where chunk_index = 1",
    )
    .await;
    assert_eq!(sql.claim(1, "b").await.0, "claimed");
    sql.execute("select cancel(2)").await;
    assert_eq!(sql.claim(2, "c").await.0, "claimed");
}

/// What people, timers and claims do to one job at once, as statements.
const MIX: [&str; 9] = [
    "select announce(4 + (random() * 4)::integer, 'local', 500, 20000, (select storage from fleet), 0)",
    "select claim(1, (random() * 9)::integer, 12, 'a', 'i', gen_random_uuid()::text, 60, 5::smallint, '{}')",
    "select claim(1, (random() * 9)::integer, 12, 'b', 'i', gen_random_uuid()::text, 0, 9::smallint, '{}')",
    "select complete(1, chunk_index, token, fence, token, '{\"images_valid\": 0}',
        '{\"blob\": \"b\", \"bytes\": 0, \"sha256\": \"\", \"samples\": 0}', 'm',
        array['\\x01'::bytea, '\\x02'::bytea], array['a', 'b'])
        from chunk where token is not null order by random() limit 1",
    "select give_up(1, chunk_index, token, 'retried', 'c', 'm', 2, 0, 0, 0)
        from chunk where token is not null order by random() limit 1",
    "select cancel(1)",
    "select retry(1, null)",
    "select * from reclaim(null)",
    "update job set closed_at = clock_timestamp() where job_id = 1",
];

/// Eight sessions doing the mix, in an order of their own each; how many of them were deadlocked. Where
/// they are wanted the first is enough: each takes a second to be found.
async fn deadlocks(altered: Option<&'static str>) -> i64 {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 9).await;
    sql.announce(6).await;
    sql.job(1, 8).await;
    if let Some(altered) = altered {
        sql.execute(altered).await;
    }
    let found = AtomicI64::new(0);
    let session = async |seed: usize| {
        let mut connection = sql.pool.acquire().await.unwrap();
        for n in 0..400 {
            if altered.is_some() && found.load(Ordering::SeqCst) > 0 {
                return;
            }
            let statement = MIX[(seed * 7 + n * (seed + 2) + n / 9) % MIX.len()];
            if let Err(error) = sqlx::query(statement).fetch_all(&mut *connection).await {
                let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default();
                assert_eq!(code, "40P01", "{statement}: {error}");
                found.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    all((0..8).map(session)).await;
    found.into_inner()
}

/// A cancel that takes the chunks before their job.
const CHUNKS_FIRST: &str = "
    create or replace function cancel(p_job bigint) returns cancellation language plpgsql as $$
    begin
        perform from chunk where job_id = p_job order by chunk_index desc for no key update;
        perform pg_sleep(0.05);
        perform from job where job_id = p_job for no key update;
        update chunk set state = 'failed', error_code = 'cancelled'
            where job_id = p_job and state = 'pending';
        return 'cancelled';
    end $$";

/// I4: claims, announcements, cancels and their like take their locks in one order: none is a victim
/// of a deadlock. With another order some are.
#[tokio::test(flavor = "multi_thread")]
async fn locks_are_taken_in_one_order() {
    assert_eq!(deadlocks(None).await, 0);
    assert!(deadlocks(Some(CHUNKS_FIRST)).await > 0);
}
