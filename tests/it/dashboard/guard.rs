//! Who may ask, from where, and what each answer's headers say.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use reqwest::Method;
use support::{
    dashboard::Dashboard,
    rig::{Rig, wait_for},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn migrated() -> Rig {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig
}

/// Case 444: a page of another name that leads here is answered nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_listened_on_is_refused() {
    let rig = migrated().await;
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let port = dashboard.address.rsplit(':').next().unwrap().to_owned();
    let localhost = format!("localhost:{port}");
    for ours in [localhost.as_str(), &format!("127.0.0.1:{port}"), "localhost"] {
        assert_eq!(dashboard.get("/", &[("Host", ours)]).await.status, 200, "{ours}");
    }
    for (path, host) in [
        ("/", format!("evil.example:{port}")),
        ("/", "localhost.evil.example".into()),
        ("/style.css", format!("evil.example:{port}")),
        ("/control/pause", "evil.example".into()),
    ] {
        let answer = dashboard.get(path, &[("Host", &host)]).await;
        assert_eq!(answer.status, 421, "{path} of {host}");
        assert!(!answer.text.contains("<html"), "{}", answer.text);
    }
}

/// Cases 445, 460: only a page of the dashboard sends forms, and only where they are allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_post_from_elsewhere_changes_nothing() {
    let rig = migrated().await;
    let paused = "select paused_until is not null from chunk_handler.capacity";
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let from = |site: &'static str| [("Sec-Fetch-Site", site)];
    for headers in [&from("cross-site")[..], &from("same-site"), &from("none"), &[]] {
        let answer = dashboard.ask(Method::POST, "/control/pause", headers, "minutes=9").await;
        assert_eq!(answer.status, 403, "{headers:?}: {}", answer.text);
    }
    // Of `Origin` what another site says is refused, too, and so is two of it.
    let own = ("Origin", &*dashboard.address);
    for headers in [
        &[("Origin", "http://evil.example")][..],
        &[("Origin", "http://127.0.0.1:1")],
        &[("Origin", "null")],
        &[own, own],
        &[own, ("Sec-Fetch-Site", "cross-site")],
        &[own, ("Host", "localhost")],
    ] {
        let answer = dashboard.ask(Method::POST, "/control/pause", headers, "minutes=9").await;
        assert_eq!(answer.status, 403, "{headers:?}: {}", answer.text);
    }
    assert!(!rig.value::<bool>(paused).await);
    let answer = dashboard.ask(Method::POST, "/control/pause", &[own], "minutes=9").await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    assert!(rig.value::<bool>(paused).await);
    let again = [("Sec-Fetch-Site", "same-origin")];
    let answer = dashboard.ask(Method::POST, "/control/resume", &again, "").await;
    assert_eq!(answer.status, 303, "{}", answer.text);

    let looks_on = Dashboard::start(&rig, &[]).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let headers = [("Sec-Fetch-Site", "same-origin")];
        let answer = looks_on.ask(method.clone(), "/control/pause", &headers, "minutes=9").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
    assert!(!rig.value::<bool>(paused).await);
    assert_eq!(looks_on.get("/control/pause", &[]).await.status, 404);
    assert!(!looks_on.page("/").await.text.contains("/control/"));
    assert_eq!(looks_on.ask(Method::HEAD, "/", &[], "").await.status, 200);
}

/// Case 462: another site may link here; what its pages load by themselves, and would many times a second, is
/// refused. A browser that says nothing is answered.
#[tokio::test(flavor = "multi_thread")]
async fn another_site_may_only_link_here() {
    let rig = migrated().await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    for (site, mode, status) in [
        ("cross-site", "navigate", 200),
        ("cross-site", "no-cors", 403),
        ("same-site", "cors", 403),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ] {
        let headers = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode)];
        assert_eq!(dashboard.get("/", &headers).await.status, status, "{site} {mode}");
    }
    assert_eq!(dashboard.get("/", &[("Sec-Fetch-Site", "cross-site")]).await.status, 403);
}

/// Case 463: who connects and says nothing holds a place for seconds, and not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_not_waited_for() {
    let rig = migrated().await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    let address = dashboard.address.strip_prefix("http://").unwrap().to_owned();
    let silent = async || {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        stream
    };
    let mut waiting = Vec::new();
    for _ in 0..300 {
        waiting.push(silent().await);
    }
    // More than may be connected at once: this one comes when they are closed.
    assert_eq!(dashboard.get("/", &[]).await.status, 200);
    let mut rest = Vec::new();
    waiting[0].read_to_end(&mut rest).await.unwrap();
}

