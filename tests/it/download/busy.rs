//! Hosts that want to be left alone, and hosts that several chunks want at once: nobody pays for it who
//! did not ask.

use functions_host::rigged;
use nix::sys::signal::Signal;
use serde_json::json;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};
use support::{
    invariants,
    origin::picture,
    raw::{Act, Raw, answer},
    rig::{Handler, Rig, all, inline, wait_for, wake_up},
    verdict::{handler, verdicts, verdicts_of},
};

fn urls(raw: &Raw, kind: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| raw.url(&format!("/{kind}/{i}"))).collect()
}

fn good(path: &str) -> Act {
    Act::Send(answer(200, "", &picture::jpeg(1, path)))
}

fn refuse(seconds: u32) -> Act {
    Act::Send(answer(429, &format!("Retry-After: {seconds}\r\n"), b""))
}

/// Requests for URLs of a kind.
fn asked_for(raw: &Raw, kind: &str) -> usize {
    let path = format!(" /{kind}/");
    raw.heads().iter().filter(|head| head.contains(&path)).count()
}

async fn asked(raw: &Raw, n: usize) {
    wait_for(&format!("{n} requests"), async || raw.heads().len() >= n).await;
}

fn all_valid(verdicts: &[String]) -> bool {
    verdicts.iter().all(|verdict| verdict == "valid")
}

/// Case 233: a host that refuses everything for a while costs nobody a picture: neither the chunk that
/// asked, nor another job's that came meanwhile, whose verdicts are those that it has alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_refuses_for_a_while_costs_no_job_a_picture() {
    let rig = Rig::new().await;
    let first = Mutex::new(None);
    let raw = Raw::start(move |path, _| {
        let since = *first.lock().unwrap().get_or_insert_with(Instant::now);
        if since.elapsed() < Duration::from_secs(5) { refuse(1) } else { good(path) }
    });
    let handler = handler(&rig, &[&raw], &[]).await;
    let mut mixed = urls(&raw, "one", 30);
    mixed.extend(rig.pictures(10));
    let other = urls(&raw, "two", 20);
    let (one, two) = tokio::join!(verdicts(&rig, &handler, 1, &mixed), async {
        // Eight at once, then a probe after each wait.
        asked(&raw, 11).await;
        verdicts(&rig, &handler, 2, &other).await
    });
    assert!(all_valid(&one), "{one:?}");
    assert!(all_valid(&two), "{two:?}");
    let alone = verdicts(&rig, &handler, 3, &other).await;
    assert_eq!(two, alone);
}

/// Case 234: a chunk whose only host is busy, so that none of its URLs is asked for but for a trial, leaves its
/// place until the host is back, uncharged, and is complete then.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_a_busy_host_comes_back_uncharged() {
    let rig = Rig::new().await;
    let is_busy = Arc::new(AtomicBool::new(true));
    let busy = Arc::clone(&is_busy);
    let raw = Raw::start(move |path, _| match busy.load(Ordering::SeqCst) {
        true => refuse(10),
        false => good(path),
    });
    let allowed = [("PIXCRAWLER_ALLOWED_ORIGINS", &*raw.address.to_string())];
    let mut host = rigged::host(&rig, &allowed).await;
    rig.submit(1, &urls(&raw, "one", 8), 8);
    asked(&raw, 8).await;
    rig.submit(2, &urls(&raw, "two", 20), 20);
    rig.until(
        "select exists (select from chunk_handler.attempt_log
            where job_id = 2 and error_code = 'host_busy' and outcome = 'released')",
    )
    .await;
    assert_eq!(asked_for(&raw, "two"), 1, "its trial");
    let waits = "select status = 'pending' and attempt = 0 and error_code = 'host_busy'
            and not_before - updated_at between interval '1 s' and interval '11 s'
            and error_message like 'no URL was asked for%'
        from chunk_handler.chunk_status where job_id = 2";
    assert!(rig.value::<bool>(waits).await);
    is_busy.store(false, Ordering::SeqCst);
    rig.until("select bool_and(status = 'completed') from chunk_handler.job_progress").await;
    let row = "select (array_agg(format('%s of %s, attempt %s', images_valid,
                (select images_total from chunk_handler.job_progress j where j.job_id = c.job_id),
                attempt) order by job_id))
        from chunk_handler.chunk_status c";
    let rows: Vec<String> = rig.value(row).await;
    assert_eq!(rows, ["8 of 8, attempt 1", "20 of 20, attempt 1"]);
    host.stop().await.unwrap();
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// What a chunk's row says, with the ends of its claims.
async fn row(rig: &Rig) -> String {
    rig.value(
        "select format('%s, attempt %s:', status, attempt) || (
            select string_agg(format(' %s %s', outcome, error_code), ',' order by fence)
            from chunk_handler.attempt_log where job_id = 2)
        from chunk_handler.chunk_status where job_id = 2",
    )
    .await
}

