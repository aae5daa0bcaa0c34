//! A chunk of as many URLs as there may be, and one of pictures that look alike.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::{
    dashboard::{Answer, Dashboard},
    rig::{Rig, inline},
};

const PAGE: &str = "/jobs/7/chunks/0";
const URLS: usize = 10_000;
/// Bytes of one page without its style and script.
const LARGEST: usize = 80 * 1024;

/// 60 pictures all over the list, the last URL among them; no other one can be asked for.
async fn chunk(rig: &Rig) {
    let handler = rig.handler().await;
    let lines: Vec<String> = (0..URLS)
        .map(|n| {
            let item = match n % 167 {
                146 => json!({"url": rig.origin.url(&format!("/img/{n}")), "label": "Zürich Cat"}),
                _ => json!({"url": format!("ftp://files.example/{}/{n}.jpg", "a".repeat(120))}),
            };
            format!("{item}\n")
        })
        .collect();
    rig.blobs.put("chunk-sources", "long.jsonl", lines.concat().into()).await.unwrap();
    let mut message = inline(7, 0, &[]);
    message["source"] = json!({"blob": "long.jsonl"});
    let (status, answer) = handler.deliver("one", &message).await;
    assert_eq!(status, 200, "{answer}");
}

/// Where the link of a name leads to, if there is one.
fn link(page: &Answer, label: &str, name: &str) -> Option<String> {
    let (_, links) =
        page.text.split_once(&format!("<nav class=\"row\" aria-label=\"{label}\">"))?;
    let (links, _) = links.split_once("</nav>")?;
    let (before, _) = links.split_once(&format!("\">{name}</a>"))?;
    Some(before.rsplit_once("href=\"")?.1.replace("&amp;", "&"))
}

/// The pages from this one on, as somebody reads them who follows the links.
async fn pages(dashboard: &Dashboard, label: &str, path: &str) -> Vec<Answer> {
    let mut pages = vec![dashboard.page(path).await];
    while let Some(next) = link(pages.last().unwrap(), label, "Next") {
        assert!(pages.len() < 200, "it does not end: {next}");
        pages.push(dashboard.page(&next).await);
    }
    pages
}

/// The places of the URLs of pages, each once.
fn places(pages: &[Answer]) -> BTreeSet<usize> {
    let rows =
        pages.iter().flat_map(|page| page.text.split("<th class=\"n\" scope=\"row\">").skip(1));
    // The attempts have such a heading, too: theirs are followed by no verdict.
    let rows = rows.filter(|row| row.contains("</th><td><span class=\"state"));
    let all: Vec<usize> = rows.map(|row| row.split('<').next().unwrap().parse().unwrap()).collect();
    let places: BTreeSet<usize> = all.iter().copied().collect();
    assert_eq!(places.len(), all.len(), "a URL is shown twice");
    places
}

/// Case 479: each page can be reached and is small, and what is searched, in any case, or filtered is
/// found on all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_ten_thousand_urls_is_read_page_by_page() {
    let rig = Rig::new().await;
    chunk(&rig).await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    let of =
        async |query: &str| pages(&dashboard, "Pages of URLs", &format!("{PAGE}?{query}")).await;
    let all = of("").await;
    assert_eq!(all.len(), 100);
    assert_eq!(places(&all), (0..URLS).collect());
    let largest = all.iter().map(|page| page.text.len()).max().unwrap();
    println!("{largest} bytes at most");
    assert!(largest < LARGEST, "{largest} bytes");

    let pictures: BTreeSet<usize> = (0..URLS).filter(|n| n % 167 == 146).collect();
    assert_eq!(pictures.len(), 60);
    let others: BTreeSet<usize> = (0..URLS).filter(|n| !pictures.contains(n)).collect();
    for (query, found) in [
        ("verdict=valid", &pictures),
        ("verdict=failed", &others),
        ("search=zURICH+cAT", &BTreeSet::new()),
        ("search=z%C3%9CRICH+cAT", &pictures),
        ("search=FTP%3A%2F%2FFiles", &others),
        ("search=%2FIMG%2F9999", &[9999].into()),
        ("search=CAT&verdict=failed", &BTreeSet::new()),
    ] {
        let pages = of(query).await;
        assert_eq!(places(&pages), *found, "{query}: {}", pages[0].words());
        let n = format!("{} of 10000 URLs", found.len());
        assert!(pages[0].says(&n), "{query}: {}", pages[0].words());
    }
    let sheets = pages(&dashboard, "Sheets of pictures", PAGE).await;
    let figures = sheets.iter().map(|page| page.text.matches("<figure>").count());
    assert_eq!(figures.collect::<Vec<_>>(), [24, 24, 12]);
}

/// Case 487: each pair side by side, with the distance that the manifest says.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_look_alike_are_side_by_side() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let mut message = inline(7, 0, &rig.pictures(14));
    message["validation"] = json!({"level": "slow"});
    let (status, answer) = handler.deliver("slow", &message).await;
    assert_eq!(status, 200, "{answer}");
    let manifest = rig.manifest(7, 0).await;
    let near = |item: &Value| {
        let (of, distance) =
            (item["near_duplicate"]["of"].as_str()?, &item["near_duplicate"]["distance"]);
        Some([of.to_owned(), item["key"].as_str()?.to_owned(), distance.to_string()])
    };
    let wanted: Vec<[String; 3]> =
        manifest["items"].as_array().unwrap().iter().filter_map(near).collect();
    assert_eq!(wanted.len(), 12, "as many as are shown: {manifest}");

    let page = Dashboard::start(&rig, &[]).await.page(PAGE).await;
    let (_, pairs) = page.text.split_once("<ul class=\"pairs blurred\">").unwrap();
    let (pairs, _) = pairs.split_once("</ul>").unwrap();
    let shown: Vec<[String; 3]> = pairs
        .split("<li>")
        .skip(1)
        .map(|pair| {
            let mut keys = pair.split("</a></figcaption>").map(|at| at.rsplit('>').next().unwrap());
            let (_, distance) = pair.split_once("</div><p>").unwrap();
            let (distance, _) = distance.split_once(" of 256 bits differ").unwrap();
            let key = keys.next().unwrap().to_owned();
            [key, keys.next().unwrap().to_owned(), distance.to_owned()]
        })
        .collect();
    assert_eq!(shown, wanted);
    assert_eq!(pairs.matches("<figcaption><a href=\"/jobs/7/chunks/0/images/").count(), 24);
}
