//! A chunk ends with one verdict for each URL and one shard, however often it is delivered.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{
    checkout::hex,
    job::PROCESSING,
    rig::{DATASETS, Rig, all, inline, wait_for, wake_up},
};

/// C7: a mixed chunk ends with one verdict for each URL, and shard, manifest and row agree.
#[tokio::test(flavor = "multi_thread")]
async fn shard_manifest_and_row_agree() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let o = |path: &str| rig.origin.url(path);
    let mut urls = rig.pictures(6);
    urls.extend([o("/same/1"), o("/same/1"), o("/404"), o("/html"), o("/empty"), o("/cut/3")]);
    urls.push("file:///etc/passwd".into());
    let (status, answer) = handler.deliver("one", &inline(7, 3, &urls)).await;
    assert_eq!(status, 200, "{answer}");

    let manifest = rig.manifest(7, 3).await;
    let items = manifest["items"].as_array().unwrap();
    assert_eq!(items.len(), urls.len());
    for (idx, item) in items.iter().enumerate() {
        assert_eq!(item["idx"], idx);
        assert_eq!(item["url"].as_str().unwrap(), urls[idx]);
        assert_eq!(item["reason"].is_null(), item["status"] == "valid", "{item}");
    }
    let reasons: Vec<&str> =
        items[6..].iter().map(|i| i["reason"].as_str().unwrap_or("")).collect();
    let duplicates =
        usize::from(reasons[0] == "exact_duplicate") + usize::from(reasons[1] == "exact_duplicate");
    assert_eq!(duplicates, 1, "one of two equal pictures is kept: {reasons:?}");
    assert_eq!(reasons[2..], ["http_404", "not_image", "empty", "truncated", "url_refused"]);
    let n = |name: &str| manifest[name].as_u64().unwrap();
    assert_eq!((n("images_total"), n("images_valid"), n("duplicates_removed")), (13, 7, 1));
    assert_eq!((n("images_invalid"), n("images_failed")), (3, 2));
    assert_eq!(n("images_downloaded"), 10);

    let tar = rig.shard(7, 3).await;
    let sha256 = hex(&Sha256::digest(&tar));
    assert_eq!(manifest["shard"]["sha256"].as_str().unwrap(), sha256);
    assert_eq!(rig.value::<String>("select shard_sha256 from chunk_handler.chunk").await, sha256);
    assert_eq!(rig.value::<i64>("select shard_fence from chunk_handler.chunk_status").await, 1);
    for item in items.iter().filter(|item| item["status"] == "valid") {
        let offset = item["offset"].as_u64().unwrap() as usize;
        let length = item["length"].as_u64().unwrap() as usize;
        assert_eq!(item["sha256"], hex(&Sha256::digest(&tar[offset..offset + length])));
    }
    let totals = rig.value::<Value>("select totals from chunk_handler.chunk").await;
    assert_eq!(totals["images_valid"], manifest["images_valid"]);
}

/// What img2dataset's users read is there when the job ends, the same for whoever ends it.
#[tokio::test(flavor = "multi_thread")]
async fn stats_json_has_the_keys_of_img2dataset() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let o = |path: &str| rig.origin.url(path);
    let lists = [
        vec![o("/img/0"), o("/404/1"), o("/img/2"), o("/404/3")],
        vec![o("/same/1"), o("/html"), o("/same/1")],
    ];
    for (index, urls) in (0..).zip(&lists) {
        let mut message = inline(1, index, urls);
        message["total_chunks"] = 2.into();
        handler.deliver(&format!("chunk-{index}"), &message).await;
    }
    let read = async || rig.blobs.read(DATASETS, "job_1/stats.json").await.unwrap();
    let ended = "select ended_at is not null from chunk_handler.job";
    rig.until(ended).await;
    let written = read().await;
    let mut stats: Value = serde_json::from_slice(&written).unwrap();
    let [start, end, duration] = ["start_time", "end_time", "duration"]
        .map(|name| stats.as_object_mut().unwrap().remove(name).unwrap().as_f64().unwrap());
    assert!(start < end && (end - start - duration).abs() < 1e-3, "{start} {end} {duration}");
    let database: f64 =
        rig.value("select extract(epoch from clock_timestamp())::double precision").await;
    assert!((database - end).abs() < 60.0, "seconds since 1970: {end}");
    let errors = json!({"http_404": 2, "not_image": 1, "exact_duplicate": 1, "success": 3});
    assert_eq!(
        stats,
        json!({"count": 7, "successes": 3, "failed_to_download": 2, "failed_to_resize": 2,
            "images_asked_again": 0,
            "status_dict": errors}),
        "the three add up to the count, as img2dataset's do"
    );
    rig.execute("update chunk_handler.job set ended_at = null, ended_as = null").await;
    rig.until(ended).await;
    assert_eq!(read().await, written);
}

