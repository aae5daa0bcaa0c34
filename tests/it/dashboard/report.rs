//! The report of a job: one file that stands alone.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs;
use support::rig::{Rig, inline};

/// A job of thirty pictures of all formats, one that is not there, and one that is a page; another chunk of
/// it failed, with an error that a stranger wrote.
async fn with_a_job(rig: &Rig) {
    let handler = rig.handler().await;
    let mut urls = rig.pictures(30);
    urls.extend(["/404?sig=hush", "/html"].map(|path| rig.origin.url(path)));
    for (index, urls) in [(0, &urls[..]), (1, &urls[..1])] {
        let (status, answer) = handler.deliver("one", &inline(7, index, urls)).await;
        assert_eq!(status, 200, "{answer}");
    }
    rig.execute(
        "update chunk_handler.chunk set state = 'failed', error_code = 'panic', shard_fence = null,
            shard_claim = null, shard_blob = null, manifest_blob = null, totals = null,
            error_message = 'at https://a.example/z?sig=hush <script>alert(1)</script>'
        where chunk_index = 1",
    )
    .await;
}

/// Everything is inside: nothing is asked for, nothing runs, no link leads anywhere.
fn assert_stands_alone(text: &str) {
    for outside in ["<script", "<link", "<a ", "<form", "<iframe", "href=", "@import", "hush"] {
        assert!(!text.contains(outside), "{outside}: {text}");
    }
    let sources: Vec<&str> = text.split(" src=\"").skip(1).collect();
    assert!(sources.iter().all(|source| source.starts_with("data:image/")), "{sources:?}");
    assert!(text.split("url(").skip(1).all(|place| place.starts_with('#')), "{text}");
    let style = text.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        STANDARD.encode(Sha256::digest(style))
    );
    let (head, _) = text.split_once("<style>").unwrap();
    assert!(head.contains(&policy), "the style is not what the policy allows: {head}");
}

/// Case 470: what the page of the job has, with pictures, in a file that stands alone and is small.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_one_file_that_stands_alone() {
    let rig = Rig::new().await;
    with_a_job(&rig).await;
    let path = rig.temp.path().join("report.html");
    let write = ["dashboard", "--write", path.to_str().unwrap(), "--job-id", "7"];
    let said = rig.chunkctl_with(&[("PIXCRAWLER_KEEP_QUERY", "false")], &write);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.stderr.starts_with("the report of job 7 is "), "{said:?}");
    let text = fs::read_to_string(&path).unwrap();
    assert_stands_alone(&text);
    let host = rig.origin.address().to_string();
    for told in
        ["Chunks of job 7", "http_404", "not_image", "https://a.example/z", "Slots from ", &host]
    {
        assert!(text.contains(told), "no {told} in {text}");
    }
    assert_eq!(text.matches("<img src=\"data:image/").count(), 24, "{text}");
    assert!(text.len() < 8 << 20, "{} bytes", text.len());

    let again = rig.chunkctl(&[&write[..], &["--json"]].concat());
    assert_eq!(again.code, Some(0), "a report replaces a report: {again:?}");
    let document: Value = serde_json::from_str(&again.stdout).unwrap();
    let length = fs::metadata(&path).unwrap().len();
    assert_eq!(document["bytes"], length);
    assert_eq!((&document["job_id"], &document["pictures"]), (&7.into(), &24.into()));
    assert_eq!(document["file"], path.to_str().unwrap());
    let beside: Vec<_> = fs::read_dir(rig.temp.path()).unwrap().flatten().collect();
    let reports =
        beside.iter().filter(|entry| entry.path().extension().is_some_and(|e| e == "html"));
    assert_eq!(reports.count(), 1);
}

/// Case 471: what is no report stays, and what does not fit together is told before anything is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_replaces_nothing_of_others() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(1), 1);
    let path = rig.temp.path().join("mine.html");
    let file = path.to_str().unwrap();
    fs::write(&path, "<!DOCTYPE html>mine").unwrap();
    let write = ["dashboard", "--write", file, "--job-id", "7"];
    let refused = rig.chunkctl(&write);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("no report of this command; give another name"), "{refused:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "<!DOCTYPE html>mine");
    fs::remove_file(&path).unwrap();
    let unknown = rig.chunkctl(&["dashboard", "--write", file, "--job-id", "8"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("job 8 is unknown"), "{unknown:?}");
    for wrong in [
        &["dashboard", "--write", file][..],
        &["dashboard", "--job-id", "7"],
        &[&write[..], &["--listen", "127.0.0.1:0"]].concat(),
        &[&write[..], &["--allow-control"]].concat(),
    ] {
        let refused = rig.chunkctl(wrong);
        assert_eq!(refused.code, Some(2), "{wrong:?}: {refused:?}");
    }
    assert!(!path.exists());
    let waits = rig.chunkctl(&write);
    assert_eq!(waits.code, Some(0), "a job that waits has a report: {waits:?}");
    assert!(fs::read_to_string(&path).unwrap().contains("Nobody has claimed a chunk of it"));
}
