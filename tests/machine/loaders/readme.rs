//! The README's snippets do what it says: each is taken out of it and run as it stands.

use super::{captions::captioned_job, download, json_of};
use crate::condition::python_with_loaders;
use serde::Deserialize;
use std::{collections::BTreeMap, process::Command};
use support::{checkout::root, rig::Rig};

/// What `readme.py` found, of the section that says how a job is loaded.
#[derive(Debug, Deserialize)]
struct Found {
    /// What each block of Python left in `pictures` or `items`, by the library that it is for.
    rows: BTreeMap<String, usize>,
    /// What they printed.
    printed: String,
    /// Commands of the section that succeeded.
    commands: usize,
    /// Files that lie on the Hub after it, beside those that it makes itself.
    published: Vec<String>,
}

/// Straight from Blob Storage, over manifests and onto the Hub: job 7 of the README, of which the first
/// chunk has no sample.
pub async fn the_snippets_of_the_readme_run() {
    let rig = Rig::new().await;
    let samples = captioned_job(&rig, 7).await.len();
    let folder = download(&rig, 7).await;
    let mut command = Command::new(python_with_loaders().as_ref().unwrap());
    command.arg(root().join("tests/machine/loaders/readme.py"));
    command.arg(rig.temp.path().join("cache")).arg(root().join("README.md"));
    command.current_dir(rig.temp.path());
    command.env("AZURE_STORAGE_CONNECTION_STRING", &rig.storage);
    let found: Found = json_of(&mut command);
    let rows = [("datasets", samples), ("duckdb", 9), ("pandas", 9), ("webdataset", samples)];
    let rows: BTreeMap<_, _> = rows.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
    assert_eq!(found.rows, rows, "{found:?}");
    assert!(found.printed.matches("http_404").count() >= 2, "{}", found.printed);
    assert_eq!(found.commands, 1);
    let mut files = Vec::new();
    for place in ["", "chunks/"] {
        for entry in std::fs::read_dir(folder.join(place)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            files.extend(entry.path().is_file().then(|| format!("{place}{name}")));
        }
    }
    files.sort();
    assert_eq!(found.published, files);
}
