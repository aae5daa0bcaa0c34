//! Near duplicates: what looks alike is found and kept, what has no structure is never alike.

use crate::corpus::{corpus, listed};
use crate::rig::{Rig, inline};
use chunk_handler::chunk::{Level, PerceptualHash, Reason};
use chunk_handler::pipeline::inspect::inspect;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// The place of the one variant of the photograph that shows it another way, mirrored. One that
/// only says it is to be rotated has the pixels of the others.
const MIRRORED: usize = 3;

/// What several files of the corpus show, as a part of their names; other pictures are not near.
const MOTIFS: [&str; 11] = [
    "ladybird",
    "seeding",
    "paris_",
    "seine_sdr",
    "apple_gainmap",
    "arctriomphe",
    "beacon",
    "s04",
    "hopper",
    "pillow_bmp_",
    "grayscale_square",
];

/// A picture of the corpus.
struct Picture {
    file: String,
    bytes: Vec<u8>,
    phash: Option<PerceptualHash>,
}

fn phash(bytes: &[u8]) -> Result<Option<PerceptualHash>, Reason> {
    let len = bytes.len().try_into().unwrap();
    inspect(&mut Cursor::new(bytes), len, Level::Slow).map(|info| info.phash)
}

/// One photograph in thirteen encodings is near itself; mirrored it is another picture.
#[test]
fn a_photograph_is_near_its_variants() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|path| path.extension().is_none_or(|e| e != "md"));
    let hashes: Vec<_> =
        files.iter().map(|path| phash(&fs::read(path).unwrap()).unwrap().unwrap()).collect();
    for (n, a) in hashes.iter().enumerate() {
        for (m, b) in hashes.iter().enumerate().filter(|(m, _)| *m != n) {
            let is_same = n != MIRRORED && m != MIRRORED;
            let distance = a.distance(*b);
            assert_eq!(distance <= PerceptualHash::NEAR, is_same, "{n} {m}: {distance}");
        }
    }
}

/// The corpus's groups of duplicates are found, exact or near; no flat picture has a
/// hash, and no two different pictures are near.
#[test]
fn duplicates_of_the_corpus_are_found_and_nothing_else() {
    let Some(pictures) = pictures() else { return };
    let flat = pictures.iter().find(|picture| picture.file.ends_with("flat_4000.jpg")).unwrap();
    assert_eq!(flat.phash, None);
    for group in ["ladybird", "seeding"] {
        let find = |end: &str| {
            let file = format!("good/dupes/{group}_{end}");
            pictures.iter().find(|picture| picture.file == file).unwrap()
        };
        let first = find("A.jpg");
        assert_eq!(Sha256::digest(&first.bytes), Sha256::digest(&find("A_copy.jpg").bytes));
        let distance = |end| first.phash.unwrap().distance(find(end).phash.unwrap());
        assert_eq!(distance("A_trailing.jpg"), 0);
        for end in ["A_q60.jpg", "A_scaled.png", "A_crop.jpg"] {
            assert!(distance(end) <= PerceptualHash::NEAR, "{group} {end}");
            println!("{:3} {group} {end}", distance(end));
        }
        assert!(distance("flip.jpg") > PerceptualHash::NEAR);
    }
    check_all_pairs(&pictures);
}

fn check_all_pairs(pictures: &[Picture]) {
    let hashed: Vec<(&str, PerceptualHash)> =
        pictures.iter().filter_map(|p| Some((p.file.as_str(), p.phash?))).collect();
    let (mut alike, mut nearest) = (0, (u32::MAX, "", ""));
    let mut wrong = Vec::new();
    for (n, (a, of_a)) in hashed.iter().enumerate() {
        for (b, of_b) in &hashed[..n] {
            let distance = of_a.distance(*of_b);
            let same = motif(a).is_some() && motif(a) == motif(b);
            alike += u32::from(distance <= PerceptualHash::NEAR);
            match same {
                false if distance <= PerceptualHash::NEAR => wrong.push((distance, a, b)),
                false => nearest = nearest.min((distance, a, b)),
                true => {}
            }
        }
    }
    println!("{} pictures, {} with a hash, {alike} pairs near", pictures.len(), hashed.len());
    println!("nearest of the others: {nearest:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn motif(file: &str) -> Option<&'static str> {
    let file = file.to_lowercase();
    MOTIFS.into_iter().find(|motif| file.contains(motif))
}

/// The good pictures of the corpus, and those with bytes behind them; none without the corpus.
fn pictures() -> Option<Vec<Picture>> {
    let root = corpus();
    let Ok(manifest) = fs::read_to_string(root.join("MANIFEST.tsv")) else {
        println!("skipped: no corpus at {}", root.display());
        return None;
    };
    let entries = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let wanted = entries.filter(|columns| {
        (columns[3] == "good" || columns[0].contains("_A_trailing")) && listed(columns[4]).is_some()
    });
    let picture = |columns: Vec<&str>| {
        let bytes = fs::read(root.join(columns[0])).unwrap();
        let phash = phash(&bytes).ok()?;
        Some(Picture { file: columns[0].to_owned(), bytes, phash })
    };
    Some(wanted.filter_map(picture).collect())
}

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
