//! What name servers say, and do not say, from the questions to the verdicts.
//!
//! No name of a test may lead to a server that answers: all loopback is forbidden. That an answer was
//! understood is seen from its forbidden address, which makes the URL `url_refused`; a name that leads
//! nowhere is `name_not_resolved`.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{
    canary::canary,
    names::{Act, NameServer, Question, ResponseCode},
    raw::{Act as Http, Raw, answer},
    rig::{Handler, Rig, inline, wait_for, wake_up},
    verdict::{details_of, handler, verdicts},
};

const UNDERSTOOD: &str = "failed url_refused";
const NOWHERE: &str = "failed name_not_resolved";
/// Of a part of IPv6 that nobody has, and that is not reserved either: whoever connects gets no answer.
const NOBODY: &str = "2d00::1";

/// A handler that asks these servers and may connect to the rig's origin.
async fn asking(rig: &Rig, servers: &[&NameServer], extra: &[(&str, &str)]) -> Handler {
    let servers: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();
    let servers = servers.join(",");
    let names = [("PIXCRAWLER_NAME_SERVERS", servers.as_str())];
    rig.handler_with(&[&names, extra].concat()).await
}

/// What the server of most tests says.
fn usual(question: &Question) -> Act {
    let forged = |address: &str| {
        let mut bytes = question.addresses(60, &[address]);
        bytes[0] ^= 0xFF;
        bytes
    };
    Act::Send(match question.name.as_str() {
        "plain.test" | "behind-alias.test" => question.addresses(60, &["10.0.0.1"]),
        "six.test" => question.addresses(60, &["fd00::1"]),
        "mixed.test" => question.addresses(60, &["93.184.216.34", "10.0.0.1", "93.184.216.35"]),
        "mixed-families.test" => question.addresses(60, &["93.184.216.34", "fd00::1"]),
        "mapped.test" => question.addresses(60, &["::ffff:169.254.169.254"]),
        "alias.test" => question.alias("inner.test", 60, &["127.0.0.1"]),
        "alias-alone.test" => question.alias("behind-alias.test", 60, &[]),
        "long.test" if !question.over_tcp => question.truncated(),
        "long.test" => question.addresses(60, &["10.0.0.1"; 200]),
        "garbage.test" => {
            let mut cut = question.addresses(60, &["10.0.0.1"]);
            cut.truncate(1);
            let right = question.addresses(60, &["10.0.0.1"]);
            return Act::SendAll(vec![forged("93.184.216.34"), cut, b"garbage".to_vec(), right]);
        }
        "late.test" => {
            let answer = question.addresses(60, &["10.0.0.1"]);
            return Act::After(Duration::from_millis(100), answer);
        }
        // Some servers of domains never answer about IPv6.
        "half-silent.test" if question.kind == support::names::RecordType::AAAA => {
            return Act::Silence;
        }
        "half-silent.test" => question.addresses(60, &["10.0.0.1"]),
        "empty.test" => question.addresses(60, &[]),
        "loop.test" => question.alias("loop.test", 60, &[]),
        "failing.test" => question.code(ResponseCode::ServFail),
        "refusing.test" => question.code(ResponseCode::Refused),
        "nonsense.test" => {
            let mut bytes = question.addresses(60, &["10.0.0.1"]);
            bytes.truncate(20);
            bytes
        }
        "silent.test" => return Act::Silence,
        _ => question.denied(),
    })
}

fn urls(hosts: &[&str]) -> Vec<String> {
    hosts.iter().map(|host| format!("http://{host}/")).collect()
}

/// Cases 34, 35; I12: answers in every form are understood, and one forbidden address refuses the name,
/// of either family, behind an alias, over TCP, beside public ones, after forged messages.
#[tokio::test(flavor = "multi_thread")]
async fn one_forbidden_address_of_an_answer_refuses_the_name() {
    let rig = Rig::new().await;
    let server = NameServer::start(usual);
    let handler = asking(&rig, &[&server], &[]).await;
    let hosts = [
        "plain.test",
        "PLAIN.test.",
        "six.test",
        "mixed.test",
        "mixed-families.test",
        "mapped.test",
        "alias.test",
        "alias-alone.test",
        "long.test",
        "garbage.test",
        "late.test",
        "half-silent.test",
    ];
    let mut urls = urls(&hosts);
    urls.extend(rig.pictures(1));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let wrong: Vec<_> = verdicts.iter().zip(hosts).filter(|(it, _)| *it != UNDERSTOOD).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(verdicts.last().unwrap(), "valid");
    assert_eq!(server.times("plain.test"), 1, "one name, however it is written");
    assert!(handler.lines().iter().all(|line| !line.contains("hickory")), "libraries say nothing");
}