/// Makes the host busy for this process, by URLs of a job of their own.
async fn make_busy(rig: &Rig, handler: &Handler, raw: &Raw, job_id: i64) {
    let verdicts = verdicts(rig, handler, job_id, &urls(raw, "first", 8)).await;
    assert!(verdicts.iter().all(|verdict| verdict == "failed rate_limited"), "{verdicts:?}");
}

/// Case 235: a host that refuses for ever: a chunk that nothing but a trial was asked for comes back as often
/// as `HOST_BUSY_ROUNDS` says, whichever processes ended meanwhile, then waits to its deadline, and each of
/// its URLs is `host_busy`. Nothing is charged, people are told what to do, and that starts afresh.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_refuses_for_ever_ends_as_host_busy() {
    let rig = Rig::new().await;
    let raw = Raw::start(|_, _| refuse(60));
    let settings = [
        ("PIXCRAWLER_HOST_BUSY_ROUNDS", "1"),
        ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "10"),
        ("PIXCRAWLER_DRAIN_SECONDS", "0.2"),
    ];
    let wanted = urls(&raw, "second", 10);
    let first = handler(&rig, &[&raw], &settings).await;
    make_busy(&rig, &first, &raw, 1).await;
    let (_, answer) = first.deliver("round", &inline(2, 0, &wanted)).await;
    assert!(answer.to_string().contains("released (host_busy"), "{answer}");
    assert_eq!(row(&rig).await, "pending, attempt 0: released host_busy");
    let status = rig.chunkctl(&["status", "--job-id", "2"]).stdout;
    assert!(status.contains("1 chunk waits for busy hosts"), "{status}");
    let come_back = "update chunk_handler.chunk set not_before = null where job_id = 2";
    rig.execute(come_back).await;
    // No more rounds: it waits here, until the process has to end.
    let again = wake_up(2, 0);
    tokio::join!(first.deliver("waits", &again), async {
        rig.until("select status = 'processing' from chunk_handler.chunk_status where job_id = 2")
            .await;
        first.signal(Signal::SIGTERM);
    });
    assert!(first.ended().await.success());
    assert_eq!(row(&rig).await, "pending, attempt 0: released host_busy, released drained");

    let second = handler(&rig, &[&raw], &settings).await;
    make_busy(&rig, &second, &raw, 3).await;
    let (_, answer) = second.deliver("last", &again).await;
    assert!(answer.to_string().contains("completed, 0 of 10 images valid"), "{answer}");
    let manifest = rig.manifest(2, 0).await;
    let verdicts = verdicts_of(&manifest, &wanted);
    assert!(verdicts.iter().all(|verdict| verdict == "failed host_busy"), "{verdicts:?}");
    assert_eq!(manifest["errors"], json!({"host_busy": 10}));
    // Of three claims, of which two begin again to wait to the deadline.
    assert!(asked_for(&raw, "second") <= 5, "a trial each time");
    let ends = "released host_busy, released drained, completed ";
    assert_eq!(row(&rig).await, format!("completed, attempt 1: {ends}"));

    let status = rig.chunkctl(&["status", "--job-id", "2"]).stdout;
    let command = ["control", "retry", "--job-id", "2", "--chunk-index", "0", "--again"];
    for part in ["10 images of chunk 2/0 were never asked for", &command.join(" ")] {
        assert!(status.contains(part), "{part} is missing: {status}");
    }
    let status = rig.chunkctl(&["--json", "status", "--job-id", "2"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let expected = json!([{"job_id": 2, "chunk_index": 0, "images": 10}]);
    assert_eq!(status["host_busy"], expected);
    assert_eq!(rig.chunkctl(&command).code, Some(0));
    let (_, answer) = second.deliver("afresh", &again).await;
    assert!(answer.to_string().contains("released (host_busy"), "{answer}");
}

/// I14 Case 310: a host that refuses every URL of one job, and asks for 50 s each time, but answers those of
/// others: it is asked for them as if there were no such job, whether that came first or later.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_refuses_one_job_is_asked_for_the_others() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| {
        sleep(Duration::from_millis(20));
        if path.starts_with("/refused") { refuse(50) } else { good(path) }
    });
    // Who has to wait for the other job's waits does not get its pictures in this time.
    let settings =
        [("PIXCRAWLER_HOST_BUSY_ROUNDS", "0"), ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "30")];
    let handler = handler(&rig, &[&raw], &settings).await;
    let [first, second] = ["refused-1", "refused-2"].map(|kind| urls(&raw, kind, 40));
    let after = async {
        wait_for("the first is refused", async || asked_for(&raw, "refused-1") >= 8).await;
        let after = verdicts(&rig, &handler, 2, &urls(&raw, "after", 100)).await;
        assert!(all_valid(&after), "{after:?}");
    };
    let (one, ()) = tokio::join!(verdicts(&rig, &handler, 1, &first), after);
    assert!(!one.iter().any(|verdict| verdict == "valid"), "{one:?}");
    let wanted = urls(&raw, "under-way", 1500);
    let (under_way, _) = tokio::join!(verdicts(&rig, &handler, 3, &wanted), async {
        wait_for("the other is answered", async || asked_for(&raw, "under-way") >= 100).await;
        verdicts(&rig, &handler, 4, &second).await
    });
    assert!(all_valid(&under_way), "{under_way:?}");
    // Nobody asks more often than it must: eight at once, then one after each wait.
    let each = ["refused-1", "refused-2"].map(|kind| asked_for(&raw, kind));
    assert!(each.iter().all(|n| *n < 12), "{each:?}");
}

