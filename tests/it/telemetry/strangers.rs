//! What strangers do is in the verdicts; what is written and sent of it stays small.

use serde_json::json;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
};
use support::{
    checkout::root,
    ingestion::{Ingestion, serve},
    names::{Act as Says, NameServer, ResponseCode},
    odd::{answers, servers},
    origin::picture,
    raw::{Act, Raw, answer, head},
    rig::{Rig, envelope, wait_for, wake_up},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319d";
const URLS: usize = 500;
/// Of a chunk, both of its log lines and of its telemetry.
const LIMIT_BYTES: usize = 5 * 1024;

/// Case 286: five hundred URLs that fail in every way there is, at level slow: certificates, handshakes,
/// refused and reset connections, names, heads, bombs, pictures that break decoders.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_failures_says_little() {
    let rig = Rig::new().await;
    let bad = ["expired.pem", "wrong_name.pem", "self_signed.pem", "not_yet_valid.pem"]
        .map(|certificate| Raw::tls(certificate, |_, _| Act::Close(Vec::new())));
    let mut odd = answers();
    // Those would only take their time.
    odd.retain(|odd| !odd.is_tls && !odd.text.starts_with("[hang]"));
    let [odd_server, _] = servers(&odd);
    let broken = broken_pictures();
    let plain = Raw::start(move |path, _| match path.trim_start_matches('/').split_once('/') {
        Some(("picture", n)) => {
            Act::Send(answer(200, "", &broken[n.parse::<usize>().unwrap() % broken.len()]))
        }
        Some(("bomb", _)) => Act::Send(head(200, "Content-Encoding: gzip\r\n", &[0; 1000])),
        Some(("reset", _)) => Act::Reset(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Some(("away", _)) => Act::Send(answer(302, "Location: \x01\u{fc}://\r\n", b"")),
        _ => Act::Send(answer(404, "", b"\x1b[31m\r\n{}")),
    });
    let names = NameServer::start(|question| {
        Says::Send(match question.name.split('.').next() {
            Some("failing") => question.code(ResponseCode::ServFail),
            Some("nonsense") => b"nonsense".to_vec(),
            Some("forbidden") => question.addresses(60, &["10.0.0.1"]),
            _ => question.denied(),
        })
    });
    // Taken, so that nobody else listens there, and closed again when the chunk has its address.
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut allowed = vec![plain.address, odd_server.address, closed];
    allowed.extend(bad.iter().map(|server| server.address));
    let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let url = |n: usize| match n % 20 {
        0..4 => bad[n % 4].url(&format!("/{n}")),
        4 => format!("https://{}/{n}", plain.address),
        5 => format!("http://{closed}/{n}"),
        6 => plain.url(&format!("/reset/{n}")),
        7 => format!("http://failing.test/{n}"),
        8 => format!("http://nonsense.test/{n}"),
        9 => format!("http://forbidden{}.test/{n}", n / 20),
        10 => format!("http://denied{}.test/{n}", n / 20),
        11..14 => plain.url(&format!("/picture/{n}")),
        14 => plain.url(&format!("/bomb/{n}")),
        15 => plain.url(&format!("/away/{n}")),
        16 => plain.url(&format!("/{n}")),
        17 => format!("http://127.0.0.1:22/\u{1b}[31m\r\n{n}"),
        _ => odd_server.url(&format!("{}?{n}", odd[n / 10 % odd.len()].path)),
    };
    let urls: Vec<String> = (0..URLS).map(url).collect();

    let seen = Arc::new(Ingestion::default());
    let handler = rig
        .handler_with(&[
            ("PIXCRAWLER_ALLOWED_ORIGINS", &allowed.join(",")),
            ("PIXCRAWLER_NAME_SERVERS", &names.address.to_string()),
            ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "128"),
            ("PIXCRAWLER_PER_HOST_CONCURRENCY", "32"),
            ("APPLICATIONINSIGHTS_CONNECTION_STRING", &serve(&seen).await),
            ("OTEL_BSP_SCHEDULE_DELAY", "300"),
        ])
        .await;
    let before = handler.lines().len();
    let message = json!({"version": 1, "job_id": 1, "chunk_index": 0,
        "validation": {"level": "slow"}, "source": {"urls": urls}});
    let request = reqwest::Client::new()
        .post(handler.url("/process_chunk"))
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-00"))
        .body(envelope(&message.to_string()));
    let answered = request.send().await.unwrap().text().await.unwrap();
    assert!(answered.contains("completed"), "{answered}");
    wait_for("the request arrives", async || !seen.of("RequestData").is_empty()).await;

    let manifest = rig.manifest(1, 0).await;
    let reasons = manifest["errors"].as_object().unwrap();
    assert!(reasons.len() > 8, "failures of every kind: {reasons:?}");
    let lines = handler.lines().split_off(before);
    let log: usize = lines.iter().map(|line| line.len() + 1).sum();
    let telemetry: usize = {
        let envelopes = seen.envelopes.lock().unwrap();
        let of_chunk = envelopes.iter().filter(|e| e["tags"]["ai.operation.id"] == TRACE);
        of_chunk.map(|envelope| envelope.to_string().len()).sum()
    };
    println!("{log} bytes of log, {telemetry} of telemetry; {reasons:?}");
    assert!(log > 0 && telemetry > 0 && log + telemetry <= LIMIT_BYTES, "{lines:#?}");
    assert_eq!(handler.errors(), Vec::<String>::new());
}

