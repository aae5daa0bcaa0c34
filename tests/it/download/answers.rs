//! Each answer of an origin, good or bad, gets its verdict after the right number of requests.

use support::{
    canary::canary,
    checkout::root,
    origin::picture,
    raw::{Act, Raw, answer, head},
    rig::{DATASETS, Rig, inline},
    verdict::{details_of, handler, verdicts},
};
use tokio::net::TcpSocket;

/// Limits that let a whole chunk of hanging origins end within seconds.
pub const IMPATIENT: [(&str, &str); 6] = [
    ("PIXCRAWLER_CONNECT_TIMEOUT_SECONDS", "1"),
    ("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "2"),
    ("PIXCRAWLER_TOTAL_TIMEOUT_SECONDS", "3"),
    ("PIXCRAWLER_MAX_IMAGE_SIZE_MB", "1"),
    ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "64"),
    ("PIXCRAWLER_PER_HOST_CONCURRENCY", "64"),
];

/// Requests that each path of the origin gets, and the verdict.
const BY_ORIGIN: [(&str, u64, &str); 26] = [
    ("/img/1", 1, "valid"),
    ("/hang", 4, "failed timeout"),
    ("/drip/1", 4, "failed timeout"),
    ("/short/1", 4, "failed truncated"),
    ("/cut/1", 1, "invalid truncated"),
    ("/huge", 1, "invalid too_large"),
    ("/endless", 1, "invalid too_large"),
    ("/big/1?mb=2", 1, "invalid too_large"),
    ("/gzip/1", 1, "failed encoding_refused"),
    ("/html", 1, "invalid not_image"),
    ("/empty", 1, "invalid empty"),
    ("/status/204", 1, "failed http_204"),
    ("/status/206", 1, "invalid not_image"),
    ("/status/304", 1, "failed http_304"),
    ("/status/400", 1, "failed http_400"),
    ("/status/401", 1, "failed http_401"),
    ("/status/403", 1, "failed http_403"),
    ("/404", 1, "failed http_404"),
    ("/status/410", 1, "failed http_410"),
    ("/status/501", 1, "failed http_501"),
    ("/status/408", 4, "failed http_408"),
    ("/status/425", 4, "failed http_425"),
    ("/status/504", 4, "failed http_504"),
    ("/500", 4, "failed http_500"),
    ("/flaky/2?times=3", 4, "valid"),
    ("/noai/1", 1, "failed opt_out"),
];

/// The same of the raw server.
const BY_RAW: [(&str, u64, &str); 36] = [
    ("/hang-in-head", 4, "failed timeout"),
    ("/hang-in-body", 4, "failed timeout"),
    ("/interim-answers-without-end", 1, "failed bad_response"),
    ("/extension-without-end", 1, "failed bad_response"),
    ("/trailers-without-end", 1, "failed bad_response"),
    ("/longer-than-announced", 1, "valid"),
    ("/length-20-gb-then-silence", 1, "invalid too_large"),
    ("/bad-chunk-size", 1, "failed bad_response"),
    ("/huge-chunk-size", 1, "failed bad_response"),
    ("/two-lengths", 1, "failed bad_response"),
    ("/negative-length", 1, "failed bad_response"),
    ("/no-http", 1, "failed bad_response"),
    ("/10k-headers", 1, "failed bad_response"),
    ("/1k-headers", 1, "valid"),
    ("/header-without-end", 1, "failed bad_response"),
    ("/64-kb-header", 1, "valid"),
    ("/interim-answer", 1, "valid"),
    ("/gzip-bomb", 1, "failed encoding_refused"),
    ("/gzip-of-a-picture", 1, "invalid not_image"),
    ("/empty-chunked", 1, "invalid empty"),
    ("/reset-in-body", 4, "failed connect_failed"),
    ("/reset-once", 2, "valid"),
    ("/close-in-head", 4, "failed connect_failed"),
    ("/close-at-once", 4, "failed connect_failed"),
    ("/redirect-to-nowhere", 1, "failed bad_redirect"),
    ("/busy-for-2", 2, "valid"),
    ("/busy-until-2015", 2, "valid"),
    ("/busy-for-99999", 1, "failed rate_limited"),
    ("/away-for-99999", 1, "failed rate_limited"),
    ("/away-for-soon", 2, "valid"),
    ("/away-for--5", 2, "valid"),
    ("/busy-always", 4, "failed rate_limited"),
    ("/noindex", 1, "failed opt_out"),
    ("/jpeg-as-png", 1, "valid"),
    ("/jpeg-as-html", 1, "valid"),
    ("/jpeg-without-type", 1, "valid"),
];

