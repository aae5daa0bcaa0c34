//! A directory that a job was fetched to: what somebody did there is no fault, and what is not known of it
//! is not said.

use super::{
    control::{ENDED, say, with_total},
    fetch::{fetch, fetch_with, files, job, small, stored, target},
};
use std::{fs, os::unix::fs::symlink};
use support::{
    programs::{self, Output},
    rig::{DATASETS, Rig, inline},
};

/// Without any settings.
fn verify(rig: &Rig, more: &[&str]) -> Output {
    let from = target(rig).display().to_string();
    let arguments = [&["verify", "--from", &from], more].concat();
    programs::run(&programs::chunkctl(), &arguments, &[], rig.temp.path())
}

/// Line ends of a card, a licence, what desktops leave: no fault. A tar that loaders would read is one.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_others_are_named_and_no_fault() {
    let rig = Rig::new().await;
    let _handler = job(&rig, 1, 2, small).await;
    fetch(&rig);
    let directory = target(&rig);
    let card = fs::read_to_string(directory.join("README.md")).unwrap();
    fs::write(directory.join("README.md"), card.replace('\n', "\r\n")).unwrap();
    for name in ["LICENSE", ".gitattributes", "chunks/.DS_Store"] {
        fs::write(directory.join(name), "mine").unwrap();
    }
    let whole = verify(&rig, &[]);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert!(whole.stdout.contains("job 1 is whole"), "{whole:?}");
    let note = "note: files of others are here: .gitattributes, LICENSE, chunks/.DS_Store\n";
    assert!(whole.stdout.contains(note), "{whole:?}");
    let again = fetch_with(&rig, &rig.storage, &[]);
    let named = serde_json::json!([".gitattributes", "LICENSE", "chunks/.DS_Store"]);
    assert_eq!((again.code, &again.json()["leftovers"]), (Some(0), &named), "{again:?}");
    fs::write(directory.join("chunks/more.tar"), "mine").unwrap();
    let stray = verify(&rig, &["--json"]);
    assert_eq!(stray.code, Some(1), "{stray:?}");
    assert_eq!(stray.json()["faults"][0]["file"], "chunks/more.tar");
}

/// A job that was over, and is fetched while it grows: its old documents say nothing of its new chunks.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_fetched_while_it_grows_has_no_faults() {
    let rig = Rig::new().await;
    let handler = job(&rig, 2, 2, small).await;
    fetch(&rig);
    let list = rig.list("more.txt", &[rig.origin.url("/img/8"), rig.origin.url("/img/9")]);
    // Its first chunks have no total to grow from but the one that they said.
    let extend = ["submit", "--job-id", "1", "--extend", "--chunk-size", "1", "--urls"];
    let extended = rig.chunkctl(&[&extend[..], &[list.to_str().unwrap()]].concat());
    assert_eq!(extended.code, Some(0), "{extended:?}");
    say(&handler, &support::rig::wake_up(1, 2)).await;
    assert_eq!(fetch(&rig)["chunks"], 3);
    let open = verify(&rig, &[]);
    assert_eq!(open.code, Some(0), "{open:?}");
    assert!(open.stdout.contains("the job was open again when it was last fetched"), "{open:?}");
    assert!(open.stdout.contains("note: here are 3 of 4 chunks"), "{open:?}");
    assert!(open.stdout.contains("what job 1 has is whole"), "{open:?}");
    let in_storage = rig.chunkctl(&["verify", "--job-id", "1"]);
    assert!(in_storage.stdout.contains("what job 1 has is whole"), "{in_storage:?}");
    say(&handler, &support::rig::wake_up(1, 3)).await;
    rig.until(ENDED).await;
    fetch(&rig);
    let over = verify(&rig, &[]);
    assert!(over.code == Some(0) && over.stdout.contains("job 1 is whole"), "{over:?}");
}

