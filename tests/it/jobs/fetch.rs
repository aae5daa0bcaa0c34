//! `chunkctl fetch`: a job's folder in a directory, whatever happens on the way.

use super::{
    again::{again, handler_of},
    control::{ENDED, say, with_total},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use support::{
    origin::picture::jpeg,
    programs::{self, Output},
    proxy::{Calls, Fate, Proxy, Wire},
    raw::{Act, Raw, answer},
    rig::{DATASETS, Handler, Rig, inline, wake_up},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Bytes that are asked for at once.
const BLOCK: u64 = 8 << 20;

/// The connection string of whoever shall meet what listens at `address`.
pub(super) fn through(rig: &Rig, address: &str) -> (String, String) {
    let endpoint = rig.storage.split_once("BlobEndpoint=http://").unwrap().1;
    let real = endpoint.split_once('/').unwrap().0.to_owned();
    let blobs = |host: &str| format!("BlobEndpoint=http://{host}/");
    (real.clone(), rig.storage.replace(&blobs(&real), &blobs(address)))
}

/// A proxy before blob storage that counts what comes from there.
struct Meter {
    storage: String,
    bytes: Arc<AtomicU64>,
}

impl Meter {
    async fn start(rig: &Rig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (real, storage) = through(rig, &listener.local_addr().unwrap().to_string());
        let bytes = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&bytes);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&real).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    tokio::io::copy(&mut from_client, &mut to_server).await.unwrap_or_default();
                });
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                        count.fetch_add(n as u64, Ordering::SeqCst);
                        if to_client.write_all(&buffer[..n]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { storage, bytes }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

/// A job of so many chunks with so many pictures of 8 MB, or small ones, that has ended.
pub async fn job(rig: &Rig, chunks: u64, pictures: u64, path: impl Fn(u64) -> String) -> Handler {
    let handler = rig.handler().await;
    for chunk in 0..chunks {
        let numbers = chunk * pictures..(chunk + 1) * pictures;
        let urls: Vec<String> = numbers.map(|n| rig.origin.url(&path(n))).collect();
        let message = with_total(inline(1, chunk as i32, &urls), chunks as i32);
        say(&handler, &message).await;
    }
    rig.until(ENDED).await;
    handler
}

pub fn small(n: u64) -> String {
    format!("/img/{n}")
}

fn large(n: u64) -> String {
    format!("/big/{n}?mb=8")
}

pub fn target(rig: &Rig) -> PathBuf {
    rig.temp.path().join("fetched")
}

pub fn fetch_with(rig: &Rig, storage: &str, more: &[&str]) -> Output {
    let to = target(rig).display().to_string();
    let arguments = [&["fetch", "--job-id", "1", "--to", &to, "--json"], more].concat();
    rig.chunkctl_with(&[("ChunkStorage", storage)], &arguments)
}

/// Fetches as it should be.
pub fn fetch(rig: &Rig) -> Value {
    let output = fetch_with(rig, &rig.storage, &[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.json()
}

/// The files below a directory by their names, without the mark of a fetch.
pub fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for below in ["", "chunks/"] {
        for entry in fs::read_dir(directory.join(below)).unwrap().flatten() {
            if entry.path().is_file() && entry.file_name() != ".fetch.json" {
                let name = format!("{below}{}", entry.file_name().to_str().unwrap());
                files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// What storage has of the job, by names in its folder.
pub async fn stored(rig: &Rig) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in rig.blobs.list(DATASETS, "job_1/").await.unwrap() {
        let bytes = rig.blobs.read(DATASETS, &name).await.unwrap().to_vec();
        files.insert(name.strip_prefix("job_1/").unwrap().to_owned(), bytes);
    }
    files
}

/// Two folders are the same; what differs is said by name, not by bytes.
pub fn assert_same(here: &BTreeMap<String, Vec<u8>>, there: &BTreeMap<String, Vec<u8>>) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(here), names(there));
    let differ: Vec<_> = here.keys().filter(|name| here[*name] != there[*name]).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// Killed ten times, it ends right, and has transferred at most one block for each stream and kill more
/// than the job has. Nothing but the job's files is left in the directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_killed_goes_on_where_it_was() {
    const STREAMS: u64 = 2;
    const KILLS: u64 = 10;
    let rig = Rig::new().await;
    let _handler = job(&rig, 5, 7, large).await;
    let expected = stored(&rig).await;
    let total: u64 = expected.values().map(|bytes| bytes.len() as u64).sum();
    let meter = Meter::start(&rig).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}, {total} bytes");
    let mut rng = fastrand::Rng::with_seed(seed);
    let to = target(&rig).display().to_string();
    for _ in 0..KILLS {
        let mut command = Command::new(programs::chunkctl());
        command.args(["fetch", "--job-id", "1", "--to", &to, "--parallel", &STREAMS.to_string()]);
        command.env_clear().envs(rig.environment()).env("ChunkStorage", &meter.storage);
        let mut fetch = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Always more than what one stream may lose.
        let enough = meter.bytes() + rng.u64(20 << 20..28 << 20);
        while meter.bytes() < enough {
            assert!(fetch.try_wait().unwrap().is_none(), "it is over before it is killed");
            tokio::task::yield_now().await;
        }
        fetch.kill().unwrap();
        fetch.wait().unwrap();
    }
    let last = fetch_with(&rig, &meter.storage, &["--parallel", &STREAMS.to_string()]);
    assert_eq!(last.code, Some(0), "{last:?}");
    assert_same(&files(&target(&rig)), &expected);
    let (more, most) = (meter.bytes() - total, KILLS * STREAMS * BLOCK);
    println!("{more} bytes more than the job has, of {most} that are allowed");
    assert!(more <= most, "{more} bytes more than the job has, {most} are allowed");
}

/// What is right is left alone; what is not, is missing or is of an earlier version is brought. Files of
/// others stay as they are, and so does a card that somebody completed.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_not_right_comes() {
    let rig = Rig::new().await;
    let _handler = job(&rig, 2, 3, small).await;
    let expected = stored(&rig).await;
    assert_eq!(fetch(&rig)["files_fetched"], 8);
    let directory = target(&rig);
    assert_same(&files(&directory), &expected);
    let again = fetch(&rig);
    assert_eq!((&again["files_fetched"], &again["bytes_fetched"]), (&0.into(), &0.into()));
    assert_eq!((&again["files_kept"], &again["chunks"]), (&8.into(), &2.into()));

    let damage = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(directory.join(name)).unwrap();
        change(&mut bytes);
        fs::write(directory.join(name), bytes).unwrap();
    };
    damage("chunks/chunk_00000.tar", &|bytes| bytes[700] ^= 1);
    damage("chunks/chunk_00001.manifest.json", &|bytes| bytes[9] ^= 1);
    damage("README.md", &|bytes| bytes.extend_from_slice(b"Licence: mine"));
    fs::remove_file(directory.join("stats.json")).unwrap();
    let part = directory.join("chunks/chunk_00001.tar.0123456789abcdef.part");
    fs::write(&part, "of another version").unwrap();
    fs::write(directory.join("notes.txt"), "mine").unwrap();
    fs::write(directory.join("chunks/chunk_00007.tar"), "left").unwrap();
    let mended = fetch(&rig);
    assert_eq!((&mended["files_fetched"], &mended["files_kept"]), (&3.into(), &5.into()));
    assert!(mended["changed"][0].as_str().unwrap().starts_with("README.md was changed here"));
    assert_eq!(mended["leftovers"], serde_json::json!(["chunks/chunk_00007.tar", "notes.txt"]));
    let mut here = files(&directory);
    assert_eq!(here.remove("notes.txt").unwrap(), b"mine");
    assert_eq!(here.remove("chunks/chunk_00007.tar").unwrap(), b"left");
    let card = here.insert("README.md".to_owned(), expected["README.md"].clone()).unwrap();
    assert!(card.ends_with(b"Licence: mine"));
    assert_same(&here, &expected);

    // A newer card comes beside it; where it is nobody's, a newer document replaces the older one.
    for name in ["README.md", "stats.json"] {
        let newer = [&expected[name][..], b" "].concat();
        rig.blobs.put(DATASETS, &format!("job_1/{name}"), newer).await.unwrap();
    }
    let newer = stored(&rig).await;
    assert_eq!(fetch(&rig)["changed"].as_array().unwrap().len(), 1);
    let mut here = files(&directory);
    assert!(here["README.md"].ends_with(b"Licence: mine"));
    assert_eq!(here.remove("README.md.new").unwrap(), newer["README.md"]);
    assert_eq!(here["stats.json"], newer["stats.json"]);
}

