//! `chunkctl verify`: what is whole passes, and each damage is found, in storage and in a directory.

use super::control::{ENDED, say, with_total};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{fs, path::PathBuf};
use support::{
    checkout::hex,
    programs::Output,
    rig::{DATASETS, Handler, Rig, inline},
};

const SHARD: &str = "chunks/chunk_00000.tar";
const MANIFEST: &str = "chunks/chunk_00000.manifest.json";

/// A job of two chunks with pictures, refusals and duplicates, that has ended and was fetched.
struct Job {
    rig: Rig,
    directory: PathBuf,
    _handler: Handler,
}

impl Job {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let handler = rig.handler().await;
        for chunk in 0..2 {
            let path = |path: &str| rig.origin.url(&format!("{path}/{chunk}"));
            let mut urls = ["/404", "/html", "/same/1"].map(path).to_vec();
            urls.extend((0..4).map(|n| rig.origin.url(&format!("/img/{}", chunk * 4 + n))));
            say(&handler, &with_total(inline(1, chunk, &urls), 2)).await;
        }
        rig.until(ENDED).await;
        let directory = rig.temp.path().join("fetched");
        let to = directory.display().to_string();
        let fetched = rig.chunkctl(&["fetch", "--job-id", "1", "--to", &to]);
        assert_eq!(fetched.code, Some(0), "{fetched:?}");
        Self { rig, directory, _handler: handler }
    }

    async fn read(&self, name: &str) -> Vec<u8> {
        self.rig.blobs.read(DATASETS, &format!("job_1/{name}")).await.unwrap().to_vec()
    }

    async fn manifest(&self) -> Value {
        serde_json::from_slice(&self.read(MANIFEST).await).unwrap()
    }

    /// Puts a file into storage and into the directory; none: takes it away.
    async fn put(&self, name: &str, bytes: Option<&[u8]>) {
        let (blob, path) = (format!("job_1/{name}"), self.directory.join(name));
        match bytes {
            Some(bytes) => {
                self.rig.blobs.put(DATASETS, &blob, bytes.to_vec()).await.unwrap();
                fs::write(path, bytes).unwrap();
            }
            None => {
                self.rig.blobs.delete(DATASETS, &blob).await.unwrap();
                fs::remove_file(path).unwrap();
            }
        }
    }

    fn in_place(&self) -> Output {
        self.rig.chunkctl(&["verify", "--job-id", "1", "--json"])
    }

    /// Without any settings.
    fn on_disk(&self) -> Output {
        let from = self.directory.display().to_string();
        let arguments = ["verify", "--from", &from, "--json"];
        support::programs::run(
            &support::programs::chunkctl(),
            &arguments,
            &[],
            self.rig.temp.path(),
        )
    }

    /// In both places a fault of this kind is found in this file, with these words.
    fn finds(&self, kind: &str, file: &str, words: &str) {
        for output in [self.in_place(), self.on_disk()] {
            assert_eq!(output.code, Some(1), "{output:?}");
            found(&output.json(), kind, file, words);
        }
    }
}

fn found(verified: &Value, kind: &str, file: &str, words: &str) {
    let is_it = |fault: &Value| {
        fault["kind"] == kind
            && fault["file"] == file
            && fault["what"].as_str().unwrap().contains(words)
    };
    let faults = verified["faults"].as_array().unwrap();
    assert!(faults.iter().any(is_it), "no {kind} in {file} with {words:?}: {verified:#}");
}

/// I2 I3: what a job leaves is whole, in storage and where it was fetched to.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_leaves_is_whole() {
    let job = Job::new().await;
    let whole = |output: Output| {
        assert_eq!(output.code, Some(0), "{output:?}");
        let verified = output.json();
        assert_eq!((&verified["n_faults"], &verified["notes"]), (&0.into(), &json!([])));
        assert_eq!((&verified["chunks"], &verified["images"]), (&2.into(), &9.into()));
    };
    whole(job.in_place());
    whole(job.on_disk());
    let said = job.rig.chunkctl(&["verify", "--job-id", "1"]);
    assert!(said.stdout.starts_with("job 1 is whole: 2 chunks with 9 images"), "{}", said.stdout);
    // The database may forget a job; its blobs stay.
    job.rig.execute("delete from chunk_handler.chunk").await;
    job.rig.execute("delete from chunk_handler.job").await;
    let forgotten = job.in_place();
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    assert!(forgotten.stdout.contains("does not know the job"), "{forgotten:?}");
}

