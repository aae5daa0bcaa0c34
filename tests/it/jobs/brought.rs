//! `chunkctl fetch`: directories with files of others, and storage that lost some of the job.

use super::{
    control::{ENDED, say},
    fetch::{assert_same, fetch, fetch_with, files, job, small, stored, target},
};
use serde_json::json;
use std::{fs, path::Path};
use support::rig::{DATASETS, Rig, wake_up};

/// What no fetch of this job brought is not written over, whatever it is; a directory knows its job.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_others_are_not_written_over() {
    let rig = Rig::new().await;
    let _handler = job(&rig, 1, 1, small).await;
    let directory = target(&rig);
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("README.md"), "of my own").unwrap();
    let refused = fetch_with(&rig, &rig.storage, &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("brought: README.md\""), "{}", refused.stderr);
    assert_eq!(files_at(&directory), ["README.md"]);
    fs::rename(directory.join("README.md"), directory.join("notes.md")).unwrap();
    assert_eq!(fetch(&rig)["files_fetched"], 6);
    // Where a copy has no mark its files vouch for it.
    fs::remove_file(directory.join(".fetch.json")).unwrap();
    assert_eq!(fetch(&rig)["files_kept"], 6);
    let mark = fs::read_to_string(directory.join(".fetch.json")).unwrap();
    fs::write(directory.join(".fetch.json"), mark.replace("\"job_id\":1", "\"job_id\":2")).unwrap();
    let refused = fetch_with(&rig, &rig.storage, &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("has job 2 of"), "{refused:?}");
}

fn files_at(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().flatten();
    names.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// What storage lost of a job is named by the database's rows, whatever came before; what is here of it
/// stays, and one command has it made again.
#[tokio::test(flavor = "multi_thread")]
async fn what_storage_lost_is_named_and_can_be_made_again() {
    let rig = Rig::new().await;
    let handler = job(&rig, 2, 2, small).await;
    fetch(&rig);
    let whole = files(&target(&rig));
    let names = ["chunks/chunk_00001.tar", "README.md", "dataset.json"];
    for name in names {
        rig.blobs.delete(DATASETS, &format!("job_1/{name}")).await.unwrap();
    }
    let output = fetch_with(&rig, &rig.storage, &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let summary = output.json();
    let failed: Vec<&str> =
        summary["failed"].as_array().unwrap().iter().map(|why| why.as_str().unwrap()).collect();
    let words = "storage lost it; the copy here is right, and stays";
    assert_eq!(failed, names.map(|name| format!("{name}: {words}")));
    assert_eq!(summary["leftovers"], json!([]));
    assert!(output.stderr.contains("control retry --job-id 1` makes again"), "{}", output.stderr);
    assert_same(&files(&target(&rig)), &whole);
    let retried = rig.chunkctl(&["control", "retry", "--job-id", "1"]);
    assert!(retried.stdout.contains("is made again"), "{retried:?}");
    assert!(say(&handler, &wake_up(1, 1)).await.contains("completed, 2 of 2"));
    rig.until(ENDED).await;
    fetch(&rig);
    assert_same(&files(&target(&rig)), &stored(&rig).await);
    assert_eq!(files(&target(&rig)).len(), whole.len());
}
