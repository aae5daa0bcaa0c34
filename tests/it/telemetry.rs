//! A local ingestion endpoint: what arrives there, and what it costs when it misbehaves.

use crate::rig::{Handler, Rig, inline, wait_for, wake_up};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::{
    io::Read as _,
    sync::{Arc, Mutex},
    time::Duration,
};

/// As long as the platform's ids are.
const INSTANCE: &str = "f8b2c1e04d7a4e6f9a3b5c7d9e1f2a4b6c8d0e2f4a6b8c0d2e4f6a8b0c2d4e6f";

/// What arrived, and how the endpoint answers.
#[derive(Default)]
struct Ingestion {
    envelopes: Mutex<Vec<Value>>,
    bytes: Mutex<usize>,
    headers: Mutex<Option<HeaderMap>>,
    mode: Mutex<&'static str>,
}

async fn track(
    State(seen): State<Arc<Ingestion>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mode = *seen.mode.lock().unwrap();
    match mode {
        "hangs" => std::future::pending().await,
        "429" => return StatusCode::TOO_MANY_REQUESTS.into_response(),
        "500" => return (StatusCode::INTERNAL_SERVER_ERROR, "{\"items").into_response(),
        _ => {}
    }
    assert!(matches!(uri.path(), "/v2/track" | "/v2.1/track"), "{uri}");
    assert_eq!(headers["content-encoding"], "gzip");
    let mut text = String::new();
    GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    *seen.bytes.lock().unwrap() += text.len();
    let envelopes: Vec<Value> = serde_json::from_str(&text).unwrap();
    let n = envelopes.len();
    envelopes.iter().for_each(assert_documented);
    seen.envelopes.lock().unwrap().extend(envelopes);
    *seen.headers.lock().unwrap() = Some(headers);
    axum::Json(json!({"itemsReceived": n, "itemsAccepted": n, "errors": []})).into_response()
}

/// The documented shape of an envelope: names, types and what each kind of data must have.
fn assert_documented(envelope: &Value) {
    let data = &envelope["data"];
    let kind = data["baseType"].as_str().unwrap();
    let required: &[&str] = match kind {
        "RequestData" => &["id", "duration", "responseCode", "success", "name"],
        "RemoteDependencyData" => &["id", "name", "duration", "type"],
        "ExceptionData" => &["exceptions"],
        "EventData" => &["name"],
        "MessageData" => &["message"],
        "MetricData" => &["metrics"],
        other => panic!("an envelope of type {other}"),
    };
    for key in required {
        assert!(!data["baseData"][key].is_null(), "{kind} without {key}: {envelope}");
    }
    assert_eq!(envelope["iKey"], "00000000-0000-0000-0000-000000000001");
    assert!(envelope["time"].is_string() && envelope["name"].is_string());
    let tags = &envelope["tags"];
    assert_eq!(tags["ai.cloud.role"], "pixcrawler");
    assert_eq!(tags["ai.cloud.roleInstance"], INSTANCE);
}

async fn serve(seen: &Arc<Ingestion>) -> String {
    let routes = Router::new().fallback(any(track)).with_state(Arc::clone(seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!(
        "InstrumentationKey=00000000-0000-0000-0000-000000000001;\
         IngestionEndpoint=http://{address}/"
    )
}

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

impl Ingestion {
    /// The data of all envelopes of a kind.
    fn of(&self, kind: &str) -> Vec<Value> {
        let envelopes = self.envelopes.lock().unwrap();
        let found = envelopes.iter().filter(|e| e["data"]["baseType"] == kind);
        found.map(|e| e["data"]["baseData"].clone()).collect()
    }

    /// The sum of all points of a metric; none: it never came.
    fn sum(&self, metric: &str) -> Option<f64> {
        let data = self.of("MetricData");
        let points = data.iter().flat_map(|data| data["metrics"].as_array().unwrap());
        let values = points.filter(|p| p["name"] == metric).map(|p| p["value"].as_f64().unwrap());
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    fn tags_of(&self, kind: &str) -> Vec<Value> {
        let envelopes = self.envelopes.lock().unwrap();
        let found = envelopes.iter().filter(|e| e["data"]["baseType"] == kind);
        found.map(|e| e["tags"].clone()).collect()
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// M1 M2 M3 M4 M5 M6 M7 X26 F9 F12 F13 X22 H11 B6: requests, dependencies, events, exceptions and metrics
/// arrive by name and type, in the host's trace whatever its flags, within 5 KB a chunk, and the
/// counters add up to what the database says.
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
        .body(crate::rig::envelope(&wake_up(7, 0).to_string()));
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
    let calls = seen.of("RemoteDependencyData");
    let names: Vec<&str> = calls.iter().map(|call| call["name"].as_str().unwrap()).collect();
    for call in ["claim", "images", "commit", "complete"] {
        assert!(names.contains(&call), "no {call} in {names:?}");
    }
    let bytes = {
        let envelopes = seen.envelopes.lock().unwrap();
        let of_first = envelopes.iter().filter(|e| e["tags"]["ai.operation.id"] == TRACE);
        of_first.map(|envelope| envelope.to_string().len()).sum::<usize>()
    };
    println!("{bytes} bytes of telemetry for a chunk that completed");
    assert!((1..=5120).contains(&bytes), "{bytes} bytes for one chunk");
}

/// S12 X17: an endpoint that hangs, refuses or talks nonsense is told of once and costs nothing else.
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