/// Case 317: URLs that the host refuses stand in front of a chunk's good ones: when the chunk's time is over, good
/// ones were asked for, though the refused ones alone would have used it up.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_refuses_in_front_starves_nothing_behind() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| match path.starts_with("/refused") {
        true => Act::Send(answer(429, "", b"")),
        false => good(path),
    });
    let settings =
        [("PIXCRAWLER_HOST_BUSY_ROUNDS", "0"), ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "15")];
    let handler = handler(&rig, &[&raw], &settings).await;
    let mut wanted = urls(&raw, "refused", 30);
    wanted.extend(urls(&raw, "good", 100));
    let verdicts = verdicts(&rig, &handler, 1, &wanted).await;
    let valid = verdicts.iter().filter(|verdict| *verdict == "valid").count();
    assert!(valid >= 3, "{valid}: {verdicts:?}");
}

/// Case 236: a chunk that holds all connections to a slow host gives each that is freed to the chunks that
/// have none there: theirs are done long before its own.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_one_slow_host_take_turns() {
    const SLOW: usize = 80;
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| {
        sleep(Duration::from_millis(if path.starts_with("/slow") { 500 } else { 5 }));
        good(path)
    });
    let handler = handler(&rig, &[&raw], &[]).await;
    let slow = urls(&raw, "slow", SLOW);
    let quick: Vec<_> = (0..3).map(|job| urls(&raw, &format!("quick-{job}"), 10)).collect();
    let (long, short) = tokio::join!(verdicts(&rig, &handler, 1, &slow), async {
        asked(&raw, 8).await;
        let jobs = quick.iter().zip(2..);
        all(jobs.map(|(urls, job)| verdicts(&rig, &handler, job, urls))).await
    });
    assert!(all_valid(&long) && short.iter().all(|verdicts| all_valid(verdicts)));
    let heads = raw.heads();
    let is_quick = |head: &String| head.contains("/quick");
    let last = heads.iter().rposition(is_quick).unwrap();
    let before = heads[..last].iter().filter(|head| !is_quick(head)).count();
    println!("{before} of {SLOW} slow ones were asked for before the last of the others");
    // Eight before they came, and few while they went.
    assert!(before < SLOW / 2, "{before} of {SLOW}");
}
