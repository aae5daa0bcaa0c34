//! Settings of chunks and of the fleet do what they say: slots, leases, deadlines, attempts, places.

use super::values::CHUNKCTL;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    programs::run,
    rig::{DATASETS, Rig, all, inline, wake_up},
};

/// S1 S3 S4 S7: a handler's start writes its limits into view `capacity`.
#[tokio::test(flavor = "multi_thread")]
async fn the_fleets_limits_are_those_of_the_last_start() {
    let rig = Rig::new().await;
    let view = "select to_jsonb(c) - '{paused_until,paused_since,storage}'::text[]
        from chunk_handler.capacity c";
    let expected = |max: u32, environment: &str, size: u32, storage: u32| {
        json!({"active_chunks": 0, "max_chunks": max, "available": max, "utilization": 0,
            "environment": environment, "chunk_size": size, "storage_limit_mb": storage})
    };
    let first = rig.handler().await;
    assert_eq!(rig.value::<Value>(view).await, expected(10, "azure_functions", 500, 400));
    drop(first);
    let _second = rig
        .handler_with(&[
            ("PIXCRAWLER_ENVIRONMENT", "local"),
            ("PIXCRAWLER_FLEET_MAX_CHUNKS", "3"),
            ("PIXCRAWLER_CHUNK_SIZE_IMAGES", "20"),
            ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "7000"),
        ])
        .await;
    assert_eq!(rig.value::<Value>(view).await, expected(3, "local", 20, 7000));
}

/// X3 S2: starters at two processes never hold more slots than the fleet has, at no moment.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_exceed_the_fleets_limit() {
    let rig = Rig::new().await;
    let limit = [("PIXCRAWLER_FLEET_MAX_CHUNKS", "3")];
    let handlers = [rig.handler_with(&limit).await, rig.handler_with(&limit).await];
    rig.origin.set_delay(Duration::from_millis(300));
    let urls = rig.pictures(2);
    let answers = all((0..30).map(async |i: i32| {
        let handler = &handlers[usize::try_from(i % 2).unwrap()];
        handler.deliver(&format!("start-{i}"), &inline(1, i, &urls)).await
    }));
    assert!(answers.await.iter().all(|(status, _)| *status == 200));
    let most = "select max(n) from (
        select (select count(*) from chunk_handler.attempt_log b where b.claimed_at <= a.claimed_at
            and (b.finished_at is null or b.finished_at > a.claimed_at)) as n
        from chunk_handler.attempt_log a) t";
    assert_eq!(rig.value::<i64>(most).await, 3);
    let known = "select count(*) from chunk_handler.chunk_status";
    assert_eq!(rig.value::<i64>(known).await, 30, "who got no slot is durable");
}

/// S2 S7: the instance limit is `MAX_CONCURRENT_CHUNKS`, or less where temp space holds fewer of
/// the largest images; a further invocation waits a little, then is answered, and its chunk is
/// kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_instance_answers_and_keeps_the_chunk() {
    let one = async |settings: &[(&str, &str)]| {
        let rig = Rig::new().await;
        // The first chunk hangs for longer than the second waits.
        let fleet = [
            ("PIXCRAWLER_FLEET_MAX_CHUNKS", "10"),
            ("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "60"),
        ];
        let handler = rig.handler_with(&[&fleet, settings].concat()).await;
        let urls = [rig.origin.url("/hang/1")];
        let (first, second) = (inline(1, 0, &urls), inline(1, 1, &urls));
        let further = async {
            rig.until("select active_chunks = 1 from chunk_handler.capacity").await;
            tokio::time::timeout(Duration::from_secs(60), handler.deliver("second", &second)).await
        };
        let (status, answer) = tokio::select! {
            answer = handler.deliver("first", &first) => panic!("the first ended: {answer:?}"),
            answer = further => answer.expect("an answer within a minute"),
        };
        assert_eq!(status, 200, "{answer}");
        let log = answer["Logs"][0].as_str().unwrap();
        assert_eq!(log, "chunk 1/1: this instance is full, the chunk waits");
        let waiting = "select status = 'pending' and attempt = 0 from chunk_handler.chunk_status
            where chunk_index = 1";
        assert!(rig.value::<bool>(waiting).await);
        assert_eq!(rig.value::<i32>("select max_chunks from chunk_handler.capacity").await, 10);
    };
    tokio::join!(
        one(&[("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", "1")]),
        one(&[("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "100"), ("PIXCRAWLER_MAX_IMAGE_SIZE_MB", "80")]),
    );
}

/// `MAX_BUFFER_MB`: bodies that memory cannot hold go to temporary files; with room for all, none
/// does.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_buffer_are_spooled() {
    let rig = Rig::new().await;
    // All are under way at once, so that together they are more than the buffer.
    rig.origin.set_rate(2 << 20);
    let urls: Vec<String> = (0..12).map(|i| rig.origin.url(&format!("/big/{i}?mb=2"))).collect();
    for (job_id, buffer, is_spooled) in [(1, "16", true), (2, "1000", false)] {
        let settings =
            [("PIXCRAWLER_MAX_BUFFER_MB", buffer), ("PIXCRAWLER_PER_HOST_CONCURRENCY", "32")];
        let handler = rig.handler_with(&settings).await;
        let (status, answer) = handler.deliver(buffer, &inline(job_id, 0, &urls)).await;
        assert_eq!(status, 200, "{answer}");
        let manifest = rig.manifest(job_id, 0).await;
        assert_eq!(manifest["images_valid"], 12, "{manifest}");
        let peak = manifest["temp_peak_bytes"].as_u64().unwrap();
        assert_eq!(peak > 0, is_spooled, "{buffer} MB of buffer, {peak} bytes of temp");
    }
}

/// `LEASE_SECONDS` is how far ahead a running chunk's lease ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_as_long_as_it_is_set() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_LEASE_SECONDS", "400")]).await;
    let message = inline(1, 0, &[rig.origin.url("/hang/1")]);
    let claimed = async {
        rig.until("select active_chunks = 1 from chunk_handler.capacity").await;
        rig.value::<f64>(
            "select extract(epoch from lease_until - clock_timestamp())::double precision
            from chunk_handler.chunk_status",
        )
        .await
    };
    let left = tokio::select! {
        answer = handler.deliver("one", &message) => panic!("the chunk ended: {answer:?}"),
        left = claimed => left,
    };
    assert!(left > 300.0 && left <= 400.0, "{left} s are left of 400");
}

/// `CHUNK_DEADLINE_SECONDS`: what is not done by then fails with `deadline`, the rest is committed.
#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_ends_what_is_unfinished_and_keeps_the_rest() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "5")]).await;
    let mut urls = rig.pictures(2);
    urls.extend([rig.origin.url("/hang/1"), rig.origin.url("/hang/2")]);
    let (status, answer) = handler.deliver("one", &inline(1, 0, &urls)).await;
    assert_eq!(status, 200, "{answer}");
    let manifest = rig.manifest(1, 0).await;
    assert_eq!(manifest["errors"], json!({"deadline": 2}));
    assert_eq!((&manifest["images_valid"], &manifest["images_failed"]), (&json!(2), &json!(2)));
    assert_eq!(manifest["shard"]["bytes"], rig.shard(1, 0).await.len());
    let row = "select status = 'completed' and attempt = 1 from chunk_handler.chunk_status";
    assert!(rig.value::<bool>(row).await);
}