/// I4 S2 F8: forty starters, limit ten, sampled; the database's own count is never above.
#[tokio::test(flavor = "multi_thread")]
async fn forty_starters_never_exceed_ten_slots() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.origin.set_delay(std::time::Duration::from_millis(300));
    let urls = rig.pictures(4);
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut most = 0;
    let starters = async {
        let messages: Vec<Value> = (0..40).map(|i| inline(1, i, &urls)).collect();
        let ids: Vec<String> = (0..40).map(|i| format!("start-{i}")).collect();
        let answers = all(ids.iter().zip(&messages).map(|(id, m)| handler.deliver(id, m))).await;
        assert!(answers.iter().all(|(status, _)| *status == 200));
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let sampler = async {
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            let n: i64 = rig
                .value(
                    "select count(*) from chunk_handler.chunk_status where status = 'processing'",
                )
                .await;
            most = most.max(n);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::join!(starters, sampler);
    assert!(most > 5 && most <= 10, "at most {most} at once");
}

/// PR3: a delivery repeated fifty times at once makes one attempt and one shard.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_deliveries_of_one_message_make_one_attempt() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.origin.set_delay(std::time::Duration::from_millis(100));
    let message = inline(1, 0, &rig.pictures(3));
    let ids: Vec<String> = (0..50).map(|i| format!("copy-{i}")).collect();
    let answers = all(ids.iter().map(|id| handler.deliver(id, &message))).await;
    assert!(answers.iter().all(|(status, _)| *status == 200));
    rig.until("select status = 'completed' from chunk_handler.chunk_status").await;
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.attempt_log").await, 1);
    let blobs = rig.blobs.list(DATASETS, "job_1/chunks/").await.unwrap();
    assert_eq!(blobs.len(), 2, "{blobs:?}");
}

/// X4 C8: kill -9 in the middle; the chunk completes by itself after the lease, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_handlers_chunk_is_reclaimed_once() {
    let rig = Rig::new().await;
    let first = rig.handler().await;
    rig.origin.set_delay(std::time::Duration::from_secs(2));
    let message = inline(1, 0, &rig.pictures(5));
    tokio::join!(first.deliver("first", &message), async {
        rig.until(PROCESSING).await;
        first.kill9();
    });
    rig.origin.set_delay(std::time::Duration::ZERO);
    let second = rig.handler().await;
    rig.until("select status = 'pending' from chunk_handler.chunk_status").await;
    assert_eq!(rig.value::<i32>("select expiries from chunk_handler.chunk_status").await, 1);
    let (status, _) = second.deliver("second", &wake_up(1, 0)).await;
    assert_eq!(status, 200);
    rig.until("select status = 'completed' from chunk_handler.chunk_status").await;
    assert_eq!(rig.value::<i32>("select attempt from chunk_handler.chunk_status").await, 1);
    assert_eq!(rig.manifest(1, 0).await["items"].as_array().unwrap().len(), 5);
    wait_for("the dead process's temp directory is swept", async || {
        std::fs::read_dir(rig.temp.path().join("pixcrawler-chunks")).unwrap().count() == 2
    })
    .await;
}
