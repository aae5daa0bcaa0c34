//! Minimum sizes: what each mode keeps, what a message may ask for besides, and what is said of the rest.

use serde_json::{Value, json};
use std::io::Write as _;
use support::{
    origin::picture::crc32,
    raw::{Act, Raw, answer},
    rig::{Handler, Rig},
    verdict::{handler, verdicts_of},
};

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind[..], data].concat();
    let len = u32::try_from(data.len()).unwrap();
    [&len.to_be_bytes()[..], &body, &crc32(&body).to_be_bytes()].concat()
}

/// A grey PNG of these sides and of exactly so many bytes.
fn png(width: u32, height: u32, bytes: usize) -> Vec<u8> {
    let pixels = vec![0; ((width + 1) * height) as usize];
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&pixels).unwrap();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let data = [chunk(b"IDAT", &encoder.finish().unwrap()), chunk(b"IEND", &[])];
    let start = [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &header)[..]].concat();
    // A text of two more bytes than its padding, in a chunk of twelve more.
    let padding =
        bytes.checked_sub(start.len() + data.concat().len() + 14).expect("room for a text");
    let text = chunk(b"tEXt", &[b"k\0", &vec![b'x'; padding][..]].concat());
    let file = [start, text, data.concat()].concat();
    assert_eq!(file.len(), bytes);
    file
}

/// Sides and bytes of a picture, and whether modes lenient, strict and `report_only` take it without a word.
const PICTURES: [(u32, u32, usize, [bool; 3]); 11] = [
    (1, 1, 3000, [false, false, true]),
    (8000, 1, 3000, [false, false, true]),
    (1, 8000, 3000, [false, false, true]),
    (24, 25, 3001, [false, false, true]),
    (25, 24, 3002, [false, false, true]),
    (25, 25, 512, [true, false, false]),
    (25, 25, 511, [false, false, false]),
    (99, 100, 3003, [true, false, true]),
    (100, 100, 2048, [true, true, true]),
    (100, 100, 2047, [true, false, true]),
    (100, 100, 1023, [true, false, false]),
];

async fn run(rig: &Rig, handler: &Handler, raw: &Raw, job_id: i64, validation: Value) -> Value {
    let urls: Vec<String> = (0..PICTURES.len()).map(|n| raw.url(&format!("/{n}.jpg"))).collect();
    let message = json!({"version": 1, "job_id": job_id, "chunk_index": 0, "validation": validation,
        "dedupe": {"scope": "chunk"}, "source": {"urls": urls}});
    let (status, answer) = handler.deliver(&format!("{job_id}"), &message).await;
    assert_eq!(status, 200, "{answer}");
    let manifest = rig.manifest(job_id, 0).await;
    assert_eq!(verdicts_of(&manifest, &urls).len(), PICTURES.len());
    manifest
}

/// What a manifest says of each picture: too small, kept with a violation, or kept.
fn said(manifest: &Value) -> Vec<&str> {
    let of = |item: &Value| match (item["status"].as_str(), item["reason"].as_str()) {
        (Some("invalid"), Some("too_small")) if item["key"].is_null() => "too_small",
        (Some("valid"), None) if item["violations"] == json!(["too_small"]) => "told",
        (Some("valid"), None) if item.get("violations").is_none() => "kept",
        _ => panic!("{item}"),
    };
    manifest["items"].as_array().unwrap().iter().map(of).collect()
}

/// Cases 105, 108, 109: a picture of one pixel, a line, and pictures one pixel or byte below a minimum are
/// `too_small` in the mode that has it; `report_only` keeps all and says which. Explicit fields win over
/// every mode. All of it at every level; all are called .jpg, and all are PNGs.
#[tokio::test(flavor = "multi_thread")]
async fn every_mode_has_its_minimum_sizes() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| {
        let n: usize = path.trim_matches(['/', '.', 'j', 'p', 'g']).parse().unwrap();
        let (width, height, bytes, _) = PICTURES[n];
        Act::Send(answer(200, "Content-Type: image/jpeg\r\n", &png(width, height, bytes)))
    });
    let handler = handler(&rig, &[&raw], &[]).await;
    let mut job_id = 0;
    for level in ["fast", "medium", "slow"] {
        for (at, mode) in ["lenient", "strict", "report_only"].into_iter().enumerate() {
            job_id += 1;
            let validation = json!({"level": level, "mode": mode});
            let manifest = run(&rig, &handler, &raw, job_id, validation).await;
            let other = if mode == "report_only" { "told" } else { "too_small" };
            let wanted: Vec<&str> =
                PICTURES.iter().map(|row| if row.3[at] { "kept" } else { other }).collect();
            assert_eq!(said(&manifest), wanted, "{mode} at {level}");
            let items = manifest["items"].as_array().unwrap();
            let kept = || items.iter().filter(|item| item["status"] == "valid");
            assert!(kept().all(|item| item["format"] == "png"), "by content: {manifest}");
            assert_eq!(manifest["shard"]["samples"], json!(kept().count()));
        }
    }
    for (explicit, wanted) in [
        (
            json!({"mode": "strict", "min_width": 1, "min_height": 1, "min_file_size_bytes": 0}),
            "kept",
        ),
        (json!({"mode": "lenient", "min_height": 8001}), "too_small"),
        (json!({"mode": "lenient", "min_width": 8001}), "too_small"),
        (json!({"mode": "lenient", "min_file_size_bytes": 3004}), "too_small"),
        (json!({"mode": "report_only", "min_file_size_bytes": 3004}), "told"),
    ] {
        job_id += 1;
        let manifest = run(&rig, &handler, &raw, job_id, explicit.clone()).await;
        assert_eq!(said(&manifest), [wanted; PICTURES.len()], "{explicit}");
    }
    // Nothing said is lenient.
    let manifest = run(&rig, &handler, &raw, job_id + 1, json!({})).await;
    let lenient = PICTURES.iter().map(|row| if row.3[0] { "kept" } else { "too_small" });
    assert_eq!(said(&manifest), lenient.collect::<Vec<_>>());
}