/// A byte of an image, of a header and of the end; half of a shard; none of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_with_other_bytes_is_found() {
    let job = Job::new().await;
    let whole = job.read(SHARD).await;
    let item = job.manifest().await["items"][3].clone();
    let offset = item["offset"].as_u64().unwrap() as usize;
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    job.put(SHARD, Some(&flipped(offset + 5))).await;
    job.finds("shard", SHARD, "its sha256 is");
    job.finds("image", SHARD, "the image of 00000_00003 has sha256");
    job.put(SHARD, Some(&flipped(offset - 512))).await;
    job.finds("member", SHARD, "no header of a file at byte");
    job.put(SHARD, Some(&flipped(whole.len() - 1))).await;
    job.finds("member", SHARD, "something stands behind its end");
    job.put(SHARD, Some(&whole[..whole.len() / 2])).await;
    job.finds("shard", SHARD, "its manifest says");
    job.finds("member", SHARD, "it ends at byte");
    job.put(SHARD, None).await;
    job.finds("missing", SHARD, "its manifest is there");
    job.finds("missing", SHARD, "dataset.json lists it");
}

/// Two manifests that were exchanged; one that was edited; none.
#[tokio::test(flavor = "multi_thread")]
async fn another_manifest_is_found() {
    let job = Job::new().await;
    let other = "chunks/chunk_00001.manifest.json";
    let (own, others) = (job.read(MANIFEST).await, job.read(other).await);
    job.put(MANIFEST, Some(&others)).await;
    job.put(other, Some(&own)).await;
    job.finds("manifest", MANIFEST, "it is the manifest of chunk 1/1");
    job.finds("shard", SHARD, "its sha256 is");
    job.put(other, Some(&others)).await;
    let edit = async |change: &dyn Fn(&mut Value)| {
        let mut manifest: Value = serde_json::from_slice(&own).unwrap();
        change(&mut manifest);
        job.put(MANIFEST, Some(manifest.to_string().as_bytes())).await;
    };
    edit(&|manifest| manifest["items"].as_array_mut().unwrap().swap(0, 1)).await;
    job.finds("manifest", MANIFEST, "item 0 has idx 1");
    edit(&|manifest| drop(manifest["items"].as_array_mut().unwrap().pop())).await;
    job.finds("manifest", MANIFEST, "images_total is 7, its items and its shard say 6");
    edit(&|manifest| manifest["items"][3]["key"] = "00000_00004".into()).await;
    job.finds("manifest", MANIFEST, "item 3 has key \"00000_00004\", not 00000_00003");
    edit(&|manifest| manifest["items"][3]["offset"] = 7.into()).await;
    job.finds("image", SHARD, "its manifest says 7");
    edit(&|manifest| manifest["errors"] = json!({"http_404": 2})).await;
    job.finds("manifest", MANIFEST, "errors are others");
    job.finds("document", "stats.json", "status_dict");
    job.put(MANIFEST, Some(b"{}")).await;
    job.finds("unreadable", MANIFEST, "it is no manifest");
    job.put(MANIFEST, None).await;
    job.finds("missing", MANIFEST, "its shard is there");
}

/// Members at byte `from` and later of a tar, without its end.
fn without_end(tar: &[u8]) -> &[u8] {
    &tar[..tar.len() - 1024]
}

/// A sample that is there twice, one too many, one less, without its sidecar: also where shard, manifest
/// and hashes agree.
#[tokio::test(flavor = "multi_thread")]
async fn other_samples_are_found() {
    let job = Job::new().await;
    let (whole, manifest) = (job.read(SHARD).await, job.manifest().await);
    let mut archive = tar::Archive::new(whole.as_slice());
    let mut heads: Vec<usize> = Vec::new();
    for entry in archive.entries().unwrap() {
        heads.push(entry.unwrap().raw_header_position() as usize);
    }
    let put = async |tar: Vec<u8>| {
        let mut manifest = manifest.clone();
        manifest["shard"]["bytes"] = tar.len().into();
        manifest["bytes_out"] = tar.len().into();
        manifest["shard"]["sha256"] = hex(&Sha256::digest(&tar)).into();
        job.put(SHARD, Some(&tar)).await;
        job.put(MANIFEST, Some(manifest.to_string().as_bytes())).await;
    };
    let end = [0; 1024];
    let first = &whole[heads[0]..heads[2]];
    put([without_end(&whole), first, &end].concat()).await;
    job.finds("member", SHARD, "is there twice");
    put([without_end(&whole), &renamed(first), &end].concat()).await;
    job.finds("member", SHARD, "sample \"00000_09999\" is none of its manifest");
    let mut other = whole.clone();
    let format = other.windows(6).position(|bytes| bytes == b"\"jpeg\"").unwrap();
    other[format + 4] = b'x';
    put(other).await;
    job.finds("member", SHARD, "has another format than its manifest");
    put(whole[heads[2]..].to_vec()).await;
    job.finds("member", SHARD, "of its manifest is not in it");
    put([&whole[..heads[1]], &whole[heads[2]..]].concat()).await;
    job.finds("member", SHARD, "not an image and a json");
    // What lies between its members is no sample's.
    let apart = [&whole[..heads[1]], &whole[heads[2]..heads[4]], &whole[heads[1]..heads[2]], &end];
    put(apart.concat()).await;
    job.finds("member", SHARD, "is there twice");
}

