//! The page of one chunk: its URLs, and its pictures, whose bytes are a stranger's.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use support::{
    checkout::hex,
    dashboard::Dashboard,
    rig::{DATASETS, Rig, inline},
};

const PAGE: &str = "/jobs/7/chunks/0";
const IMAGES: u64 = 30;

/// A chunk of thirty pictures, one that is not there, one that is a page, and two that are the same.
async fn chunk(rig: &Rig) {
    let handler = rig.handler().await;
    let mut urls: Vec<String> =
        (0..IMAGES).map(|n| rig.origin.url(&format!("/img/{n}?sig=hush{n}"))).collect();
    urls.extend(["/404", "/html", "/same/1", "/same/1?again"].map(|path| rig.origin.url(path)));
    let (status, answer) = handler.deliver("one", &inline(7, 0, &urls)).await;
    assert_eq!(status, 200, "{answer}");
}

/// The pictures of a page, also those that no browser shows.
fn sources(text: &str) -> BTreeSet<String> {
    let parts = text.split("<figcaption><a href=\"").skip(1);
    parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
}

/// Case 450: the sheets, the bytes, and what their headers say.
#[tokio::test(flavor = "multi_thread")]
async fn sheets_have_each_picture_as_the_manifest_says() {
    let rig = Rig::new().await;
    chunk(&rig).await;
    let manifest = rig.manifest(7, 0).await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    let first = dashboard.page(PAGE).await;
    assert!(first.text.contains("class=\"pictures blurred\""), "{}", first.text);
    let shown = dashboard.page(&format!("{PAGE}?pictures=shown&sheet=2")).await;
    assert!(!shown.text.contains("blurred"), "{}", shown.text);
    assert_eq!(sources(&first.text).len(), 24);
    let pictures: BTreeSet<String> =
        sources(&first.text).union(&sources(&shown.text)).cloned().collect();
    assert_eq!(pictures.len() as u64, manifest["shard"]["samples"].as_u64().unwrap());
    for place in pictures {
        let idx: usize = place.rsplit('/').next().unwrap().parse().unwrap();
        let answer = reqwest::get(format!("{}{place}", dashboard.address)).await.unwrap();
        assert_eq!(answer.status(), 200, "{place}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-security-policy"), "default-src 'none'; sandbox");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        let item = &manifest["items"][idx];
        let kind = format!("image/{}", item["format"].as_str().unwrap());
        assert_eq!(header("content-type"), kind, "{place}");
        let bytes = answer.bytes().await.unwrap();
        assert_eq!(hex(&Sha256::digest(&bytes)), item["sha256"].as_str().unwrap(), "{place}");
    }
    let saved = dashboard.get(&format!("{PAGE}/manifest.json"), &[]).await;
    assert_eq!(saved.header("content-disposition"), "attachment; filename=\"manifest.json\"");
    assert_eq!(serde_json::from_str::<Value>(&saved.text).unwrap(), manifest);
    let list = dashboard.page(&format!("{PAGE}/list.jsonl")).await;
    assert_eq!(list.text.lines().count(), 34, "{}", list.text);
}

/// Case 464: what is long is shown by its beginning, and the list has all of it.
#[tokio::test(flavor = "multi_thread")]
async fn long_captions_are_shown_by_their_beginning() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let text = |start: &str| format!("{start}{}", "\"".repeat(10_000));
    let items: Vec<Value> = rig
        .pictures(100)
        .into_iter()
        .map(|url| json!({"url": url, "caption": text("a cat"), "label": text("cat")}))
        .collect();
    let mut message = inline(7, 0, &[]);
    let list: String = items.iter().map(|item| format!("{item}\n")).collect();
    rig.blobs.put("chunk-sources", "long.jsonl", list.into()).await.unwrap();
    message["source"] = json!({"blob": "long.jsonl"});
    let (status, answer) = handler.deliver("one", &message).await;
    assert_eq!(status, 200, "{answer}");
    let dashboard = Dashboard::start(&rig, &[]).await;
    let page = dashboard.page(PAGE).await;
    assert!(page.text.contains("a cat&quot;") && page.text.contains("…"), "{}", page.text);
    assert!(page.text.len() < 1_000_000, "{} bytes", page.text.len());
    let list = dashboard.page(&format!("{PAGE}/list.jsonl")).await;
    assert!(list.text.len() > 3_000_000, "{} bytes", list.text.len());
}

