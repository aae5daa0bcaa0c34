//! What an operator never wants: hosts that are asked for nothing, and bytes that are kept nowhere.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use support::{
    checkout::hex,
    origin::picture::picture,
    raw::{Act, Raw},
    rig::{DATASETS, Handler, Rig, inline, wake_up},
    verdict::verdicts,
};

const SOURCES: &str = "chunk-sources";
const NAMED: [(&str, &str); 2] =
    [("PIXCRAWLER_BLOCKED_HOSTS", "lists/hosts.txt"), ("PIXCRAWLER_BLOCKED_HASHES", "hashes.txt")];

/// A list of hashes that blocks none.
const NOTHING: &str = "# nothing\n";

/// A server on another address of loopback, which answers 404 and counts whoever comes. It ends with the
/// test program.
struct Elsewhere {
    address: SocketAddr,
    n: Arc<AtomicU64>,
}

impl Elsewhere {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.2", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let n = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&n);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::SeqCst);
                drop(stream.read(&mut [0; 1024]));
                drop(stream.write_all(
                    b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                ));
            }
        });
        Self { address, n }
    }

    fn n(&self) -> u64 {
        self.n.load(Ordering::SeqCst)
    }
}

/// A handler with both lists named, which may connect to these servers besides the origin.
async fn handler(rig: &Rig, servers: &[SocketAddr], extra: &[(&str, &str)]) -> Handler {
    let mut allowed = rig.origin.address().to_string();
    servers.iter().for_each(|server| allowed.push_str(&format!(",{server}")));
    let own = [("PIXCRAWLER_ALLOWED_ORIGINS", allowed.as_str())];
    rig.handler_with(&[&own[..], &NAMED, extra].concat()).await
}

/// Writes both lists, hosts and hashes.
async fn write_lists(rig: &Rig, hosts: &str, hashes: &str) {
    rig.blobs.put(SOURCES, NAMED[0].1, hosts.into()).await.unwrap();
    rig.blobs.put(SOURCES, NAMED[1].1, hashes.into()).await.unwrap();
}

/// A rig whose containers are there.
async fn prepared() -> Rig {
    let rig = Rig::new().await;
    rig.submit(99, &rig.pictures(1), 1);
    rig.execute("delete from chunk_handler.chunk").await;
    rig.execute("delete from chunk_handler.job").await;
    rig
}

/// Case 324: a host that is blocked is asked for nothing, its own URL or at the end of one to five redirects;
/// without the list it is asked each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_host_is_asked_for_nothing_on_any_hop() {
    let rig = prepared().await;
    let elsewhere = Elsewhere::start();
    let mut urls = vec![format!("http://{}/x.jpg", elsewhere.address)];
    for n in 1..=5 {
        let last = urls.last().unwrap();
        urls.push(rig.origin.url(&format!("/to/{n}?url={last}")));
    }
    let redirects = async || {
        let asked = (1..=5).map(|n| rig.origin.requests(&format!("/to/{n}")));
        asked.sum::<u64>()
    };
    write_lists(&rig, "# nobody\n", NOTHING).await;
    let free = handler(&rig, &[elsewhere.address], &[]).await;
    assert_eq!(verdicts(&rig, &free, 1, &urls).await, ["failed http_404"; 6]);
    assert_eq!((elsewhere.n(), redirects().await), (6, 15));
    free.kill9();
    write_lists(&rig, "127.0.0.2 # elsewhere\n", NOTHING).await;
    let handler = handler(&rig, &[elsewhere.address], &[]).await;
    assert_eq!(verdicts(&rig, &handler, 2, &urls).await, ["failed blocked_host"; 6]);
    assert_eq!((elsewhere.n(), redirects().await), (6, 30), "only on the way to it");
}

/// Whether any file below a folder has these bytes.
fn is_in_a_file(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        match path.is_dir() {
            true => is_in_a_file(&path, bytes),
            // A file may go while it is looked for.
            false => fs::read(path).is_ok_and(|file| holds(&file, bytes)),
        }
    })
}

fn holds(file: &[u8], bytes: &[u8]) -> bool {
    memchr::memmem::find(file, bytes).is_some()
}

