//! Claims keep the fleet limit, which a count before each start does not.

use sqlx::postgres::PgPoolOptions;
use std::{sync::Arc, time::Duration};
use support::rig::{Rig, all, inline, wait_for};
use tokio::sync::Barrier;

/// X3: the negative control. Count, then act, as the guide has it: forty starters, limit ten.
#[tokio::test(flavor = "multi_thread")]
async fn the_guides_check_then_act_goes_over_the_limit() {
    let rig = Rig::new().await;
    rig.execute("create table guide_chunk (id integer, status text)").await;
    let pool = PgPoolOptions::new().max_connections(40).connect(&rig.database_url).await.unwrap();
    let all_looked = Arc::new(Barrier::new(40));
    let starters = (0..40).map(|id| {
        let (pool, all_looked) = (pool.clone(), Arc::clone(&all_looked));
        async move {
            let count = "select count(*) from guide_chunk where status = 'processing'";
            let active: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
            all_looked.wait().await;
            if active < 10 {
                let start = "insert into guide_chunk values ($1, 'processing')";
                sqlx::query(start).bind(id).execute(&pool).await.unwrap();
            }
        }
    });
    all(starters).await;
    assert_eq!(rig.value::<i64>("select count(*) from guide_chunk").await, 40);
}

/// The same forty starters against `claim`, from forty connections at once: ten, and one slot each.
/// S2 X3
#[tokio::test(flavor = "multi_thread")]
async fn claim_grants_exactly_the_limit() {
    let rig = Rig::new().await;
    let _handler = rig.handler().await;
    rig.execute(
        "insert into chunk_handler.job (job_id) values (1);
        ",
    )
    .await;
    rig.execute(
        "insert into chunk_handler.chunk (job_id, chunk_index, priority, message)
        select 1, i, 5, '{}' from generate_series(0, 39) i",
    )
    .await;
    let pool = PgPoolOptions::new().max_connections(40).connect(&rig.database_url).await.unwrap();
    let starters = (0..40).map(|i| {
        let pool = pool.clone();
        async move {
            let mut connection = pool.acquire().await.unwrap();
            sqlx::query("set search_path = chunk_handler").execute(&mut *connection).await.unwrap();
            let claim =
                "select (claim(1, $1, null, 'test', $2, $2, 60, 5::smallint, null)).answer::text";
            let answer: String = sqlx::query_scalar(claim)
                .bind(i)
                .bind(format!("invocation-{i}"))
                .fetch_one(&mut *connection)
                .await
                .unwrap();
            answer
        }
    });
    let answers = all(starters).await;
    let granted = answers.iter().filter(|answer| *answer == "claimed").count();
    // Another claim may hold the last free slot's lock for a moment: fewer is possible, more is not.
    assert!((1..=10).contains(&granted), "{answers:?}");
    let slots: i64 = rig.value("select count(job_id) from chunk_handler.slot").await;
    assert_eq!(i64::try_from(granted).unwrap(), slots);
}

/// F5 F8: every slot taken: answered 200 at once, nothing charged, and the chunk waits as pending.
#[tokio::test(flavor = "multi_thread")]
async fn full_is_an_answer_and_charges_nothing() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_FLEET_MAX_CHUNKS", "2")]).await;
    rig.origin.set_delay(Duration::from_secs(3));
    let urls = rig.pictures(2);
    let first = [inline(1, 0, &urls), inline(1, 1, &urls)];
    let running = all(["a", "b"].iter().zip(&first).map(|(id, m)| handler.deliver(id, m)));
    let refused = async {
        rig.until("select active_chunks = 2 from chunk_handler.capacity").await;
        for i in 2..6 {
            let (status, answer) =
                handler.deliver(&format!("late-{i}"), &inline(1, i, &urls)).await;
            assert_eq!(status, 200);
            assert!(answer["Logs"][0].as_str().unwrap().contains("slots are taken"), "{answer}");
        }
        rig.until("select active_chunks = 2 from chunk_handler.capacity").await;
        assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.attempt_log").await, 2);
        let untouched = "select bool_and(status = 'pending' and attempt = 0 and fence = 0)
            from chunk_handler.chunk_status where chunk_index >= 2";
        assert!(rig.value::<bool>(untouched).await);
    };
    tokio::join!(running, refused);
    // The two that ended woke the next; a message for each lies in the queue.
    rig.until("select count(*) >= 2 from chunk_handler.chunk where woken_at is not null").await;
}

/// Cancelled, paused, later and over: each has its answer, and none starts anything.
#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_answered_and_starts_nothing() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(1);
    let say = async |id: &str, index: i32| {
        let (status, answer) = handler.deliver(id, &inline(1, index, &urls)).await;
        assert_eq!(status, 200);
        answer["Logs"][0].as_str().unwrap().to_owned()
    };
    assert!(say("a", 0).await.contains("completed, 1 of 1"));
    assert!(say("b", 0).await.contains("completed already"));
    assert_eq!(rig.chunkctl(&["control", "pause", "--minutes", "5"]).code, Some(0));
    assert!(say("c", 1).await.contains("paused"));
    assert_eq!(rig.chunkctl(&["control", "resume"]).code, Some(0));
    rig.execute(
        "update chunk_handler.chunk set not_before = now() + interval '1 hour' where chunk_index = 1",
    )
    .await;
    assert!(say("d", 1).await.contains("not due yet"));
    assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "1"]).code, Some(0));
    assert!(say("e", 1).await.contains("cancelled"));
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.attempt_log").await, 1);
    let status = rig.value::<String>("select status from chunk_handler.job_progress").await;
    assert_eq!(status, "cancelled");
}

/// A running chunk notices its cancel at the next renewal and frees everything.
#[tokio::test(flavor = "multi_thread")]
async fn cancel_stops_a_running_chunk() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.origin.set_delay(Duration::from_secs(30));
    let message = inline(1, 0, &rig.pictures(2));
    tokio::join!(handler.deliver("a", &message), async {
        rig.until("select active_chunks = 1 from chunk_handler.capacity").await;
        assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "1"]).code, Some(0));
    });
    assert_eq!(rig.value::<i32>("select active_chunks from chunk_handler.capacity").await, 0);
    let outcome = rig.value::<String>("select outcome from chunk_handler.attempt_log").await;
    assert_eq!(outcome, "cancelled");
}

/// The job ends with its dataset.json: sums, shards, late duplicates; status only after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_after_its_dataset_json() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let mut messages: Vec<_> = (0..3).map(|i| inline(1, i, &rig.pictures(2))).collect();
    for message in &mut messages {
        message["total_chunks"] = 3.into();
    }
    rig.origin.set_delay(Duration::from_millis(300));
    all(["a", "b", "c"].iter().zip(&messages).map(|(id, m)| handler.deliver(id, m))).await;
    wait_for("the job ends", async || {
        rig.value::<String>("select status from chunk_handler.job_progress").await == "completed"
    })
    .await;
    let dataset = rig.blobs.read(support::rig::DATASETS, "job_1/dataset.json").await.unwrap();
    let dataset: serde_json::Value = serde_json::from_slice(&dataset).unwrap();
    assert_eq!(dataset["shards"].as_array().unwrap().len(), 3);
    assert_eq!(dataset["totals"]["images_total"], 6);
    let kept = dataset["totals"]["images_valid"].as_u64().unwrap();
    let late = dataset["late_duplicates"].as_array().unwrap().len() as u64;
    assert_eq!(kept - late, 2, "two distinct pictures, whoever was first: {dataset}");
}