fn misbehave(path: &str, earlier: u64) -> Act {
    let good = picture::jpeg(1, path);
    let half = head(200, &format!("Content-Length: {}\r\n", good.len()), &good[..good.len() / 2]);
    let ok = |headers: &str| Act::Send(answer(200, headers, &good));
    let bare = |headers: &str| Act::Close(head(200, headers, b"\r\n"));
    match path {
        "/hang-in-head" => Act::Hang(b"HTTP/1.1 200 OK\r\nContent-".to_vec()),
        "/hang-in-body" => Act::Hang(half),
        "/interim-answers-without-end" => {
            Act::Endless(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20))
        }
        "/longer-than-announced" => Act::Close([answer(200, "", &good), vec![b'x'; 5000]].concat()),
        "/length-20-gb-then-silence" => {
            Act::Hang(head(200, "Content-Length: 20000000000\r\n", &good))
        }
        "/bad-chunk-size" => Act::Close(head(200, "Transfer-Encoding: chunked\r\n", b"xyz\r\n")),
        "/huge-chunk-size" => {
            Act::Close(head(200, "Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\nx"))
        }
        "/two-lengths" => bare("Content-Length: 10\r\nContent-Length: 20\r\n"),
        "/negative-length" => bare("Content-Length: -1\r\n"),
        "/no-http" => Act::Close(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        "/extension-without-end" => {
            Act::Endless(head(200, "Transfer-Encoding: chunked\r\n", b"9;"), vec![b'a'; 4096])
        }
        "/trailers-without-end" => {
            let mut start = head(200, "Transfer-Encoding: chunked\r\n", b"");
            start
                .extend([format!("{:x}\r\n", good.len()).as_bytes(), &good, b"\r\n0\r\n"].concat());
            Act::Endless(start, b"X-A: b\r\n".repeat(100))
        }
        "/1k-headers" => ok(&"X-A: b\r\n".repeat(1000)),
        "/10k-headers" => ok(&"X-A: b\r\n".repeat(10_000)),
        "/header-without-end" => {
            Act::Endless(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 65_536])
        }
        "/64-kb-header" => ok(&format!("X-A: {}\r\n", "b".repeat(64 * 1024))),
        "/interim-answer" => {
            Act::Send([b"HTTP/1.1 100 Continue\r\n\r\n", &*answer(200, "", &good)].concat())
        }
        "/gzip-bomb" => Act::Endless(head(200, "Content-Encoding: gzip\r\n", b""), vec![0; 65_536]),
        "/gzip-of-a-picture" => Act::Send(answer(200, "", &gzip_of_a_picture())),
        "/empty-chunked" => Act::Send(head(200, "Transfer-Encoding: chunked\r\n", b"0\r\n\r\n")),
        "/reset-in-body" => Act::Reset(half),
        "/reset-once" if earlier == 0 => Act::Reset(half),
        "/close-in-head" => Act::Close(b"HTTP/1.1 200 OK\r\nContent-".to_vec()),
        "/close-at-once" => Act::Close(Vec::new()),
        "/redirect-to-nowhere" => Act::Send(answer(302, "", b"")),
        "/noindex" => ok("X-Robots-Tag: noarchive, NoIndex\r\n"),
        "/jpeg-as-png" => ok("Content-Type: image/png\r\n"),
        "/jpeg-as-html" => ok("Content-Type: text/html\r\n"),
        _ => hold_off(path, earlier).unwrap_or_else(|| ok("")),
    }
}