/// Case 326: bytes whose hash is blocked, in memory and on disk, are in no shard, no blob, no temporary file
/// and no log; other pictures of the chunk are kept.
#[tokio::test(flavor = "multi_thread")]
async fn blocked_bytes_are_kept_nowhere() {
    let rig = prepared().await;
    // More than there is memory for.
    let paths = ["/img/5", "/img/0?kb=40000", "/img/10?kb=1500"];
    let (mut bodies, mut list) = (Vec::new(), "# bytes\n".to_owned());
    for path in paths {
        let body = reqwest::get(rig.origin.url(path)).await.unwrap().bytes().await.unwrap();
        list.push_str(&format!("{}\n", hex(&Sha256::digest(&body)).to_uppercase()));
        bodies.push(body);
    }
    assert_eq!(bodies[0], picture(5).bytes);
    assert!(bodies[1].len() > 17 << 20);
    write_lists(&rig, "# nobody\n", &list).await;
    let limits = [
        ("PIXCRAWLER_MAX_BUFFER_MB", "16"),
        ("PIXCRAWLER_MAX_IMAGE_SIZE_MB", "100"),
        ("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", "1"),
    ];
    let handler = handler(&rig, &[], &limits).await;
    let mut urls: Vec<String> = paths.iter().map(|path| rig.origin.url(path)).collect();
    urls.push(rig.origin.url("/redirect/5"));
    urls.extend(rig.pictures(3));
    let said = verdicts(&rig, &handler, 1, &urls).await;
    assert_eq!(said[..4], ["invalid blocked_hash"; 4]);
    assert_eq!(said[4..], ["valid"; 3]);
    let manifest = rig.manifest(1, 0).await;
    assert_eq!(manifest["images_downloaded"], 7);
    assert!(manifest["temp_peak_bytes"].as_u64().unwrap() > 17 << 20, "one was on disk");
    assert_eq!(manifest["items"][1]["file_size"], bodies[1].len());
    for item in &manifest["items"].as_array().unwrap()[..4] {
        assert!(item["sha256"].is_null() && item["format"].is_string(), "{item}");
        assert!(item["width"].is_u64() && item["file_size"].is_u64(), "{item}");
    }
    let mut blobs = Vec::new();
    for name in rig.blobs.list(DATASETS, "").await.unwrap() {
        blobs.push(rig.blobs.read(DATASETS, &name).await.unwrap());
    }
    assert!(blobs.iter().any(|blob| holds(blob, &picture(1).bytes)), "what is kept is found so");
    for body in &bodies {
        // The whole picture is not searched for: a part of it would be as bad.
        let part = &body[body.len() / 2..][..200];
        assert!(!blobs.iter().any(|blob| holds(blob, part)));
        assert!(!is_in_a_file(rig.temp.path(), part));
        let hash = hex(&Sha256::digest(body));
        assert!(!handler.lines().iter().any(|line| line.to_lowercase().contains(&hash)));
    }
}

const DEGRADED: &str =
    "select coalesce(bool_or(degraded is not null), false) from chunk_handler.process";

/// Case 327 I13: a list that is named, and missing or empty, holds every chunk; nothing is fetched or charged, and the
/// handler goes on by itself when the list comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_list_holds_every_chunk() {
    let rig = prepared().await;
    let handler = handler(&rig, &[], &[]).await;
    let urls = rig.pictures(2);
    let (status, answer) = handler.deliver("early", &inline(1, 0, &urls)).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["Logs"][0].as_str().unwrap().contains("cannot work now"), "{answer}");
    rig.until(
        "select bool_or(degraded like 'blocklists: lists/hosts.txt%') from chunk_handler.process",
    )
    .await;
    let doctor = rig.chunkctl_with(&NAMED, &["doctor"]);
    assert!(doctor.stdout.contains("FAILED  blocklists: lists/hosts.txt: "), "{}", doctor.stdout);
    write_lists(&rig, "example.com\n", "").await;
    rig.until(
        "select bool_or(degraded like 'blocklists: hashes.txt, which is empty%')
        from chunk_handler.process",
    )
    .await;
    write_lists(&rig, "example.com\n", NOTHING).await;
    rig.until("select not bool_or(degraded is not null) from chunk_handler.process").await;
    let row = "select status || attempt::text from chunk_handler.chunk_status";
    assert_eq!(rig.value::<String>(row).await, "pending0");
    assert_eq!(rig.origin.total(), 0, "nothing is fetched unfiltered");
    let (_, answer) = handler.deliver("late", &wake_up(1, 0)).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("2 of 2 images valid"), "{answer}");
    let doctor = rig.chunkctl_with(&NAMED, &["doctor"]);
    assert!(
        doctor.stdout.contains("ok      blocklists: 1 hosts and 0 hashes"),
        "{}",
        doctor.stdout
    );
}

/// Case 329 I13: a change that cannot be read lets running chunks go on with the old list, and starts no other;
/// one that can be read counts for the next chunk.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_read_starts_no_chunk() {
    let rig = prepared().await;
    let elsewhere = Elsewhere::start();
    let blocked = format!("http://{}/x.jpg", elsewhere.address);
    let (is_open, target) = (Arc::new(AtomicBool::new(false)), blocked.clone());
    let gate = Arc::clone(&is_open);
    let raw = Raw::start(move |_, _| {
        while !gate.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        let headers = format!("Location: {target}\r\nContent-Length: 0\r\n");
        Act::Send(support::raw::head(302, &headers, b""))
    });
    write_lists(&rig, "127.0.0.2\n", NOTHING).await;
    let handler = handler(&rig, &[elsewhere.address, raw.address], &[]).await;
    let urls = [raw.url("/1.jpg")];
    let (running, ()) = tokio::join!(verdicts(&rig, &handler, 1, &urls), async {
        support::rig::wait_for("it is asked", async || raw.requests("/1.jpg") > 0).await;
        write_lists(&rig, "127.0.0.2\nhttp://example.com\n", NOTHING).await;
        rig.until(
            "select bool_or(degraded like 'blocklists: lists/hosts.txt, line 2: %')
            from chunk_handler.process",
        )
        .await;
        is_open.store(true, Ordering::SeqCst);
    });
    assert_eq!((running, elsewhere.n()), (vec!["failed blocked_host".to_owned()], 0));
    assert!(rig.value::<bool>(DEGRADED).await, "the circuit is open still");
    let (_, answer) = handler.deliver("held", &inline(2, 0, &rig.pictures(1))).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("cannot work now"), "{answer}");
    assert_eq!(rig.origin.total(), 0);
    write_lists(&rig, "# nobody\n", NOTHING).await;
    rig.until("select not bool_or(degraded is not null) from chunk_handler.process").await;
    assert_eq!(verdicts(&rig, &handler, 3, &[blocked]).await, ["failed http_404"]);
    let lines = handler.lines().join("\n");
    assert!(!lines.contains("example.com"), "no line of a list is logged: {lines}");
    let _: Value = rig.manifest(3, 0).await;
}
