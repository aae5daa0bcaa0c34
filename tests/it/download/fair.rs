//! Chunks beside each other: what a stranger's list costs the one beside it, and the process.

use serde_json::Value;
use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use support::{
    attack::{Attack, Hostile, at_level},
    crowd::Crowd,
    programs,
    raw::{Act, Raw, head},
    rig::{Handler, Rig, all, inline, wait_for},
    verdict::verdicts_of,
};

/// A figure of `/proc/PID/status`.
fn figure(handler: &Handler, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", handler.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn borrowed<'a>(pairs: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    pairs.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Good and bad URLs of the rig's own origin, no two lists with the same pictures.
fn second_job(rig: &Rig, first: u64) -> Vec<String> {
    let mut urls: Vec<String> =
        (first..first + 12).map(|n| rig.origin.url(&format!("/img/{n}"))).collect();
    let others = ["/404", "/html", "/empty", "/noai/1", "/redirect", "/cut/1", "/loop"];
    let another = first + 50;
    urls.extend(others.iter().map(|path| rig.origin.url(&format!("{path}/{another}"))));
    urls
}

async fn run(rig: &Rig, handler: &Handler, job_id: i64, urls: &[String]) -> Vec<String> {
    let message = at_level("slow", inline(job_id, 0, urls));
    let (status, answer) = handler.deliver(&format!("job-{job_id}"), &message).await;
    let said = answer["Logs"][0].as_str().unwrap_or_default();
    assert!(status == 200 && said.contains("completed"), "{status} {answer}");
    verdicts_of(&rig.manifest(job_id, 0).await, urls)
}

/// I14 Case 251: whatever the list beside it is, a chunk has the verdicts that it has alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_job_has_the_same_verdicts_beside_each_attack() {
    chunk_handler::descriptors::raise();
    let rig = Rig::new().await;
    let hostile = Hostile::start(500, 1000);
    let environment = hostile.environment(&[rig.origin.address()]);
    let handler = rig.handler_with(&borrowed(&environment)).await;
    let alone = run(&rig, &handler, 1, &second_job(&rig, 0)).await;
    drop(handler);
    assert_eq!(alone.iter().filter(|verdict| *verdict == "valid").count(), 13, "{alone:?}");
    for (n, attack) in (0_i64..).zip(Attack::ALL) {
        let message = at_level("slow", inline(100 + n, 0, &hostile.urls(attack, 300)));
        // Of its own: what a host said to one attack is known to its process.
        let handler = Arc::new(rig.handler_with(&borrowed(&environment)).await);
        let attacked = Arc::clone(&handler);
        let attacking =
            tokio::spawn(async move { attacked.deliver(&format!("attack-{n}"), &message).await });
        wait_for("the attack begins", async || hostile.has_begun(attack)).await;
        let beside = run(&rig, &handler, 2 + n, &second_job(&rig, 100 * (n as u64 + 1))).await;
        assert_eq!(beside, alone, "{attack:?}");
        handler.kill9();
        attacking.await.unwrap();
    }
}

/// I14 Case 247: a freed decoder goes to the chunk that has none: the small pictures of one do not wait for
/// all the heavy ones of another.
#[tokio::test(flavor = "multi_thread")]
async fn heavy_pictures_keep_no_other_chunk_waiting() {
    let rig = Rig::new().await;
    let hostile = Hostile::start(1, 1500);
    let environment = hostile.environment(&[rig.origin.address()]);
    let at_once = ["PIXCRAWLER_PER_HOST_CONCURRENCY", "PIXCRAWLER_DOWNLOAD_CONCURRENCY"]
        .map(|it| (it, "128"));
    let extra = [&borrowed(&environment)[..], &at_once].concat();
    let handler = Arc::new(rig.handler_with(&extra).await);
    let heavy = at_level("slow", inline(1, 0, &hostile.urls(Attack::Heavy, 400)));
    let other = Arc::clone(&handler);
    let deciding = tokio::spawn(async move { other.deliver("heavy", &heavy).await });
    let asked = || hostile.raw.heads().len();
    // All downloads of the chunk wait for a decoder, and each end of one lets another begin.
    wait_for("the queue is long", async || asked() >= 128).await;
    let before = asked();
    let small = rig.pictures(4);
    let verdicts = run(&rig, &handler, 2, &small).await;
    let meanwhile = asked() - before;
    assert!(verdicts.iter().all(|verdict| verdict == "valid"), "{verdicts:?}");
    assert!(!deciding.is_finished(), "the queue was too short to show anything");
    // In the order of the queue all 128 would; a few are decoded while the small ones arrive.
    assert!(meanwhile < 64, "{meanwhile} heavy pictures went first");
    deciding.abort();
}

/// The items of seven manifests that are not valid.
async fn lost(rig: &Rig) -> Vec<Value> {
    let mut lost = Vec::new();
    for job_id in 1..=7 {
        let manifest = rig.manifest(job_id, 0).await;
        let items = manifest["items"].as_array().unwrap();
        lost.extend(items.iter().filter(|item| item["status"] != "valid").cloned());
    }
    lost
}

