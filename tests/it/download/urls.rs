//! URLs that may not be fetched are refused without a connection.

use serde_json::json;
use support::{
    canary::canary,
    cases::{Row, rows},
    origin::picture,
    raw::{Act, Raw, answer},
    rig::{DATASETS, Handler, Rig, wake_up},
    verdict::{details_of, handler, verdicts, verdicts_of},
};

/// The refused URLs of the table, of which those with a port would be worth a connection, each with
/// the detail that says why.
fn refused() -> Vec<(String, String)> {
    let port = canary().port.to_string();
    let detail = |row: &Row| Some(row.outcome.strip_prefix("refused ")?.to_owned());
    let rows = rows("urls").into_iter();
    rows.filter_map(|row| Some((row.input.replace("{port}", &port), detail(&row)?))).collect()
}

/// The refused URLs alone.
pub fn refused_urls() -> Vec<String> {
    refused().into_iter().map(|(url, _)| url).collect()
}

/// Cases 1-28, 31-33, 40-42, 44-46; I12: each is refused, nobody is asked, and a chunk of nothing
/// else completes with an empty shard.
#[tokio::test(flavor = "multi_thread")]
async fn refused_urls_leave_a_completed_chunk_and_no_connection() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let (urls, details): (Vec<String>, Vec<String>) = refused().into_iter().unzip();
    assert!(urls.len() > 80, "the table is read");
    // As a list: of 3 MB it does not fit into a message, and blank lines of text are no URLs.
    let lines: Vec<String> = urls.iter().map(|url| json!({"url": url}).to_string()).collect();
    let list = rig.list("refused.jsonl", &lines);
    let list = list.to_str().unwrap();
    let output = rig.chunkctl(&["submit", "--job-id", "1", "--urls", list, "--chunk-size", "500"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let (status, answer) = handler.deliver("one", &wake_up(1, 0)).await;
    assert_eq!(status, 200, "{answer}");

    let manifest = rig.manifest(1, 0).await;
    let verdicts = verdicts_of(&manifest, &urls);
    let wrong: Vec<_> =
        urls.iter().zip(&verdicts).filter(|(_, v)| *v != "failed url_refused").collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(details_of(&manifest), details);
    assert_eq!(manifest["errors"], json!({"url_refused": urls.len()}));
    assert_eq!((&manifest["shard"]["samples"], &manifest["bytes_in"]), (&json!(0), &json!(0)));
    assert_eq!(rig.shard(1, 0).await, [0; 1024], "an empty tar");
    rig.until("select status = 'completed' from chunk_handler.chunk_status").await;
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    assert_eq!(rig.origin.total(), 0);
    canary().assert_silent();
}

/// Cases 1, 13: refused URLs do not keep the chunk's good ones from their shard.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_goes_on_after_refused_urls() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let mut urls: Vec<String> = refused_urls().into_iter().filter(|url| url.len() < 3000).collect();
    let n_refused = urls.len();
    urls.extend(rig.pictures(3));
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    assert!(verdicts[..n_refused].iter().all(|verdict| verdict == "failed url_refused"));
    assert!(verdicts[n_refused..].iter().all(|verdict| verdict == "valid"));
    canary().assert_silent();
}

/// Cases 29, 30: the managed identity's endpoint and the handler itself, also when they are allowed
/// by mistake. The host's other ports are only names that have no address here.
#[tokio::test(flavor = "multi_thread")]
async fn the_identity_endpoint_and_the_handler_itself_are_refused() {
    let rig = Rig::new().await;
    let port = support::postgres::free_port().unwrap();
    let own = format!("127.0.0.1:{port}");
    let mut handler = Handler::spawn(
        rig.environment(),
        &[
            ("FUNCTIONS_CUSTOMHANDLER_PORT", &port.to_string()),
            ("PIXCRAWLER_ALLOWED_ORIGINS", &own),
            ("IDENTITY_ENDPOINT", "http://identity.invalid:8080/msi/token"),
        ],
    );
    handler.port = port;
    handler.answers().await;
    handler.line("ready").await;
    let urls = [
        format!("http://{own}/"),
        format!("http://2130706433:{port}/process_chunk"),
        "http://identity.invalid:8080/msi/token".into(),
        "http://IDENTITY.invalid:8080/".into(),
    ];
    let verdicts = verdicts(&rig, &handler, 1, &urls).await;
    assert_eq!(verdicts, ["failed url_refused"; 4]);
}

/// Cases 29, 46: a trailing dot is no other host.
#[tokio::test(flavor = "multi_thread")]
async fn the_identity_endpoint_with_a_trailing_dot_is_refused() {
    let rig = Rig::new().await;
    let endpoint = ("IDENTITY_ENDPOINT", "http://identity.invalid:8080/msi/token");
    let handler = rig.handler_with(&[endpoint]).await;
    let urls = ["http://identity.invalid.:8080/".to_owned(), rig.origin.url("/img/1")];
    assert_eq!(verdicts(&rig, &handler, 1, &urls).await, ["failed url_refused", "valid"]);
}

/// Case 43: line ends in a path or a query stay encoded and become no header.
#[tokio::test(flavor = "multi_thread")]
async fn encoded_line_ends_stay_encoded() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| Act::Send(answer(200, "", &picture::jpeg(1, path))));
    let handler = handler(&rig, &[&raw], &[]).await;
    let path = "/a%0d%0aX-Evil:%201?q=%0D%0AX-Evil:%202";
    assert_eq!(verdicts(&rig, &handler, 1, &[raw.url(path)]).await, ["valid"]);
    let heads = raw.heads();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{heads:?}");
    let lines: Vec<String> = heads[0].to_lowercase().lines().map(str::to_owned).collect();
    assert!(!lines.iter().any(|line| line.starts_with("x-evil")), "{heads:?}");
    assert!(lines.contains(&"accept-encoding: identity".to_owned()), "{heads:?}");
    assert!(lines.iter().any(|line| line.starts_with("user-agent: pixcrawler")), "{heads:?}");
}

/// Cases 11, 12, 129: without `KEEP_QUERY` neither queries nor user info are in manifest and shard,
/// of whatever text the URL is.
#[tokio::test(flavor = "multi_thread")]
async fn queries_and_user_info_are_left_out_when_they_are_not_kept() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_QUERY", "false")]).await;
    let mut urls = [
        "http://user:CANARY@93.184.216.34/",
        "http://CANARY@93.184.216.34/",
        "http://user:CANARY@exa mple.com/",
        "http://user:CANARY@256.256.256.256/?sig=CANARY",
        "//user:CANARY@93.184.216.34/",
        "http://exa mple.com/?sig=CANARY",
        "http://exa mple.com/#CANARY",
        "data:text/plain?CANARY",
    ]
    .map(str::to_owned)
    .to_vec();
    urls.push(rig.origin.url("/img/1?sig=CANARY"));
    urls.push(rig.origin.url("/404?sig=CANARY"));
    let (_, answer) = handler.deliver("one", &support::rig::inline(1, 0, &urls)).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("1 of 10 images valid"), "{answer}");
    for name in rig.blobs.list(DATASETS, "").await.unwrap() {
        let bytes = rig.blobs.read(DATASETS, &name).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let shown: Vec<_> = text.split(',').filter(|part| part.contains("CANARY")).collect();
        assert!(shown.is_empty(), "{name}: {shown:#?}");
    }
}
