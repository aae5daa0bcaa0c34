//! `chunkctl capacity` says what holds a fleet back, from a history that is known.

use axum::{Json, Router, extract::State, http::Uri, routing::get};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{identity::Identity, rig::Rig};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What a week was like: 2000 chunks of 500 images, ten at once, of one process.
struct Week {
    /// Of a chunk.
    seconds: i32,
    temp_bytes: i64,
    /// Of each health check.
    pending_chunks: i64,
    app_cpu: f64,
    app_memory: f64,
    database_cpu: f64,
}

/// Nothing is scarce.
const EASY: Week = Week {
    seconds: 20,
    temp_bytes: 1 << 20,
    pending_chunks: 0,
    app_cpu: 30.0,
    app_memory: 40.0,
    database_cpu: 20.0,
};

impl Week {
    /// Writes it, in place of whatever was there.
    async fn write(&self, rig: &Rig) {
        rig.execute("truncate chunk_handler.job cascade").await;
        rig.execute("truncate chunk_handler.attempt, chunk_handler.health_check").await;
        rig.execute(
            "update chunk_handler.fleet set max_chunks = 10, storage_limit_mb = 400,
            environment = 'azure_functions'",
        )
        .await;
        rig.execute(
            "insert into chunk_handler.job (job_id, total_chunks, created_at)
            values (1, 2000, clock_timestamp() - interval '166 hours')",
        )
        .await;
        rig.execute(
            "insert into chunk_handler.chunk (job_id, chunk_index, state, priority, message, attempt,
                fence, shard_fence, shard_blob, totals)
            select 1, i, 'completed', 5, '{}', 1, 1, 1, 'b',
                '{\"images_total\": 500, \"bytes_in\": 100000000, \"bytes_out\": 90000000}'
            from generate_series(0, 1999) i",
        )
        .await;
        let claimed = "clock_timestamp() - interval '166 hours' + i / 10 * interval '49 minutes'";
        execute(
            rig,
            format!(
            "insert into chunk_handler.attempt (job_id, chunk_index, fence, owner, invocation_id,
                claimed_at, finished_at, outcome, temp_peak_bytes)
            select 1, i, 1, 'a', 'i', {claimed}, {claimed} + interval '{} seconds', 'completed', {}
            from generate_series(0, 1999) i",
            self.seconds, self.temp_bytes
        ),
        )
        .await;
        execute(
            rig,
            format!(
                "insert into chunk_handler.health_check (checked_at, active_chunks, pending_chunks,
                azure_state, azure_cpu, azure_memory, report)
            select clock_timestamp() - i * interval '1 hour', 10, {}, 'ok', {}, {},
                '{{\"azure\": {{\"postgres\": {{\"cpu_percent\": {{\"value\": {}}}}}}}}}'
            from generate_series(1, 160) i",
                self.pending_chunks, self.app_cpu, self.app_memory, self.database_cpu
            ),
        )
        .await;
    }
}

async fn execute(rig: &Rig, sql: String) {
    sqlx::query(AssertSqlSafe(sql)).execute(&rig.pool).await.unwrap();
}

async fn migrated() -> Rig {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig
}

/// What it says, as programs read it.
fn said(rig: &Rig, variables: &[(&str, &str)], options: &[&str]) -> Value {
    let arguments = [&["capacity", "--json"], options].concat();
    let answer = rig.chunkctl_with(variables, &arguments);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    serde_json::from_str(&answer.stdout).unwrap()
}

/// A role that may read the six views and nothing else.
async fn reader_of_views(rig: &Rig) -> String {
    rig.limited_role(&[
        "revoke all on all tables in schema chunk_handler from ROLE",
        "grant select on chunk_handler.attempt_log, chunk_handler.chunk_status,
            chunk_handler.job_progress, chunk_handler.capacity, chunk_handler.health,
            chunk_handler.process to ROLE",
    ])
    .await
}

