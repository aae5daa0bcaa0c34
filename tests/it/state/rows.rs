//! Leases that expire, limits that move and lost workers are counted right, without a process.

use super::sql::Sql;
use support::{
    invariants,
    rig::{Rig, wait_for},
};

async fn world(limit: i32, chunks: i32) -> (Rig, Sql) {
    let rig = Rig::new().await;
    let sql = Sql::new(&rig, 5).await;
    sql.announce(limit).await;
    sql.job(1, chunks).await;
    (rig, sql)
}

async fn holds(rig: &Rig) {
    assert_eq!(invariants::of_rows(rig).await, Vec::<String>::new());
}

/// I8: a chunk that kills its process every time fails after twenty leases in a row, uncharged; the
/// first two come back at once, the others wait longer and longer.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_lost_workers_in_a_row_fail_a_chunk() {
    let (rig, sql) = world(2, 1).await;
    let mut longest: f64 = 0.0;
    for n in 1..=20_i64 {
        assert_eq!(sql.claimed(0).await, n);
        assert_eq!(sql.expire_all().await, 1);
        let wait = "select extract(epoch from not_before - clock_timestamp())::float8 from chunk";
        let wait: Option<f64> = sql.value(wait).await;
        match n {
            1 | 2 => assert_eq!(wait, None, "expiry {n}"),
            _ => {
                let bound = 2.0 * (2_f64.powi(n as i32 - 3)).min(60.0);
                assert!(wait.is_some_and(|s| s <= bound), "expiry {n}: {wait:?} above {bound}");
                longest = longest.max(wait.unwrap_or_default());
            }
        }
        let state: String = sql.value("select state::text from chunk").await;
        assert_eq!(state, if n < 20 { "pending" } else { "failed" }, "expiry {n}");
        if wait.is_some_and(|s| s > 0.1) && n < 20 {
            assert_eq!(sql.claim(0, "early").await.0, "later");
        }
        sql.due().await;
        holds(&rig).await;
    }
    assert!(longest > 2.0, "the back-off grows: {longest}");
    assert_eq!(sql.value::<String>("select error_code from chunk").await, "worker_lost");
    assert_eq!(sql.value::<i32>("select attempt from chunk").await, 0);
    assert_eq!(sql.claim(0, "after").await.0, "failed");
    assert_eq!(sql.value::<String>("select ends_as from job_over").await, "failed");
}

/// Any other outcome ends the row of expiries: nineteen, one release, and one more do not fail it.
#[tokio::test(flavor = "multi_thread")]
async fn another_outcome_starts_the_count_of_lost_workers_again() {
    let (rig, sql) = world(1, 1).await;
    sql.execute("update chunk set expiries = 19").await;
    let fence = sql.claimed(0).await;
    assert_eq!(sql.give_up(0, fence, "released").await.as_deref(), Some("released"));
    sql.due().await;
    sql.claimed(0).await;
    assert_eq!(sql.expire_all().await, 1);
    assert!(sql.value::<bool>("select state = 'pending' and expiries = 1 from chunk").await);
    holds(&rig).await;
}

/// A second suspect waits while one is processing, and is not woken; other chunks start as ever.
#[tokio::test(flavor = "multi_thread")]
async fn one_suspect_at_a_time_and_its_neighbours_go_on() {
    let (rig, sql) = world(10, 4).await;
    sql.execute("update chunk set expiries = 3 where chunk_index < 2").await;
    sql.claimed(0).await;
    assert_eq!(sql.claim(1, "b").await.0, "later");
    sql.claimed(2).await;
    sql.execute("update chunk set expiries = 2 where chunk_index = 3").await;
    sql.claimed(3).await;
    assert!(sql.value::<bool>("select woken_at is null from chunk where chunk_index = 1").await);
    assert!(sql.complete(0, 1).await);
    assert_eq!(sql.claim(1, "b").await.0, "claimed");
    holds(&rig).await;
}

/// Two suspects claimed at the same moment: one is granted.
#[tokio::test(flavor = "multi_thread")]
async fn two_suspects_at_once_are_not_both_granted() {
    let (rig, sql) = world(10, 20).await;
    sql.execute("update chunk set expiries = 3").await;
    for round in 0..5 {
        let ids: Vec<String> = (0..4).map(|i| format!("{round}-{i}")).collect();
        let claims = ids.iter().enumerate().map(|(i, id)| sql.claim(round * 4 + i as i32, id));
        let answers = support::rig::all(claims).await;
        let granted = answers.iter().filter(|(answer, _)| answer == "claimed").count();
        assert!(granted <= 1, "{answers:?}");
        let suspects = "select count(*) from chunk where state = 'processing'";
        assert_eq!(sql.value::<i64>(suspects).await, granted as i64);
        sql.expire_all().await;
    }
    holds(&rig).await;
}

