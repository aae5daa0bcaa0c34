//! Pictures that look alike are reported, and kept.

use imagecheck::PerceptualHash;
use serde_json::json;
use support::rig::{Rig, inline};

/// The place of the one variant of the photograph that shows it another way, mirrored. One that
/// only says it is to be rotated has the pixels of the others.
const MIRRORED: usize = 3;

/// At level slow a manifest has hashes, and each near duplicate names the first of its kind; all
/// of them are in the shard. At medium there is neither.
#[tokio::test(flavor = "multi_thread")]
async fn near_duplicates_are_reported_and_kept() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(14);
    let mut message = inline(1, 0, &urls);
    message["validation"] = json!({"level": "slow"});
    let (status, answer) = handler.deliver("slow", &message).await;
    assert_eq!(status, 200, "{answer}");
    let manifest = rig.manifest(1, 0).await;
    let items = manifest["items"].as_array().unwrap();
    assert_eq!(manifest["shard"]["samples"], 14);
    assert!(items.iter().all(|item| item["phash"].as_str().is_some_and(|hex| hex.len() == 64)));
    let alone: Vec<usize> = (0..14).filter(|idx| items[*idx]["near_duplicate"].is_null()).collect();
    let firsts: Vec<usize> = alone.into_iter().filter(|idx| *idx != MIRRORED).collect();
    let [first] = firsts[..] else {
        panic!("one of the photograph's variants is the first: {firsts:?}");
    };
    assert!(items[MIRRORED]["near_duplicate"].is_null());
    for item in items.iter().filter(|item| !item["near_duplicate"].is_null()) {
        assert_eq!(item["near_duplicate"]["of"], items[first]["key"]);
        let distance = item["near_duplicate"]["distance"].as_u64().unwrap();
        assert!(distance <= u64::from(PerceptualHash::NEAR), "{item}");
    }

    let (status, _) = handler.deliver("medium", &inline(2, 0, &urls)).await;
    assert_eq!(status, 200);
    let manifest = rig.manifest(2, 0).await;
    for item in manifest["items"].as_array().unwrap() {
        assert!(item["phash"].is_null() && item.get("near_duplicate").is_none(), "{item}");
    }
}