/// The control: it may not read a table.
async fn may_read_a_table(reader: &str) -> bool {
    let pool = sqlx::PgPool::connect(reader).await.unwrap();
    sqlx::query("select from chunk_handler.attempt").execute(&pool).await.is_ok()
}

/// F17: of a week that is known each bottleneck is named, by a role that may only read views, with what
/// to change and what an aim needs.
#[tokio::test(flavor = "multi_thread")]
async fn the_bottleneck_of_a_known_week_is_named() {
    let rig = migrated().await;
    let reader = reader_of_views(&rig).await;
    assert!(!may_read_a_table(&reader).await);
    let as_reader = [("DATABASE_URL", reader.as_str())];
    for (bottleneck, change, week) in [
        ("none", "nothing", EASY),
        ("slots", "PIXCRAWLER_FLEET_MAX_CHUNKS above 10", Week { pending_chunks: 50, ..EASY }),
        ("temp", "PIXCRAWLER_MAX_TEMP_STORAGE_MB", Week { temp_bytes: 32 << 20, ..EASY }),
        ("memory", "PIXCRAWLER_MAX_BUFFER_MB", Week { app_memory: 93.0, ..EASY }),
        ("cpu", "level medium", Week { app_cpu: 93.0, ..EASY }),
        ("slow_origin", "many hosts", Week { seconds: 120, ..EASY }),
        ("database", "POSTGRES_SKU", Week { database_cpu: 93.0, pending_chunks: 50, ..EASY }),
    ] {
        week.write(&rig).await;
        let said = said(&rig, &as_reader, &["--images-per-day", "50000000"]);
        assert_eq!(said["finding"]["bottleneck"], bottleneck, "{said}");
        let told = said["finding"]["change"].as_str().unwrap();
        assert!(told.contains(change), "{told}");
        let history = &said["history"];
        assert_eq!(history["images"], 1_000_000);
        assert_eq!(
            (&history["slots"]["median"], &history["limits"]["slots"]),
            (&json!(0), &json!(10))
        );
        assert_eq!(history["waits"]["chunks"], 2000);
        // A chunk of 500 images in so many seconds.
        let speed = f64::from(500 * 3600 / week.seconds);
        let measured = history["speed"]["images_per_slot_hour"].as_f64().unwrap();
        assert!((measured - speed).abs() < 1e-3 * speed, "{measured} is not {speed}");
        let slots = (50_000_000.0 / speed / 24.0 / 0.7).ceil();
        assert_eq!(said["need"]["slots"].as_f64(), Some(slots));
    }
    let answer =
        rig.chunkctl(&["capacity", "--images-per-day", "1000", "--price-storage-gb", "0.02"]);
    for text in
        ["bottleneck: database. CPU of the database", "POSTGRES_SKU Standard_B1ms", "compute"]
    {
        assert!(answer.stdout.contains(text), "{text} is not in {}", answer.stdout);
    }
}

/// What Azure Monitor was asked, and its points of a week: percent, or bytes for the app's memory.
#[derive(Default)]
struct Azure {
    asked: Mutex<Vec<(String, HashMap<String, String>)>>,
}

/// Each hour of a week one more point; the last one is the highest.
async fn metrics(State(azure): State<Arc<Azure>>, uri: Uri) -> Json<Value> {
    let query = uri.query().unwrap_or_default();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let is_app = uri.path().contains("sites");
    let value = |name: &str| {
        let points = (0..168).map(|hour| {
            let at = OffsetDateTime::now_utc() - time::Duration::hours(168 - hour);
            let percent = f64::from(i32::try_from(hour).unwrap()) / 2.0;
            let unit = if name == "MemoryWorkingSet" { 2048.0 * 1_048_576.0 / 100.0 } else { 1.0 };
            let (average, maximum) = (percent * unit / 2.0, percent * unit);
            json!({"timeStamp": at.format(&Rfc3339).unwrap(), "average": average, "maximum": maximum})
        });
        json!({"name": {"value": name}, "errorCode": "Success",
            "timeseries": [{"data": points.collect::<Vec<_>>()}]})
    };
    let names = query["metricnames"].split(',').map(value).collect::<Vec<_>>();
    azure.asked.lock().unwrap().push((if is_app { "app" } else { "postgres" }.into(), query));
    Json(json!({"value": names}))
}

