//! Memory and temp space under load: counted by the ledger and by walking the directory.

use crate::{
    invariants::sample_temp,
    rig::{Rig, all, inline},
};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};

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