/// Blobs that are none of a job's folder do not come, whatever they are called.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_under_the_names_of_others() {
    let rig = Rig::new().await;
    let _handler = job(&rig, 1, 1, small).await;
    let expected = stored(&rig).await;
    for name in
        ["job_1/notes.txt", "job_1/chunks/%2e%2e%2f%2e%2e%2f%2e%2e%2fescaped", "job_1/a/b.tar"]
    {
        rig.blobs.put(DATASETS, name, b"x".to_vec()).await.unwrap();
    }
    let summary = fetch(&rig);
    assert_eq!(summary["strangers"].as_array().unwrap().len(), 3, "{summary}");
    assert_same(&files(&target(&rig)), &expected);
    assert!(!rig.temp.path().join("escaped").exists());
}

/// A chunk runs again while its shard is on its way: what it has then comes, and nothing of what it had.
/// Meanwhile nobody else writes to the directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_changes_on_its_way_comes_as_it_is_now() {
    let rig = Rig::new().await;
    let raw = Raw::start(|_, earlier| match earlier {
        0 => Act::Send(answer(200, "Content-Type: image/jpeg\r\n", &jpeg(1, "once"))),
        _ => Act::Send(answer(404, "", b"gone")),
    });
    let handler = handler_of(&rig, &raw).await;
    let urls = [raw.url("/once"), rig.origin.url(&large(0)), rig.origin.url(&large(1))];
    say(&handler, &with_total(inline(1, 0, &urls), 1)).await;
    rig.until(ENDED).await;
    let calls = Calls::default();
    let (real, _) = through(&rig, "");
    let proxy = Proxy::start("blob", Wire::Http, &real, &calls).await.unwrap();
    let (_, storage) = through(&rig, &proxy.address().to_string());
    let mut n = 0;
    calls.restart(move |call| {
        n += usize::from(call.what.starts_with("GET chunk_00000.tar"));
        // The second block of the shard, once.
        if call.what.starts_with("GET chunk_00000.tar") && n == 2 {
            Fate::HoldBefore
        } else {
            Fate::Pass
        }
    });
    let output = std::thread::scope(|scope| {
        let fetch = scope.spawn(|| fetch_with(&rig, &storage, &[]));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                calls.held().await;
                let second = fetch_with(&rig, &rig.storage, &[]);
                assert_eq!(second.code, Some(1), "{second:?}");
                assert!(second.stderr.contains("another fetch writes to"), "{}", second.stderr);
                again(&rig, "0");
                assert!(say(&handler, &wake_up(1, 0)).await.contains("completed, 2 of 3"));
                rig.until(ENDED).await;
                calls.release();
            });
        });
        fetch.join().unwrap()
    });
    assert_eq!(output.code, Some(0), "{output:?}");
    let here = files(&target(&rig));
    assert_same(&here, &stored(&rig).await);
    let manifest: Value =
        serde_json::from_slice(&here["chunks/chunk_00000.manifest.json"]).unwrap();
    assert_eq!(manifest["fence"], 2);
}

