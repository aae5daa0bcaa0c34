//! Runs a chunk of URLs and says what became of each.

use crate::{
    checkout::root,
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
        assert_listed(item);
        let status = item["status"].as_str().unwrap();
        item["reason"].as_str().map_or(status.to_owned(), |reason| format!("{status} {reason}"))
    };
    items.iter().enumerate().map(verdict).collect()
}

/// The details of a manifest's items, in their order; `""` for an item without one.
pub fn details_of(manifest: &Value) -> Vec<String> {
    let items = manifest["items"].as_array().unwrap();
    items.iter().map(|item| item["detail"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A detail is one that the papers list for the item's reason.
fn assert_listed(item: &Value) {
    let Some(detail) = item.get("detail") else { return };
    let (reason, detail) = (item["reason"].as_str(), detail.as_str().expect("a word"));
    let row = details().into_iter().find(|(of, _)| Some(&**of) == reason);
    assert!(row.is_some_and(|(_, words)| words.iter().any(|word| word == detail)), "{item}");
}

/// Each reason that may have a detail, with the details that it may have: the table of
/// `doc/formats.md`.
pub fn details() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(root().join("doc/formats.md")).expect("doc/formats.md");
    let table = text.split("| reason | `detail` |").nth(1).expect("the table of details");
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let row = |line: &str| -> Option<(String, Vec<String>)> {
        let (reason, details) = line.strip_prefix("| ")?.split_once(" | ")?;
        let reasons: Vec<String> = words(reason);
        Some((reasons.first()?.clone(), words(details)))
    };
    table.lines().skip(2).map_while(row).collect()
}
