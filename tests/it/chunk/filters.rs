//! What a message, or an operator, does not want of pictures: format, pixels, aspect ratio, hosts, bytes.

use serde_json::{Value, json};
use std::{collections::HashMap, fs, path::PathBuf};
use support::{
    checkout,
    raw::{Act, Raw, answer},
    rig::{Handler, Rig},
    verdict::{handler, verdicts_of},
};

/// The pictures of the checkout, and those of a corpus where there is one: name and file.
fn pictures() -> Vec<(String, PathBuf)> {
    let fixtures =
        ["images", "images-bad"].map(|at| checkout::root().join(format!("tests/fixtures/{at}")));
    let corpus = std::env::var_os("PIXCRAWLER_TEST_CORPUS").map(PathBuf::from);
    let mut folders: Vec<PathBuf> = fixtures.into_iter().chain(corpus).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let extension = path.extension().unwrap_or_default().to_string_lossy().to_string();
            match extension.as_str() {
                "md" | "tsv" => {}
                _ if path.is_dir() => folders.push(path),
                _ => files.push(path),
            }
        }
    }
    files.sort();
    let name = |(n, path): (usize, PathBuf)| (format!("/{n}.jpg"), path);
    files.into_iter().enumerate().map(name).collect()
}

/// Serves files, each under its name.
fn serve(files: &[(String, PathBuf)]) -> Raw {
    let files: HashMap<String, PathBuf> = files.iter().cloned().collect();
    Raw::start(move |path, _| {
        let bytes = fs::read(&files[path]).unwrap();
        Act::Send(answer(200, "Content-Type: image/jpeg\r\n", &bytes))
    })
}

async fn run(
    rig: &Rig,
    handler: &Handler,
    job_id: i64,
    urls: &[String],
    validation: &Value,
) -> Vec<Value> {
    let message = json!({"version": 1, "job_id": job_id, "chunk_index": 0, "validation": validation,
        "dedupe": {"scope": "chunk"}, "source": {"urls": urls}});
    let (status, answer) = handler.deliver(&format!("{job_id}"), &message).await;
    assert_eq!(status, 200, "{answer}");
    let manifest = rig.manifest(job_id, 0).await;
    assert_eq!(verdicts_of(&manifest, urls).len(), urls.len());
    manifest["items"].as_array().unwrap().clone()
}

/// What these filters must say of a picture of which a run without them said `item`: reason and detail.
fn expected(item: &Value, formats: &[&str], pixels: u64, ratio: u64) -> [Value; 2] {
    let size = item["width"].as_u64().zip(item["height"].as_u64());
    if item["format"].as_str().is_some_and(|format| !formats.contains(&format)) {
        return ["unsupported_format".into(), "not_wanted".into()];
    }
    match size {
        Some((width, height)) if width * height > pixels => ["too_large".into(), "pixels".into()],
        Some((width, height)) if width.max(height) > ratio * width.min(height) => {
            ["aspect_ratio".into(), Value::Null]
        }
        _ => [item["reason"].clone(), item["detail"].clone()],
    }
}

/// Case 320: each picture of the fixtures and of the corpus has the verdict that its header says, good or
/// bad; what is not filtered has the verdict that it has without filters.
#[tokio::test(flavor = "multi_thread")]
async fn every_picture_is_filtered_by_its_header() {
    let rig = Rig::new().await;
    let files = pictures();
    let raw = serve(&files);
    let handler = handler(&rig, &[&raw], &[]).await;
    let urls: Vec<String> = files.iter().map(|(name, _)| raw.url(name)).collect();
    let free = run(&rig, &handler, 1, &urls, &json!({})).await;
    let (formats, pixels, ratio) = (["jpeg", "png", "webp"], 200_000, 2);
    let filters = json!({"formats": formats, "max_pixels": pixels, "max_aspect_ratio": ratio});
    let filtered = run(&rig, &handler, 2, &urls, &filters).await;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for ((free, filtered), (_, path)) in free.iter().zip(&filtered).zip(&files) {
        let wanted = expected(free, &formats, pixels, ratio);
        let is_kept = filtered["status"] == "valid" || filtered["status"] == "duplicate";
        assert_eq!(is_kept, wanted[0].is_null() || wanted[0] == "exact_duplicate", "{filtered}");
        if !is_kept {
            let said = [filtered["reason"].clone(), filtered["detail"].clone()];
            assert_eq!(said, wanted, "{} {free}", path.display());
        }
        *counts.entry(wanted[0].to_string()).or_default() += 1;
    }
    for reason in ["unsupported_format", "too_large"] {
        assert!(counts[&json!(reason).to_string()] > 0, "{counts:?}");
    }
    println!("{} pictures: {counts:?}", files.len());
}

/// Case 322: of what is not wanted by its header the rest is not downloaded, with a length or without one,
/// nor waited for; its origin, whose connections end so, answers for the others. Where violations are only
/// recorded all of it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_what_is_not_wanted_is_not_downloaded() {
    let rig = Rig::new().await;
    let raw = Raw::start(|path, _| match path {
        // A header, and then nothing for ever.
        "/silent.bmp" => {
            let start = [b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", &[0; 1200][..]].concat();
            let length = "Content-Length: 9000000\r\n";
            Act::Hang(support::raw::head(200, length, &start))
        }
        _ => Act::Close(Vec::new()),
    });
    let settings =
        [("PIXCRAWLER_PER_HOST_CONCURRENCY", "2"), ("PIXCRAWLER_MAX_IMAGE_SIZE_MB", "100")];
    let handler = handler(&rig, &[&raw], &settings).await;
    let mut urls = vec![rig.origin.url("/endless/1"), raw.url("/silent.bmp")];
    urls.extend((0..20).map(|n| rig.origin.url(&format!("/big/{n}?mb=90&cl={}", n % 2))));
    urls.extend((0..4).map(|n| rig.origin.url(&format!("/same/{}", 5 * n))));
    let filters = json!({"formats": ["gif", "png"], "level": "fast"});
    let items = run(&rig, &handler, 1, &urls, &filters).await;
    for item in &items[..22] {
        assert_eq!(
            (&item["reason"], &item["detail"]),
            (&json!("unsupported_format"), &json!("not_wanted"))
        );
        assert_eq!((&item["status"], &item["file_size"]), (&json!("invalid"), &Value::Null));
    }
    let manifest = rig.manifest(1, 0).await;
    let bytes_in = manifest["bytes_in"].as_u64().unwrap();
    assert!(bytes_in < 40 << 20, "{bytes_in} of {} bytes", 1800_u64 << 20);
    let filters = json!({"formats": ["gif"], "max_pixels": 1, "mode": "report_only"});
    let items = run(&rig, &handler, 2, &rig.pictures(2), &filters).await;
    for item in &items {
        let told = json!(["unsupported_format"]);
        assert_eq!((&item["status"], &item["violations"]), (&json!("valid"), &told), "{item}");
    }
}