/// Case 128: labels, keywords, categories, hosts and reasons of two chunks, each of them new: no metric gets
/// a dimension, a series or a name of them, and no text of them is sent.
#[tokio::test(flavor = "multi_thread")]
async fn no_label_becomes_a_dimension() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let handler = rig
        .handler_with(&[
            ("APPLICATIONINSIGHTS_CONNECTION_STRING", &*serve(&seen).await),
            ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
            ("OTEL_BSP_SCHEDULE_DELAY", "300"),
        ])
        .await;
    for job_id in 1..3 {
        let item = |n: u64| {
            let path = if n.is_multiple_of(2) { format!("/img/{n}") } else { format!("/{n}") };
            let url = rig.origin.url(&format!("{path}?LABEL{n}"));
            json!({"url": url, "label": format!("LABEL {job_id} {n}"), "meta": {format!("LABEL{n}"): n}})
        };
        let items: Vec<_> = (0..250).map(item).collect();
        // What is too long for a message is a list in the source container.
        let lines: Vec<String> = items.iter().map(ToString::to_string).collect();
        let list = rig.list(&format!("{job_id}.jsonl"), &lines).display().to_string();
        let id = job_id.to_string();
        let submitted = rig.chunkctl(&["submit", "--job-id", &id, "--urls", &list]);
        assert_eq!(submitted.code, Some(0), "{submitted:?}");
        let (_, said) = handler.deliver(&id, &wake_up(job_id, 0)).await;
        assert!(said["Logs"][0].as_str().unwrap().contains("125 of 250"), "{said}");
    }
    wait_for("both chunks are counted", async || {
        seen.sum("images_valid") == Some(250.0) && seen.of("RequestData").len() == 2
    })
    .await;
    let shard = rig.shard(2, 0).await;
    assert!(shard.windows(11).any(|bytes| bytes == b"LABEL 2 248"), "a label is in its sample");
    let envelopes = seen.envelopes.lock().unwrap().clone();
    let mut series = BTreeSet::new();
    for envelope in &envelopes {
        assert!(!envelope.to_string().contains("LABEL"), "{envelope}");
        let data = &envelope["data"];
        if data["baseType"] == "MetricData" {
            let data = &data["baseData"];
            // Those of the process come with every item.
            let mut properties = data["properties"].as_object().into_iter().flatten();
            let dimension = properties.find(|(name, _)| !name.starts_with("ai."));
            assert_eq!(dimension, None, "{envelope}");
            let points = data["metrics"].as_array().unwrap().iter();
            series.extend(points.map(|point| point["name"].as_str().unwrap().to_owned()));
        }
    }
    assert!((5..40).contains(&series.len()), "as many series as names: {series:?}");
}

/// Bad pictures of the fixtures, and good ones that are cut or changed at many places.
fn broken_pictures() -> Vec<Vec<u8>> {
    let directory = root().join("tests/fixtures/images-bad");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut pictures: Vec<Vec<u8>> = files.map(|file| std::fs::read(file).unwrap()).collect();
    for picture in picture::fixtures() {
        for part in 1..4 {
            let mut bytes = picture.bytes.to_vec();
            let at = bytes.len() * part / 4;
            bytes[at..][..8].fill(0xFF);
            pictures.push(bytes.clone());
            bytes.truncate(at);
            pictures.push(bytes);
        }
    }
    pictures
}
