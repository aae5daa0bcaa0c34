//! What pages say is what the manifests say.

use super::{browser, with_jobs};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::{
    dashboard::Dashboard,
    rig::{DATASETS, Rig},
};

/// Case 450: each picture of the manifest is on a sheet and has pixels in the browser, or is said to be
/// one that no browser shows. Reasons are the same on the page, in `chunkctl status` and in
/// `stats.json`.
pub async fn sheets_and_reasons_are_of_the_manifests_in_a_browser() {
    let rig = Rig::new().await;
    let _handler = with_jobs(&rig).await;
    let manifest = rig.manifest(7, 0).await;
    let items = manifest["items"].as_array().unwrap();
    let dashboard = Dashboard::start(&rig, &[]).await;
    let address = dashboard.address.as_str();
    let found = browser().run("sheets.js", &[address, "/jobs/7/chunks/0", "/jobs/7"]).await;

    let of_format = |is_tiff: bool| {
        let valid = items.iter().filter(|item| item["status"] == "valid");
        let wanted = valid.filter(|item| (item["format"] == "tiff") == is_tiff);
        wanted.map(|item| item["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (shown, tiff) = (of_format(false), of_format(true));
    assert!(shown.len() > 24 && !tiff.is_empty(), "more than a sheet, and TIFF: {manifest}");
    assert_eq!(json!(shown.len() + tiff.len()), manifest["shard"]["samples"]);
    assert_eq!(found["shown"], json!(shown), "{found}");
    assert_eq!(found["not_shown"], json!(tiff), "{found}");
    assert_eq!(found["empty"], json!([]), "{found}");
    assert!(found["pairs"].as_u64().unwrap() > 0, "near duplicates: {found}");

    let reasons: BTreeMap<String, Value> =
        [("exact_duplicate", 1), ("http_404", 2), ("not_image", 1)]
            .map(|(reason, n)| (reason.to_owned(), json!(n)))
            .into();
    assert_eq!(found["reasons"], json!(reasons));
    let status = rig.chunkctl(&["status", "--job-id", "7", "--json"]).json();
    let told = status["account"]["reasons"].as_array().unwrap_or_else(|| panic!("{status}")).iter();
    let told: BTreeMap<&str, &Value> =
        told.map(|row| (row["reason"].as_str().unwrap(), &row["images"])).collect();
    assert_eq!(json!(told), json!(reasons), "{status}");
    rig.until("select status = 'completed' from chunk_handler.job_progress where job_id = 7").await;
    let stats = rig.blobs.read(DATASETS, "job_7/stats.json").await.unwrap();
    let mut stats: Value = serde_json::from_slice(&stats).unwrap();
    stats["status_dict"].as_object_mut().unwrap().retain(|reason, _| reason != "success");
    assert_eq!(stats["status_dict"], json!(reasons), "{stats}");
}
