//! Captions and classes, from a list to the members of a sample.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use support::rig::{Rig, wake_up};

const RECORD: usize = 512;

/// Stem, extension and bytes of each member of a shard, in order.
fn members(shard: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    let mut archive = tar::Archive::new(shard);
    let member = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let (stem, extension) = name.split_once('.').unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (stem.to_owned(), extension.to_owned(), bytes)
    };
    archive.entries().unwrap().map(member).collect()
}

/// The members of each sample: consecutive, of one stem, the same in every sample.
fn samples(shard: &[u8], extensions: &[&str]) -> Vec<(String, Vec<Vec<u8>>)> {
    let members = members(shard);
    assert_eq!(members.len() % extensions.len(), 0);
    let sample = |members: &[(String, String, Vec<u8>)]| {
        let stem = members[0].0.clone();
        assert!(members.iter().all(|(other, ..)| *other == stem), "{stem}");
        assert_eq!(members.iter().map(|(_, name, _)| name).collect::<Vec<_>>(), extensions);
        (stem, members.iter().map(|(.., bytes)| bytes.clone()).collect())
    };
    members.chunks(extensions.len()).map(sample).collect()
}

/// What a shard's bytes are counted as is what they are: every member with its header and padding.
fn assert_counted(shard: &[u8], manifest: &Value) {
    let len =
        members(shard).into_iter().map(|(.., bytes)| RECORD + bytes.len().next_multiple_of(RECORD));
    assert_eq!(shard.len(), len.sum::<usize>() + 2 * RECORD);
    assert_eq!(manifest["shard"]["bytes"], shard.len());
    assert_eq!(manifest["bytes_out"], shard.len());
    for item in manifest["items"].as_array().unwrap().iter().filter(|i| i["status"] == "valid") {
        let [offset, length] =
            ["offset", "length"].map(|name| item[name].as_u64().unwrap() as usize);
        let digest = Sha256::digest(&shard[offset..offset + length]);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(item["sha256"], *hex, "the image lies where the manifest says");
    }
}

/// Cases 400, 401: what a list says of a picture is in its sample byte for byte, in a text and a number
/// of its own where the job asks for them; the manifest has all of it, of duplicates too.
#[tokio::test(flavor = "multi_thread")]
async fn captions_and_classes_reach_samples_and_manifest() {
    let rig = Rig::new().await;
    let picture = |n: u64| rig.origin.url(&format!("/img/{n}"));
    let long = "ein 𝄞 ".repeat(7_000);
    let rows = [
        json!({"url": picture(0), "caption": "two\r\nlines,\u{0} 𝄞 ", "class": i64::MIN, "label": "x"}),
        json!({"url": picture(1), "Caption": long, "class": "7"}),
        json!({"url": picture(2)}),
        json!({"url": picture(0), "caption": "a copy of it", "class": 4}),
        json!({"url": picture(3), "caption": "", "class": "cat"}),
        json!({"url": rig.origin.url("/404"), "caption": "gone", "class": 5}),
    ];
    let list = rig.list("a.jsonl", &rows.each_ref().map(Value::to_string));
    let list = list.to_str().unwrap();
    let options = ["--text", "caption", "--class", "--json"];
    let said = rig.chunkctl(&[&["submit", "--job-id", "1", "--urls", list][..], &options].concat());
    assert_eq!(said.json()["doubtful"]["rows"], 1, "{said:?}");
    assert!(said.stderr.contains("idx 4: ") && said.stderr.contains("class is no integer"));
    let handler = rig.handler().await;
    assert_eq!(handler.deliver("one", &wake_up(1, 0)).await.0, 200);
    let (shard, manifest) = (rig.shard(1, 0).await, rig.manifest(1, 0).await);
    assert_counted(&shard, &manifest);
    let captions = ["two\r\nlines,\u{0} 𝄞 ", &long, "", "a copy of it", "", "gone"];
    let classes = [Some(i64::MIN), Some(7), None, Some(4), None, Some(5)];
    let samples = samples(&shard, &["jpg", "json", "txt", "cls"]);
    assert_eq!(samples.len(), 4);
    for (stem, members) in samples {
        let idx: usize = stem.split_once('_').unwrap().1.parse().unwrap();
        let class = classes[idx].unwrap_or(-1);
        assert_eq!(String::from_utf8_lossy(&members[2]), captions[idx]);
        assert_eq!(String::from_utf8_lossy(&members[3]), class.to_string());
        let sidecar: Value = serde_json::from_slice(&members[1]).unwrap();
        assert_eq!(
            (&sidecar["caption"], &sidecar["class"]),
            (&json!(captions[idx]), &json!(class))
        );
        let meta = if idx == 4 { r#"{"class":"cat"}"# } else { "{}" };
        assert_eq!(sidecar["meta"], meta);
    }
    for (idx, item) in manifest["items"].as_array().unwrap().iter().enumerate() {
        let caption = json!(captions[idx]);
        assert_eq!(item.get("caption"), (idx != 2).then_some(&caption), "{item}");
        assert_eq!(item.get("class"), classes[idx].map(Value::from).as_ref(), "{item}");
    }
}

/// Off unless asked for; a label may be the text; a message's items have both, too.
#[tokio::test(flavor = "multi_thread")]
async fn members_come_only_when_they_are_asked_for() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let items = json!([
        {"url": rig.origin.url("/img/0"), "label": "a label", "caption": "a caption", "class": 3},
        {"url": rig.origin.url("/img/1")},
    ]);
    let mut sources = Vec::new();
    for (job_id, output, extensions) in [
        (1, json!({}), &["jpg", "json"][..]),
        (2, json!({"text": "label"}), &["jpg", "json", "txt"]),
        (3, json!({"class": true, "extension": "original"}), &["jpg", "json", "cls"]),
    ] {
        let message = json!({"version": 1, "job_id": job_id, "chunk_index": 0, "output": output,
            "source": {"items": items}});
        let (status, answer) = handler.deliver(&format!("job-{job_id}"), &message).await;
        assert_eq!(status, 200, "{answer}");
        let (shard, manifest) = (rig.shard(job_id, 0).await, rig.manifest(job_id, 0).await);
        assert_counted(&shard, &manifest);
        let mut samples = samples(&shard, extensions);
        samples.sort();
        let third = |n: usize| samples[n].1.get(2).map(|bytes| String::from_utf8_lossy(bytes));
        let expected = [None, Some(["a label", ""]), Some(["3", "-1"])][job_id as usize - 1];
        assert_eq!(third(0).as_deref(), expected.map(|of| of[0]));
        assert_eq!(third(1).as_deref(), expected.map(|of| of[1]));
        sources.push(manifest["source_sha256"].clone());
    }
    assert!(sources[0] != sources[1] && sources[0] != sources[2], "it decides the content");
}
