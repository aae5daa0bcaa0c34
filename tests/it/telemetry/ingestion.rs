//! Telemetry arrives by its names and adds up; an endpoint that misbehaves costs nothing.

use chunk_handler::state::{Database, LeaseTerms};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use support::{
    ingestion::{Ingestion, serve},
    rig::{Handler, Rig, inline, wait_for, wake_up},
};

/// As long as the platform's ids are.
const INSTANCE: &str = "f8b2c1e04d7a4e6f9a3b5c7d9e1f2a4b6c8d0e2f4a6b8c0d2e4f6a8b0c2d4e6f";

async fn handler(rig: &Rig, connection: &str) -> Handler {
    rig.handler_with(&[
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", connection),
        ("WEBSITE_SITE_NAME", "pixcrawler"),
        ("HOSTNAME", INSTANCE),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_BSP_SCHEDULE_DELAY", "300"),
    ])
    .await
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// M1 M2 M3 M4 M5 M6 M7 X26 F9 F12 F13 X22 H11 B1 B6: requests, dependencies, events, exceptions and
/// metrics arrive by name and type, in the host's trace whatever its flags, within 5 KB a chunk, one
/// call is all that admission asks, and the counters add up to what the database says.
#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_by_its_name_and_adds_up() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let handler = handler(&rig, &serve(&seen).await).await;
    // Registered already, as chunks of `submit` are.
    rig.submit(7, &rig.pictures(3), 3);
    let traced = reqwest::Client::new()
        .post(handler.url("/process_chunk"))
        .header("content-type", "application/json")
        .header("x-azure-functions-invocationid", "invocation-1")
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-00"))
        .body(support::rig::envelope(&wake_up(7, 0).to_string()));
    assert_eq!(traced.send().await.unwrap().status(), 200);
    // Two chunks that fail for good: nothing answers.
    for index in 1..3 {
        let urls = ["http://192.0.2.1.invalid/".to_owned()];
        handler.deliver("fails", &inline(1, index, &urls)).await;
    }
    handler.post("/health_check", "timer", r#"{"Data":{},"Metadata":{}}"#.into()).await;
    handler.deliver("bad", &json!({"version": 9})).await;
    wait_for("the last metrics arrive", async || {
        seen.sum("failed_chunks") == Some(2.0)
            && seen.sum("rejected_messages") == Some(1.0)
            && seen.sum("active_chunks").is_some()
            && seen.of("RequestData").len() == 5
    })
    .await;
    let failed = "select count(*) from chunk_handler.chunk_status where status = 'failed'";
    assert_eq!(seen.sum("failed_chunks"), Some(rig.value::<i64>(failed).await as f64));
    assert_eq!(seen.sum("completed_chunks"), Some(1.0));
    assert_eq!(seen.sum("images_valid"), Some(3.0));
    for metric in ["temp_storage_mb", "instance_active_chunks", "queue_depth", "claim_ms"] {
        assert!(seen.sum(metric).is_some(), "{metric} never came");
    }
    assert!(seen.sum("azure_cpu").is_none(), "nothing is known of Azure");
    let events = seen.of("EventData");
    assert_eq!(events.len(), 3);
    let started = &events[0];
    assert_eq!(started["name"], "chunk_started");
    for property in ["chunk_id", "active_chunks", "temp_storage_mb"] {
        assert!(started["properties"][property].is_string(), "{started}");
    }
    let exception = &seen.of("ExceptionData")[0]["exceptions"][0];
    assert_eq!(exception["typeName"], "nothing_reachable");
    let requests = seen.of("RequestData");
    let names: Vec<&str> = requests.iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"process_chunk") && names.contains(&"health_check"), "{names:?}");
    assert_eq!(requests[0]["properties"]["task_id"], "invocation-1");
    assert_eq!(seen.tags_of("RequestData")[0]["ai.operation.id"], TRACE);
    for tags in ["RequestData", "MetricData", "EventData"].map(|kind| seen.tags_of(kind)).concat() {
        assert_eq!(tags["ai.cloud.role"], "pixcrawler");
        assert_eq!(tags["ai.cloud.roleInstance"], INSTANCE);
    }
    let calls = seen.of("RemoteDependencyData");
    let names: Vec<&str> = calls.iter().map(|call| call["name"].as_str().unwrap()).collect();
    for call in ["claim", "images", "commit", "complete"] {
        assert!(names.contains(&call), "no {call} in {names:?}");
    }
    let of_trace = calls.iter().zip(seen.tags_of("RemoteDependencyData"));
    let claims =
        of_trace.filter(|(call, tags)| call["name"] == "claim" && tags["ai.operation.id"] == TRACE);
    assert_eq!(claims.count(), 1, "admission is one call");
    let bytes = {
        let envelopes = seen.envelopes.lock().unwrap();
        let of_first = envelopes.iter().filter(|e| e["tags"]["ai.operation.id"] == TRACE);
        of_first.map(|envelope| envelope.to_string().len()).sum::<usize>()
    };
    println!("{bytes} bytes of telemetry for a chunk that completed");
    assert!((1..=5120).contains(&bytes), "{bytes} bytes for one chunk");
}