/// "No such name" is final and asked for once; what another try may mend is asked for again. No
/// name of loopback is ever asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_address_is_not_resolved() {
    let rig = Rig::new().await;
    let server = NameServer::start(usual);
    let handler = asking(&rig, &[&server], &[]).await;
    let long = format!("{}.test", "a".repeat(64));
    let certain = ["denied.test", "empty.test", "_odd_-.test", "loop.test", "a..test", &long];
    let transient = ["failing.test", "refusing.test", "nonsense.test", "silent.test"];
    let mut urls = urls(&[&certain[..], &transient].concat());
    let n_names = urls.len();
    urls.extend(["http://localhost/", "http://a.LOCALHOST./"].map(str::to_owned));
    urls.extend(rig.pictures(1));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let wrong: Vec<_> =
        verdicts.iter().zip(&urls).take(n_names).filter(|(it, _)| *it != NOWHERE).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(verdicts[n_names..], [UNDERSTOOD, UNDERSTOOD, "valid"]);
    assert_eq!((server.times("denied.test"), server.times("empty.test")), (1, 1));
    // One server is asked twice, and the whole once more.
    assert_eq!((server.times("failing.test"), server.times("refusing.test")), (4, 4));
    assert!(server.times("silent.test") >= 4);
    assert!(!server.asked().iter().any(|asked| asked.contains("localhost")));
}

/// Case 36; I12: every answer is checked, not only the first one: a name that leads to somebody else and
/// then to loopback is refused without a connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_loopback_the_next_time_is_refused() {
    let rig = Rig::new().await;
    let server = NameServer::start(|question| {
        let address = if question.times == 0 { NOBODY } else { "127.0.0.1" };
        Act::Send(question.addresses(0, &[address]))
    });
    let handler = asking(&rig, &[&server], &[("PIXCRAWLER_CONNECT_TIMEOUT_SECONDS", "1")]).await;
    let urls = [format!("http://rebind.test:{}/", canary().port), rig.origin.url("/img/1")];
    assert_eq!(verdicts(&rig, &handler, 1, &urls).await, [UNDERSTOOD, "valid"]);
    assert!(server.times("rebind.test") >= 2, "it led to somebody else at first");
    canary().assert_silent();
}

/// Case 36; I12: what was checked is what is connected to: of a name that leads to somebody else and to
/// loopback by turns, with each question, no turn is a connection, whichever question begins.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_to_loopback_by_turns_are_never_connected_to() {
    let rig = Rig::new().await;
    let server = NameServer::start(|question| {
        let first = u64::from(question.name.starts_with("odd"));
        let is_loopback = (question.times + first) % 2 == 1;
        let addresses = if is_loopback { &["127.0.0.1", "::1"][..] } else { &[NOBODY] };
        Act::Send(question.addresses(0, addresses))
    });
    let handler = asking(&rig, &[&server], &[("PIXCRAWLER_CONNECT_TIMEOUT_SECONDS", "1")]).await;
    let port = canary().port;
    let name = |n: u64| format!("{}{n}.test", if n.is_multiple_of(2) { "even" } else { "odd" });
    let mut urls: Vec<String> = (0..12).map(|n| format!("http://{}:{port}/", name(n))).collect();
    urls.push(rig.origin.url("/img/1"));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    assert_eq!(verdicts[..12], [UNDERSTOOD; 12]);
    assert_eq!(verdicts[12], "valid");
    assert!((0..12).all(|n| server.times(&name(n)) >= 1), "each was asked for");
    canary().assert_silent();
}

/// Cases 34, 37; I12: a redirect to a name is looked up and judged as a URL is.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_name_is_looked_up() {
    let rig = Rig::new().await;
    let server = NameServer::start(usual);
    let raw = Raw::start(|path, _| {
        let host = path.trim_start_matches('/');
        Http::Send(answer(302, &format!("Location: http://{host}/\r\n"), b""))
    });
    let address = server.address.to_string();
    let handler = handler(&rig, &[&raw], &[("PIXCRAWLER_NAME_SERVERS", &address)]).await;
    let urls = ["/plain.test", "/denied.test"].map(|path| raw.url(path));
    assert_eq!(verdicts(&rig, &handler, 1, &urls).await, [UNDERSTOOD, NOWHERE]);
    assert_eq!((server.times("plain.test"), server.times("denied.test")), (1, 1));
}