/// The members of a sample under the key `00000_09999`.
fn renamed(sample: &[u8]) -> Vec<u8> {
    let (mut tar, mut archive) = (Vec::new(), tar::Archive::new(sample));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut header = entry.header().clone();
        let name = entry.path().unwrap().display().to_string();
        header.set_path(format!("00000_09999.{}", name.split_once('.').unwrap().1)).unwrap();
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        std::io::copy(&mut entry, &mut tar).unwrap();
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar
}

/// Documents that say something else, and what nobody names.
#[tokio::test(flavor = "multi_thread")]
async fn other_documents_and_strays_are_found() {
    let job = Job::new().await;
    let edit = async |name: &str, change: &dyn Fn(&mut Value)| {
        let mut document: Value = serde_json::from_slice(&job.read(name).await).unwrap();
        change(&mut document);
        job.put(name, Some(document.to_string().as_bytes())).await;
    };
    edit("dataset.json", &|dataset| dataset["totals"]["images_valid"] = 8.into()).await;
    job.finds("document", "dataset.json", "its images_valid is 8, the chunks say 9");
    edit("dataset.json", &|dataset| dataset["shards"][0]["sha256"] = "00".into()).await;
    job.finds("document", "dataset.json", "otherwise than its manifest");
    edit("dataset.json", &|dataset| drop(dataset["shards"].as_array_mut().unwrap().pop())).await;
    job.finds("stray", "chunks/chunk_00001.tar", "dataset.json does not list it");
    edit("stats.json", &|stats| stats["failed_to_resize"] = 0.into()).await;
    job.finds("document", "stats.json", "its failed_to_resize is 0");
    edit("chunks/sizes.json", &|sizes| sizes["chunk_00000.tar"] = 0.into()).await;
    job.finds("document", "chunks/sizes.json", "not those of dataset.json");
    job.put("README.md", Some(b"# Without a head")).await;
    job.finds("document", "README.md", "its head lacks");
    job.put("README.md", None).await;
    job.finds("missing", "README.md", "it is not there");
    for name in ["notes.txt", "chunks/chunk_00000.tar.bak"] {
        job.put(name, Some(b"x")).await;
        found(&job.in_place().json(), "stray", name, "nobody names it");
        let named = job.on_disk().json()["notes"].to_string();
        assert!(named.contains(name), "{named}");
    }
    job.put("chunks/more.tar", Some(b"x")).await;
    job.finds("stray", "chunks/more.tar", "nobody names it");
    // The other documents say that there was one.
    job.put("dataset.json", None).await;
    job.finds("missing", "dataset.json", "it is not there");
}

/// In storage: metadata and rows that say something else. What a cancelled chunk left is no fault.
#[tokio::test(flavor = "multi_thread")]
async fn other_metadata_and_rows_are_found() {
    let job = Job::new().await;
    job.rig.blobs.put(DATASETS, "job_1/chunks/chunk_00007.tar", b"left".to_vec()).await.unwrap();
    let left = job.in_place();
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(left.stdout.contains("1 shards without a manifest count for nothing"), "{left:?}");
    job.rig.execute("update chunk_handler.chunk set shard_bytes = 7 where chunk_index = 1").await;
    let verified = job.in_place().json();
    found(&verified, "database", "chunks/chunk_00001.tar", "the chunk's row says 7 bytes");
    found(&verified, "database", "dataset.json", "the database's rows say something else");
    let shard = job.read(SHARD).await;
    job.rig.blobs.put(DATASETS, "job_1/chunks/chunk_00000.tar", shard).await.unwrap();
    found(&job.in_place().json(), "metadata", SHARD, "its metadata say sha256 none");
    assert_eq!(job.on_disk().code, Some(0));
    // While a chunk runs again its new shard stands beside the old manifest and the old row.
    let reopen = "update chunk_handler.job set total_chunks = 3, ended_at = null, ended_as = null";
    job.rig.execute(reopen).await;
    let blob = format!("job_1/{SHARD}");
    job.rig.blobs.create_with(DATASETS, &blob, &[("claim", "another")]).await.unwrap();
    let running = job.in_place();
    assert_eq!(running.code, Some(0), "{running:?}");
    assert!(running.stdout.contains("1 chunks are being written"), "{running:?}");
}

/// Usage: one place, and help with examples.
#[tokio::test(flavor = "multi_thread")]
async fn one_place_is_verified() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["verify"]).code, Some(2));
    assert_eq!(rig.chunkctl(&["verify", "--job-id", "1", "--from", "."]).code, Some(2));
    let empty = rig.temp.path().display().to_string();
    let nothing = rig.chunkctl(&["verify", "--from", &empty]);
    assert!(nothing.code == Some(1) && nothing.stderr.contains("has nothing of a job"));
    for command in ["fetch", "verify"] {
        let help = rig.chunkctl(&[command, "--help"]).stdout;
        assert!(help.contains("Examples:\n  chunkctl "), "{help}");
    }
}
