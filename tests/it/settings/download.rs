//! Settings of downloads do what they say, seen at the origin and in the verdicts.

use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use support::rig::{DATASETS, Handler, Rig, all, inline};

/// The reason of each URL, in the order of the list; none for a valid one.
fn reasons(manifest: &Value) -> Vec<Option<String>> {
    let items = manifest["items"].as_array().unwrap().iter();
    items.map(|item| item["reason"].as_str().map(str::to_owned)).collect()
}

/// Runs one chunk of a job to its end and returns its manifest.
async fn manifest_of(rig: &Rig, handler: &Handler, job_id: i64, urls: &[String]) -> Value {
    let (status, answer) = handler.deliver(&job_id.to_string(), &inline(job_id, 0, urls)).await;
    assert_eq!(status, 200, "{answer}");
    rig.manifest(job_id, 0).await
}

/// `MAX_IMAGE_SIZE_MB` refuses what is larger, announced or not; a message may only lower it.
#[tokio::test(flavor = "multi_thread")]
async fn larger_images_are_too_large() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_MAX_IMAGE_SIZE_MB", "0.5")]).await;
    let urls = ["/img/0", "/big/1?mb=1", "/big/2?mb=1&cl=0"].map(|path| rig.origin.url(path));
    let too_large = Some("too_large".to_owned());
    let manifest = manifest_of(&rig, &handler, 1, &urls).await;
    assert_eq!(reasons(&manifest), [None, too_large.clone(), too_large.clone()]);
    for (job_id, mb, first) in [(2, 0.01, too_large.clone()), (3, 50.0, None)] {
        let mut message = inline(job_id, 0, &urls);
        message["validation"] = json!({"max_file_size_mb": mb});
        assert_eq!(handler.deliver("message", &message).await.0, 200);
        let manifest = rig.manifest(job_id, 0).await;
        assert_eq!(reasons(&manifest), [first, too_large.clone(), too_large.clone()], "{mb}");
    }
}

/// `DOWNLOAD_CONCURRENCY` bounds what one chunk asks for at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_downloads_no_more_than_allowed_at_once() {
    let rig = Rig::new().await;
    let per_host = ("PIXCRAWLER_PER_HOST_CONCURRENCY", "1024");
    let handler = rig.handler_with(&[("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "3"), per_host]).await;
    rig.origin.set_delay(std::time::Duration::from_millis(200));
    let manifest = manifest_of(&rig, &handler, 1, &rig.pictures(15)).await;
    assert_eq!(manifest["images_valid"], 15);
    assert_eq!(rig.origin.peak(), 3);
}

/// `PER_HOST_CONCURRENCY` bounds what all chunks of an instance ask one host for at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_gets_no_more_than_allowed_at_once() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_PER_HOST_CONCURRENCY", "2")]).await;
    rig.origin.set_delay(std::time::Duration::from_millis(200));
    let urls = rig.pictures(5);
    let manifests = all((1..=3).map(|job_id| manifest_of(&rig, &handler, job_id, &urls))).await;
    assert!(manifests.iter().all(|manifest| manifest["images_valid"] == 5));
    assert_eq!(rig.origin.peak(), 2);
}

/// A port whose connections never come to be: its queue is full. Holds what fills it.
async fn silent_port() -> (String, tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    let patience = std::time::Duration::from_millis(300);
    while let Ok(stream) =
        tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await
    {
        streams.push(stream.unwrap());
    }
    (address.to_string(), listener, streams)
}

/// The three timeouts and `MIN_RATE_BYTES_PER_SECOND` each end a download
/// with `timeout`, long before the chunk's deadline; only dripping is not tried again.
#[tokio::test(flavor = "multi_thread")]
async fn each_time_limit_ends_a_download() {
    let rig = Rig::new().await;
    let (silent, _listener, _streams) = silent_port().await;
    let origins = format!("{},{silent}", rig.origin.address());
    let connect = ("PIXCRAWLER_CONNECT_TIMEOUT_SECONDS", "0.3");
    let first_byte = ("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "0.3");
    let total = ("PIXCRAWLER_TOTAL_TIMEOUT_SECONDS", "1");
    let no_rate = ("PIXCRAWLER_MIN_RATE_BYTES_PER_SECOND", "0");
    let one = async |job_id: i64, settings: Vec<(&str, &str)>, path: &str, reason: &str| {
        let common = [
            ("PIXCRAWLER_ALLOWED_ORIGINS", origins.as_str()),
            ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "20"),
        ];
        let handler = rig.handler_with(&[&common, settings.as_slice()].concat()).await;
        let url = match path {
            "" => format!("http://{silent}/"),
            path => rig.origin.url(path),
        };
        let good = rig.origin.url(&format!("/img/{job_id}"));
        let manifest = manifest_of(&rig, &handler, job_id, &[url, good]).await;
        assert_eq!(reasons(&manifest), [Some(reason.to_owned()), None], "{settings:?} {path}");
        rig.origin.requests(path)
    };
    let tries = tokio::join!(
        one(1, vec![connect], "", "timeout"),
        one(2, vec![connect, first_byte], "/hang/2", "timeout"),
        one(3, vec![total, no_rate], "/drip/3", "timeout"),
        one(4, vec![], "/drip/4", "timeout"),
        one(5, vec![no_rate], "/drip/5", "deadline"),
    );
    assert_eq!(tries, (0, 4, 4, 1, 1));
}

/// `FIRST_BYTE_TIMEOUT_SECONDS` holds as it is, however long connecting may take.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_timeout_is_not_lengthened_by_the_connect_timeout() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "0.5")]).await;
    let urls = [rig.origin.url("/slow/1?ms=3000"), rig.origin.url("/img/2")];
    assert_eq!(handler.deliver("one", &inline(1, 0, &urls)).await.0, 200);
    assert_eq!(rig.manifest(1, 0).await["items"][0]["reason"], "timeout");
}