/// S12 X17 F7: an endpoint that hangs, refuses or talks nonsense is told of once and costs nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_endpoint_is_told_of_once_and_stops_nothing() {
    for mode in ["429", "500", "hangs", "dead"] {
        let rig = Rig::new().await;
        let seen = Arc::new(Ingestion::default());
        *seen.mode.lock().unwrap() = mode;
        let connection = serve(&seen).await;
        let dead = "InstrumentationKey=k;IngestionEndpoint=http://127.0.0.1:1/";
        let handler = handler(&rig, if mode == "dead" { dead } else { &connection }).await;
        for index in 0..3 {
            let message = inline(1, index, &rig.pictures(2));
            let (status, answer) = handler.deliver("one", &message).await;
            let log = answer["Logs"][0].as_str().unwrap_or_default();
            assert!(status == 200 && log.contains("completed"), "{mode}: {answer}");
        }
        let warned = "telemetry cannot be sent";
        if mode != "hangs" {
            handler.line(warned).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let warnings = handler.lines().iter().filter(|line| line.contains(warned)).count();
        assert!(warnings <= 1, "{mode}: {warnings} warnings");
        handler.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(handler.ended().await.code(), Some(0), "{mode}");
    }
}

/// M3: a failure outlives the process that was to tell of it, and one that has nobody to tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_of_by_whoever_lives() {
    let rig = Rig::new().await;
    let fail = async |handler: &Handler, index| {
        let urls = ["http://192.0.2.1.invalid/".to_owned()];
        handler.deliver("fails", &inline(1, index, &urls)).await;
    };
    let silent = rig.handler().await;
    fail(&silent, 0).await;
    rig.until("select failed = 1 and exported = 0 from chunk_handler.failure_export").await;
    drop(silent);
    let deaf = handler(&rig, "InstrumentationKey=k;IngestionEndpoint=http://127.0.0.1:1/").await;
    fail(&deaf, 1).await;
    rig.until("select until > clock_timestamp() from chunk_handler.failure_export").await;
    deaf.signal(nix::sys::signal::Signal::SIGKILL);
    deaf.ended().await;
    let seen = Arc::new(Ingestion::default());
    let heir = handler(&rig, &serve(&seen).await).await;
    fail(&heir, 2).await;
    // It has not been seen for half a minute, and has the turn for four more.
    rig.execute(
        "update chunk_handler.live_process set seen_at = seen_at - interval '31 seconds'
        where owner = (select holder from chunk_handler.failure_export)",
    )
    .await;
    heir.line("sending failed chunks again").await;
    rig.until("select failed = 3 and exported = 3 from chunk_handler.failure_export").await;
    assert_eq!(seen.sum("failed_chunks"), Some(3.0));
}

/// M3: who is there keeps the turn to tell, however long it takes, and who is not there gets none.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_to_tell_is_taken_from_nobody_who_lives() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let terms = LeaseTerms::new(Duration::from_secs(60));
    let database = Database::open(&rig.database_url, terms).unwrap();
    rig.execute("update chunk_handler.failure_export set failed = 2").await;
    let take = async |owner: &str| database.take_failures(owner).await.unwrap().map(|t| t.again);
    assert_eq!(take("unseen").await, None);
    rig.execute(
        "insert into chunk_handler.live_process (owner, since, release)
        values ('a', now(), '1'), ('b', now(), '1')",
    )
    .await;
    assert_eq!(take("a").await, Some(false));
    assert_eq!(take("b").await, None);
    rig.execute(
        "update chunk_handler.live_process set seen_at = seen_at - interval '31 seconds'
        where owner = 'a'",
    )
    .await;
    assert_eq!(take("b").await, Some(true));
    assert_eq!(take("a").await, None);
}

/// B4: nothing waits for the interval of a minute when the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_sent_when_the_process_ends() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let connection = serve(&seen).await;
    let extra = [
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", connection.as_str()),
        ("WEBSITE_SITE_NAME", "pixcrawler"),
        ("HOSTNAME", INSTANCE),
    ];
    let handler = rig.handler_with(&extra).await;
    handler.deliver("one", &inline(1, 0, &rig.pictures(2))).await;
    assert_eq!(seen.sum("completed_chunks"), None, "the interval is a minute");
    handler.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(handler.ended().await.code(), Some(0));
    assert_eq!(seen.sum("completed_chunks"), Some(1.0));
    assert_eq!(seen.of("RequestData").len(), 1);
}

/// S12: a connection string that cannot be read turns telemetry off, with a warning, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_connection_string_is_a_warning() {
    let rig = Rig::new().await;
    let handler = handler(&rig, "nonsense").await;
    handler.line("telemetry is off").await;
    let (status, _) = handler.deliver("one", &inline(1, 0, &rig.pictures(1))).await;
    assert_eq!(status, 200);
}
