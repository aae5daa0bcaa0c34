//! Captions and classes as people train with them: `datasets`, `webdataset`, and what `open_clip` asks
//! of a sample.

use super::{download, run_beside};
use serde::Deserialize;
use serde_json::json;
use support::rig::{Rig, wake_up};

/// Two lines, characters of four bytes, quotes, blanks at the ends, and none at all.
const CAPTIONS: [Option<&str>; 6] =
    [Some("two\r\nlines\n"), Some(" 𝄞 👩‍👩‍👧 "), Some("\"so\", it's\t\\n"), Some(""), None, Some("ü")];
const CLASSES: [Option<i64>; 6] = [Some(0), Some(-7), None, Some(i64::MAX), Some(i64::MIN), None];

/// What `captions.py` found.
#[derive(Debug, Deserialize)]
struct Found {
    types: [String; 2],
    datasets: Vec<(String, String, i64)>,
    webdataset: Vec<(String, String, i64)>,
    kept: u64,
    size: u64,
    without: (String, u64),
}

/// Runs a job with captions and classes of which the first chunk keeps nothing, to its end.
pub(super) async fn captioned_job(rig: &Rig, job_id: i64) -> Vec<(String, String, i64)> {
    let url = |idx: usize| rig.origin.url(&format!("/img/{idx}"));
    let gone = rig.origin.url("/404");
    let row =
        |idx: usize| json!({"url": url(idx), "caption": CAPTIONS[idx], "class": CLASSES[idx]});
    let rows = [json!({"url": gone, "caption": "x"}), json!({"url": gone}), json!({"url": gone})];
    let rows: Vec<String> =
        rows.into_iter().chain((0..CAPTIONS.len()).map(row)).map(|row| row.to_string()).collect();
    let list = rig.list("captions.jsonl", &rows);
    let job = job_id.to_string();
    let mut arguments = vec!["submit", "--job-id", &job, "--urls", list.to_str().unwrap()];
    arguments.extend(["--chunk-size", "3", "--text", "caption", "--class"]);
    let submitted = rig.chunkctl(&arguments);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    let handler = rig.handler().await;
    for index in 0..3 {
        let (status, answer) = handler.deliver(&format!("c{index}"), &wake_up(job_id, index)).await;
        assert_eq!(status, 200, "{answer}");
    }
    rig.until("select bool_and(ended_at is not null) from chunk_handler.job").await;
    let sample = |idx: usize| {
        let key = format!("{:05}_{:05}", 1 + idx / 3, idx % 3);
        (key, CAPTIONS[idx].unwrap_or("").to_owned(), CLASSES[idx].unwrap_or(-1))
    };
    (0..CAPTIONS.len()).map(sample).collect()
}

/// `datasets` types the members as string and integer, `webdataset` decodes them, and `open_clip` drops no
/// sample and expects as many as there are; also when the first chunk has none.
pub async fn captions_and_classes_load_as_text_and_number() {
    let rig = Rig::new().await;
    let expected = captioned_job(&rig, 1).await;
    let folder = download(&rig, 1).await;
    let found: Found = run_beside(&rig, "captions.py", "cache", &folder);
    assert_eq!(found.types, ["string", "int64"]);
    assert_eq!(found.datasets, expected);
    assert_eq!(found.webdataset, expected);
    let mut kept = 0;
    for index in 0..3 {
        kept += rig.manifest(1, index).await["shard"]["samples"].as_u64().unwrap();
    }
    assert_eq!((found.kept, found.size), (kept, kept), "as the manifests count them");
    // The control: this is why a sample without a caption has an empty text.
    assert!(found.without.0.contains("the same types"), "{:?}", found.without);
    assert_eq!(found.without.1, 1, "of three samples two have no caption");
    let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.contains("The `.txt` of each is its caption"), "{card}");
    assert!(card.contains("The `.cls` of each is its class"), "{card}");
}
