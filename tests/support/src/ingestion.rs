//! A local ingestion endpoint of Application Insights, which keeps what arrives.

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
};

/// What arrived, and how the endpoint answers.
#[derive(Default)]
pub struct Ingestion {
    pub envelopes: Mutex<Vec<Value>>,
    pub mode: Mutex<&'static str>,
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
    let envelopes: Vec<Value> = serde_json::from_str(&text).unwrap();
    let n = envelopes.len();
    envelopes.iter().for_each(assert_documented);
    seen.envelopes.lock().unwrap().extend(envelopes);
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
}

/// Serves the endpoint; its connection string.
pub async fn serve(seen: &Arc<Ingestion>) -> String {
    let routes = Router::new().fallback(any(track)).with_state(Arc::clone(seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!(
        "InstrumentationKey=00000000-0000-0000-0000-000000000001;\
         IngestionEndpoint=http://{address}/"
    )
}

impl Ingestion {
    /// The data of all envelopes of a kind.
    pub fn of(&self, kind: &str) -> Vec<Value> {
        let envelopes = self.envelopes.lock().unwrap();
        let found = envelopes.iter().filter(|e| e["data"]["baseType"] == kind);
        found.map(|e| e["data"]["baseData"].clone()).collect()
    }

    /// The sum of all points of a metric; none: it never came.
    pub fn sum(&self, metric: &str) -> Option<f64> {
        let data = self.of("MetricData");
        let points = data.iter().flat_map(|data| data["metrics"].as_array().unwrap());
        let values = points.filter(|p| p["name"] == metric).map(|p| p["value"].as_f64().unwrap());
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    pub fn tags_of(&self, kind: &str) -> Vec<Value> {
        let envelopes = self.envelopes.lock().unwrap();
        let found = envelopes.iter().filter(|e| e["data"]["baseType"] == kind);
        found.map(|e| e["tags"].clone()).collect()
    }
}