/// I14 Case 246: with 256 descriptors and no right to more, lists of 700 hosts lose no picture, and nothing
/// is charged or said: what the process may open is less than what it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_256_descriptors_loses_no_picture() {
    chunk_handler::descriptors::raise();
    let rig = Rig::new().await;
    let crowd = Crowd::start(700, Duration::from_millis(100));
    let allowed: Vec<String> = crowd.addresses.iter().map(ToString::to_string).collect();
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=256:256").arg(programs::handler());
    let extra = [
        ("PATH", std::env::var("PATH").unwrap()),
        ("PIXCRAWLER_ALLOWED_ORIGINS", allowed.join(",")),
        // Bodies move to files, which take descriptors too.
        ("PIXCRAWLER_MAX_BUFFER_MB", "16".to_owned()),
    ];
    let handler = Handler::spawn_by(limited, rig.environment(), &borrowed(&extra));
    handler.answers().await;
    handler.line("\"descriptors\":256").await;
    handler.line("ready").await;
    let lists: Vec<Vec<String>> =
        (0..7).map(|list| (0..200).map(|n| crowd.url(list * 200 + n)).collect()).collect();
    let messages: Vec<Value> =
        (1..).zip(&lists).map(|(job_id, urls)| inline(job_id, 0, urls)).collect();
    let deliver = async |n: usize| handler.deliver(&format!("list-{n}"), &messages[n]).await;
    for (_, answer) in all((0..messages.len()).map(deliver)).await {
        let said = answer["Logs"][0].as_str().unwrap();
        assert!(said.contains("200 of 200 images valid"), "{answer} {:?}", lost(&rig).await);
    }
    let charged = "select count(*) from chunk_handler.chunk_status
        where status <> 'completed' or attempt <> 1 or expiries <> 0";
    assert_eq!(rig.value::<i64>(charged).await, 0);
    let said = handler.lines();
    let warned: Vec<_> = said.iter().filter(|line| !line.contains("\"level\":\"INFO\"")).collect();
    assert!(warned.is_empty(), "{warned:?}");
}

/// I14 Case 252: ten hostile chunks at once, of endless heads, interim answers, silence, bodies without
/// end, in tiny chunks, large and heavy, and a list of 30 MB: the process stays below 1 GiB and has no more
/// threads than it allows.
#[tokio::test(flavor = "multi_thread")]
async fn ten_hostile_chunks_stay_below_a_gibibyte() {
    let rig = Rig::new().await;
    let hostile = Hostile::start(1, 3000);
    let raw = Raw::start(|path, _| match path.split('/').nth(1).unwrap_or_default() {
        "line" => Act::Endless(b"HTTP/1.1 200 OK\r\nX-A: ".to_vec(), vec![b'a'; 16_384]),
        "head" => {
            let kept = format!("Location: {}\r\n", "a".repeat(8_000));
            Act::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), kept.into_bytes())
        }
        "interim" => Act::Endless(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(200)),
        "open" => Act::Endless(head(200, "", b""), vec![0xff; 65_536]),
        _ => Act::Hang(head(200, "Content-Length: 9000000\r\n", &vec![0xff; 8_000_000])),
    });
    let environment = hostile.environment(&[rig.origin.address(), raw.address]);
    let extra = [
        ("PIXCRAWLER_PER_HOST_CONCURRENCY", "320"),
        ("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "5"),
        ("PIXCRAWLER_TOTAL_TIMEOUT_SECONDS", "5"),
    ];
    let extra = [&borrowed(&environment)[..], &extra].concat();
    let handler = Arc::new(rig.handler_with(&extra).await);
    let of = |kind: &str| (0..300).map(|n| raw.url(&format!("/{kind}/{n}"))).collect::<Vec<_>>();
    let mut lists: Vec<Vec<String>> =
        ["line", "head", "interim", "open", "stuck"].into_iter().map(of).collect();
    lists.extend(
        [Attack::Silence, Attack::TinyChunks, Attack::Heavy]
            .map(|attack| hostile.urls(attack, 300)),
    );
    lists.push((0..300).map(|n| rig.origin.url(&format!("/big/{n}?mb=9&cl=0"))).collect());
    let mut messages: Vec<Value> =
        (1..).zip(&lists).map(|(job_id, urls)| inline(job_id, 0, urls)).collect();
    let long = (0..500).map(|n| format!("http://[{n}{}/", "x".repeat(60_000)));
    let long = long.collect::<Vec<_>>().join("\n");
    rig.blobs.put("chunk-sources", "long.txt", long.into_bytes()).await.unwrap();
    messages.push(serde_json::json!({"version": 1, "job_id": 10, "chunk_index": 0,
        "source": {"blob": "long.txt"}}));
    let mut running = tokio::task::JoinSet::new();
    for (n, message) in messages.into_iter().enumerate() {
        let handler = Arc::clone(&handler);
        let message = at_level("slow", message);
        running.spawn(async move { (n, handler.deliver(&format!("hostile-{n}"), &message).await) });
    }
    let until = Instant::now() + Duration::from_secs(25);
    let mut threads = 0;
    while !running.is_empty() && Instant::now() < until {
        threads = threads.max(figure(&handler, "Threads:"));
        let soon = Duration::from_millis(100);
        if let Ok(Some(ended)) = tokio::time::timeout(soon, running.join_next()).await {
            println!("{:?}", ended.unwrap());
        }
    }
    for kind in ["line", "head", "interim", "open", "stuck"] {
        assert!(raw.heads().iter().any(|head| head.contains(kind)), "{kind} was not asked for");
    }
    assert!(hostile.has_begun(Attack::Heavy) && hostile.has_begun(Attack::TinyChunks));
    let peak = figure(&handler, "VmHWM:") / 1024;
    println!("{peak} MiB, {threads} threads");
    assert!(handler.exit().is_none(), "it lives");
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(peak < 1024, "{peak} MiB");
    assert!(threads <= 64 + 2 * cores + 4, "{threads} threads");
}
