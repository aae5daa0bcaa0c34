//! A redirect, a proxy or a bad certificate leads no download to where it may not go.

use super::{answers::IMPATIENT, urls::refused_urls};
use std::sync::Arc;
use support::{
    canary::canary,
    ingestion::{Ingestion, serve},
    origin::picture,
    raw::{Act, Raw, answer, tls_fixture},
    rig::{Rig, wait_for},
    verdict::{handler, verdicts},
};

fn redirect(status: u16, to: &str) -> Act {
    Act::Send(answer(status, &format!("Location: {to}\r\n"), b""))
}

fn good(path: &str) -> Act {
    Act::Send(answer(200, "", &picture::jpeg(1, path)))
}

/// Cases 37, 38: what may not be asked for may not be redirected to either, however it is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_forbidden_address_is_refused() {
    let rig = Rig::new().await;
    let port = canary().port;
    let origin = rig.origin.address();
    let mut targets: Vec<String> = [
        "file:///etc/passwd",
        "ftp://93.184.216.34/a",
        "data:image/png;base64,AAAA",
        "gopher://93.184.216.34/",
        "javascript:alert(1)",
        "http://169.254.169.254/latest/meta-data/",
        "http://168.63.129.16/?comp=versions",
        "http://10.0.0.1/",
        "http://[fc00::1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://93.184.216.34:22/",
        "http://93.184.216.34:0/",
    ]
    .map(str::to_owned)
    .to_vec();
    // Ways to write an address of loopback, as far as a header takes them.
    let end = format!(":{port}/");
    let loopback = refused_urls().into_iter().filter(|url| {
        url.ends_with(&end) && url.chars().all(|c| c.is_ascii_graphic() && !"@\\".contains(c))
    });
    targets.extend(loopback);
    assert!(targets.len() > 30, "the table is read");
    targets.push(format!("//127.0.0.1:{port}/"));
    targets.push(format!("http:\\\\127.0.0.1:{port}\\"));
    targets.push(format!("http:///127.0.0.1:{port}/"));
    targets.push(format!("http://user:pw@{origin}/img/1"));
    targets.push(format!("http://{origin}@127.0.0.1:{port}/"));
    let n = targets.len();
    let raw = Raw::start(move |path, _| {
        let n: usize = path.trim_start_matches('/').parse().unwrap();
        redirect([301, 302, 303, 307, 308][n % 5], &targets[n])
    });
    let handler = handler(&rig, &[&raw], &[]).await;
    let urls: Vec<String> = (0..n).map(|n| raw.url(&format!("/{n}"))).collect();
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let wrong: Vec<_> =
        verdicts.iter().enumerate().filter(|(_, v)| *v != "failed url_refused").collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(rig.origin.total(), 0, "user info is refused also for an allowed address");
    assert!((0..n).all(|n| raw.requests(&format!("/{n}")) == 1), "refused is final");
    canary().assert_silent();
}

/// Case 39: five redirects are followed, a sixth is not, nor is a loop. Relative ones work.
#[tokio::test(flavor = "multi_thread")]
async fn five_redirects_are_followed_and_no_more() {
    let rig = Rig::new().await;
    let to_origin = rig.origin.url("/img/7");
    let raw = Raw::start(move |path, _| match path.trim_start_matches("/hop/").parse::<u8>() {
        Ok(0) => good(path),
        Ok(left) => redirect(307, &format!("{}#part", left - 1)),
        Err(_) => redirect(302, &to_origin),
    });
    let handler = handler(&rig, &[&raw], &[]).await;
    let mut urls = ["/hop/5", "/hop/6", "/away"].map(|path| raw.url(path)).to_vec();
    urls.push(rig.origin.url("/loop"));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let too_many = "failed too_many_redirects";
    assert_eq!(verdicts, ["valid", too_many, "valid", too_many]);
    assert_eq!((raw.requests("/hop/0"), raw.requests("/hop/1")), (1, 2));
    assert_eq!(rig.origin.requests("/loop"), 6);
}

/// Case 47: no proxy of the environment is used, for nothing: pictures by http and https, storage,
/// telemetry, and the command line.
#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_are_ignored() {
    let rig = Rig::new().await;
    let proxy = Raw::start(|_, _| Act::Close(Vec::new()));
    let secure = Raw::tls("good.pem", |path, _| good(path));
    let seen = Arc::new(Ingestion::default());
    let (at, authority, telemetry) = (proxy.url(""), tls_fixture("ca.pem"), serve(&seen).await);
    let names =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let mut extra = names.map(|name| (name, at.as_str())).to_vec();
    extra.extend([
        ("SSL_CERT_FILE", authority.to_str().unwrap()),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", &telemetry),
        ("OTEL_BSP_SCHEDULE_DELAY", "300"),
    ]);
    let handler = handler(&rig, &[&secure], &extra).await;
    let mut urls = rig.pictures(3);
    urls.push(secure.url("/"));
    assert_eq!(verdicts(&rig, &handler, 1, &urls).await, ["valid"; 4]);
    wait_for("telemetry arrives", async || !seen.of("RequestData").is_empty()).await;
    let list = rig.list("more.txt", &urls).display().to_string();
    let submitted = rig.chunkctl_with(&extra, &["submit", "--job-id", "2", "--urls", &list]);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    assert_eq!(proxy.connections(), 0);
}

/// Case 71: expired, self-signed and for another name, each asked once; a good certificate works.
/// A redirect from https to http is refused.
#[tokio::test(flavor = "multi_thread")]
async fn bad_certificates_are_refused_and_not_asked_again() {
    let rig = Rig::new().await;
    let down = rig.origin.url("/img/1");
    let trusted = Raw::tls("good.pem", move |path, _| match path {
        "/down" => redirect(302, &down),
        "/across" => redirect(302, "/picture"),
        _ => good(path),
    });
    let bad = ["expired.pem", "wrong_name.pem", "self_signed.pem"]
        .map(|certificate| Raw::tls(certificate, |path, _| good(path)));
    let authority = tls_fixture("ca.pem");
    let extra = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    let servers = [&trusted, &bad[0], &bad[1], &bad[2]];
    let handler = handler(&rig, &servers, &extra).await;
    let mut urls = ["/good", "/across", "/down"].map(|path| trusted.url(path)).to_vec();
    urls.extend(bad.iter().map(|server| server.url("/")));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let tls = "failed tls";
    assert_eq!(verdicts, ["valid", "valid", "failed bad_redirect", tls, tls, tls]);
    assert_eq!(bad.each_ref().map(Raw::connections), [1, 1, 1]);
    assert_eq!(bad.each_ref().map(|server| server.requests("/")), [0, 0, 0]);
    assert_eq!(rig.origin.total(), 0);
}

/// Case 72: a handshake that hangs is a timeout, tried again within the chunk's time.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_hangs_is_a_timeout() {
    let rig = Rig::new().await;
    let silent = Raw::silent();
    let handler = handler(&rig, &[&silent], &IMPATIENT).await;
    let verdicts = verdicts(&rig, &handler, 1, &[silent.url("/"), rig.origin.url("/img/1")]).await;
    assert_eq!(verdicts, ["failed timeout", "valid"]);
    assert_eq!(silent.connections(), 4);
}

/// Case 71: a server that does not speak TLS, or not ours, is refused like a bad certificate.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_a_handshake_is_tls() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = [format!("https://{}/", rig.origin.address()), rig.origin.url("/img/1")];
    assert_eq!(verdicts(&rig, &handler, 1, &urls).await, ["failed tls", "valid"]);
}