/// Case 442: what is saved hides what manifests hide, and so does the page: queries, whatever is in them, and
/// users; in captions, labels and meta as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_hides_queries_and_users() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let origin = rig.origin.address();
    let item = json!({
        "url": format!("http://user:hush@{origin}/img/1?a='x'&sig=hush"),
        "caption": "see https://a.example/x?b=(c)&sig=hush, a cat?",
        "label": "a.example/y?sig=hush",
        "meta": {"from": ["https://a.example/z?<d>&sig=hush"]},
    });
    let mut message = inline(7, 0, &[]);
    message["source"] = json!({"items": [item]});
    let (status, answer) = handler.deliver("one", &message).await;
    assert_eq!(status, 200, "{answer}");
    for (keep, shows) in [("true", true), ("false", false)] {
        let setting = [("PIXCRAWLER_KEEP_QUERY", keep)];
        let dashboard = Dashboard::start_with(&rig, &setting, &[]).await;
        for path in [PAGE, &format!("{PAGE}/manifest.json"), &format!("{PAGE}/list.jsonl")] {
            let page = dashboard.page(path).await;
            assert!(page.text.contains("/img/1"), "{path}: {}", page.text);
            assert_eq!(page.text.contains("hush"), shows, "{path} with {keep}: {}", page.text);
        }
    }
}

/// Case 451: what strangers put in the place of a picture.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_picture_is_not_served() {
    let rig = Rig::new().await;
    chunk(&rig).await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    let picture = format!("{PAGE}/images/0");
    for (idx, status) in [("0", 200), ("30", 404), ("31", 404), ("99", 404), ("x", 404)] {
        let answer = dashboard.get(&format!("{PAGE}/images/{idx}"), &[]).await;
        assert_eq!(answer.status, status, "{idx}: {}", answer.text);
    }
    let names = ["tar", "manifest.json"].map(|end| format!("job_7/chunks/chunk_00000.{end}"));
    let mut shard = rig.blobs.read(DATASETS, &names[0]).await.unwrap().to_vec();
    let mut manifest = rig.manifest(7, 0).await;
    let at = |name: &str| manifest["items"][0][name].as_u64().unwrap() as usize;
    let (start, length) = (at("offset"), at("length"));
    let mut svg =
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>".to_vec();
    svg.resize(length, b' ');
    shard[start..start + length].copy_from_slice(&svg);
    rig.blobs.put(DATASETS, &names[0], shard).await.unwrap();
    let other = dashboard.get(&picture, &[]).await;
    assert_eq!(other.status, 404, "other bytes than the manifest says: {}", other.text);
    manifest["items"][0]["sha256"] = hex(&Sha256::digest(&svg)).into();
    let text = serde_json::to_vec(&manifest).unwrap();
    rig.blobs.put(DATASETS, &names[1], text).await.unwrap();
    let answer = dashboard.get(&picture, &[]).await;
    assert_eq!(answer.status, 404, "{}", answer.text);
    assert!(answer.text.contains("no picture"), "{}", answer.text);
    manifest["fence"] = 99.into();
    let text = serde_json::to_vec(&manifest).unwrap();
    rig.blobs.put(DATASETS, &names[1], text).await.unwrap();
    let page = dashboard.page(PAGE).await;
    assert!(page.says("The manifest in storage is of claim 99"), "{}", page.words());
}

/// Case 452: filters and search.
#[tokio::test(flavor = "multi_thread")]
async fn urls_are_filtered_and_searched_as_they_are_shown() {
    let rig = Rig::new().await;
    chunk(&rig).await;
    for (keep, found) in [("true", "1 of 34 URLs"), ("false", "0 of 34 URLs")] {
        let setting = [("PIXCRAWLER_KEEP_QUERY", keep)];
        let dashboard = Dashboard::start_with(&rig, &setting, &[]).await;
        for (query, says) in [
            ("", "34 of 34 URLs"),
            ("?verdict=failed&reason=http_404", "1 of 34 URLs"),
            ("?verdict=duplicate", "1 of 34 URLs"),
            ("?search=/img/29", "1 of 34 URLs"),
            ("?search=hush17", found),
        ] {
            let page = dashboard.page(&format!("{PAGE}{query}")).await;
            assert!(page.says(says), "{query} with {keep}: {}", page.words());
        }
    }
}