/// A fetch of a job that is over, and that was killed before its documents came, is not whole; where no
/// fetch says anything, nobody can say that the job is.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_documents_is_not_called_whole() {
    let rig = Rig::new().await;
    let _handler = job(&rig, 2, 2, small).await;
    fetch(&rig);
    for name in ["stats.json", "README.md", "chunks/sizes.json", "dataset.json"] {
        fs::remove_file(target(&rig).join(name)).unwrap();
    }
    let killed = verify(&rig, &[]);
    assert_eq!(killed.code, Some(1), "{killed:?}");
    assert!(killed.stdout.contains("its fetch did not end"), "{killed:?}");
    fs::remove_file(target(&rig).join(".fetch.json")).unwrap();
    let unknown = verify(&rig, &[]);
    assert_eq!(unknown.code, Some(0), "{unknown:?}");
    assert!(unknown.stdout.contains("what job 1 has is whole"), "{unknown:?}");
    assert!(!unknown.stdout.contains("was not over"), "{unknown:?}");
}

/// What somebody made of a newer document stays, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_document_that_was_changed_stays() {
    let rig = Rig::new().await;
    let _handler = job(&rig, 1, 1, small).await;
    fetch(&rig);
    let card = stored(&rig).await.remove("README.md").unwrap();
    let put = async |text: &str| {
        let newer = [&card[..], text.as_bytes()].concat();
        rig.blobs.put(DATASETS, "job_1/README.md", newer.clone()).await.unwrap();
        newer
    };
    let directory = target(&rig);
    fs::write(directory.join("README.md"), "mine").unwrap();
    put("1").await;
    fetch(&rig);
    let second = put("2").await;
    fetch(&rig);
    assert_eq!(fs::read(directory.join("README.md.new")).unwrap(), second, "nobody changed it");
    fs::write(directory.join("README.md.new"), "mine, too").unwrap();
    put("3").await;
    let said = fetch(&rig)["changed"][0].as_str().unwrap().to_owned();
    assert!(said.contains("README.md and README.md.new were changed here, and stay"), "{said}");
    assert_eq!(fs::read(directory.join("README.md.new")).unwrap(), b"mine, too");
    fs::remove_file(directory.join("README.md.new")).unwrap();
    fetch(&rig);
    assert!(fs::read(directory.join("README.md.new")).unwrap().ends_with(b"3"));
}

/// Nothing is written through a link, or over a file that stands in the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_writes_through_no_link() {
    let rig = Rig::new().await;
    let _handler = job(&rig, 1, 1, small).await;
    let precious = rig.temp.path().join("precious.txt");
    fs::write(&precious, "mine").unwrap();
    let directory = target(&rig);
    for name in [".fetch.lock", ".fetch.json.new"] {
        fs::create_dir_all(&directory).unwrap();
        symlink(&precious, directory.join(name)).unwrap();
        let refused = fetch_with(&rig, &rig.storage, &[]);
        assert!(refused.code == Some(1) && refused.stderr.contains("it is a link"), "{refused:?}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "mine", "{name}");
        fs::remove_dir_all(&directory).unwrap();
    }
    fs::write(&directory, "mine").unwrap();
    let refused = fetch_with(&rig, &rig.storage, &[]);
    assert!(refused.stderr.contains("is a file"), "{refused:?}");
    fs::remove_file(&directory).unwrap();
    symlink(rig.temp.path().join("nothing"), &directory).unwrap();
    let refused = fetch_with(&rig, &rig.storage, &[]);
    assert!(refused.stderr.contains("is a link to nothing"), "{refused:?}");
}

/// A shell's limit of a file's length (`ulimit -f`) ends a fetch with a message, and not without.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_is_an_error() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    say(&handler, &with_total(inline(1, 0, &[rig.origin.url("/big/1?mb=2")]), 1)).await;
    rig.until(ENDED).await;
    let fetch = format!(
        "ulimit -f 64; exec {} fetch --job-id 1 --to {}",
        programs::chunkctl(),
        target(&rig).display()
    );
    let mut command = std::process::Command::new("bash");
    let output = command.args(["-c", &fetch]).env_clear().envs(rig.environment()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("File too large"), "{said}");
    assert!(!files(&target(&rig)).contains_key("chunks/chunk_00000.tar"));
}
