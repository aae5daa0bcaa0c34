//! Shards load as they are where people load them: `webdataset` and Hugging Face `datasets`.

mod captions;
mod readme;

pub use captions::captions_and_classes_load_as_text_and_number;
pub use readme::the_snippets_of_the_readme_run;

use crate::condition::python_with_loaders;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};
use support::{
    checkout::root,
    rig::{DATASETS, Rig, inline, wake_up},
};

/// How many pictures the origin has before it repeats them with other bytes.
const N_FIXTURES: u64 = 14;

/// What `load.py` found with each loader.
#[derive(Debug, Deserialize)]
struct Loaded {
    webdataset: Found,
    datasets: Found,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Found {
    Samples(Vec<Sample>),
    Refusal(String),
}

#[derive(Debug, Deserialize)]
struct Sample {
    key: String,
    member: String,
    size: (u64, u64),
    sha256: String,
    orientation: u64,
    sidecar: Value,
}

impl Found {
    fn samples(&self) -> &[Sample] {
        match self {
            Self::Samples(samples) => samples,
            Self::Refusal(refusal) => panic!("the loader refused: {refusal}"),
        }
    }
}

/// Downloads shards, given as groups of (job, chunk), and loads each group.
async fn load(rig: &Rig, groups: &[&[(i64, i32)]]) -> Vec<Loaded> {
    let mut command = Command::new(python_with_loaders().as_ref().unwrap());
    command.arg(root().join("tests/machine/loaders/load.py"));
    command.arg(rig.temp.path().join("cache"));
    for group in groups {
        let mut paths = Vec::new();
        for (job_id, index) in *group {
            let path = rig.temp.path().join(format!("{job_id}-{index}.tar"));
            std::fs::write(&path, rig.shard(*job_id, *index).await).unwrap();
            paths.push(path.display().to_string());
        }
        command.arg(paths.join(","));
    }
    json_of(&mut command)
}

/// What a script prints.
fn json_of<T: DeserializeOwned>(command: &mut Command) -> T {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// What a script finds in a folder, beside which it runs.
fn run_beside<T: DeserializeOwned>(rig: &Rig, script: &str, cache: &str, folder: &Path) -> T {
    let mut command = Command::new(python_with_loaders().as_ref().unwrap());
    command.arg(root().join("tests/machine/loaders").join(script));
    command.arg(rig.temp.path().join(cache)).arg(folder.file_name().unwrap());
    json_of(command.current_dir(folder.parent().unwrap()))
}

/// The folder of a job as it stands, on the disk.
async fn download(rig: &Rig, job_id: i64) -> PathBuf {
    let prefix = format!("job_{job_id}/");
    let folder = rig.temp.path().join(&prefix);
    std::fs::create_dir_all(folder.join("chunks")).unwrap();
    for blob in rig.blobs.list(DATASETS, &prefix).await.unwrap() {
        let bytes = rig.blobs.read(DATASETS, &blob).await.unwrap();
        std::fs::write(folder.join(blob.strip_prefix(&prefix).unwrap()), bytes).unwrap();
    }
    folder
}

/// The valid items of these chunks' manifests, by key.
async fn kept(rig: &Rig, chunks: &[(i64, i32)]) -> BTreeMap<String, Value> {
    let mut kept = BTreeMap::new();
    for (job_id, index) in chunks {
        for item in rig.manifest(*job_id, *index).await["items"].as_array().unwrap() {
            if item["status"] == "valid" {
                kept.insert(item["key"].as_str().unwrap().to_owned(), item.clone());
            }
        }
    }
    kept
}

/// Every sample of the manifests came out of the loader once, byte for byte, with its size.
fn assert_unchanged(samples: &[Sample], kept: &BTreeMap<String, Value>, turns: bool) {
    let keys: Vec<&String> = samples.iter().map(|sample| &sample.key).collect();
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(sorted, kept.keys().collect::<Vec<_>>());
    for sample in samples {
        let item = &kept[&sample.key];
        let pixels = |name: &str| item[name].as_u64().unwrap();
        // Hugging Face turns a picture as its orientation says; shard and manifest leave it alone.
        let is_turned = turns && sample.orientation >= 5;
        let (width, height) = if is_turned { ("height", "width") } else { ("width", "height") };
        assert_eq!(sample.size, (pixels(width), pixels(height)), "{item}");
        assert_eq!(item["sha256"], *sample.sha256);
        for name in ["url", "width", "height", "format", "file_size", "sha256"] {
            assert_eq!(sample.sidecar[name], item[name], "{name} of {item}");
        }
    }
}

/// C7: a job of every format, with labels and meta, in three chunks: both loaders give back each picture
/// that the manifests call valid, its bytes, its size, and what was said of it.
pub async fn both_loaders_read_every_format_unchanged() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let mut urls = rig.pictures(N_FIXTURES);
    urls.extend(["/404", "/same/1", "/same/1", "/html"].map(|path| rig.origin.url(path)));
    let meta = |idx: usize| json!({"position": idx, "tags": ["ä", null], "deep": {"x": 1.5}});
    let line = |(idx, url): (usize, &String)| match idx % 3 {
        0 => json!({"url": url}).to_string(),
        1 => json!({"url": url, "label": format!("label {idx}")}).to_string(),
        _ => json!({"url": url, "label": "ß", "meta": meta(idx)}).to_string(),
    };
    let lines: Vec<String> = urls.iter().enumerate().map(line).collect();
    let list = rig.list("all.jsonl", &lines);
    let submitted = rig.chunkctl(&[
        "submit",
        "--job-id",
        "1",
        "--urls",
        list.to_str().unwrap(),
        "--chunk-size",
        "6",
        "--label",
        "none",
    ]);
    assert_eq!(submitted.code, Some(0), "{}", submitted.stderr);
    let chunks = [(1, 0), (1, 1), (1, 2)];
    for (job_id, index) in chunks {
        let (status, answer) =
            handler.deliver(&format!("chunk-{index}"), &wake_up(job_id, index)).await;
        assert_eq!(status, 200, "{answer}");
    }
    let kept = kept(&rig, &chunks).await;
    assert_eq!(kept.len(), urls.len() - 3, "all but 404, HTML and a duplicate");
    let [loaded] = &load(&rig, &[&chunks]).await[..] else { panic!("one group") };
    for (found, turns) in [(&loaded.webdataset, false), (&loaded.datasets, true)] {
        let samples = found.samples();
        assert_unchanged(samples, &kept, turns);
        for sample in samples {
            assert_eq!(sample.member, "jpg");
            let (chunk, idx) = sample.key.split_once('_').unwrap();
            let idx = chunk.parse::<usize>().unwrap() * 6 + idx.parse::<usize>().unwrap();
            assert_eq!(sample.sidecar["url"], urls[idx]);
            let label = match idx % 3 {
                0 => "none".to_owned(),
                1 => format!("label {idx}"),
                _ => "ß".to_owned(),
            };
            assert_eq!(sample.sidecar["label"], label);
            let said: Value =
                serde_json::from_str(sample.sidecar["meta"].as_str().unwrap()).unwrap();
            assert_eq!(said, if idx % 3 == 2 { meta(idx) } else { json!({}) });
        }
    }
}

/// Members named after their format: `webdataset` reads any mixture, `datasets` shards of one format.
pub async fn original_extensions_load_as_far_as_loaders_take_them() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    // The fixture of each format; what lies a whole round further is the same picture with other bytes.
    let formats = [("jpg", 0), ("png", 2), ("webp", 5), ("gif", 8), ("tif", 11), ("bmp", 13)];
    let mut sources: Vec<Vec<String>> = vec![rig.pictures(N_FIXTURES)];
    sources.extend(formats.map(|(_, first)| {
        let numbers = (0..3).map(|round| first + round * N_FIXTURES);
        numbers.map(|n| rig.origin.url(&format!("/img/{n}"))).collect()
    }));
    let mut chunks = Vec::new();
    for (job_id, urls) in (1..).zip(&sources) {
        let mut message = inline(job_id, 0, urls);
        message["output"] = json!({"extension": "original"});
        let (status, answer) = handler.deliver(&format!("job-{job_id}"), &message).await;
        assert_eq!(status, 200, "{answer}");
        chunks.push([(job_id, 0)]);
    }
    let groups: Vec<&[(i64, i32)]> = chunks.iter().map(|chunk| &chunk[..]).collect();
    let loaded = load(&rig, &groups).await;
    let mixed = kept(&rig, groups[0]).await;
    assert_unchanged(loaded[0].webdataset.samples(), &mixed, false);
    let Found::Refusal(refusal) = &loaded[0].datasets else {
        panic!("datasets reads mixtures now")
    };
    // By the first five samples, or at the first later one that lacks their member: samples stand
    // in the order of their arrival.
    let words = ["don't share the same prefix or the same types", "'NoneType' object"];
    assert!(words.iter().any(|words| refusal.contains(words)), "{refusal}");
    for ((loaded, group), (extension, _)) in loaded[1..].iter().zip(&groups[1..]).zip(formats) {
        let kept = kept(&rig, group).await;
        assert_eq!(kept.len(), 3, "{extension}");
        for (found, turns) in [(&loaded.webdataset, false), (&loaded.datasets, true)] {
            assert_unchanged(found.samples(), &kept, turns);
            assert!(found.samples().iter().all(|sample| sample.member == extension), "{found:?}");
        }
    }
}