/// A server that fails, refuses or is silent does not end a look-up: the next one is asked. "No such
/// name" does.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_is_asked_when_one_does_not_know() {
    let rig = Rig::new().await;
    let first = NameServer::start(usual);
    let second = NameServer::start(|question| Act::Send(question.addresses(60, &["10.0.0.1"])));
    let handler = asking(&rig, &[&first, &second], &[]).await;
    let hosts = ["failing.test", "refusing.test", "nonsense.test", "denied.test", "silent.test"];
    let mut urls = urls(&hosts);
    urls.extend(rig.pictures(1));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    assert_eq!(verdicts, [UNDERSTOOD, UNDERSTOOD, UNDERSTOOD, NOWHERE, UNDERSTOOD, "valid"]);
    assert_eq!((second.times("failing.test"), second.times("denied.test")), (1, 0));
}

/// Of all URLs of a name, in all chunks, one asks; what is said holds as long as its TTL says.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_remembered_for_all_chunks_as_long_as_it_holds() {
    let rig = Rig::new().await;
    let server = NameServer::start(|question| match question.name.as_str() {
        "long.test" => Act::Send(question.addresses(3600, &["10.0.0.1"])),
        "short.test" => Act::Send(question.addresses(1, &["10.0.0.1"])),
        _ => Act::Send(question.denied()),
    });
    let handler = asking(&rig, &[&server], &[]).await;
    let hosts = ["long.test", "short.test", "denied.test"];
    let mut all: Vec<String> = (0..150).map(|n| format!("http://{}/{n}", hosts[n % 3])).collect();
    all.extend(rig.pictures(1));
    verdicts(&rig, &handler, 1, &all).await;
    let asked = || hosts.map(|host| server.times(host));
    assert_eq!((asked()[0], asked()[2]), (1, 1), "of fifty each");
    let mut job_id = 1;
    wait_for("a short answer is forgotten", async || {
        job_id += 1;
        let mut few = urls(&hosts[..2]);
        few.extend(rig.pictures(1));
        verdicts(&rig, &handler, job_id, &few).await;
        asked()[1] >= 2
    })
    .await;
    assert_eq!(asked()[0], 1);
}

/// Names of one chunk that nobody answers for do not delay another chunk's: these are asked for before
/// the first chunk's come to their end.
#[tokio::test(flavor = "multi_thread")]
async fn silent_names_of_one_chunk_do_not_delay_anothers() {
    const SILENT: usize = 300;
    let rig = Rig::new().await;
    let server = NameServer::start(|question| match question.name.starts_with("silent") {
        true => Act::Silence,
        false => Act::Send(question.addresses(60, &["10.0.0.1"])),
    });
    let handler = Arc::new(asking(&rig, &[&server], &[]).await);
    let silent: Vec<String> = (0..SILENT).map(|n| format!("http://silent{n}.test/")).collect();
    let (first, message) = (Arc::clone(&handler), inline(1, 0, &silent));
    let first = tokio::spawn(async move { first.deliver("silent", &message).await });
    let asked = || {
        let names = server.asked().into_iter().filter(|name| name.starts_with("silent"));
        names.filter_map(|name| name.split(' ').next().map(str::to_owned)).collect::<BTreeSet<_>>()
    };
    wait_for("the silent names are asked for", async || asked().len() >= 8).await;
    let live: Vec<String> = (0..40).map(|n| format!("http://live{n}.test/")).collect();
    assert_eq!(verdicts(&rig, &handler, 2, &live).await, [UNDERSTOOD; 40]);
    assert!(asked().len() < SILENT / 2, "{} silent names were asked for before", asked().len());
    first.abort();
}

/// Case 221: a server that drops questions about the root, as some filters do, is not away: the name that
/// nobody answers for gets its verdict, also as the only one.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drops_questions_about_the_root_is_not_away() {
    let rig = Rig::new().await;
    let server = NameServer::start(|question| match question.name.as_str() {
        "" | "silent.test" => Act::Silence,
        _ => Act::Send(question.denied()),
    });
    let handler = asking(&rig, &[&server], &[]).await;
    let mut urls = urls(&["silent.test"]);
    urls.extend(rig.pictures(1));
    assert_eq!(verdicts(&rig, &handler, 1, &urls).await, [NOWHERE, "valid"]);
    assert_eq!(details_of(&rig.manifest(1, 0).await), ["timeout", ""]);
    assert!(server.times("silent.test") >= 4, "each try asks, and more than once");
    handler.deliver("alone", &inline(2, 0, &urls[..1])).await;
    let row = "select status = 'failed' and error_code = 'nothing_reachable'
        from chunk_handler.chunk_status where job_id = 2";
    rig.until(row).await;
}

