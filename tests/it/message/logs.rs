//! Labels, secrets and line ends of messages appear in names, samples, logs and records only where they may.

use serde_json::{Value, json};
use std::sync::Arc;
use support::{
    ingestion::{Ingestion, serve},
    origin::picture,
    raw::{Act, Raw, answer},
    rig::{DATASETS, Handler, Rig, envelope, inline, wait_for},
    verdict::handler,
};

/// Labels that would be dangerous as names.
fn odd_labels() -> Vec<String> {
    let mut labels: Vec<String> = [
        "../../../etc/cron.d/x",
        "/etc/passwd",
        "a/b\\c",
        "C:\\Windows",
        "\u{202e}gpj.exe",
        "\0nul\0",
        "cat.json",
        "\r\nFAKE line\r\n\u{1b}[31mred",
        "'; drop table chunk; --",
        "%2e%2e%2f",
        "",
        " ",
    ]
    .map(str::to_owned)
    .to_vec();
    labels.push("ü".repeat(300));
    labels
}

/// The sidecars of a shard, by member name.
fn sidecars(shard: &[u8]) -> Vec<(String, Value)> {
    let mut archive = tar::Archive::new(shard);
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let members = entries.map(|mut entry| {
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (name, serde_json::from_slice(&bytes).unwrap_or_default())
    });
    members.collect()
}

/// Case 126: keys and names are made of numbers alone; the label is in the sample as it was given.
#[tokio::test(flavor = "multi_thread")]
async fn labels_reach_samples_verbatim_and_names_never() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let labels = odd_labels();
    let items: Vec<Value> = (0..)
        .zip(&labels)
        .map(|(n, label)| {
            json!({"url": rig.origin.url(&format!("/img/{n}")), "label": label,
            "meta": {"../../x": label}})
        })
        .collect();
    let message = json!({"version": 1, "job_id": 1, "chunk_index": 3, "keyword": "../../k",
        "category": "/abs", "dedupe": {"scope": "chunk"}, "source": {"items": items}});
    let (_, answer) = handler.deliver("one", &message).await;
    let n = labels.len();
    let log = answer["Logs"][0].as_str().unwrap();
    assert!(log.contains(&format!("{n} of {n} images valid")), "{answer}");

    let members = sidecars(&rig.shard(1, 3).await);
    assert_eq!(members.len(), 2 * n);
    for (name, sidecar) in &members {
        let (key, extension) = name.split_once('.').unwrap();
        let idx: usize = key.strip_prefix("00003_").unwrap().parse().unwrap();
        assert_eq!(key.len(), 11, "{name}");
        if extension == "json" {
            assert_eq!(sidecar["label"].as_str().unwrap(), labels[idx]);
            let meta: Value = serde_json::from_str(sidecar["meta"].as_str().unwrap()).unwrap();
            assert_eq!(meta, json!({"../../x": labels[idx]}));
        } else {
            assert_eq!(extension, "jpg");
        }
    }
    let mut blobs = rig.blobs.list(DATASETS, "").await.unwrap();
    blobs.sort();
    let names = ["job_1/chunks/chunk_00003.manifest.json", "job_1/chunks/chunk_00003.tar"];
    assert_eq!(blobs, names);
}

/// Line ends and terminal colours, in JSON.
const FAKE: &str = r#"\r\n{\"level\":\"INFO\",\"message\":\"FAKE\"}\r\n\u001b[31m\u0085\u2028"#;