/// Answers that ask to wait, some only to the first request.
fn hold_off(path: &str, earlier: u64) -> Option<Act> {
    let (status, wait, times) = match path {
        "/busy-for-2" => (429, "2", 1),
        "/busy-until-2015" => (429, "Wed, 21 Oct 2015 07:28:00 GMT", 1),
        "/busy-for-99999" => (429, "99999", u64::MAX),
        "/busy-always" => (429, "", u64::MAX),
        "/away-for-99999" => (503, "99999", u64::MAX),
        "/away-for-soon" => (503, "soon", 1),
        "/away-for--5" => (503, "-5", 1),
        _ => return None,
    };
    let headers = format!("Retry-After: {wait}\r\n");
    (earlier < times).then(|| Act::Send(answer(status, &headers, b"")))
}

fn gzip_of_a_picture() -> Vec<u8> {
    std::fs::read(root().join("tests/fixtures/images-bad/gzip_of_jpeg.jpg")).unwrap()
}

/// Cases 48-70, 73, 74, 77: no answer, slow, cut, endless and broken ones (to 62); no retry of what is
/// final (63 to 65); Retry-After (66 to 68); what is transient is tried again; by content; opt-out.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_gets_its_verdict_after_its_number_of_requests() {
    let rig = Rig::new().await;
    let raw = Raw::start(misbehave);
    let handler = handler(&rig, &[&raw], &IMPATIENT).await;
    let by_origin = BY_ORIGIN.map(|(path, ..)| rig.origin.url(path));
    let urls = [by_origin.to_vec(), BY_RAW.map(|(path, ..)| raw.url(path)).to_vec()].concat();
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;

    let bare = |path: &'static str| path.split('?').next().unwrap();
    let of_origin =
        BY_ORIGIN.map(|(path, n, wanted)| (path, n, wanted, rig.origin.requests(bare(path))));
    let of_raw = BY_RAW.map(|(path, n, wanted)| (path, n, wanted, raw.requests(path)));
    let wrong: Vec<String> = of_origin
        .iter()
        .chain(&of_raw)
        .zip(&verdicts)
        .filter(|((_, n, wanted, requests), verdict)| (n, *wanted) != (requests, verdict.as_str()))
        .map(|((path, n, wanted, requests), verdict)| {
            format!("{path}: {verdict} after {requests} requests, should be {wanted} after {n}")
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let manifest = rig.manifest(1, 0).await;
    for item in manifest["items"].as_array().unwrap() {
        let is_as_jpeg = item["url"].as_str().unwrap().contains("/jpeg-as-");
        assert!(!is_as_jpeg || item["format"] == "jpeg", "73, 74: by content: {item}");
    }
    let bytes_in = manifest["bytes_in"].as_u64().unwrap();
    assert!(bytes_in < 8 << 20, "53, 54, 58: {bytes_in} bytes were read");
    assert!(rig.origin.bytes_sent() < 64 << 20, "53: 20 GB are not asked to be sent");
    canary().assert_silent();
}

/// Case 52: what follows the announced length is not taken for the next answer.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_an_answer_are_no_answer_to_the_next_request() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| {
        let own = answer(200, "", &picture::jpeg(1, path));
        let forged = answer(200, "", &picture::jpeg(2, "forged"));
        Act::Send(if path.starts_with("/poison") { [own, forged].concat() } else { own })
    });
    let handler = handler(&rig, &[&raw], &[("PIXCRAWLER_PER_HOST_CONCURRENCY", "1")]).await;
    let paths: Vec<String> =
        (0..10).flat_map(|n| [format!("/poison/{n}"), format!("/honest/{n}")]).collect();
    let urls: Vec<String> = paths.iter().map(|path| raw.url(path)).collect();
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    assert!(verdicts.iter().all(|verdict| verdict == "valid"), "{verdicts:?}");
    let shard = rig.shard(1, 0).await;
    for (item, path) in rig.manifest(1, 0).await["items"].as_array().unwrap().iter().zip(&paths) {
        let offset = item["offset"].as_u64().unwrap() as usize;
        let length = item["length"].as_u64().unwrap() as usize;
        assert_eq!(shard[offset..offset + length], picture::jpeg(1, path)[..], "{path}");
    }
}

