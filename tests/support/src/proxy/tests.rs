//! The proxy before a real Postgres, and before a small HTTP server.

use super::*;
use crate::env;
use crate::origin::{Origin, OriginOptions};
use sqlx::{Connection, PgConnection};
use std::time::Instant;

struct Http {
    calls: Calls,
    proxy: Proxy,
    origin: Origin,
    client: reqwest::Client,
}

impl Http {
    async fn new() -> Self {
        let origin = Origin::start(OriginOptions::default()).unwrap();
        let calls = Calls::default();
        let upstream = origin.address().to_string();
        let proxy = Proxy::start("origin", Wire::Http, &upstream, &calls).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { calls, proxy, origin, client }
    }

    async fn get(&self) -> Option<usize> {
        let url = format!("http://{}/img/1", self.proxy.address());
        let answer = self.client.get(url).send().await.ok()?;
        Some(answer.bytes().await.ok()?.len())
    }

    fn meets(&self, fate: Fate) {
        self.calls.restart(move |_| fate);
    }
}

#[tokio::test]
async fn http_calls_are_counted_and_pass_unchanged() {
    let http = Http::new().await;
    let direct = http.client.get(http.origin.url("/img/1")).send().await.unwrap();
    let direct = direct.bytes().await.unwrap().len();
    assert_eq!((http.get().await, http.get().await), (Some(direct), Some(direct)));
    let seen = http.calls.seen();
    let numbers: Vec<usize> = seen.iter().map(|call| call.number).collect();
    assert_eq!((numbers, seen[1].what.as_str()), (vec![1, 2], "GET 1"));
}

#[tokio::test]
async fn a_cut_call_has_no_effect_and_a_dropped_reply_has() {
    let http = Http::new().await;
    http.meets(Fate::Cut);
    assert_eq!((http.get().await, http.origin.total()), (None, 0));
    http.meets(Fate::DropReply);
    assert_eq!(http.get().await, None);
    assert!(http.origin.total() > 0);
}

/// With the fate a call is counted; with the switch nothing is asked, and all is as before afterwards.
#[tokio::test]
async fn a_proxy_answers_in_the_place_of_its_service() {
    let http = Http::new().await;
    let refused = Answer { status: "403 Forbidden", code: "AuthenticationFailed" };
    let code = async || {
        let url = format!("http://{}/img/1", http.proxy.address());
        let answer = http.client.get(url).send().await.unwrap();
        let code =
            answer.headers().get("x-ms-error-code").map(|code| code.to_str().unwrap().to_owned());
        (answer.status().as_u16(), code)
    };
    let expected = (403, Some(refused.code.to_owned()));
    http.meets(Fate::Answer(refused));
    assert_eq!((code().await, http.calls.seen().len()), (expected.clone(), 1));
    http.meets(Fate::Pass);
    http.proxy.answer(refused);
    assert_eq!((code().await, http.calls.seen().len()), (expected, 0));
    assert_eq!(http.origin.total(), 0);
    http.proxy.resume();
    assert_eq!(code().await, (200, None));
}

#[tokio::test]
async fn a_busy_service_answers_503_and_the_connection_goes_on() {
    let http = Http::new().await;
    http.calls.restart(|call| if call.number == 1 { Fate::Busy } else { Fate::Pass });
    let url = format!("http://{}/img/1", http.proxy.address());
    let answer = http.client.get(url).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(http.origin.total(), 0);
    assert!(http.get().await.is_some());
}

#[tokio::test]
async fn a_held_call_waits_for_its_release() {
    let http = Http::new().await;
    for (fate, effects) in [(Fate::HoldBefore, 0), (Fate::HoldAfter, 2)] {
        http.meets(fate);
        let (answer, ()) = tokio::join!(http.get(), async {
            http.calls.held().await;
            assert_eq!(http.origin.total(), effects);
            http.calls.release();
        });
        assert!(answer.is_some(), "{fate:?}");
    }
}

#[tokio::test]
async fn a_held_call_whose_client_is_gone_is_never_forwarded() {
    let http = Http::new().await;
    http.meets(Fate::HoldBefore);
    tokio::select! {
        _ = http.get() => panic!("it is held"),
        () = http.calls.held() => {}
    }
    let mut held = http.calls.held.subscribe();
    held.wait_for(BTreeSet::is_empty).await.unwrap();
    http.calls.release();
    assert_eq!(http.origin.total(), 0);
}

#[tokio::test]
async fn a_delayed_call_comes_later() {
    let http = Http::new().await;
    http.meets(Fate::Delay(Duration::from_millis(300)));
    let began = Instant::now();
    assert!(http.get().await.is_some());
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn switches_stall_refuse_cut_and_resume() {
    let http = Http::new().await;
    assert!(http.get().await.is_some());
    http.proxy.stall();
    let stalled = tokio::time::timeout(Duration::from_millis(200), http.get()).await;
    assert!(stalled.is_err(), "{stalled:?}");
    http.proxy.refuse();
    http.proxy.cut();
    assert_eq!(http.get().await, None);
    http.proxy.resume();
    assert!(http.get().await.is_some());
}

/// Two flushes for a statement with a parameter, one for its repetition, one for a simple query.
#[tokio::test]
async fn postgres_calls_are_counted_and_named() {
    let url = env::database_url().await.unwrap();
    let rest = url.split('@').nth(1).unwrap();
    let upstream = rest.split(['/', '?']).next().unwrap();
    let calls = Calls::default();
    let proxy = Proxy::start("postgres", Wire::Postgres, upstream, &calls).await.unwrap();
    let url = url.replace(upstream, &proxy.address().to_string());
    let mut connection = PgConnection::connect(&url).await.unwrap();
    calls.restart(|_| Fate::Pass);
    for n in 0..2_i32 {
        let echo = sqlx::query_scalar("-- echo\nselect $1::integer").bind(n);
        let echoed: i32 = echo.fetch_one(&mut connection).await.unwrap();
        assert_eq!(echoed, n);
    }
    sqlx::raw_sql("-- simple\nselect 1").execute(&mut connection).await.unwrap();
    let seen: Vec<String> = calls.seen().into_iter().map(|call| call.what).collect();
    assert_eq!(seen, ["prepare echo", "run echo", "run echo", "run simple"]);
    calls.restart(|_| Fate::DropReply);
    assert!(sqlx::raw_sql("select 1").execute(&mut connection).await.is_err());
}
