//! What a claim takes over from an earlier one.

use serde_json::json;
use support::rig::{DATASETS, Rig, inline};

/// I5: a manifest of a later release, with a reason and a field that this one does not know, is adopted; the
/// bytes are those that were there, and the row has its sums.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_later_release_is_adopted_as_it_is() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let message = inline(1, 0, &[rig.origin.url("/img/1"), rig.origin.url("/status/404")]);
    handler.deliver("one", &message).await;
    let mut manifest = rig.manifest(1, 0).await;
    assert_eq!(manifest["items"][1]["reason"], "http_404");
    manifest["items"][1]["reason"] = json!("gremlins");
    manifest["items"][1]["gremlins"] = json!([7]);
    manifest["errors"] = json!({"gremlins": 1});
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let name = "job_1/chunks/chunk_00000.manifest.json";
    rig.blobs.put(DATASETS, name, bytes.clone()).await.unwrap();
    // As after a crash before the row was completed, or in a database that was restored.
    rig.execute("truncate chunk_handler.chunk, chunk_handler.attempt cascade").await;
    rig.execute("update chunk_handler.slot set job_id = null, chunk_index = null").await;
    let (status, answer) = handler.deliver("two", &message).await;
    assert_eq!(status, 200, "{answer}");
    let row = "select status = 'completed' and images_valid = 1 from chunk_handler.chunk_status";
    rig.until(row).await;
    assert_eq!(rig.origin.requests("/img/1"), 1, "nothing was downloaded again");
    assert_eq!(rig.blobs.read(DATASETS, name).await.unwrap(), bytes);
    let reasons = "select totals->'errors'->>'gremlins' from chunk_handler.chunk";
    assert_eq!(rig.value::<String>(reasons).await, "1");
}