/// Messages and a control command that would write lines of their own.
fn line_breakers() -> Vec<(&'static str, String)> {
    let chunk = |rest: &str| format!(r#"{{"version":1,"job_id":1,"chunk_index":0,{rest}}}"#);
    vec![
        ("/process_chunk", "\r\nFAKE\r\n\u{1b}[31m".into()),
        ("/process_chunk", format!(r#"{{"version":"{FAKE}","job_id":1,"chunk_index":0}}"#)),
        ("/process_chunk", chunk(&format!(r#""validation":{{"level":"{FAKE}"}}"#))),
        ("/process_chunk", chunk(&format!(r#""source":{{"blob":"{FAKE}"}}"#))),
        ("/process_chunk", chunk(&format!(r#""source":{{"urls":["http://{FAKE}/"]}}"#))),
        ("/control", format!(r#"{{"version":1,"action":"{FAKE}"}}"#)),
    ]
}

async fn post_all(handler: &Handler, messages: &[(&'static str, String)]) -> Vec<String> {
    let mut logs = Vec::new();
    for (n, (route, text)) in messages.iter().enumerate() {
        let (status, answer) = handler.post(route, &format!("{n}"), envelope(text)).await;
        assert_eq!(status, 200, "{answer}");
        logs.push(answer["Logs"][0].as_str().unwrap().to_owned());
    }
    logs
}

/// Case 127: each line of the log is one JSON object, and no text of a message begins another.
#[tokio::test(flavor = "multi_thread")]
async fn line_ends_of_messages_are_escaped_in_logs() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("RUST_LOG", "debug")]).await;
    post_all(&handler, &line_breakers()).await;
    handler.line("Message rejected").await;
    let lines = handler.lines();
    for line in &lines {
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(parsed["level"].is_string() && parsed["message"] != "FAKE", "{line}");
        // Terminals and viewers of logs take others than LF for the end of a line, too.
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        assert!(!line.contains(breaks), "{line:?}");
    }
    assert_eq!(handler.errors(), Vec::<String>::new());
}

/// Case 127: the summary that the host logs is one line of plain text.
#[tokio::test(flavor = "multi_thread")]
async fn the_summary_for_the_host_is_one_line() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let messages = line_breakers();
    let logs = post_all(&handler, &messages).await;
    let wrong: Vec<_> =
        logs.iter().filter(|log| log.contains(char::is_control)).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Parts of messages that hold a signature where a careless producer puts it.
const SIGNED: &str = "https://account.blob.core.windows.net/lists/1.txt?sv=1&sig=CANARY";

/// Case 129, I11: the reason of a rejection does not repeat a signature; only the body has it.
#[tokio::test(flavor = "multi_thread")]
async fn reasons_of_rejections_hold_no_signature() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let chunk = |rest: &str| format!(r#"{{"version":1,"job_id":1,"chunk_index":0,{rest}}}"#);
    let messages = [
        ("/process_chunk", format!("{SIGNED} is no JSON")),
        ("/process_chunk", chunk(&format!(r#""source":{{"blob":"{SIGNED}"}}"#))),
        ("/process_chunk", chunk(&format!(r#""source":"{SIGNED}""#))),
        ("/process_chunk", chunk(&format!(r#""source":{{"urls":"{SIGNED}"}}"#))),
        ("/process_chunk", chunk(&format!(r#""source":{{"items":["{SIGNED}"]}}"#))),
        ("/process_chunk", chunk(&format!(r#""output":{{"extension":"{SIGNED}"}}"#))),
        ("/process_chunk", format!(r#"{{"version":1,"job_id":"{SIGNED}","chunk_index":0}}"#)),
        ("/control", format!(r#"{{"version":1,"action":"{SIGNED}"}}"#)),
        ("/control", format!(r#"{{"version":1,"action":"cancel","job_id":"{SIGNED}"}}"#)),
    ];
    let logs = post_all(&handler, &messages).await;
    let sql = "select reason from chunk_handler.rejected_message order by received_at";
    let reasons: Vec<String> = sqlx::query_scalar(sql).fetch_all(&rig.pool).await.unwrap();
    assert_eq!(reasons.len(), messages.len());
    wait_for_lines(&handler, messages.len()).await;
    let seen = reasons.into_iter().chain(logs).chain(handler.lines());
    let shown: Vec<String> = seen.filter(|text| text.contains("CANARY")).collect();
    assert!(shown.is_empty(), "{shown:#?}");
}

async fn wait_for_lines(handler: &Handler, n: usize) {
    wait_for("the log", async || {
        handler.lines().iter().filter(|line| line.contains("Message rejected")).count() == n
    })
    .await;
}

/// Case 129, I11, H14: neither queries, user info, passwords, the account's signature nor the
/// environment are ever logged, at the most talkative level, or sent as telemetry, whatever becomes of the
/// URL.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_at_the_most_talkative_level() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| match path {
        "/away" => Act::Send(answer(302, "Location: /img?sig=CANARY-target\r\n", b"")),
        "/down" => Act::Send(answer(302, "Location: file:///x?sig=CANARY-file\r\n", b"")),
        "/broken" => Act::Close(b"nonsense CANARY-answer\r\n".to_vec()),
        _ => Act::Send(answer(200, "X-Secret: CANARY-header\r\n", &picture::jpeg(1, path))),
    });
    let mut database = url::Url::parse(&rig.database_url).unwrap();
    database.set_password(Some("CANARY-password")).unwrap();
    let seen = Arc::new(Ingestion::default());
    let telemetry = serve(&seen).await;
    let extra = [
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", telemetry.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "300"),
        ("RUST_LOG", "trace"),
        ("DATABASE_URL", database.as_str()),
        ("AzureWebJobsStorage", "AccountName=a;AccountKey=CANARY-key"),
        ("IDENTITY_HEADER", "CANARY-identity"),
        ("HTTPS_PROXY", "http://user:CANARY-proxy@127.0.0.1:1"),
    ];
    let handler = handler(&rig, &[&raw], &extra).await;
    let o = |path: &str| rig.origin.url(&format!("{path}?sv=1&sig=CANARY-sas"));
    let mut urls =
        ["/img/1", "/404", "/html", "/loop", "/429", "/cut/1", "/noai/1"].map(o).to_vec();
    urls.extend(
        ["/away", "/down", "/broken", "/good"].map(|p| raw.url(&format!("{p}?sig=CANARY-raw"))),
    );
    urls.push("http://user:CANARY-user@93.184.216.34/?sig=CANARY-refused".into());
    urls.push("http://nothing.invalid/?sig=CANARY-name".into());
    urls.push("not a url CANARY-text".into());
    let (status, answer) = handler.deliver("one", &inline(1, 0, &urls)).await;
    assert!(status == 200 && !answer.to_string().contains("CANARY"), "{answer}");
    let list = r#"{"version":1,"job_id":2,"chunk_index":0,"source":{"blob":"CANARY-blob.txt"}}"#;
    handler.post("/process_chunk", "two", envelope(list)).await;
    handler.line("Chunk not completed").await;
    handler.post("/health_check", "three", envelope("{}")).await;

    let lines = [handler.lines(), handler.errors()].concat();
    assert!(lines.iter().any(|line| line.contains("\"TRACE\"")), "the level is the one asked for");
    // A list's name is no secret, and the SDK says what it left out.
    let is_secret = |line: &str| {
        let line = line.replace("CANARY-blob", "").replace("sig=REDACTED", "");
        line.contains("CANARY-") || line.contains("sig=")
    };
    let shown: Vec<&String> = lines.iter().filter(|line| is_secret(line)).take(5).collect();
    assert!(shown.is_empty(), "{shown:#?}");
    wait_for("telemetry of all three", async || seen.of("RequestData").len() == 3).await;
    let sent: Vec<String> =
        seen.envelopes.lock().unwrap().iter().map(ToString::to_string).collect();
    let shown: Vec<&String> = sent.iter().filter(|item| is_secret(item)).take(5).collect();
    assert!(shown.is_empty(), "{shown:#?}");
}