/// A chunk of which nothing is kept has a shard without samples, which both loaders pass over; only
/// `datasets` learns the columns from the first shard, so that this must not be the first. In
/// `dataset.json` it is the last.
pub async fn an_empty_shard_is_passed_over() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    handler.deliver("empty", &inline(1, 0, &[rig.origin.url("/404")])).await;
    handler.deliver("full", &inline(1, 1, &rig.pictures(2))).await;
    let [empty, full] = [(1, 0), (1, 1)];
    assert_eq!(rig.chunkctl(&["control", "close", "--job-id", "1"]).code, Some(0));
    rig.until("select bool_and(ended_at is not null) from chunk_handler.job").await;
    let listed = rig.blobs.read(DATASETS, "job_1/dataset.json").await.unwrap();
    let listed: Value = serde_json::from_slice(&listed).unwrap();
    assert_eq!(
        (&listed["shards"][0]["samples"], &listed["shards"][1]["samples"]),
        (&json!(2), &json!(0))
    );
    let kept = kept(&rig, &[full]).await;
    let loaded = load(&rig, &[&[full, empty], &[empty, full]]).await;
    assert_unchanged(loaded[0].webdataset.samples(), &kept, false);
    assert_unchanged(loaded[0].datasets.samples(), &kept, true);
    assert_unchanged(loaded[1].webdataset.samples(), &kept, false);
    assert!(
        matches!(loaded[1].datasets, Found::Refusal(_)),
        "datasets begins with empty shards now"
    );
}

