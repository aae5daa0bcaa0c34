//! Scripts that strangers wrote, in each place that a page shows.

use super::{browser, deliver};
use sha2::{Digest as _, Sha256};
use support::{
    checkout::hex,
    dashboard::Dashboard,
    rig::{DATASETS, Rig, wake_up},
};

/// It would set a global, open a dialog, and ask the dashboard for something.
const CANARY: &str = "'\"></title><script>globalThis.canaryRan=1;alert('canary-ran')</script>\
    <img src=/canary-ran onerror=\"globalThis.canaryRan=2;fetch('/canary-ran')\"><svg onload=alert('canary-ran')>";

/// Cases 440, 441, 451: in a list, in rows of the database, in addresses, and as a picture. The same
/// text in a page that nothing guards does all three.
pub async fn what_strangers_wrote_never_runs_in_a_browser() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = [rig.origin.url("/img/0"), format!("http://x/{CANARY}"), rig.origin.url("/404")];
    let lines: Vec<String> = urls
        .iter()
        .map(|url| serde_json::json!({"url": url, "label": CANARY, "caption": CANARY}).to_string())
        .collect();
    let list = rig.list("<script>alert('canary-ran')<", &lines);
    let submitted = rig.chunkctl(&["submit", "--job-id", "7", "--urls", list.to_str().unwrap()]);
    assert_eq!(submitted.code, Some(0), "{}", submitted.stderr);
    deliver(&handler, &wake_up(7, 0)).await;
    rig.submit(8, &rig.pictures(2), 1);
    rows(&rig).await;
    svg_in_place_of_a_picture(&rig).await;

    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let encoded: String = CANARY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let in_address = [
        format!("/jobs/8?code={encoded}"),
        format!("/jobs/{encoded}"),
        format!("/rejected?queue={encoded}"),
        format!("/jobs/7/chunks/0?search={encoded}&reason={encoded}"),
        format!("/control/retry?job_id=8&error_code={encoded}"),
    ];
    let fixed =
        ["/", "/jobs/8", "/jobs/8/chunks/0", "/jobs/7/chunks/0?pictures=shown", "/rejected"];
    let paths = fixed.into_iter().chain(in_address.iter().map(String::as_str));
    let mut arguments = vec![dashboard.address.as_str(), CANARY];
    arguments.extend(paths.clone().chain(["/jobs/7/chunks/0/images/0"]));
    let found = browser().run("strangers.js", &arguments).await;
    for path in paths {
        let page = &found["pages"][path];
        assert_eq!(page["shows"], true, "{path} does not show it: {page}");
        assert_eq!(page["ran"], serde_json::json!([]), "{path}: {page}");
        assert_eq!(page["refused"], serde_json::json!([]), "{path}: markup came through: {page}");
    }
    let picture = &found["pages"]["/jobs/7/chunks/0/images/0"];
    assert_eq!((&picture["status"], &picture["ran"]), (&404.into(), &serde_json::json!([])));
    let control = found["control"].to_string();
    for what in ["dialog", "request", "global"] {
        assert!(control.contains(what), "the control shows no {what}: {control}");
    }
}

/// What a database may hold of strangers.
async fn rows(rig: &Rig) {
    let sets = [
        "insert into chunk_handler.rejected (source_key, queue, body, reason)
            values ('a', 'q' || $1, 'b' || $1, 'r' || $1)",
        "update chunk_handler.chunk set state = 'failed', error_code = 'e' || $1,
            error_message = 'm' || $1 where job_id = 8 and chunk_index = 0",
        "insert into chunk_handler.live_process (owner, since, release, degraded)
            values ('p' || $1, now(), '0', 'd' || $1)",
        "insert into chunk_handler.attempt (job_id, chunk_index, fence, owner, invocation_id, finished_at,
            outcome, error_code) values (8, 0, 1, 'a' || $1, 'i' || $1, now(), 'failed', 'c' || $1)",
        "insert into chunk_handler.health_check (active_chunks, pending_chunks, azure_state, report)
            values (0, 0, 's' || $1, '{}')",
        "update chunk_handler.job set end_error = 'n' || $1 where job_id = 8",
    ];
    for set in sets {
        sqlx::query(set).bind(CANARY).execute(&rig.pool).await.unwrap();
    }
}

/// The shard has an SVG, and the manifest its hash.
async fn svg_in_place_of_a_picture(rig: &Rig) {
    let [shard, manifest] =
        ["tar", "manifest.json"].map(|end| format!("job_7/chunks/chunk_00000.{end}"));
    let mut bytes = rig.blobs.read(DATASETS, &shard).await.unwrap().to_vec();
    let mut said = rig.manifest(7, 0).await;
    let at = |name: &str| usize::try_from(said["items"][0][name].as_u64().unwrap()).unwrap();
    let (start, length) = (at("offset"), at("length"));
    let svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert('canary-ran')</script></svg>";
    let mut svg = svg.as_bytes().to_vec();
    svg.resize(length, b' ');
    bytes[start..start + length].copy_from_slice(&svg);
    said["items"][0]["sha256"] = hex(&Sha256::digest(svg)).into();
    rig.blobs.put(DATASETS, &shard, bytes).await.unwrap();
    rig.blobs.put(DATASETS, &manifest, serde_json::to_vec(&said).unwrap()).await.unwrap();
}