/// F17: Azure Monitor's history comes before the rows of health checks: one call a resource, a point an
/// hour, of as many days as are asked for; where it does not answer, the rows stay, and it is said.
#[tokio::test(flavor = "multi_thread")]
async fn azure_monitors_week_is_what_is_said() {
    let rig = migrated().await;
    EASY.write(&rig).await;
    let identity = Identity::serve(Duration::from_secs(3600), None).await;
    let azure = Arc::new(Azure::default());
    let routes = Router::new().route("/{*resource}", get(metrics)).with_state(Arc::clone(&azure));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let [endpoint, secret] = identity.environment();
    let variables = [
        ("PIXCRAWLER_MONITOR_ENDPOINT", address.as_str()),
        ("PIXCRAWLER_MONITOR_RESOURCE_ID", "/subscriptions/s/providers/Microsoft.Web/sites/app"),
        ("PIXCRAWLER_MONITOR_POSTGRES_RESOURCE_ID", "/subscriptions/s/flexibleServers/pg"),
        endpoint,
        secret,
    ];
    let said_of = |address: &str| {
        let variables = [&variables[..], &[("PIXCRAWLER_MONITOR_ENDPOINT", address)]].concat();
        said(&rig, &variables, &[])
    };
    let week = said_of(&address);
    let asked = std::mem::take(&mut *azure.asked.lock().unwrap());
    assert_eq!(asked.len(), 2, "one call for each resource: {asked:?}");
    for (_, query) in &asked {
        assert_eq!(query["interval"], "PT1H");
        let (from, until) = query["timespan"].split_once('/').unwrap();
        let at = |text| OffsetDateTime::parse(text, &Rfc3339).unwrap();
        assert_eq!(at(until) - at(from), time::Duration::days(7));
    }
    // Of 0, 0.5, ... 83.5 %.
    let expected = json!({"median": 41.5, "p95": 79.5, "most": 83.5});
    for what in ["app_cpu", "app_memory", "database_cpu", "database_memory"] {
        let usage = &week["history"][what];
        assert_eq!(usage["source"], "azure_monitor", "{what}: {usage}");
        assert_eq!(usage["level"], expected, "{what}");
    }
    assert_eq!(week["finding"]["bottleneck"], "none", "79.5 % is below every bound");
    let away = said_of("http://127.0.0.1:1");
    let usage = &away["history"]["app_cpu"];
    assert_eq!((&usage["source"], &usage["level"]["p95"]), (&json!("health_checks"), &json!(30.0)));
    assert!(usage["cause"].is_string(), "{usage}");
}

/// F17: of an empty database, or of a day's beginning, figures are shown and nothing is concluded.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_history_is_called_so() {
    let rig = migrated().await;
    let empty = said(&rig, &[], &["--images-per-day", "1000"]);
    assert_eq!((&empty["finding"], &empty["need"]), (&Value::Null, &Value::Null));
    let why = empty["too_short"].as_str().unwrap();
    assert!(why.contains("0.0 hours") && why.contains("0 complete chunks"), "{why}");
    EASY.write(&rig).await;
    rig.execute("delete from chunk_handler.attempt where claimed_at < now() - interval '3 hours'")
        .await;
    let short = said(&rig, &[], &["--images-per-day", "1000"]);
    assert_eq!((&short["finding"], &short["need"]), (&Value::Null, &Value::Null));
    let answer = rig.chunkctl(&["capacity", "--days", "1"]);
    assert!(answer.stdout.contains("too short a history"), "{}", answer.stdout);
    assert!(!answer.stdout.contains("bottleneck"), "{}", answer.stdout);
}
