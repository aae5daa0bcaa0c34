//! Memory and temp space stay within their budgets, by the ledger and by the files that are there.

use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{
    invariants::sample_temp,
    rig::{Rig, all, inline},
};

const MIB: u64 = 1024 * 1024;

/// X7 F3 S7 S8 X2: four chunks of large pictures without a length, in 16 MB of memory and 100 MB of
/// temp space: all are kept, both budgets hold, and nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_of_unknown_length_stay_within_both_budgets() {
    let rig = Rig::new().await;
    let handler = rig
        .handler_with(&[
            ("PIXCRAWLER_MAX_BUFFER_MB", "16"),
            ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "100"),
            ("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", "4"),
            ("PIXCRAWLER_PER_HOST_CONCURRENCY", "64"),
            ("PIXCRAWLER_LEASE_SECONDS", "60"),
        ])
        .await;
    let done = AtomicBool::new(false);
    let work = async {
        let messages: Vec<Value> = (0..4)
            .map(|chunk| {
                let url = |i| rig.origin.url(&format!("/big/{}?mb=6&cl=0", chunk * 100 + i));
                inline(1, chunk, &(0..10).map(url).collect::<Vec<_>>())
            })
            .collect();
        let ids = ["a", "b", "c", "d"];
        let answers = all(ids.iter().zip(&messages).map(|(id, m)| handler.deliver(id, m))).await;
        done.store(true, Ordering::SeqCst);
        answers
    };
    let sampler = sample_temp(&rig, 80 * MIB, &done);
    let (answers, (walked, above)) = tokio::join!(work, sampler);
    for (status, answer) in answers {
        assert_eq!(status, 200);
        assert!(answer["Logs"][0].as_str().unwrap().contains("10 of 10 images valid"), "{answer}");
    }
    handler.post("/health_check", "t", r#"{"Data":{},"Metadata":{}}"#.into()).await;
    let report = rig.value::<Value>("select report from chunk_handler.health").await;
    let high_water = report["temp_high_water_bytes"].as_u64().unwrap();
    assert!(high_water > 10 * MIB, "the files were needed: {report}");
    assert!(high_water <= 80 * MIB, "{high_water} by the ledger");
    assert!(walked > 0, "{walked} by walking");
    assert_eq!(above, Vec::<String>::new());
    for idle in ["temp_used_bytes", "temp_walked_bytes", "memory_used_bytes"] {
        assert_eq!(report[idle], 0, "{report}");
    }
    assert!(rig.manifest(1, 0).await["temp_peak_bytes"].as_u64().unwrap() <= 20 * MIB);
}

/// The most memory a process had in use, in MB.
pub fn peak_memory_mb(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Pictures of each of ten chunks.
const OF_EACH: u64 = 50;

/// P3 I6 I10 X1: ten chunks at once under `azure_functions`, of 500 pictures of 10 MB (the most is 10 MiB)
/// whose length nobody announces: all are kept, temp space stays within 320 MB by ledger and by walk, memory within
/// 256 MB.
#[tokio::test(flavor = "multi_thread")]
async fn ten_chunks_of_ten_megabyte_pictures_fit_their_budgets() {
    let rig = Rig::new().await;
    // The account's own lease: this takes longer than four seconds.
    let handler = rig.handler_with(&[("PIXCRAWLER_LEASE_SECONDS", "60")]).await;
    let done = AtomicBool::new(false);
    let work = async {
        let messages: Vec<Value> = (0..10)
            .map(|chunk| {
                let n = chunk as u64 * OF_EACH;
                let url = |i| rig.origin.url(&format!("/big/{}?kb=9766&cl=0", n + i));
                inline(1, chunk, &(0..OF_EACH).map(url).collect::<Vec<_>>())
            })
            .collect();
        let deliver = async |(i, message): (usize, &Value)| {
            handler.deliver(&format!("chunk-{i}"), message).await
        };
        let answers = all(messages.iter().enumerate().map(deliver)).await;
        done.store(true, Ordering::SeqCst);
        answers
    };
    let (answers, (walked, above)) = tokio::join!(work, sample_temp(&rig, 320 * MIB, &done));
    let valid = format!("{OF_EACH} of {OF_EACH} images valid");
    for (status, answer) in answers {
        assert_eq!(status, 200);
        assert!(answer["Logs"][0].as_str().unwrap().contains(&valid), "{answer}");
    }
    handler.post("/health_check", "t", r#"{"Data":{},"Metadata":{}}"#.into()).await;
    let report = rig.value::<Value>("select report from chunk_handler.health").await;
    let ledger = report["temp_high_water_bytes"].as_u64().unwrap();
    let memory = peak_memory_mb(handler.pid);
    println!(
        "temp {} MB by ledger, {} MB by walk; {memory} MB of memory",
        ledger / MIB,
        walked / MIB
    );
    assert!((MIB..=320 * MIB).contains(&ledger), "{ledger} by the ledger");
    assert_eq!(above, Vec::<String>::new());
    assert!(memory <= 256, "{memory} MB of memory");
}
