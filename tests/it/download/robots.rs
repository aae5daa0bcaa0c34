//! Hosts that say in robots.txt what may be asked for.

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};
use support::{
    names::{self, NameServer},
    origin::picture::jpeg,
    raw::{Act, Raw, answer},
    rig::{Handler, Rig, wait_for},
    verdict::{details_of, handler, verdicts_of},
};

const ROBOTS: &str = "/robots.txt";
const RULES: &str = "User-agent: *\nDisallow: /no/\nAllow: /no/but/\n";

fn text(body: &[u8]) -> Act {
    Act::Send(answer(200, "Content-Type: text/plain\r\n", body))
}

fn status(code: u16, headers: &str) -> Act {
    Act::Send(answer(code, headers, b"no"))
}

fn to(location: &str) -> Act {
    status(302, &format!("Location: {location}\r\n"))
}

/// A picture of its own for each path.
fn picture(path: &str) -> Act {
    Act::Send(answer(200, "", &jpeg(1, path)))
}

/// A host with pictures, and a robots.txt that is answered so.
fn host(robots: impl Fn(u64) -> Act + Send + Sync + 'static) -> Raw {
    Raw::start(move |path, earlier| if path == ROBOTS { robots(earlier) } else { picture(path) })
}

fn message(job_id: i64, robots: Option<&str>, urls: &[String]) -> Value {
    let source = json!({"urls": urls});
    let mut message = json!({"version": 1, "job_id": job_id, "chunk_index": 0, "source": source});
    if let Some(robots) = robots {
        message["robots"] = robots.into();
    }
    message
}

/// Runs a chunk, which must complete: verdict, reason and detail of each URL.
async fn run(rig: &Rig, handler: &Handler, message: &Value) -> Vec<String> {
    let job_id = message["job_id"].as_i64().unwrap();
    let (status, answer) = handler.deliver(&format!("{job_id}"), message).await;
    assert_eq!(status, 200, "{answer}");
    let urls: Vec<String> = serde_json::from_value(message["source"]["urls"].clone()).unwrap();
    let manifest = rig.manifest(job_id, 0).await;
    let verdicts = verdicts_of(&manifest, &urls).into_iter().zip(details_of(&manifest));
    verdicts.map(|(verdict, detail)| format!("{verdict} {detail}").trim_end().to_owned()).collect()
}

const DISALLOWED: &str = "failed robots disallowed";
const UNREACHABLE: &str = "failed robots unreachable";

/// Case 425: one request for 500 URLs of a host and for a second chunk that comes while it is not answered;
/// what is forbidden is not asked for; none at all for a chunk that does not ask for it.
#[tokio::test(flavor = "multi_thread")]
async fn one_robots_txt_serves_all_chunks() {
    let rig = Rig::new().await;
    let is_open = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&is_open);
    let raw = host(move |_| {
        while !opened.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(20));
        }
        text(RULES.as_bytes())
    });
    let handler = handler(&rig, &[&raw], &[]).await;
    let urls = |job: i64| -> Vec<String> {
        let kinds = ["/yes", "/no", "/no/but"];
        (0..500).map(|n| raw.url(&format!("{}/{job}-{n}", kinds[n % 3]))).collect()
    };
    let messages = [1, 2].map(|job| message(job, Some("respect"), &urls(job)));
    let both = async {
        tokio::join!(run(&rig, &handler, &messages[0]), run(&rig, &handler, &messages[1]))
    };
    let open = async {
        let running =
            "select count(*) = 2 from chunk_handler.chunk_status where status = 'processing'";
        rig.until(running).await;
        wait_for("robots.txt", async || raw.requests(ROBOTS) > 0).await;
        is_open.store(true, Ordering::SeqCst);
    };
    let ((first, second), ()) = tokio::join!(both, open);
    for verdicts in [first, second] {
        for (n, verdict) in verdicts.iter().enumerate() {
            assert_eq!(verdict, if n % 3 == 1 { DISALLOWED } else { "valid" }, "{n}");
        }
    }
    assert_eq!(raw.requests(ROBOTS), 1);
    let asked = |path: &str| raw.heads().iter().filter(|head| head.contains(path)).count();
    assert_eq!((asked(" /no/1-"), asked(" /no/2-"), asked(" /no/but/1-")), (0, 0, 166));
    let off = run(&rig, &handler, &message(3, None, &urls(3))).await;
    assert!(off.iter().all(|verdict| verdict == "valid"));
    assert_eq!(raw.requests(ROBOTS), 1);
}

