//! Answers of an ingestion endpoint other than "taken": followed, waited for, or said in words.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{
    doctor::{doctor, failures, names},
    ingestion::{Ingestion, serve},
    programs::Output,
    rig::{Rig, inline, wait_for},
};

/// An endpoint that always answers the same.
struct Endpoint {
    address: String,
    asked: Arc<AtomicUsize>,
}

type Answer = (u16, &'static [(&'static str, &'static str)], &'static str);

impl Endpoint {
    async fn serve(answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let own = address.clone();
        let handle = async move |State(asked): State<Arc<AtomicUsize>>, _body: Bytes| {
            asked.fetch_add(1, Ordering::SeqCst);
            answer(&own)
        };
        let routes = Router::new().fallback(any(handle)).with_state(Arc::clone(&asked));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, asked }
    }

    async fn answering((status, headers, body): Answer) -> Self {
        Self::serve(move |_| {
            let status = StatusCode::from_u16(status).unwrap();
            let mut response = (status, body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            response
        })
        .await
    }

    fn connection(&self) -> String {
        format!(
            "InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint={}/",
            self.address
        )
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn redirect(status: StatusCode, to: &str) -> Response {
    (status, [(header::LOCATION, to.to_owned())]).into_response()
}

fn examine(rig: &Rig, connection: &str) -> Output {
    let replaced = [("APPLICATIONINSIGHTS_CONNECTION_STRING", connection)];
    tokio::task::block_in_place(|| doctor(rig, &replaced, &["--json"]))
}

async fn migrated() -> Rig {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig
}

/// Case 213: a redirect is followed, from one endpoint to the next, and remembered: the first is asked
/// once.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_and_remembered() {
    let rig = migrated().await;
    let seen = Arc::new(Ingestion::default());
    let last = serve(&seen).await;
    let (_, last) = last.split_once("IngestionEndpoint=").unwrap();
    let last = format!("{last}v2.1/track");
    let second = Endpoint::serve(move |_| redirect(StatusCode::TEMPORARY_REDIRECT, &last)).await;
    let next = format!("{}/v2.1/track", second.address);
    let first = Endpoint::serve(move |_| redirect(StatusCode::PERMANENT_REDIRECT, &next)).await;
    let examined = examine(&rig, &first.connection());
    assert_eq!(failures(&examined), Vec::new(), "{}", examined.stdout);
    assert_eq!((first.asked(), second.asked(), seen.sum("doctor_runs")), (1, 1, Some(1.0)));
    let connection = first.connection();
    let handler = rig
        .handler_with(&[
            ("APPLICATIONINSIGHTS_CONNECTION_STRING", &connection),
            ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
        ])
        .await;
    handler.deliver("one", &inline(1, 0, &rig.pictures(2))).await;
    wait_for("metrics arrive", async || seen.sum("completed_chunks") == Some(1.0)).await;
    let asked = first.asked();
    handler.deliver("two", &inline(2, 0, &rig.pictures(1))).await;
    wait_for("more metrics arrive", async || seen.sum("completed_chunks") == Some(2.0)).await;
    assert_eq!(first.asked(), asked, "what it said is forgotten");
}

/// Case 213: a redirect to somebody else, or in a circle, is named with where it points.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_are_not_followed_are_named() {
    let rig = migrated().await;
    for (location, words) in [
        ("https://evil.example/v2.1/track", "points to https://evil.example, which is no endpoint"),
        ("http://evil.example:81/x", "points to http://evil.example:81, which is not https"),
        ("", "308 comes 11 times in a row"),
    ] {
        let endpoint = Endpoint::serve(move |own| {
            let location = if location.is_empty() { own } else { location };
            redirect(StatusCode::PERMANENT_REDIRECT, location)
        })
        .await;
        let examined = examine(&rig, &endpoint.connection());
        names(&examined, "telemetry", &["308 ", words, "IngestionEndpoint"]);
        assert_eq!(endpoint.asked(), if location.is_empty() { 11 } else { 1 });
    }
}

/// Cases 214, 488: each answer is said in its own words, with what to do; only 401 and 403 speak of tokens.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_each_answer_means() {
    let rig = migrated().await;
    let part = r#"{"itemsReceived":1,"itemsAccepted":0,"errors":[
        {"index":0,"statusCode":400,"message":"102: Field 'time' is too old"}]}"#;
    for (answer, words) in [
        ((402, &[][..], "{}"), ["402 the daily cap is reached", "raise the daily cap"]),
        ((403, &[], ""), ["403 this identity may not send", "local authentication is off"]),
        (
            (404, &[], "<html>"),
            ["404 there is no ingestion endpoint", "correct the IngestionEndpoint"],
        ),
        ((429, &[("retry-after", "7")], ""), ["429 too much at once", "asks to wait 7 s"]),
        ((439, &[("retry-after", "7200")], ""), ["439 too much over a longer time", "3600 s"]),
        ((200, &[], "<html>Sign in"), ["200 with a page in HTML", "something else answers there"]),
        ((206, &[], part), ["206 1 of 1 items were not taken", "400 102: Field 'time' is too old"]),
    ] {
        let endpoint = Endpoint::answering(answer).await;
        let examined = examine(&rig, &endpoint.connection());
        names(&examined, "telemetry", &words);
        let (_, said) = failures(&examined).pop().unwrap();
        assert_eq!(said.contains("Authorization=AAD"), answer.0 == 403, "{said}");
    }
}

/// Case 214: an endpoint that asks for an hour is not asked again, and the log says why, once, with what to
/// do.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_was_asked_for_is_kept() {
    let rig = migrated().await;
    let endpoint = Endpoint::answering((429, &[("retry-after", "3600")], "")).await;
    let connection = endpoint.connection();
    let handler = rig
        .handler_with(&[
            ("APPLICATIONINSIGHTS_CONNECTION_STRING", &connection),
            ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
            // What is wrong is a trace, too: this one upload is enough.
            ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
        ])
        .await;
    handler.deliver("one", &inline(1, 0, &rig.pictures(1))).await;
    handler.line("429 too much at once: it throttles; it asks to wait 3600 s").await;
    // Ten intervals.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(endpoint.asked(), 1);
    let lines = handler.lines();
    let warned: Vec<_> =
        lines.iter().filter(|line| line.contains("telemetry cannot be sent")).collect();
    assert!(matches!(&*warned, [one] if one.contains("send less")), "{warned:?}");
}