/// `DRAIN_SECONDS`: a chunk that ends within them completes, one that does not is released.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_as_long_as_it_is_set() {
    for (seconds, path, outcome) in
        [("0", "/hang/1", "released"), ("50", "/slow/1?ms=3000", "completed")]
    {
        let rig = Rig::new().await;
        let handler = rig.handler_with(&[("PIXCRAWLER_DRAIN_SECONDS", seconds)]).await;
        let message = inline(1, 0, &[rig.origin.url(path)]);
        let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
            rig.until("select active_chunks = 1 from chunk_handler.capacity").await;
            handler.signal(Signal::SIGTERM);
        });
        assert_eq!(answer.0, 200, "{seconds} {}", answer.1);
        assert_eq!(handler.ended().await.code(), Some(0));
        let ended = rig.value::<String>("select outcome from chunk_handler.attempt_log").await;
        assert_eq!(ended, outcome, "{seconds}");
    }
}

/// `MAX_ATTEMPTS`: a chunk whose source is missing is tried that often, then it failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_source_fails_the_chunk_after_the_last_attempt() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_MAX_ATTEMPTS", "2")]).await;
    let row =
        "select status || ' ' || attempt || ' ' || error_code from chunk_handler.chunk_status";
    let mut message = wake_up(1, 0);
    message["source"] = json!({"blob": "job_1/0123456789abcdef/00000.jsonl"});
    assert_eq!(handler.deliver("first", &message).await.0, 200);
    assert_eq!(rig.value::<String>(row).await, "pending 1 source_missing");
    // The back-off is not waited for.
    rig.execute("update chunk_handler.chunk set not_before = null").await;
    assert_eq!(handler.deliver("second", &wake_up(1, 0)).await.0, 200);
    assert_eq!(rig.value::<String>(row).await, "failed 2 source_missing");
}

/// S4: `SOURCE_CONTAINER`, `DATASET_CONTAINER` and `CHUNK_SIZE_IMAGES`: chunkctl writes the lists
/// there, in chunks of that size, and the handler reads and writes there.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_live_in_the_containers_that_are_set() {
    let rig = Rig::new().await;
    let settings = [
        ("PIXCRAWLER_SOURCE_CONTAINER", "other-sources"),
        ("PIXCRAWLER_DATASET_CONTAINER", "other-datasets"),
        ("PIXCRAWLER_CHUNK_SIZE_IMAGES", "2"),
    ];
    let environment = rig.environment();
    let common = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: Vec<(&str, &str)> = common.chain(settings).collect();
    let list = rig.list("urls.txt", &rig.pictures(5));
    let submit = ["--json", "submit", "--job-id", "1", "--urls", list.to_str().unwrap()];
    let output = run(&CHUNKCTL, &submit, &variables, rig.temp.path());
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.json()["chunks"], 3);
    assert_eq!(rig.blobs.list("other-sources", "job_1/").await.unwrap().len(), 3);
    let handler = rig.handler_with(&settings).await;
    assert_eq!(handler.deliver("one", &wake_up(1, 2)).await.0, 200);
    let blobs = rig.blobs.list("other-datasets", "job_1/chunks/").await.unwrap();
    assert_eq!(blobs.len(), 2, "{blobs:?}");
    assert!(rig.blobs.list(DATASETS, "").await.is_err(), "the usual one was not made");
}
