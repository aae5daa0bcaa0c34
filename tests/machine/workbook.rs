//! The workbook shows what the handler sends.

use crate::alerts::{
    handler,
    kql::{Search, search},
    resources, rows,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};
use support::{
    ingestion::{Ingestion, serve},
    rig::{Rig, inline},
};

/// The queries of the workbook's tiles over the table of metrics.
fn queries() -> Vec<String> {
    let [workbook] = &resources("Microsoft.Insights/workbooks")[..] else { panic!("one workbook") };
    let text = workbook["properties"]["serializedData"].as_str().unwrap();
    let workbook: Value = serde_json::from_str(text).unwrap();
    let items = workbook["items"].as_array().unwrap();
    let queries = items.iter().filter_map(|item| item["content"]["query"].as_str());
    queries.map(str::to_owned).collect()
}

/// Each tile has values, and no column without one, after a chunk that completed, one that failed and one
/// that waits; all metrics it asks for are there, but for the leases that nobody lost.
pub async fn each_tile_shows_what_the_handler_sends() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let handler = handler(&rig, &serve(&seen).await, "one").await;
    handler.deliver("completes", &inline(1, 0, &rig.pictures(3))).await;
    handler.deliver("fails", &inline(1, 1, &["http://192.0.2.1.invalid/".to_owned()])).await;
    assert_eq!(rig.chunkctl(&["control", "pause", "--minutes", "5"]).code, Some(0));
    handler.deliver("waits", &inline(1, 2, &rig.pictures(1))).await;
    handler.post("/health_check", "timer", r#"{"Data":{},"Metadata":{}}"#.into()).await;
    let last = ["failed_chunks", "oldest_pending_seconds", "bytes_out", "temp_storage_mb"];
    let found = rows(&seen, "the metrics of the workbook", |rows| {
        last.iter().all(|name| rows.iter().any(|row| row.name == *name))
    })
    .await;
    let end = found.iter().map(|row| row.arrived).max().unwrap();
    let queries = queries();
    let searches = queries.iter().map(|query| Search { query, from: 0, to: end });
    let results = search(&found, &searches.collect::<Vec<_>>());
    assert_eq!(results.len(), 10);
    let mut names = BTreeSet::new();
    for (query, result) in queries.iter().zip(&results) {
        assert!(!result.is_empty(), "nothing for {query}");
        for row in result {
            let values = row.as_object().unwrap().values();
            assert!(values.into_iter().all(|value| !value.is_null()), "{row} for {query}");
            names.extend(row["name"].as_str());
        }
    }
    let wanted = json!([
        "active_chunks",
        "bytes_in",
        "bytes_out",
        "completed_chunks",
        "failed_chunks",
        "images_downloaded",
        "images_valid",
        "max_chunks"
    ]);
    assert_eq!(json!(names), wanted);
}