/// Case 290: a name that is never answered is not resolved, and its chunk ends, where the servers are there for
/// others: they refuse what they are asked besides.
#[tokio::test(flavor = "multi_thread")]
async fn silence_about_one_name_is_its_own_where_others_are_refused() {
    let rig = Rig::new().await;
    let server = NameServer::start(|question| match question.name.as_str() {
        "silent.test" => Act::Silence,
        _ => Act::Send(question.code(ResponseCode::Refused)),
    });
    let handler = asking(&rig, &[&server], &[]).await;
    assert_eq!(end(&rig, &handler, 1, "silent.test").await, "failed nothing_reachable");
}

/// Case 290: so it is where they answer about names of a list alone, and drop the rest, once that was seen; when
/// they answer nothing any more they are away (I13).
#[tokio::test(flavor = "multi_thread")]
async fn silence_about_one_name_is_its_own_where_only_others_are_answered() {
    let rig = Rig::new().await;
    let is_up = Arc::new(AtomicBool::new(true));
    let up = Arc::clone(&is_up);
    let server = NameServer::start(move |question| {
        match up.load(Ordering::SeqCst) && question.name.starts_with("live") {
            true => Act::Send(question.addresses(60, &["10.0.0.1"])),
            false => Act::Silence,
        }
    });
    let handler = Arc::new(asking(&rig, &[&server], &[]).await);
    let others = async {
        for n in 0.. {
            let url = format!("http://live{n}.test/");
            handler.deliver("live", &inline(100 + n, 0, &[url])).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let ended = tokio::select! {
        ended = end(&rig, &handler, 1, "silent.test") => ended,
        () = others => unreachable!(),
    };
    assert_eq!(ended, "failed nothing_reachable");
    assert_eq!(end(&rig, &handler, 2, "silent2.test").await, "failed nothing_reachable");
    is_up.store(false, Ordering::SeqCst);
    assert_eq!(end(&rig, &handler, 3, "silent3.test").await, "pending names_away");
}

/// What becomes of a chunk of one URL with this host.
async fn end(rig: &Rig, handler: &Handler, job_id: i64, host: &str) -> String {
    let message = inline(job_id, 0, &[format!("http://{host}/")]);
    let (status, answer) = handler.deliver("alone", &message).await;
    assert_eq!(status, 200, "{answer}");
    let sql =
        "select status || ' ' || error_code from chunk_handler.chunk_status where job_id = $1";
    sqlx::query_scalar(sql).bind(job_id).fetch_one(&rig.pool).await.unwrap()
}

/// I13: when no name server answers anything, no name is rejected: the chunk is released, not charged, and
/// is done when one answers again.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_without_any_name_server_is_released_and_not_charged() {
    is_released_while(|_| Act::Silence).await;
}

/// I13: so it is when the servers are there and can tell of nothing: those that they ask are away.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_whose_name_servers_fail_is_released_and_not_charged() {
    is_released_while(|question| Act::Send(question.code(ResponseCode::ServFail))).await;
}

async fn is_released_while(down: fn(&Question) -> Act) {
    let rig = Rig::new().await;
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let server = NameServer::start(move |question| match up.load(Ordering::SeqCst) {
        true => Act::Send(question.denied()),
        false => down(question),
    });
    let handler = asking(&rig, &[&server], &[]).await;
    let mut urls = urls(&["a.test", "b.test"]);
    urls.extend(rig.pictures(2));
    let (status, answer) = handler.deliver("one", &inline(1, 0, &urls)).await;
    assert_eq!(status, 200, "{answer}");
    let row = "select status = 'pending' and attempt = 0 and error_code = 'names_away'
        from chunk_handler.chunk_status";
    rig.until(row).await;
    is_up.store(true, Ordering::SeqCst);
    wait_for("the chunk completes", async || {
        handler.deliver("again", &wake_up(1, 0)).await;
        rig.value::<bool>("select status = 'completed' from chunk_handler.chunk_status").await
    })
    .await;
    let manifest = rig.manifest(1, 0).await;
    assert_eq!(manifest["errors"], serde_json::json!({"name_not_resolved": 2}));
    assert_eq!(manifest["images_valid"], 2);
}