/// Another address than loopback needs a password; with it, and on loopback too, the password is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_for_others_needs_a_password() {
    let rig = migrated().await;
    let output = rig.chunkctl(&["dashboard", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("set PIXCRAWLER_DASHBOARD_PASSWORD"), "{}", output.stderr);
    let output = rig.chunkctl(&["dashboard", "--listen", "7072"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("as 127.0.0.1:7072"), "{}", output.stderr);
    let output = rig.chunkctl(&["dashboard", "--listen", "7072", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "usage", "{error}");
    assert!(error["error"]["hint"].as_str().unwrap().contains("as 127.0.0.1:7072"), "{error}");

    let password = [("PIXCRAWLER_DASHBOARD_PASSWORD", "open: sesame")];
    let listens = ["127.0.0.1:0", "0.0.0.0:0"];
    for listen in listens {
        let mut dashboard = Dashboard::start_with(&rig, &password, &["--listen", listen]).await;
        dashboard.address = dashboard.address.replace("0.0.0.0", "127.0.0.1");
        let said = |text: &str| {
            use base64::Engine as _;
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
        };
        let right = said("anybody:open: sesame");
        assert_eq!(dashboard.get("/", &[("Authorization", &right)]).await.status, 200);
        let wrong = [
            said("anybody:open"),
            said("anybody:"),
            said("open: sesame"),
            said(""),
            "Bearer x".into(),
        ];
        for path in ["/", "/style.css", "/nowhere"] {
            let answer = dashboard.get(path, &[]).await;
            assert_eq!(answer.status, 401, "{listen} {path}");
            assert!(answer.header("www-authenticate").starts_with("Basic "));
        }
        for wrong in &wrong {
            let answer = dashboard.get("/", &[("Authorization", wrong)]).await;
            assert_eq!(answer.status, 401, "{listen} {wrong}");
        }
        assert!(!format!("{:?}", dashboard.errors()).contains("sesame"));
    }
}

/// Case 494: wrong passwords are answered one after the other, and who knows the password waits for none.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_queue_and_nobody_waits_for_them() {
    let rig = migrated().await;
    let password = [("PIXCRAWLER_DASHBOARD_PASSWORD", "sesame")];
    let dashboard = Dashboard::start_with(&rig, &password, &[]).await;
    // Basic of `x:guess` and of `x:sesame`.
    let [wrong, right] = ["Basic eDpndWVzcw==", "Basic eDpzZXNhbWU="];
    let wrong = [("Authorization", wrong)];
    let mut guesses: FuturesUnordered<_> = (0..8).map(|_| dashboard.get("/", &wrong)).collect();
    let told = || dashboard.errors().iter().filter(|line| line.contains("wrong password")).count();
    let answered = async {
        // The first of them is at the guard.
        wait_for("a guess is told", async || told() > 0).await;
        dashboard.get("/", &[("Authorization", right)]).await
    };
    tokio::select! {
        biased;
        _ = guesses.by_ref().collect::<Vec<_>>() => panic!("the guesses came first"),
        answer = answered => assert_eq!(answer.status, 200),
    }
    // Of eight a line is written of the first, the second, the fourth and the last.
    assert_eq!(guesses.next().await.unwrap().status, 401);
    assert!(told() < 4, "all were taken at once: {:?}", dashboard.errors());
    while let Some(answer) = guesses.next().await {
        assert_eq!(answer.status, 401);
    }
    wait_for("all are told", async || told() == 4).await;
}

/// Each answer, of whatever status, lets a browser load and run nothing but our own files.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_headers() {
    let rig = migrated().await;
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let policy = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; \
        connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let wanted = [
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-cache, private"),
    ];
    let mut answers = Vec::new();
    for path in [
        "/",
        "/jobs",
        "/rejected",
        "/control/pause",
        "/style.css",
        "/script.js",
        "/icon.svg",
        "/nowhere",
    ] {
        answers.push(dashboard.get(path, &[]).await);
    }
    answers.push(dashboard.get("/", &[("Host", "evil.example")]).await);
    answers.push(dashboard.ask(Method::PUT, "/", &[], "").await);
    answers.push(dashboard.ask(Method::POST, "/control/pause", &[], "").await);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 404, 421, 405, 403]);
    for answer in &answers {
        for (name, value) in wanted {
            assert_eq!(answer.header(name), value, "{} {name}", answer.status);
        }
        // What the policy would refuse anyway is not there, either.
        for inline in [" style=", "<style", " onclick=", "<iframe", "javascript:"] {
            assert!(!answer.text.contains(inline), "{inline} in {}", answer.text);
        }
    }
}