/// Case 67: a Retry-After beyond any clock costs its image, not the chunk.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_of_all_eternity_is_rate_limited() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| {
        let value = path.trim_start_matches('/');
        Act::Send(answer(429, &format!("Retry-After: {value}\r\n"), b""))
    });
    let handler = handler(&rig, &[&raw], &[]).await;
    let waits = ["/1e99", "/9223372036854775807", "/18446744073709551615", "/99999999999999999999"];
    let mut urls = waits.map(|path| raw.url(path)).to_vec();
    urls.push(rig.origin.url("/img/1"));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let limited = "failed rate_limited";
    assert_eq!(verdicts, [limited, limited, limited, limited, "valid"]);
}

/// Cases 77, 186, 489: directives with values, names of agents and odd bytes do not hide the others; the
/// detail names the header. Our name is that of the user agent.
#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_is_found_among_other_directives() {
    let rig = Rig::new().await;
    let (robots, tdm, valid) =
        ("failed opt_out x_robots_tag", "failed opt_out tdm_reservation", "valid ");
    let headers = [
        ("X-Robots-Tag: noai", robots),
        ("X-Robots-Tag: noimageai, noarchive", robots),
        ("X-Robots-Tag: noarchive\r\nX-Robots-Tag: noimageindex", robots),
        ("X-Robots-Tag: noai, max-snippet:-1", robots),
        ("X-Robots-Tag: max-image-preview:large, noimageai", robots),
        ("X-Robots-Tag: unavailable_after: 25 Jun 2010 15:00:00 PST, noindex", robots),
        ("X-Robots-Tag: NONE", robots),
        ("X-Robots-Tag: noml", robots),
        ("X-Robots-Tag: noai, caf\u{e9}", robots),
        ("TDM-Reservation: 1", tdm),
        ("X-Robots-Tag: unavailable_after: Wed, 25 Jun 2010 15:00:00 GMT", robots),
        ("Content-Usage: search=y\r\nContent-Usage: train-ai=n", "failed opt_out content_usage"),
        ("Content-Signal: search=yes, AI-Train=No", "failed opt_out content_signal"),
        ("Content-Signal: search=no, ai-train=yes", valid),
        ("TDM-Reservation: 0", valid),
        ("X-Robots-Tag: otherbot: noindex", valid),
        ("X-Robots-Tag: noarchive, max-snippet:0", valid),
        ("X-Robots-Tag: max-image-preview: none", valid),
        // From here on for an agent by its name.
        ("X-Robots-Tag: pixcrawler: noindex", robots),
        ("X-Robots-Tag: otherbot: noai, nofollow, PixCrawler: none", robots),
        ("X-Robots-Tag: mybot: noai", valid),
    ];
    let raw = Raw::start(move |path, _| {
        let n: usize = path.trim_start_matches('/').parse().unwrap();
        Act::Send(answer(200, &format!("{}\r\n", headers[n].0), &picture::jpeg(1, path)))
    });
    let urls: Vec<String> = (0..headers.len()).map(|n| raw.url(&format!("/{n}"))).collect();
    let said = async |job_id, extra: &[(&str, &str)]| {
        let handler = handler(&rig, &[&raw], extra).await;
        let verdicts = verdicts(&rig, &handler, job_id, &urls).await;
        let details = details_of(&rig.manifest(job_id, 0).await);
        let both =
            verdicts.iter().zip(details).map(|(verdict, detail)| format!("{verdict} {detail}"));
        both.collect::<Vec<_>>()
    };
    let verdicts = said(1, &[]).await;
    let wrong: Vec<_> = headers.iter().zip(&verdicts).filter(|(h, v)| h.1 != v.as_str()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let verdicts = said(2, &[("PIXCRAWLER_USER_AGENT", "MyBot/2.0")]).await;
    assert_eq!(verdicts[18..], [valid, valid, robots], "under another name");
}

/// Case 49: with the usual patience a dripping origin is left after one window of ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_dripping_origin_is_asked_once() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let verdicts = verdicts(&rig, &handler, 1, &[rig.origin.url("/drip/1")]).await;
    assert_eq!((&*verdicts[0], rig.origin.requests("/drip/1")), ("failed timeout", 1));
    assert_eq!(details_of(&rig.manifest(1, 0).await), ["rate"]);
}

