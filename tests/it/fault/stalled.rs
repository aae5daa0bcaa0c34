//! A process that stood still judges nothing that was in flight: no server, no picture, no chunk.

use nix::sys::signal::Signal;
use std::{net::SocketAddr, time::Duration};
use support::{
    gate::Gate,
    invariants,
    job::PROCESSING,
    names::{Act, NameServer},
    origin::{Origin, OriginOptions, picture},
    proxy::{Fate, Proxy},
    raw::{Act as Http, Raw, answer},
    rig::{Handler, Rig, all, inline, wait_for},
    verdict::{self, verdicts, verdicts_of},
    world::World,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::sleep,
};

/// Stops a process for so long.
async fn stop(handler: &Handler, length: Duration) {
    handler.signal(Signal::SIGSTOP);
    sleep(length).await;
    handler.signal(Signal::SIGCONT);
}

/// What a rig suffered whose chunks shall each be completed by their first claim.
async fn harm(rig: &Rig) -> Vec<String> {
    let attempts = "select coalesce(array_agg(a::text), '{}') from chunk_handler.attempt_log a
        where fence > 1 or outcome <> 'completed'";
    let mut found = rig.value::<Vec<String>>(attempts).await;
    found.extend(invariants::violations(rig).await);
    found
}

/// A port that completes no connection until it [serves](serve): its queue is full.
async fn full_port() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let waiting = [TcpStream::connect(address).await, TcpStream::connect(address).await];
    (listener, waiting.into_iter().map(Result::unwrap).collect(), address)
}

/// Whoever is connected reaches the origin.
async fn serve(listener: TcpListener, origin: SocketAddr) {
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut server = TcpStream::connect(origin).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

/// Limits that a pause of a few seconds is longer than, and a lease that is longer than the pause.
const SHORT: [(&str, &str); 6] = [
    ("PIXCRAWLER_LEASE_SECONDS", "60"),
    ("PIXCRAWLER_CONNECT_TIMEOUT_SECONDS", "2"),
    ("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "2.5"),
    ("PIXCRAWLER_TOTAL_TIMEOUT_SECONDS", "4"),
    ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "64"),
    ("PIXCRAWLER_PER_HOST_CONCURRENCY", "64"),
];

/// Stops a process for so long with a connection, a name, first bytes and bodies under way, and a whole
/// chunk that nobody has answered yet.
///
/// Returns what is wrong afterwards.
async fn stands_still_for(seconds: u64) -> Vec<String> {
    let rig = Rig::new().await;
    let origin = |delay, rate| {
        Origin::start(OriginOptions { delay, rate, ..OriginOptions::default() }).unwrap()
    };
    let slow = origin(Duration::ZERO, 50_000);
    let unheard = origin(Duration::from_millis(1500), 0);
    let (port, waiting, full) = full_port().await;
    let names = NameServer::start(|question| {
        Act::After(Duration::from_millis(1500), question.addresses(60, &["10.0.0.1"]))
    });
    let allowed = [rig.origin.address(), slow.address(), unheard.address(), full];
    let allowed = allowed.map(|address| address.to_string()).join(",");
    let server = names.address.to_string();
    let own = [("PIXCRAWLER_ALLOWED_ORIGINS", &*allowed), ("PIXCRAWLER_NAME_SERVERS", &*server)];
    let handler = rig.handler_with(&[&SHORT[..], &own].concat()).await;

    let mut urls: Vec<String> =
        (0..8).map(|n| rig.origin.url(&format!("/slow/{n}?ms=1500"))).collect();
    urls.extend((100..104).map(|n| slow.url(&format!("/img/{n}?kb=100"))));
    urls.extend([format!("http://{full}/img/200"), "http://late.test/".to_owned()]);
    let silent: Vec<String> = (300..310).map(|n| unheard.url(&format!("/img/{n}"))).collect();
    let (messages, mut service) = ([inline(1, 0, &urls), inline(2, 0, &silent)], None);
    let (one, two, ()) = tokio::join!(
        handler.deliver("one", &messages[0]),
        handler.deliver("two", &messages[1]),
        async {
            wait_for("all of it is under way", async || {
                let asked = (rig.origin.total(), unheard.total(), names.times("late.test"));
                asked == (8, 10, 1) && slow.bytes_sent() > 4 * 5_000
            })
            .await;
            handler.signal(Signal::SIGSTOP);
            drop(waiting);
            service = Some(tokio::spawn(serve(port, rig.origin.address())));
            sleep(Duration::from_secs(seconds)).await;
            handler.signal(Signal::SIGCONT);
        }
    );
    service.unwrap().abort();
    let mut found = Vec::new();
    let mut expected = vec!["valid"; 13];
    // The forbidden address shows that the name server's answer was understood.
    expected.push("failed url_refused");
    for ((_, answer), job, urls, expected) in
        [(one, 1, &urls, expected), (two, 2, &silent, vec!["valid"; 10])]
    {
        let log = answer["Logs"][0].as_str().unwrap_or_default();
        if !log.contains("completed") {
            found.push(format!("{seconds} s: {log}"));
            continue;
        }
        let seen = verdicts_of(&rig.manifest(job, 0).await, urls);
        let wrong = urls.iter().zip(seen).zip(expected).filter(|((_, seen), right)| seen != right);
        found.extend(wrong.map(|((url, seen), _)| format!("{seconds} s: {url}: {seen}")));
    }
    found.extend(harm(&rig).await);
    found
}

/// Case 240: a process that was stopped for 5, 20 or 50 s, with a lease of 60 s, goes on with
/// all it has, and what ran into the pause is asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stood_still_judges_nothing_that_was_in_flight() {
    let found = all([5, 20, 50].map(stands_still_for)).await.concat();
    assert!(found.is_empty(), "{found:#?}");
}

