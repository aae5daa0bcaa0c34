//! Runs a chunk of URLs and says what became of each.

use crate::{
    raw::Raw,
    rig::{Handler, Rig, inline},
};
use serde_json::Value;

/// A handler that may also connect to these addresses.
pub async fn handler(rig: &Rig, servers: &[&Raw], extra: &[(&str, &str)]) -> Handler {
    let mut allowed = rig.origin.address().to_string();
    for server in servers {
        allowed.push_str(&format!(",{}", server.address));
    }
    rig.handler_with(&[&[("PIXCRAWLER_ALLOWED_ORIGINS", allowed.as_str())], extra].concat()).await
}

/// Runs chunk 0 of a job, which must complete with one verdict for each URL, in their order.
pub async fn verdicts(rig: &Rig, handler: &Handler, job_id: i64, urls: &[String]) -> Vec<String> {
    let (status, answer) =
        handler.deliver(&format!("job-{job_id}"), &inline(job_id, 0, urls)).await;
    let log = &answer["Logs"][0];
    assert!(status == 200 && log.as_str().unwrap().contains("completed"), "{status} {answer}");
    verdicts_of(&rig.manifest(job_id, 0).await, urls)
}

/// The verdicts of a manifest, one for each of these URLs, in their order, with sums that agree.
pub fn verdicts_of(manifest: &Value, urls: &[String]) -> Vec<String> {
    let items = manifest["items"].as_array().unwrap();
    assert_eq!(items.len(), urls.len(), "one verdict for each URL");
    let sums = ["images_valid", "images_invalid", "images_failed", "duplicates_removed"];
    let sum: u64 = sums.iter().map(|name| manifest[name].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), manifest["images_total"].as_u64());
    let verdict = |(idx, item): (usize, &Value)| {
        assert_eq!(
            (item["idx"].as_u64(), item["url"].as_str()),
            (Some(idx as u64), Some(&*urls[idx]))
        );
        let status = item["status"].as_str().unwrap();
        item["reason"].as_str().map_or(status.to_owned(), |reason| format!("{status} {reason}"))
    };
    items.iter().enumerate().map(verdict).collect()
}
