//! What strangers wrote stays text, on each page and in each place.

use support::{
    dashboard::Dashboard,
    rig::{DATASETS, Rig, wake_up},
};

/// What a stranger writes.
const CANARY: &str = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>";

/// Nothing of it is markup, and it is there as text.
fn is_text(page: &str, text: &str, of: &str) {
    for markup in ["<script>", "<img", "onerror=alert(2)>"] {
        assert!(!text.contains(markup), "{page} has {markup} of {of}: {text}");
    }
    assert!(text.contains("&lt;script&gt;alert(1)"), "{page} does not show {of}: {text}");
}

/// Case 440: rejected messages, reasons, errors, names of processes and of queues, states of Azure.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_shown_as_text() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(2), 1);
    let sets = [
        "insert into chunk_handler.rejected (source_key, queue, body, reason)
            values ('a', 'q' || $1, 'b' || $1, 'r' || $1)",
        "update chunk_handler.chunk set state = 'failed', error_code = 'e' || $1,
            error_message = 'm' || $1 where job_id = 7 and chunk_index = 0",
        "insert into chunk_handler.live_process (owner, since, release, degraded)
            values ('p' || $1, now(), '0', 'd' || $1)",
        "insert into chunk_handler.attempt (job_id, chunk_index, fence, owner, invocation_id, finished_at,
            outcome, error_code) values (7, 0, 1, 'a' || $1, 'i' || $1, now(), 'failed', 'c' || $1)",
        "insert into chunk_handler.health_check (active_chunks, pending_chunks, azure_state, report)
            values (0, 0, 's' || $1, '{}')",
        "update chunk_handler.job set end_error = 'n' || $1 where job_id = 7",
        "update chunk_handler.fleet set environment = 'v' || $1",
    ];
    for set in sets {
        sqlx::query(set).bind(CANARY).execute(&rig.pool).await.unwrap();
    }
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    for (path, marks) in [("/", "qpdacsv"), ("/jobs/7", "emn"), ("/rejected", "qbr")] {
        let page = dashboard.page(path).await;
        is_text(path, &page.text, "the rows");
        for mark in marks.chars() {
            let shown = format!("{mark}&lt;script&gt;");
            assert!(page.text.contains(&shown), "{path} does not show {shown}: {}", page.text);
        }
    }
}

/// Case 440: a completed chunk whose list has it in URLs, labels, captions and file names.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_list_says_is_shown_as_text() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = [rig.origin.url("/img/1"), format!("http://{CANARY}/x"), format!("/{CANARY}.jpg")];
    let lines: Vec<String> = urls
        .iter()
        .map(|url| serde_json::json!({"url": url, "label": CANARY, "caption": CANARY}).to_string())
        .collect();
    let list = rig.list("<b>.jsonl", &lines);
    let output = rig.chunkctl(&["submit", "--job-id", "7", "--urls", list.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    handler.deliver("one", &wake_up(7, 0)).await;
    let blobs = rig.blobs.list(DATASETS, "job_7").await.unwrap();
    assert!(blobs.iter().any(|name| name.ends_with("manifest.json")), "{blobs:?}");
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    for path in ["/", "/jobs", "/jobs/7", "/jobs/7/chunks/0"] {
        let page = dashboard.page(path).await;
        for markup in ["<script>", "<img src=x", "<b>"] {
            assert!(!page.text.contains(markup), "{path}: {}", page.text);
        }
    }
}

/// Case 441: an address that somebody sent on.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_address_says_is_shown_as_text() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(1), 1);
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let canary: String = url_encoded(CANARY);
    for path in [
        format!("/jobs/7?code={canary}"),
        format!("/rejected?queue={canary}"),
        format!("/control/pause?back=/{canary}&x={canary}"),
    ] {
        let page = dashboard.page(&path).await;
        is_text(&path, &page.text, "the address");
    }
    let page = dashboard.page("/jobs/7?code=%00%FF&chunks=%00").await;
    assert!(page.is_of_now(), "{}", page.words());
    for path in [format!("/jobs/{canary}"), format!("/control/retry?job_id=7&error_code={canary}")]
    {
        let page = dashboard.get(&path, &[]).await;
        is_text(&path, &page.text, "the address");
    }
}

/// Case 442: with `PIXCRAWLER_KEEP_QUERY=false` no page shows the query of a URL.
#[tokio::test(flavor = "multi_thread")]
async fn queries_are_hidden_where_manifests_hide_them() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(1), 1);
    rig.execute(
        "insert into chunk_handler.rejected (source_key, queue, body, reason) values
        ('a', 'chunks', '{\"urls\":[\"https://a.example/x?sig=hush\"]}', 'see https://a.example/y?sig=hush')",
    )
    .await;
    rig.execute(
        "update chunk_handler.chunk set state = 'failed', error_code = 'panic',
        error_message = 'at https://a.example/z?sig=hush'",
    )
    .await;
    for (keep, shows) in [("true", true), ("false", false)] {
        let setting = [("PIXCRAWLER_KEEP_QUERY", keep)];
        let dashboard = Dashboard::start_with(&rig, &setting, &[]).await;
        for (path, url) in
            [("/rejected", "a.example/x"), ("/rejected", "a.example/y"), ("/jobs/7", "a.example/z")]
        {
            let page = dashboard.page(path).await;
            assert!(page.text.contains(url), "{path}: {}", page.text);
            assert_eq!(page.text.contains("hush"), shows, "{path} with {keep}: {}", page.text);
            assert!(
                !page.text.contains("href=\"http"),
                "a stranger's URL is no link: {}",
                page.text
            );
        }
    }
}

fn url_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
