//! A number that the database forgot and storage did not: two datasets must not become one.

use super::{
    control::{ENDED, say, with_total},
    fetch::{fetch, fetch_with, files, job, small, stored, target},
};
use serde_json::Value;
use std::fs;
use support::{
    programs::Output,
    rig::{DATASETS, Handler, Rig, inline},
};

/// Removes what the database has of jobs, as their time comes.
async fn forget(rig: &Rig) {
    for removal in [
        "delete from chunk_handler.attempt",
        "delete from chunk_handler.image_hash",
        "delete from chunk_handler.chunk",
        "delete from chunk_handler.job",
    ] {
        rig.execute(removal).await;
    }
}

/// A job of two chunks whose rows are gone, with a copy on the disk.
async fn forgotten(rig: &Rig) -> Handler {
    let handler = job(rig, 2, 2, small).await;
    fetch(rig);
    forget(rig).await;
    handler
}

/// Who submits a list, or adds one, is told that the number is used, and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_with_a_folder_is_not_given_again() {
    let rig = Rig::new().await;
    let _handler = forgotten(&rig).await;
    let list = rig.list("1.txt", &rig.pictures(1));
    let submit = ["submit", "--job-id", "1", "--urls", list.to_str().unwrap()];
    let refused = |output: Output| {
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains("folder job_1/"), "{output:?}");
        assert!(output.stderr.contains("choose another number"), "{output:?}");
    };
    refused(rig.chunkctl(&submit));
    refused(rig.chunkctl(&[&submit[..], &["--extend"]].concat()));
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.job").await, 0);
    for name in rig.blobs.list(DATASETS, "job_1/").await.unwrap() {
        rig.blobs.delete(DATASETS, &name).await.unwrap();
    }
    assert_eq!(rig.chunkctl(&submit).code, Some(0));
}

/// Messages cannot be refused so. Then the card names the shards one by one, what is of the earlier job
/// does not come, and its copy on the disk stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_not_mixed_with_an_earlier_one_of_its_number() {
    let rig = Rig::new().await;
    let handler = forgotten(&rig).await;
    let earlier = files(&target(&rig));
    say(&handler, &with_total(inline(1, 0, &rig.pictures(5)), 1)).await;
    rig.until(ENDED).await;
    let card = String::from_utf8(stored(&rig).await.remove("README.md").unwrap()).unwrap();
    assert!(card.contains("path:\n    - chunks/chunk_00000.tar\n---"), "{card}");
    let refused = fetch_with(&rig, &rig.storage, &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("has an earlier job of this number"), "{refused:?}");
    assert_eq!(files(&target(&rig)), earlier);
    fs::remove_dir_all(target(&rig)).unwrap();
    let others = ["chunks/chunk_00001.tar", "chunks/chunk_00001.manifest.json"];
    let is_apart = |summary: &Value| {
        assert_eq!(summary["strangers"], serde_json::json!(others));
        assert_eq!(files(&target(&rig)).len(), 6);
        assert!(!files(&target(&rig)).contains_key(others[0]));
    };
    is_apart(&fetch(&rig));
    // Also where `dataset.json` alone says what the job has.
    forget(&rig).await;
    fs::remove_dir_all(target(&rig)).unwrap();
    is_apart(&fetch(&rig));
}