/// Case 240: a try that failed since the process stood still is none, although it is the last one, or
/// one after which none is made: a body whose rest did not come, an answer that never came.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_across_a_standstill_is_asked_again() {
    let whole = answer(200, "Content-Type: image/jpeg\r\n", &picture::jpeg(1, "whole"));
    let half = whole[..whole.len() / 2].to_vec();
    let other = answer(200, "Content-Type: image/jpeg\r\n", &picture::jpeg(2, "other"));
    let server = Raw::start(move |path, earlier| match (path, earlier) {
        ("/half", 0) => Http::Hang(half.clone()),
        ("/half", _) => Http::Send(whole.clone()),
        (_, 0..3) => Http::Send(answer(500, "", b"")),
        (_, 3) => Http::Hang(Vec::new()),
        _ => Http::Send(other.clone()),
    });
    let rig = Rig::new().await;
    let extra = [SHORT[0], ("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "3")];
    let handler = verdict::handler(&rig, &[&server], &extra).await;
    let urls = ["/half", "/worn"].map(|path| server.url(path));
    let seen = verdicts(&rig, &handler, 1, &urls);
    let (seen, ()) = tokio::join!(seen, async {
        let under_way = async || (server.requests("/half"), server.requests("/worn")) == (1, 4);
        wait_for("both are under way", under_way).await;
        // The minimum rate is measured over 10 s.
        stop(&handler, Duration::from_secs(12)).await;
    });
    assert_eq!(seen, ["valid"; 2]);
    assert_eq!((server.requests("/half"), server.requests("/worn")), (2, 5));
    assert_eq!(harm(&rig).await, Vec::<String>::new());
}

/// Case 242: an origin that hangs ends also in a process that stands still again and again.
#[tokio::test(flavor = "multi_thread")]
async fn tries_that_do_not_count_have_an_end() {
    let rig = Rig::new().await;
    let extra = [SHORT[0], ("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "0.3")];
    let handler = rig.handler_with(&extra).await;
    let urls = [rig.origin.url("/img/1"), rig.origin.url("/hang/1")];
    let stops = async {
        loop {
            stop(&handler, Duration::from_millis(1500)).await;
            sleep(Duration::from_millis(300)).await;
        }
    };
    let seen = tokio::select! {
        seen = verdicts(&rig, &handler, 1, &urls) => seen,
        () = stops => unreachable!(),
    };
    assert_eq!(seen, ["valid", "failed timeout"]);
    // Four tries that count, and those that do not.
    let asked = rig.origin.requests("/hang/1");
    assert!((6..=12).contains(&asked), "{asked}");
}

/// Case 243: calls to storage and database are waited for, or made again, by the same claim.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_met_a_standstill_are_waited_for_or_made_again() {
    tokio::join!(a_late_commit_is_waited_for(), broken_calls_are_made_again());
}

/// The limit of a commit is no limit of a process that stands still: the reply that comes after it woke
/// still counts.
async fn a_late_commit_is_waited_for() {
    let rig = Rig::new().await;
    let gate = Gate::new(&rig, "comp=blocklist").await;
    // A commit may take an eighth of the lease.
    let extra = [("ChunkStorage", &*gate.storage), ("PIXCRAWLER_LEASE_SECONDS", "40")];
    let handler = rig.handler_with(&extra).await;
    let message = inline(1, 0, &rig.pictures(3));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        gate.met().await;
        stop(&handler, Duration::from_secs(7)).await;
        sleep(Duration::from_secs(1)).await;
        gate.open();
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("3 of 3 images valid"), "{}", answer.1);
    assert_eq!(harm(&rig).await, Vec::<String>::new());
}

/// The connections to storage and database did not outlive the standstill.
async fn broken_calls_are_made_again() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let lease = [("PIXCRAWLER_LEASE_SECONDS", "60")];
    let handler = rig.handler_with(&[&behind[..], &lease].concat()).await;
    // The storage library tries again by itself, for 20 s since its first try.
    let mut fates = [Fate::Busy, Fate::HoldBefore].into_iter();
    world.calls.restart(move |call| match call.what.ends_with("comp=block") {
        true => fates.next().unwrap_or(Fate::Pass),
        false => Fate::Pass,
    });
    let message = inline(1, 0, &rig.pictures(3));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        world.calls.held().await;
        handler.signal(Signal::SIGSTOP);
        world.proxies.iter().for_each(Proxy::cut);
        world.calls.restart(|_| Fate::Pass);
        sleep(Duration::from_secs(22)).await;
        handler.signal(Signal::SIGCONT);
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("3 of 3 images valid"), "{}", answer.1);
    assert_eq!(harm(rig).await, Vec::<String>::new());
}

/// Case 244: a chunk has its time again that its process stood still: no picture whose turn had not come
/// fails with `deadline`.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_does_not_pass_while_the_process_stands_still() {
    let rig = Rig::new().await;
    let extra = [
        ("PIXCRAWLER_LEASE_SECONDS", "60"),
        ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "10"),
        ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "1"),
    ];
    let handler = rig.handler_with(&extra).await;
    rig.origin.set_delay(Duration::from_millis(700));
    let message = inline(1, 0, &rig.pictures(4));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        rig.until(PROCESSING).await;
        wait_for("it downloads", async || rig.origin.total() > 1).await;
        stop(&handler, Duration::from_secs(11)).await;
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("4 of 4 images valid"), "{}", answer.1);
    assert_eq!(harm(&rig).await, Vec::<String>::new());
}
