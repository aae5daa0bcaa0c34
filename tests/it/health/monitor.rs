//! The health row is right whatever Azure Monitor answers.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use support::{
    identity::Identity,
    rig::{Handler, Rig, inline},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const APP: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/app";
const POSTGRES: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers/pg";

/// How the fake answers, and what it was asked.
struct Fake {
    identity: Arc<Identity>,
    mode: Mutex<&'static str>,
    asked: Mutex<Vec<(String, HashMap<String, String>)>>,
}

fn metric(name: &str, points: &[(i64, Option<f64>)]) -> Value {
    let data = points.iter().map(|(minutes, average)| {
        let at = OffsetDateTime::now_utc() - time::Duration::minutes(*minutes);
        let mut point = json!({"timeStamp": at.format(&Rfc3339).unwrap()});
        if let Some(average) = average {
            point["average"] = json!(average);
        }
        point
    });
    json!({
        "id": "i", "type": "Microsoft.Insights/metrics", "unit": "Percent",
        "name": {"value": name, "localizedValue": name}, "errorCode": "Success",
        "timeseries": [{"metadatavalues": [], "data": data.collect::<Vec<_>>()}],
    })
}

fn query_of(uri: &Uri) -> HashMap<String, String> {
    let query = uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

async fn metrics(
    State(fake): State<Arc<Fake>>,
    Path(resource): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let query = query_of(&uri);
    let mode = *fake.mode.lock().unwrap();
    // Resource Manager is asked with its own address.
    let own = format!("http://{}", headers["host"].to_str().unwrap());
    let is_signed = fake.identity.valid(&own, &headers).is_some();
    fake.asked.lock().unwrap().push((resource.clone(), query.clone()));
    if mode == "401" || !is_signed {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let names: Vec<&str> = query["metricnames"].split(',').collect();
    // Half of 2048 MB for the app; the newest minute has no value yet.
    let half = if resource.contains("sites") { 1_073_741_824.0 } else { 50.0 };
    let mut cpu = metric(names[0], &[(3, Some(11.0)), (2, Some(12.5)), (1, None)]);
    let mut memory = metric(names[1], &[(2, Some(half)), (1, None)]);
    match mode {
        "500" => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "429" => return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")]).into_response(),
        "garbage" => return "<html>".into_response(),
        "late" => tokio::time::sleep(Duration::from_secs(5)).await,
        "hangs" => tokio::time::sleep(Duration::from_secs(60)).await,
        "partial" => memory = json!({"name": {"value": names[1]}, "errorCode": "InternalError"}),
        "empty" => memory = metric(names[1], &[(2, None), (1, None)]),
        "full" => {
            cpu = metric(names[0], &[(1, Some(100.0))]);
            memory = metric(names[1], &[(1, Some(2.0 * half))]);
        }
        "stale" => cpu = metric(names[0], &[(25, Some(99.0))]),
        _ => {}
    }
    Json(json!({"cost": 0, "interval": "PT1M", "value": [memory, cpu]})).into_response()
}

async fn serve(fake: Arc<Fake>) -> String {
    let routes = Router::new().route("/{*resource}", get(metrics)).with_state(fake);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

/// Runs a health check; its row: state, CPU, memory.
async fn checked(rig: &Rig, handler: &Handler) -> (String, Option<f64>, Option<f64>) {
    let began = Instant::now();
    let body = json!({"Data": {"timer": {}}, "Metadata": {}}).to_string();
    let (status, answer) = handler.post("/health_check", "timer", body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(began.elapsed() < Duration::from_secs(30), "H5: {:?}", began.elapsed());
    let sql = "select azure_state, azure_cpu, azure_memory from chunk_handler.health
        order by checked_at desc limit 1";
    sqlx::query_as(sql).fetch_one(&rig.pool).await.unwrap()
}

/// F11 X16 X23 B2 H5 PR6: what Azure says, or fails to say, is in the row, one metric's failure does not
/// lose the other, and the timer ends in time. An app that is full by Azure's word takes a chunk all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_health_row_is_right_whatever_azure_answers() {
    let rig = Rig::new().await;
    let identity = Identity::serve(Duration::from_secs(3600), None).await;
    let [endpoint, secret] = identity.environment();
    let (mode, asked) = (Mutex::default(), Mutex::default());
    let fake = Arc::new(Fake { identity: Arc::clone(&identity), mode, asked });
    let address = serve(Arc::clone(&fake)).await;
    let handler = rig
        .handler_with(&[
            ("PIXCRAWLER_MONITOR_ENDPOINT", &address),
            ("PIXCRAWLER_MONITOR_RESOURCE_ID", APP),
            ("PIXCRAWLER_MONITOR_POSTGRES_RESOURCE_ID", POSTGRES),
            endpoint,
            secret,
        ])
        .await;
    let (cpu, half) = (Some(12.5), Some(50.0));
    for (mode, expected) in [
        ("good", ("ok", cpu, half)),
        ("partial", ("error", cpu, None)),
        ("empty", ("stale", cpu, None)),
        ("stale", ("stale", None, half)),
        ("401", ("error", None, None)),
        ("500", ("error", None, None)),
        ("garbage", ("error", None, None)),
        ("late", ("ok", cpu, half)),
        ("hangs", ("error", None, None)),
        ("429", ("throttled", None, None)),
    ] {
        *fake.mode.lock().unwrap() = mode;
        fake.asked.lock().unwrap().clear();
        let (state, cpu, memory) = checked(&rig, &handler).await;
        assert_eq!((state.as_str(), cpu, memory), expected, "{mode}");
        let asked = fake.asked.lock().unwrap();
        assert_eq!(asked.len(), 2, "one call for each resource");
        assert!(asked.iter().all(|(_, query)| query["api-version"] == "2024-02-01"));
    }
    // Asked not to call, it does not, until the wait is over.
    *fake.mode.lock().unwrap() = "good";
    fake.asked.lock().unwrap().clear();
    assert_eq!(checked(&rig, &handler).await.0, "throttled");
    assert_eq!(fake.asked.lock().unwrap().len(), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(checked(&rig, &handler).await, ("ok".into(), cpu, half));
    let postgres = "select report #>> '{azure,postgres,memory_percent,value}'
        from chunk_handler.health order by checked_at desc limit 1";
    assert_eq!(rig.value::<String>(postgres).await.parse::<f64>().unwrap(), 50.0);
    // Nothing is decided by what Azure says.
    *fake.mode.lock().unwrap() = "full";
    assert_eq!(checked(&rig, &handler).await, ("ok".into(), Some(100.0), Some(100.0)));
    let (_, answer) = handler.deliver("one", &inline(1, 0, &rig.pictures(1))).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
}

/// F10 F16 X16 X17 X25: nothing configured: nulls, `not_configured`, 200; what the platform gives and what
/// the disk has left are told and decide nothing.
#[tokio::test(flavor = "multi_thread")]
async fn without_azure_the_health_row_says_not_configured() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    assert_eq!(checked(&rig, &handler).await, ("not_configured".into(), None, None));
    let report = rig.value::<Value>("select report from chunk_handler.health").await;
    assert_eq!((&report["temp_limit_mb"], &report["temp_quota_mb"]), (&json!(400), &json!(500)));
    assert!(report["temp_free_mb"].is_u64(), "{report}");
}