/// Case 426: what a host answers for its robots.txt decides of its URLs: the table of `doc/formats.md`.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_for_a_robots_txt_decides() {
    let rig = Rig::new().await;
    let long = |padding: usize| -> Vec<u8> {
        let line = format!("# {}\n", "x".repeat(97));
        let comments = line.repeat(padding * 1024 / line.len());
        format!("User-agent: *\n{comments}Disallow: /\n").into_bytes()
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&long(400)).unwrap();
    let gzip = gzip.finish().unwrap();
    let rules = Arc::new(host(|_| text(b"User-agent: *\nDisallow: /1")));
    let elsewhere = rules.url(ROBOTS);
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let mut gone = host(|_| text(b""));
    gone.address = closed;
    let cases: Vec<(&str, Raw, &str)> = vec![
        ("none", host(|_| status(404, "")), "valid"),
        ("401", host(|_| status(401, "")), "valid"),
        ("403", host(|_| status(403, "")), "valid"),
        ("empty", host(|_| text(b"")), "valid"),
        ("a page", host(|_| text(b"<html>Disallow: /</html>")), "valid"),
        ("opted out", host(|_| Act::Send(answer(200, "X-Robots-Tag: noai\r\n", b"#"))), "valid"),
        ("forbidden", host(|_| text(b"User-agent: PixCrawler\nDisallow: /")), DISALLOWED),
        ("others", host(|_| text(b"User-agent: other\nDisallow: /")), "valid"),
        ("in 400 KiB", host(move |_| text(&long(400))), DISALLOWED),
        ("behind 500 KiB", host(move |_| text(&long(600))), "valid"),
        ("gzip", host(move |_| text(&gzip)), DISALLOWED),
        ("500", host(|_| status(500, "")), UNREACHABLE),
        ("501", host(|_| status(501, "")), UNREACHABLE),
        ("recovers", host(|n| if n < 2 { status(502, "") } else { text(b"") }), "valid"),
        (
            "recovers, and forbids",
            host(|n| if n < 3 { status(502, "") } else { text(b"User-agent: *\nDisallow: /") }),
            DISALLOWED,
        ),
        (
            "busy once",
            host(|n| if n < 1 { status(429, "Retry-After: 1\r\n") } else { text(b"") }),
            "valid",
        ),
        ("closed", host(|_| Act::Close(Vec::new())), UNREACHABLE),
        (
            "cut",
            host(|_| Act::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nUser".to_vec())),
            UNREACHABLE,
        ),
        ("hangs", host(|_| Act::Hang(Vec::new())), UNREACHABLE),
        ("refused", gone, UNREACHABLE),
        ("elsewhere", host(move |_| to(&elsewhere)), DISALLOWED),
        ("in circles", host(|_| to(ROBOTS)), "valid"),
        ("to a private address", host(|_| to("http://169.254.169.254/robots.txt")), UNREACHABLE),
        ("nowhere", host(|_| status(302, "")), UNREACHABLE),
    ];
    let mut servers: Vec<&Raw> = cases.iter().map(|(_, raw, _)| raw).collect();
    servers.push(&rules);
    let limits = [("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "2")];
    let handler = handler(&rig, &servers, &limits).await;
    // Two of each host, and one that is always allowed.
    let urls = cases.iter().flat_map(|(name, raw, _)| {
        let name = name.replace(' ', "_");
        [raw.url(&format!("/1/{name}")), raw.url(&format!("/1/again/{name}"))]
    });
    let mut urls: Vec<String> = urls.collect();
    urls.push(rules.url("/2"));
    let verdicts = run(&rig, &handler, &message(1, Some("respect"), &urls)).await;
    for ((name, raw, expected), said) in cases.iter().zip(verdicts.chunks(2)) {
        assert_eq!(said, [*expected; 2], "{name}");
        let pictures = raw.heads().iter().filter(|head| !head.contains(ROBOTS)).count();
        assert_eq!(pictures, if *expected == "valid" { 2 } else { 0 }, "{name}");
    }
    assert_eq!(verdicts.last().map(String::as_str), Some("valid"), "its own rules are its own");
    let times = |name: &str| cases.iter().find(|case| case.0 == name).unwrap().1.requests(ROBOTS);
    let expected = [
        ("none", 1),
        ("500", 4),
        ("501", 1),
        ("recovers", 3),
        ("busy once", 2),
        ("in circles", 6),
        ("cut", 4),
    ];
    for (name, n) in expected {
        assert_eq!(times(name), n, "{name}");
    }
    // What was answered is remembered, for other chunks, too; the others are asked again.
    let again: Vec<String> = urls.iter().map(|url| format!("{url}?2")).collect();
    let second = run(&rig, &handler, &message(2, Some("respect"), &again)).await;
    assert_eq!(second, verdicts);
    for (name, n) in expected {
        assert_eq!(times(name), if name == "cut" { 2 * n } else { n }, "{name}");
    }
}

/// Case 427: each hop of a picture is under the robots.txt of its own host, and one that it does not allow is
/// not asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_into_a_forbidden_path_is_not_followed() {
    let rig = Rig::new().await;
    let other = host(|_| text(RULES.as_bytes()));
    let [forbidden, allowed] = ["/no/1", "/no/but/1"].map(|path| other.url(path));
    let first = Raw::start(move |path, _| match path {
        ROBOTS => text(RULES.as_bytes()),
        "/to-other" => to(&forbidden),
        "/to-allowed" => to(&allowed),
        "/to-own" => to("/no/2"),
        "/to-robots" => to(ROBOTS),
        path => picture(path),
    });
    let handler = handler(&rig, &[&first, &other], &[]).await;
    let paths = ["/to-other", "/to-own", "/to-allowed", "/to-robots"];
    let urls = paths.map(|path| first.url(path));
    let verdicts = run(&rig, &handler, &message(1, Some("respect"), &urls)).await;
    assert_eq!(verdicts, [DISALLOWED, DISALLOWED, "valid", "invalid not_image"]);
    let asked = [first.requests("/no/2"), other.requests("/no/1"), other.requests("/no/but/1")];
    assert_eq!(asked, [0, 0, 1]);
    assert_eq!((first.requests(ROBOTS), other.requests(ROBOTS)), (2, 1), "once as a picture");
}

/// Case 428: a host that is busy for its robots.txt is a busy host, and no URL of it is refused for robots.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_busy_for_its_robots_txt_is_busy() {
    let rig = Rig::new().await;
    // The second wait is longer than any URL has.
    let within = host(|_| status(429, "Retry-After: 30\r\n"));
    let beyond = host(|_| status(429, "Retry-After: 90\r\n"));
    let free = host(|_| text(b""));
    let deadline = [("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "10")];
    let handler = handler(&rig, &[&within, &beyond, &free], &deadline).await;
    let of = |raw: &Raw| (0..10).map(|n| raw.url(&format!("/{n}"))).collect::<Vec<_>>();
    let urls = [of(&within), of(&beyond), vec![free.url("/free")]].concat();
    let verdicts = run(&rig, &handler, &message(1, Some("respect"), &urls)).await;
    assert_eq!(verdicts.last().map(String::as_str), Some("valid"));
    let busy = ["failed rate_limited", "failed host_busy"];
    for of_host in verdicts[..20].chunks(10) {
        assert!(of_host.iter().all(|verdict| busy.contains(&&**verdict)), "{verdicts:?}");
        assert!(
            busy.iter().all(|word| of_host.iter().any(|verdict| verdict == word)),
            "{verdicts:?}"
        );
    }
    for raw in [&within, &beyond] {
        assert!(raw.heads().iter().all(|head| head.contains(ROBOTS)));
    }
}

/// Case 429, I13: without any name server a robots.txt that leads to a name is not unreachable: the chunk is
/// released, uncharged, as for a picture.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_server_no_robots_txt_is_unreachable() {
    let rig = Rig::new().await;
    let silent = NameServer::start(|_| names::Act::Silence);
    let raw = host(|_| to("http://elsewhere.test/robots.txt"));
    let servers = silent.address.to_string();
    let handler = handler(&rig, &[&raw], &[("PIXCRAWLER_NAME_SERVERS", &servers)]).await;
    let urls = [raw.url("/1"), raw.url("/2")];
    let (status, answer) = handler.deliver("one", &message(1, Some("respect"), &urls)).await;
    assert_eq!(status, 200, "{answer}");
    let row = "select status = 'pending' and attempt = 0 and error_code = 'names_away'
        from chunk_handler.chunk_status";
    rig.until(row).await;
    assert!(raw.heads().iter().all(|head| head.contains(ROBOTS)), "no picture without it");
}

/// Case 429: a chunk of which every URL is forbidden, by rules that were read before, completes: nobody
/// concludes that there is no network.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_forbidden_urls_completes() {
    let rig = Rig::new().await;
    let raw = host(|_| text(RULES.as_bytes()));
    let failing = host(|_| status(501, ""));
    let handler = handler(&rig, &[&raw, &failing], &[]).await;
    for job_id in 1..=2 {
        let forbidden = [raw.url(&format!("/no/{job_id}"))];
        let verdicts = run(&rig, &handler, &message(job_id, Some("respect"), &forbidden)).await;
        assert_eq!(verdicts, [DISALLOWED]);
        let failed = [failing.url(&format!("/{job_id}"))];
        let failed = message(10 + job_id, Some("respect"), &failed);
        assert_eq!(run(&rig, &handler, &failed).await, [UNREACHABLE]);
    }
    assert_eq!((raw.requests(ROBOTS), failing.requests(ROBOTS)), (1, 1));
}

/// Case 425: `RESPECT_ROBOTS` decides for messages that do not say; the word of a message wins.
#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_a_message_wins_over_the_setting() {
    let rig = Rig::new().await;
    let raw = host(|_| text(RULES.as_bytes()));
    let mut job_id = 0;
    for setting in ["false", "true"] {
        let handler = handler(&rig, &[&raw], &[("PIXCRAWLER_RESPECT_ROBOTS", setting)]).await;
        for word in [None, Some("ignore"), Some("respect")] {
            job_id += 1;
            let urls = [raw.url(&format!("/no/{job_id}"))];
            let verdicts = run(&rig, &handler, &message(job_id, word, &urls)).await;
            let is_asked = word.map_or(setting == "true", |word| word == "respect");
            assert_eq!(
                verdicts,
                [if is_asked { DISALLOWED } else { "valid" }],
                "{setting} {word:?}"
            );
        }
    }
    let wrong = message(9, Some("maybe"), &[raw.url("/x")]);
    handler(&rig, &[&raw], &[]).await.deliver("wrong", &wrong).await;
    let said: String = rig.value("select reason from chunk_handler.rejected_message").await;
    assert!(said.contains("`respect`"), "{said}");
}