/// Of a job that is not over what is complete comes; the rest comes later, with the same command.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_not_over_comes_as_far_as_it_is() {
    let rig = Rig::new().await;
    let unknown = fetch_with(&rig, &rig.storage, &[]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    let handler = rig.handler().await;
    let unknown = fetch_with(&rig, &rig.storage, &[]);
    assert!(unknown.stderr.contains("job 1 is unknown"), "{unknown:?}");
    let urls = rig.pictures(4);
    say(&handler, &with_total(inline(1, 0, &urls[..2]), 2)).await;
    // What a chunk that is being written looks like.
    rig.blobs.create(DATASETS, "job_1/chunks/chunk_00001.tar").await.unwrap();
    let to = target(&rig).display().to_string();
    let first = rig.chunkctl(&["fetch", "--job-id", "1", "--to", &to]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stderr.contains("it has here 1 of 2 chunks;"), "{}", first.stderr);
    assert_eq!(files(&target(&rig)).len(), 2);
    rig.blobs.delete(DATASETS, "job_1/chunks/chunk_00001.tar").await.unwrap();
    say(&handler, &with_total(inline(1, 1, &urls[2..]), 2)).await;
    rig.until(ENDED).await;
    let last = fetch(&rig);
    assert_eq!((&last["files_kept"], &last["files_fetched"]), (&2.into(), &6.into()));
    assert_same(&files(&target(&rig)), &stored(&rig).await);
}

/// What storage has damaged or lost is named, and everything else comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_in_storage_is_named() {
    let rig = Rig::new().await;
    let _handler = job(&rig, 3, 2, small).await;
    let shard = "job_1/chunks/chunk_00001.tar";
    let manifest = rig.manifest(1, 1).await;
    let told = |word: &str| manifest[word].as_str().unwrap().to_owned();
    let (claim, sha256) = (told("claim"), manifest["shard"]["sha256"].as_str().unwrap().to_owned());
    let metadata = [("claim", claim.as_str()), ("sha256", sha256.as_str())];
    rig.blobs.create_with(DATASETS, shard, &metadata).await.unwrap();
    rig.blobs.delete(DATASETS, "job_1/chunks/chunk_00002.manifest.json").await.unwrap();
    let output = fetch_with(&rig, &rig.storage, &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let failed = output.json()["failed"].to_string();
    assert!(failed.contains("chunk_00001.tar: its bytes in storage are not those"), "{failed}");
    assert!(failed.contains("chunk_00002.manifest.json: storage lost it\""), "{failed}");
    assert_eq!(output.json()["failed"].as_array().unwrap().len(), 2, "{failed}");
    let here = files(&target(&rig));
    assert!(here.contains_key("chunks/chunk_00000.tar") && here.contains_key("dataset.json"));
    assert!(!here.keys().any(|name| name.contains("chunk_00001.tar")), "{:?}", here.keys());
}