/// What `folder.py` found.
#[derive(Debug, Deserialize)]
struct Folder {
    columns: Vec<String>,
    keys: Option<Vec<String>>,
    sizes: u64,
    of_card: Vec<u64>,
}

/// A job's folder as it stands is a dataset of its pictures, also when its first shard is empty; without the
/// card loaders take the manifests for it. `open_clip`'s count of it is the number of samples.
pub async fn the_folder_of_a_job_is_a_dataset() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    handler.deliver("empty", &inline(1, 0, &[rig.origin.url("/404")])).await;
    handler.deliver("full", &inline(1, 1, &rig.pictures(3))).await;
    handler.deliver("other", &inline(1, 2, &[rig.origin.url("/same/1")])).await;
    assert_eq!(rig.chunkctl(&["control", "close", "--job-id", "1"]).code, Some(0));
    rig.until("select bool_and(ended_at is not null) from chunk_handler.job").await;
    let folder = download(&rig, 1).await;
    let kept: Vec<String> = kept(&rig, &[(1, 1), (1, 2)]).await.into_keys().collect();
    let loaded = run_beside::<Folder>(&rig, "folder.py", "with", &folder);
    assert_eq!(loaded.keys.as_ref(), Some(&kept), "{loaded:?}");
    assert_eq!(loaded.sizes, 4);
    assert_eq!(loaded.of_card, [4, 4, 4], "each way gives the whole job");
    let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.contains("| all | 5 |\n| kept | 4 |"), "{card}");
    assert!(card.contains("| `http_404` | 1 |"), "{card}");
    std::fs::remove_file(folder.join("README.md")).unwrap();
    let loaded = run_beside::<Folder>(&rig, "folder.py", "without", &folder);
    assert_eq!(loaded.keys, None, "{:?}", loaded.columns);
}
