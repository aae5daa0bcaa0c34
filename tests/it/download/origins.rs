//! Origins that refuse or say nothing are slowed down, and do not slow the others.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use support::{
    origin::picture,
    raw::{Act, Raw, answer},
    rig::Rig,
    verdict::{handler, verdicts},
};

/// What a host that allows two downloads at a time saw.
#[derive(Default)]
struct TwoAtATime {
    now: AtomicUsize,
    refused: AtomicUsize,
    /// When each path was last refused.
    refused_at: Mutex<HashMap<String, Instant>>,
    /// Paths that came back before the second was over.
    impatient: Mutex<Vec<String>>,
}

impl TwoAtATime {
    fn answer(&self, path: &str) -> Act {
        if let Some(at) = self.refused_at.lock().unwrap().get(path)
            && at.elapsed() < Duration::from_millis(950)
        {
            self.impatient.lock().unwrap().push(path.to_owned());
        }
        let act = if self.now.fetch_add(1, Ordering::SeqCst) < 2 {
            std::thread::sleep(Duration::from_millis(20));
            let n = path.trim_start_matches('/').parse().unwrap();
            Act::Send(answer(200, "", &picture::jpeg(n, path)))
        } else {
            self.refused.fetch_add(1, Ordering::SeqCst);
            self.refused_at.lock().unwrap().insert(path.to_owned(), Instant::now());
            Act::Send(answer(429, "Retry-After: 1\r\n", b""))
        };
        self.now.fetch_sub(1, Ordering::SeqCst);
        act
    }
}

/// A host that allows two at a time and answers 429 otherwise: nobody asks again before its wait is
/// over, few are refused at all, every picture arrives, and the other host is done long before.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_allows_two_at_a_time_is_asked_by_two() {
    let rig = Rig::new().await;
    let seen = Arc::new(TwoAtATime::default());
    let host = Arc::clone(&seen);
    let raw = Raw::start(move |path, _| host.answer(path));
    let handler = handler(&rig, &[&raw], &[]).await;
    let n = 100;
    let mut urls: Vec<String> = (0..n).map(|i| raw.url(&format!("/{}", 1000 + i))).collect();
    urls.extend(rig.pictures(n));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let refused = seen.refused.load(Ordering::SeqCst);
    println!("{refused} of {} requests refused", n as usize + refused);
    assert!(verdicts.iter().all(|verdict| verdict == "valid"), "{verdicts:?}");
    assert_eq!(*seen.impatient.lock().unwrap(), Vec::<String>::new());
    // Eight at first, four after the first wait; then at most one more now and then.
    assert!((1..20).contains(&refused), "{refused} refused");
    let manifest = rig.manifest(1, 0).await;
    let offset = |i: usize| manifest["items"][i]["offset"].as_u64().unwrap();
    let last_of_other = (100..200).map(offset).max().unwrap();
    let before = (0..100).filter(|i| offset(*i) < last_of_other).count();
    assert!(before < 50, "the other host waited: {before} of the slow one were before its last");
}

/// Hosts that take a connection and say nothing cost one timeout each, side by side, and no retry.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_hang_cost_one_timeout_side_by_side() {
    let rig = Rig::new().await;
    let hanging: Vec<Raw> = (0..5).map(|_| Raw::start(|_, _| Act::Hang(Vec::new()))).collect();
    let servers: Vec<&Raw> = hanging.iter().collect();
    let limit = [("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "2")];
    let handler = handler(&rig, &servers, &limit).await;
    let mut urls: Vec<String> = rig.pictures(190);
    assert!(verdicts(&rig, &handler, 2, &urls).await.iter().all(|verdict| verdict == "valid"));
    urls.extend((0..10).map(|i| hanging[i % 5].url(&format!("/{i}"))));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    assert!(verdicts[..190].iter().all(|verdict| verdict == "valid"), "{verdicts:?}");
    assert!(verdicts[190..].iter().all(|verdict| verdict == "failed timeout"), "{verdicts:?}");
    let took = async |job| rig.manifest(job, 0).await["duration_sec"].as_f64().unwrap();
    println!("{:.2} s without them, {:.2} s with, timeout 2 s", took(2).await, took(1).await);
    let requests: usize = hanging.iter().map(|raw| raw.heads().len()).sum();
    assert_eq!(requests, 10, "one request for each URL");
}