/// `USER_AGENT` is sent as it is set.
#[tokio::test(flavor = "multi_thread")]
async fn origins_are_told_the_user_agent() {
    let rig = Rig::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut piece = [0; 1024];
        while !head.ends_with(b"\r\n\r\n") {
            let n = stream.read(&mut piece).unwrap();
            head.extend_from_slice(&piece[..n]);
        }
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
        String::from_utf8(head).unwrap()
    });
    let agent = ("PIXCRAWLER_USER_AGENT", "tester/1 (+https://example.org)");
    let handler = rig.handler_with(&[agent, ("PIXCRAWLER_ALLOWED_ORIGINS", &address)]).await;
    let urls = [format!("http://{address}/img")];
    let manifest = manifest_of(&rig, &handler, 1, &urls).await;
    assert_eq!(reasons(&manifest), [Some("http_404".to_owned())]);
    let head = server.join().unwrap().to_lowercase();
    assert!(head.contains("\r\nuser-agent: tester/1 (+https://example.org)\r\n"), "{head}");
}

/// `RESPECT_OPT_OUT`: an origin's wish counts unless it is switched off.
#[tokio::test(flavor = "multi_thread")]
async fn opt_outs_count_unless_switched_off() {
    let rig = Rig::new().await;
    let urls = [rig.origin.url("/noai/1"), rig.origin.url("/img/2")];
    for (job_id, respect, reason) in [(1, "true", Some("opt_out".to_owned())), (2, "false", None)] {
        let handler = rig.handler_with(&[("PIXCRAWLER_RESPECT_OPT_OUT", respect)]).await;
        let manifest = manifest_of(&rig, &handler, job_id, &urls).await;
        assert_eq!(reasons(&manifest), [reason, None]);
    }
}

/// `KEEP_QUERY` decides whether manifest and sidecars have query strings and user info; logs never
/// do, whatever `RUST_LOG` says.
#[tokio::test(flavor = "multi_thread")]
async fn queries_are_kept_only_when_wanted_and_never_logged() {
    let rig = Rig::new().await;
    let address = rig.origin.address();
    let urls = [
        rig.origin.url("/img/1?signature=hush"),
        rig.origin.url("/404/2?signature=hush#hush"),
        format!("http://someone:hush@{address}/img/3"),
        "http://[?signature=hush".to_owned(),
    ];
    for (job_id, keep) in [(1, "true"), (2, "false")] {
        let query = ("PIXCRAWLER_KEEP_QUERY", keep);
        let handler = rig.handler_with(&[query, ("RUST_LOG", "debug")]).await;
        let manifest = manifest_of(&rig, &handler, job_id, &urls).await;
        assert_eq!(manifest["images_valid"], 1, "{manifest}");
        let shown: Vec<&str> = manifest["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| i["url"].as_str().unwrap())
            .collect();
        let manifest = manifest.to_string();
        let shard = String::from_utf8_lossy(&rig.shard(job_id, 0).await).into_owned();
        if keep == "true" {
            assert_eq!(shown, urls);
            assert!(shard.contains("signature=hush"));
        } else {
            assert!(!manifest.contains("hush"), "{manifest}");
            assert!(!shard.contains("hush"), "a sidecar has the query");
            assert_eq!(shown[0], rig.origin.url("/img/1"));
            assert_eq!(shown[2], format!("http://{address}/img/3"));
        }
        handler.line("image rejected").await;
        assert!(!handler.lines().iter().any(|line| line.contains("hush")), "a secret is logged");
    }
    let blobs = rig.blobs.list(DATASETS, "job_2/").await.unwrap();
    assert!(blobs.iter().all(|name| !name.contains("hush")));
}

/// `KEEP_QUERY` concerns URLs that cannot be parsed too.
#[tokio::test(flavor = "multi_thread")]
async fn the_user_info_of_a_broken_url_is_not_kept() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_QUERY", "false")]).await;
    let mut urls = rig.pictures(1);
    urls.extend(["//someone:hush@example.org/x", "http://someone:hush@[/x"].map(str::to_owned));
    assert_eq!(handler.deliver("one", &inline(1, 0, &urls)).await.0, 200);
    let manifest = rig.manifest(1, 0).await;
    assert_eq!(manifest["errors"]["url_refused"], 2);
    assert!(!manifest.to_string().contains("hush"), "{}", manifest["items"]);
}