/// I8: whatever mix of endings, attempt = claims - released - expired.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_claims_less_what_is_not_charged() {
    let (rig, sql) = world(3, 3).await;
    let endings = ["released", "expired", "retried", "released", "retried", "expired", "completed"];
    for (n, ending) in endings.iter().enumerate() {
        let fence = sql.claimed(0).await;
        assert_eq!(fence, n as i64 + 1, "the fence only rises");
        match *ending {
            "expired" => assert_eq!(sql.expire_all().await, 1),
            "completed" => assert!(sql.complete(0, fence).await),
            outcome => assert_eq!(sql.give_up(0, fence, outcome).await.as_deref(), Some(outcome)),
        }
        sql.due().await;
        holds(&rig).await;
    }
    let row = "select attempt from chunk where chunk_index = 0";
    assert_eq!(sql.value::<i32>(row).await, 3, "two retried and the completion");
    for charged in 1..=4 {
        let fence = sql.claimed(1).await;
        let outcome = sql.give_up(1, fence, "retried").await.unwrap();
        assert_eq!(outcome, if charged < 4 { "retried" } else { "failed" });
        sql.due().await;
    }
    let fence = sql.claimed(2).await;
    assert_eq!(sql.give_up(2, fence, "failed").await.as_deref(), Some("failed"));
    holds(&rig).await;
    sql.execute("select retry(1, null)").await;
    holds(&rig).await;
    assert!(sql.complete(1, sql.claimed(1).await).await);
    holds(&rig).await;
}

/// S2 I5: a zombie's fence completes nothing, gives nothing up, and is told so; a repetition of
/// what did happen is told that it happened.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_fence_changes_nothing_and_a_repetition_is_no_loss() {
    let (rig, sql) = world(1, 1).await;
    let zombie = sql.claimed(0).await;
    sql.expire_all().await;
    let holder = sql.claimed(0).await;
    assert!(!sql.complete(0, zombie).await);
    for outcome in ["released", "retried", "failed"] {
        assert_eq!(sql.give_up(0, zombie, outcome).await, None);
    }
    let untouched = "select state = 'processing' and fence = 2 and attempt = 1 from chunk";
    assert!(sql.value::<bool>(untouched).await);
    assert!(sql.complete(0, holder).await);
    assert!(sql.complete(0, holder).await, "the reply was lost");
    assert!(!sql.complete(0, zombie).await);
    holds(&rig).await;
}

/// S2 F8: slots above a lowered limit only drain, and nothing is granted meanwhile; a raised limit
/// grants more at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_lowered_limit_drains_and_a_raised_one_grants() {
    let (rig, sql) = world(4, 12).await;
    for index in 0..4 {
        sql.claimed(index).await;
    }
    assert_eq!(sql.claim(4, "x").await.0, "full");
    sql.announce(2).await;
    // Slots 1 and 2 are free, slots 3 and 4 above the limit still taken.
    for index in 0..3 {
        assert!(sql.complete(index, 1).await);
        assert_eq!(sql.claim(4, "x").await.0, "full", "after {index}");
    }
    assert!(sql.complete(3, 1).await);
    sql.claimed(4).await;
    sql.claimed(5).await;
    assert_eq!(sql.claim(6, "x").await.0, "full");
    sql.announce(5).await;
    for index in 6..9 {
        sql.claimed(index).await;
    }
    assert_eq!(sql.claim(9, "x").await.0, "full");
    assert_eq!(sql.value::<i32>("select active_chunks from capacity").await, 5);
    holds(&rig).await;
}

/// I4: a limit is lowered only after the claims that read the old one are over.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_lowered_after_the_claims_under_way() {
    let (rig, sql) = world(2, 4).await;
    sql.claimed(0).await;
    let mut under_way = sql.pool.begin().await.unwrap();
    let claim =
        "select answer::text from claim(1, 1, null, 'test', 'b', 'b', 60, 5::smallint, null)";
    let answer: String = sqlx::query_scalar(claim).fetch_one(&mut *under_way).await.unwrap();
    assert_eq!(answer, "claimed");
    let limit = "select max_chunks from capacity";
    let lowering = async {
        sql.announce(1).await;
        sql.claim(2, "c").await.0
    };
    let committing = async {
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database())";
        wait_for("the announcement waits", async || sql.value::<i64>(waiting).await == 1).await;
        assert_eq!(sql.value::<i32>(limit).await, 2, "the old limit is in force");
        under_way.commit().await.unwrap();
    };
    let (refused, ()) = tokio::join!(lowering, committing);
    assert_eq!((refused.as_str(), sql.value::<i32>(limit).await), ("full", 1));
    holds(&rig).await;
}

/// Pauses lift themselves: nothing but time has to pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_lifts_itself() {
    let (rig, sql) = world(2, 1).await;
    assert_eq!(rig.chunkctl(&["control", "pause", "--minutes", "7"]).code, Some(0));
    sql.execute("update chunk set woken_at = clock_timestamp()").await;
    assert_eq!(sql.claim(0, "a").await.0, "paused");
    assert!(sql.value::<bool>("select woken_at is null from chunk").await, "may be woken again");
    assert!(sql.value::<bool>("select paused_until is not null from capacity").await);
    sql.execute("update fleet set paused_until = paused_until - interval '7 minutes'").await;
    assert!(sql.value::<bool>("select paused_until is null from capacity").await);
    assert_eq!(sql.claim(0, "a").await.0, "claimed");
    holds(&rig).await;
}
