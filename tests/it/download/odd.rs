//! Answers against the rules of HTTP: what curl and browsers take is taken, and no head, length or
//! ending decides against a picture that is whole.

use super::answers::IMPATIENT;
use std::sync::{Arc, OnceLock};
use support::{
    odd::{Odd, answers, servers},
    origin::picture,
    raw::{Act, Raw, answer, tls_fixture},
    rig::{Handler, Rig, inline},
    verdict::{handler, verdicts, verdicts_of},
};

async fn odd_handler(rig: &Rig, servers: &[Raw; 2]) -> Handler {
    let authority = tls_fixture("ca.pem");
    let trusted = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    handler(rig, &[&servers[0], &servers[1]], &[&IMPATIENT[..], &trusted].concat()).await
}

fn url_of(odd: &Odd, servers: &[Raw; 2]) -> String {
    servers[usize::from(odd.is_tls)].url(&odd.path)
}

/// Cases 171-176, 293, 294: the table of answers, each with its number of requests.
#[tokio::test(flavor = "multi_thread")]
async fn odd_answers_get_their_verdicts() {
    let rig = Rig::new().await;
    let answers = answers();
    let servers = servers(&answers);
    let handler = odd_handler(&rig, &servers).await;
    let urls: Vec<String> = answers.iter().map(|odd| url_of(odd, &servers)).collect();
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let mut wrong = Vec::new();
    for (odd, verdict) in answers.iter().zip(verdicts) {
        let requests = servers[usize::from(odd.is_tls)].requests(&odd.path);
        if (odd.requests, &odd.verdict) != (requests, &verdict) {
            let wanted = format!("{} {}", odd.requests, odd.verdict);
            wrong.push(format!("{requests} {verdict}, not {wanted}: {:.120}", odd.text));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), answers.len());
}

/// Case 173: where only the picture can say that it is whole, level fast looks too.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_an_open_end_is_walked_at_level_fast() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| {
        let good = picture::jpeg(1, path);
        let half = good[..good.len() / 2].to_vec();
        let body = if path.starts_with("/half") { half } else { good.to_vec() };
        let length = format!("Content-Length: {}\r\n", body.len());
        let end = if path.ends_with("open") { "Connection: close\r\n" } else { length.as_str() };
        Act::Close(support::raw::head(200, end, &body))
    });
    let handler = handler(&rig, &[&raw], &[]).await;
    let paths = ["/whole/open", "/half/open", "/whole/told", "/half/told"];
    let urls = paths.map(|path| raw.url(path)).to_vec();
    let mut message = inline(1, 0, &urls);
    message["validation"] = serde_json::json!({"level": "fast"});
    let (status, answer) = handler.deliver("fast", &message).await;
    assert_eq!(status, 200, "{answer}");
    let verdicts = verdicts_of(&rig.manifest(1, 0).await, &urls);
    assert_eq!(verdicts, ["valid", "invalid truncated", "valid", "valid"]);
    assert_eq!(paths.map(|path| raw.requests(path)), [1, 1, 1, 1]);
}

/// Case 177: `Location` as browsers read it: what it says, and the path that is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn locations_are_read_as_browsers_read_them() {
    let rig = Rig::new().await;
    let leads: [(&[u8], &str); 17] = [
        (b"/to/caf\xc3\xa9 \xc3\xbc.jpg", "/to/caf%C3%A9%20%C3%BC.jpg"),
        (b"/to/caf\xe9.jpg", "/to/caf%E9.jpg"),
        (b"/to/caf%C3%A92.jpg", "/to/caf%C3%A92.jpg"),
        (b"  /to/blanks  ", "/to/blanks"),
        (b"/to/frag#m\xe9nt", "/to/frag"),
        (b"/to/del\x7f", "/to/del"),
        (b"/to/\"<>{}|", "/to/%22%3C%3E%7B%7D|"),
        (b"\\to\\back", "/to/back"),
        (b"/x/../to/./dots", "/to/dots"),
        (b"//{at}/to/no-scheme", "/to/no-scheme"),
        (b"HTTP://{at}/to/scheme", "/to/scheme"),
        (b"/to/first\r\nLocation: /to/second", "/to/first"),
        (b"/to/fold\r\n ed", "/to/fold%20ed"),
        (b"/to/5%", "/to/5%"),
        (b"/to/t\tab\t", "/to/tab"),
        (b"/to/c\rr", "/to/cr"),
        (b"?to=query", "/from/16"),
    ];
    let address = Arc::new(OnceLock::new());
    let own: Arc<OnceLock<String>> = Arc::clone(&address);
    let raw = Raw::start(move |path, earlier| {
        let n = path.strip_prefix("/from/").and_then(|n| n.parse::<usize>().ok());
        let lead = n.filter(|n| *n < 16 || earlier == 0).and_then(|n| leads.get(n));
        let Some((to, _)) = lead else {
            return Act::Send(answer(200, "", &picture::jpeg(1, path)));
        };
        let at = own.get().unwrap().as_bytes();
        let to = match to.windows(4).position(|piece| piece == b"{at}") {
            Some(from) => [&to[..from], at, &to[from + 4..]].concat(),
            None => to.to_vec(),
        };
        let start = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ";
        Act::Send([&start[..], &to, b"\r\n\r\n"].concat())
    });
    address.set(raw.address.to_string()).unwrap();
    let handler = handler(&rig, &[&raw], &[]).await;
    let urls: Vec<String> = (0..leads.len()).map(|n| raw.url(&format!("/from/{n}"))).collect();
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    let missed: Vec<_> = leads
        .iter()
        .zip(verdicts)
        .filter(|((_, to), verdict)| verdict != "valid" || raw.requests(to) == 0)
        .map(|((from, to), verdict)| (String::from_utf8_lossy(from), to, verdict))
        .collect();
    assert!(missed.is_empty(), "{missed:#?}, asked for {:?}", raw.heads());
}

/// Case 178: a name that TLS cannot carry is refused at once, and says nothing about its origin.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_tls_cannot_carry_are_refused_at_once() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let mut urls: Vec<String> =
        (0..10).map(|n| format!("https://blog-.pics.invalid/{n}.jpg")).collect();
    urls.extend((0..10).map(|n| format!("https://-blog.pics.invalid/{n}.jpg")));
    let refused = verdicts(&rig, &handler, 1, &urls).await;
    assert!(refused.iter().all(|verdict| verdict == "failed tls"), "{refused:?}");
    let took = rig.manifest(1, 0).await["duration_sec"].as_f64().unwrap();
    println!("{took} s for twenty names without a single look-up");
}
