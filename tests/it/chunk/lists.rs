//! Lists of strangers: what is said of a URL reaches the shard as it was written, and the worst list
//! costs its chunk no more memory than its bytes.

use super::budget::peak_memory_mb;
use serde_json::{Value, json};
use support::rig::{DATASETS, Handler, Rig, envelope, wake_up};

/// Puts a list of a chunk of job 1 and has it run; the answer's line.
async fn run_list(rig: &Rig, handler: &Handler, index: i32, suffix: &str, list: Vec<u8>) -> String {
    let name = format!("own/{index}.{suffix}");
    rig.blobs.put("chunk-sources", &name, list).await.unwrap();
    let message =
        json!({"version": 1, "job_id": 1, "chunk_index": index, "source": {"blob": name}});
    let (status, answer) = handler.deliver(&format!("chunk-{index}"), &message).await;
    assert_eq!(status, 200, "{answer}");
    answer["Logs"][0].as_str().unwrap().to_owned()
}

/// The manifest's text.
async fn manifest_text(rig: &Rig, job: i64, index: i32) -> String {
    let name = format!("job_{job}/chunks/chunk_{index:05}.manifest.json");
    String::from_utf8(rig.blobs.read(DATASETS, &name).await.unwrap().into()).unwrap()
}

/// Case 262: the same JSON in every form of a list: as it was written in the sidecar of the first
/// picture, and in the manifest for its duplicate, whose label is text.
#[tokio::test(flavor = "multi_thread")]
async fn meta_reaches_shard_and_manifest_as_it_was_written() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let meta = r#"{"n": 12345678901234567890123, "f":0.1000000000000000055, "e":1e999, "z":-0, "k":1, "k":1.0}"#;
    let picture = rig.origin.url("/img/1");
    let object = format!(r#"{{"url":"{picture}","label":1.50,"meta":{meta}}}"#);
    let cell = format!("\"{}\"", meta.replace('"', "\"\""));
    let files = [
        ("a.jsonl", format!("{object}\n{object}\n")),
        ("a.json", format!("[{object},{object}]")),
        ("a.csv", format!("url,label,meta\n{0}{0}", format!("{picture},1.50,{cell}\n"))),
        ("a.tsv", format!("url\tlabel\tmeta\n{0}{0}", format!("{picture}\t1.50\t{meta}\n"))),
    ];
    let mut jobs = Vec::new();
    for (job, (name, text)) in (10..).zip(files) {
        let path = rig.temp.path().join(name);
        std::fs::write(&path, text).unwrap();
        let id = job.to_string();
        let said = rig.chunkctl(&["submit", "--job-id", &id, "--urls", path.to_str().unwrap()]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(handler.deliver(&id, &wake_up(job, 0)).await.0, 200);
        jobs.push(job);
    }
    let line = run_list(&rig, &handler, 0, "jsonl", format!("{object}\n{object}").into()).await;
    assert!(line.contains("1 of 2 images valid"), "{line}");
    jobs.push(1);
    // In a message a label is a text; its own text is not made of types of numbers either.
    let object = object.replace("1.50", "\"1.50\"");
    let message = format!(
        r#"{{"version":1,"job_id":2,"chunk_index":0,"source":{{"items":[{object},{object}]}}}}"#
    );
    let (status, answer) = handler.post("/process_chunk", "inline", envelope(&message)).await;
    assert_eq!(status, 200, "{answer}");
    jobs.push(2);
    for job in jobs {
        let manifest = manifest_text(&rig, job, 0).await;
        assert!(manifest.contains(&format!("\"meta\":{meta},")), "job {job}: {manifest}");
        assert_eq!(manifest.matches("\"label\":\"1.50\"").count(), 2, "job {job}: {manifest}");
        let shard = rig.shard(job, 0).await;
        let shard = String::from_utf8_lossy(&shard);
        assert!(shard.contains(&format!("\"meta\":{}", json!(meta))), "job {job}");
        assert!(shard.contains("\"label\":\"1.50\""), "job {job}");
    }
}

/// A line that is filled up with a pattern, and its end.
fn line(first: &str, len: usize, pattern: &str, last: &str) -> String {
    let n = (len - first.len() - last.len()) / pattern.len();
    format!("{first}{}{last}\n", pattern.repeat(n))
}

/// Cases 9, 261, 263, 264: each worst list in turn, one process. Its memory stays below what the lists
/// themselves have in bytes, a few times over; every row has its verdict; and a manifest that is
/// written can be read.
#[tokio::test(flavor = "multi_thread")]
async fn the_worst_lists_cost_no_more_memory_than_their_bytes() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_LEASE_SECONDS", "60")]).await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let good = format!("{{\"url\":\"{}\"}}\n", rig.origin.url("/img/1"));
    let start = r#"{"url":"ftp://a/b","meta":["#;
    let keys = r#"{"url":"ftp://a/b","#;
    let caption = r#"{"url":"ftp://a/b","caption":""#;
    let one = |first: &str, pattern: &str| line(first, 31 << 20, pattern, "") + &good;
    let many = |line: String| line.repeat((31 << 20) / line.len());
    // Suffix, list, how many are too large.
    let lists: [(&str, String, usize); 8] = [
        ("jsonl", one(start, "{\"\":0},"), 1),
        ("jsonl", one(start, "["), 1),
        ("txt", one("http://a/", "b"), 1),
        // Just within the limit, and so items.
        ("jsonl", many(line(start, 65_500, "{\"\":0},", "0]}")), 0),
        ("jsonl", many(line(keys, 65_500, "\"\":0,", "\"\":0}")), 0),
        ("jsonl", many(line(start, 65_501, "[", &format!("{}}}", "]".repeat(32_737)))), 0),
        ("txt", many(line("", 3_300, "\u{1}", "")), 0),
        ("jsonl", many(line(caption, 65_500, "\u{1}", "\"}")), 0),
    ];
    for (index, (suffix, list, too_large)) in (0..).zip(lists) {
        let rows = list.lines().count();
        let line = run_list(&rig, &handler, index, suffix, list.into()).await;
        assert!(line.contains(&format!("of {rows} images valid")), "{index}: {line}");
        let text = manifest_text(&rig, 1, index).await;
        assert!(text.len() <= 64 << 20, "{index}: {} bytes", text.len());
        let manifest: Value = serde_json::from_str(&text).unwrap();
        let items = manifest["items"].as_array().unwrap();
        assert_eq!(items.len(), rows, "{index}");
        let said = items.iter().filter(|item| item["detail"] == "item_too_large").count();
        assert_eq!(said, too_large, "{index}");
        let schemes = items.iter().filter(|item| item["detail"] == "scheme").count();
        assert!(too_large > 0 || suffix == "txt" || schemes == rows, "{index}");
        println!("list {index}, {suffix}: {rows} rows, {} MB so far", peak_memory_mb(handler.pid));
    }
    // More items than a chunk may have, and none at all.
    let line = run_list(&rig, &handler, 20, "jsonl", "{}\n".repeat(10 << 20).into()).await;
    assert!(line.contains("more than 10000 URLs"), "{line}");
    let line = run_list(&rig, &handler, 21, "txt", "\r\n".repeat(15 << 20).into()).await;
    assert!(line.contains("0 of 0 images valid"), "{line}");
    let memory = peak_memory_mb(handler.pid);
    println!("{memory} MB");
    assert!(memory <= 256, "{memory} MB of memory");
}
