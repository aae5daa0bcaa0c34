//! Logins to Postgres, Application Insights and Azure Monitor with tokens that end.

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::any,
};
use flate2::read::GzDecoder;
use functions_host::{client::HostProcess, rigged};
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use std::{
    collections::BTreeSet,
    io::Read as _,
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{
    identity::Identity,
    job::{self, COMPLETED},
    postgres::{Postgres, PostgresOptions},
    rig::{Rig, wait_for},
};

/// New ones come at half of it.
const LIFE: Duration = Duration::from_secs(6);
const APP: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/app";

/// Application Insights and Azure Resource Manager, which take good tokens only.
struct Azure {
    identity: Arc<Identity>,
    /// Tokens that uploads showed.
    uploads: Mutex<BTreeSet<String>>,
    /// What was uploaded.
    text: Mutex<String>,
    /// Paths of calls without a good token.
    refused: Mutex<Vec<String>>,
}

async fn azure(State(azure): State<Arc<Azure>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let is_upload = uri.path().ends_with("/track");
    let resource =
        if is_upload { "https://monitor.azure.com" } else { "https://management.azure.com" };
    let Some(token) = azure.identity.valid(resource, &headers) else {
        azure.refused.lock().unwrap().push(uri.path().to_owned());
        return StatusCode::UNAUTHORIZED.into_response();
    };
    if is_upload {
        azure.uploads.lock().unwrap().insert(token);
        let mut text = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        let n = serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len();
        azure.text.lock().unwrap().push_str(&text);
        return Json(json!({"itemsReceived": n, "itemsAccepted": n, "errors": []})).into_response();
    }
    // Metrics without a point: what matters is that it was not refused.
    let asked = reqwest::Url::parse(&format!("http://azure{uri}")).unwrap();
    let (_, names) = asked.query_pairs().find(|(name, _)| name == "metricnames").unwrap();
    let metrics = names.split(',').map(|name| {
        json!({"name": {"value": name}, "errorCode": "Success", "timeseries": []})
    });
    Json(json!({"value": metrics.collect::<Vec<_>>()})).into_response()
}

async fn serve(identity: &Arc<Identity>) -> (Arc<Azure>, String) {
    let served = Arc::new(Azure {
        identity: Arc::clone(identity),
        uploads: Mutex::default(),
        text: Mutex::default(),
        refused: Mutex::default(),
    });
    let routes = Router::new().fallback(any(azure)).with_state(Arc::clone(&served));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (served, address)
}

/// A new token came, and connections that are idle end, so that the next calls must log in with it.
async fn changes(rig: &Rig, identity: &Identity) {
    let before = identity.logins();
    wait_for("a new token", async || identity.logins() > before).await;
    rig.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity
        where usename like 'id-%' and state = 'idle'",
    )
    .await;
}

/// Runs a health check, as the timer does; the state of Azure Monitor in its row.
async fn monitored(rig: &Rig, host: &HostProcess) -> String {
    let url = format!("http://127.0.0.1:{}/health_check", host.handler_port().unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"Data": {"timer": {}}, "Metadata": {}}).to_string();
    let rows = "select count(*) from chunk_handler.health";
    let before = rig.value::<i64>(rows).await;
    // A row whose connection was just ended is not written.
    wait_for("a health row", async || {
        let call = client.post(&url).header("Content-Type", "application/json");
        let call = call.header("X-Azure-Functions-InvocationId", "timer").body(body.clone());
        assert_eq!(call.send().await.unwrap().status(), 200);
        rig.value::<i64>(rows).await > before
    })
    .await;
    rig.value("select azure_state from chunk_handler.health order by checked_at desc limit 1").await
}

fn lines_with(host: &HostProcess, text: &str) -> usize {
    host.lines().iter().filter(|line| line.contains(text)).count()
}

/// I5 I11 I13 H8: the password is a token, and another one every few seconds: a job goes on over the
/// changes and over an identity endpoint that is away for longer than a token lives; no lease is lost,
/// nothing is charged, telemetry and Azure Monitor are served, and no token is shown.
pub async fn tokens_that_end_lose_and_charge_nothing() {
    let server = Postgres::start(PostgresOptions::default()).await.unwrap();
    server.ask_for_passwords().await.unwrap();
    let mut rig = Rig::new().await;
    rig.database_url = server.create_database("tokens").await.unwrap();
    rig.pool = PgPoolOptions::new().max_connections(3).connect(&rig.database_url).await.unwrap();
    let rig = rig;
    let url = rig.least_privileged_role().await;
    let identity = Identity::serve(LIFE, Some((rig.pool.clone(), "id-tokens".into()))).await;
    let (azure, address) = serve(&identity).await;
    let telemetry = format!(
        "InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint={address}/"
    );
    let own = [
        ("DATABASE_URL", url.as_str()),
        ("PIXCRAWLER_DATABASE_CREDENTIAL", "entra"),
        ("PIXCRAWLER_FLEET_MAX_CHUNKS", "2"),
        ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "1"),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", &telemetry),
        ("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "Authorization=AAD"),
        ("PIXCRAWLER_MONITOR_ENDPOINT", &address),
        ("PIXCRAWLER_MONITOR_RESOURCE_ID", APP),
        ("RUST_LOG", "trace,hyper=info,h2=info"),
    ];
    let mut host = rigged::host(&rig, &[own.as_slice(), &identity.environment()].concat()).await;
    let first = host.handler_pid();
    rig.until("select to_regclass('chunk_handler.job_progress') is not null").await;
    job::submit(&rig);
    job::in_the_middle(&rig).await;
    for _ in 0..3 {
        changes(&rig, &identity).await;
        // No point came; a refusal would be an error.
        assert_eq!(monitored(&rig, &host).await, "stale");
    }
    identity.set_away(true);
    wait_for("a failed renewal", async || lines_with(&host, "no new token for the database") > 0)
        .await;
    tokio::time::sleep(LIFE + Duration::from_secs(1)).await;
    assert!(!rig.value::<bool>(COMPLETED).await, "the job ended before the endpoint was back");
    identity.set_away(false);
    changes(&rig, &identity).await;
    rig.until(COMPLETED).await;
    wait_for("uploads with several tokens", async || azure.uploads.lock().unwrap().len() > 2).await;
    assert_eq!(host.handler_pid(), first, "the process ended: {:#?}", host.lines());
    host.stop().await.unwrap();
    job::is_whole(&rig).await;
    let lost = "select count(*) from chunk_handler.attempt_log where outcome <> 'completed'";
    assert_eq!(rig.value::<i64>(lost).await, 0, "a lease was lost");
    assert_eq!(*azure.refused.lock().unwrap(), Vec::<String>::new());
    for text in [host.lines().join("\n"), azure.text.lock().unwrap().clone()] {
        assert!(text.contains("chunk"), "nothing was written");
        assert_eq!(identity.shown_in(&text), Vec::<String>::new());
    }
}