/// Case 75: the same URL twice is one sample and one duplicate of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_url_twice_is_kept_once() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let url = rig.origin.url("/img/1");
    let mut verdicts = verdicts(&rig, &handler, 1, &[url.clone(), url]).await;
    verdicts.sort();
    assert_eq!(verdicts, ["duplicate exact_duplicate", "valid"]);
    let manifest = rig.manifest(1, 0).await;
    let kept = |status: &str| {
        let items = manifest["items"].as_array().unwrap();
        items.iter().find(|item| item["status"] == status).unwrap().clone()
    };
    assert_eq!(kept("duplicate")["duplicate_of"], kept("valid")["key"]);
}

/// Case 76: a host that refuses everything does not hold the others up. What it was asked for is
/// `rate_limited`, what it was never asked for is `host_busy` at the chunk's deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_only_says_429_does_not_slow_the_others() {
    let rig = Rig::new().await;
    let raw = Raw::start(|_, _| Act::Send(answer(429, "Retry-After: 1\r\n", b"")));
    let limits =
        [("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "4"), ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "8")];
    let handler = handler(&rig, &[&raw], &limits).await;
    let paths: Vec<String> = (0..40).map(|n| format!("/{n}")).collect();
    let mut urls: Vec<String> = paths.iter().map(|path| raw.url(path)).collect();
    urls.extend(rig.pictures(40));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    for (path, verdict) in paths.iter().zip(&verdicts) {
        let expected = match raw.requests(path) {
            0 => "failed host_busy",
            _ => "failed rate_limited",
        };
        assert_eq!(verdict, expected, "{path}");
    }
    assert!(verdicts[40..].iter().all(|verdict| verdict == "valid"), "{verdicts:?}");
    let n = |reason: &str| verdicts.iter().filter(|verdict| verdict.contains(reason)).count();
    println!("{} asked for, {} not", n("rate_limited"), n("host_busy"));
    assert!(n("rate_limited") > 0 && n("host_busy") > 0, "{verdicts:?}");
}

/// A host that failed to connect eight times in a row is given up for the chunk.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_be_connected_to_is_given_up() {
    let rig = Rig::new().await;
    let silent = Raw::silent();
    let (_bound, closed) = closed_port();
    let allowed = format!("{},{},{closed}", rig.origin.address(), silent.address);
    let extra = [
        ("PIXCRAWLER_ALLOWED_ORIGINS", allowed.as_str()),
        ("PIXCRAWLER_CONNECT_TIMEOUT_SECONDS", "1"),
        ("PIXCRAWLER_PER_HOST_CONCURRENCY", "4"),
    ];
    let handler = rig.handler_with(&extra).await;
    let mut urls: Vec<String> = (0..30).map(|n| silent.url(&format!("/{n}"))).collect();
    urls.extend((0..30).map(|n| format!("http://{closed}/{n}")));
    urls.extend(rig.pictures(3));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let given_up = "failed host_unreachable";
    assert!(verdicts[..60].iter().all(|verdict| verdict == given_up), "{verdicts:?}");
    assert!(verdicts[60..].iter().all(|verdict| verdict == "valid"), "{verdicts:?}");
    let n = silent.connections();
    assert!((8..12).contains(&n), "eight and those under way, not {n}");
}

/// A chunk of which no URL got any answer fails and leaves no shard: no network is no dataset.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_without_any_answer_fails_and_has_no_shard() {
    let rig = Rig::new().await;
    let (_bound, closed) = closed_port();
    let handler = rig.handler_with(&[("PIXCRAWLER_ALLOWED_ORIGINS", closed.as_str())]).await;
    let mut urls: Vec<String> = (0..20).map(|n| format!("http://{closed}/{n}")).collect();
    urls.push("file:///etc/passwd".into());
    let (status, answer) = handler.deliver("one", &inline(1, 0, &urls)).await;
    assert_eq!(status, 200, "{answer}");
    let row: (String, Option<String>) =
        sqlx::query_as("select status, error_code from chunk_handler.chunk_status")
            .fetch_one(&rig.pool)
            .await
            .unwrap();
    assert_eq!(row, ("failed".into(), Some("nothing_reachable".into())));
    assert_eq!(rig.blobs.list(DATASETS, "job_1/chunks/").await.unwrap(), Vec::<String>::new());
}

/// A port of loopback that refuses connections for as long as the socket lives: bound, not listening.
pub fn closed_port() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}
