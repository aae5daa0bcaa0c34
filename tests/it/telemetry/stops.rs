//! Metrics have left before a process can be taken away without a signal.

use functions_host::{rigged, storage::Account};
use nix::sys::signal::Signal;
use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};
use support::{
    ingestion::{Ingestion, serve},
    job::{COMPLETED, PROCESSING},
    programs,
    rig::{Rig, all, inline, wait_for},
};

/// How long a host leaves an idle process alone, at least.
const IDLE: Duration = Duration::from_secs(5);
const STOPS: usize = 10;
/// Ten minutes: what arrives in a test was not sent because an interval had ended.
const LONG: (&str, &str) = ("OTEL_METRIC_EXPORT_INTERVAL", "600000");
const CONNECTION: &str = "APPLICATIONINSIGHTS_CONNECTION_STRING";

/// The sum of each counter, and the count of each histogram, that arrived from one instance.
fn arrived(seen: &Ingestion, instance: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for envelope in &*seen.envelopes.lock().unwrap() {
        if envelope["tags"]["ai.cloud.roleInstance"] == instance
            && envelope["data"]["baseType"] == "MetricData"
        {
            let point = &envelope["data"]["baseData"]["metrics"][0];
            let n = point["count"].as_f64().or(point["value"].as_f64()).unwrap();
            *sums.entry(point["name"].as_str().unwrap().to_owned()).or_default() += n as u64;
        }
    }
    sums
}

/// What the database says of the same counters.
async fn truth(rig: &Rig) -> Vec<(String, i64)> {
    let sql = "select name, n::bigint from
        (select count(*) as attempts from chunk_handler.attempt_log) a,
        (select count(*) as completed, sum((totals ->> 'images_downloaded')::bigint) as downloaded,
            sum((totals ->> 'images_valid')::bigint) as valid,
            sum((totals ->> 'bytes_in')::bigint) as bytes_in,
            sum((totals ->> 'bytes_out')::bigint) as bytes_out
        from chunk_handler.chunk where state = 'completed') c,
        lateral (values ('started_chunks', attempts), ('completed_chunks', completed),
            ('chunk_seconds', completed), ('images_downloaded', downloaded),
            ('images_valid', valid), ('bytes_in', bytes_in), ('bytes_out', bytes_out)) v (name, n)";
    sqlx::query_as(sql).fetch_all(&rig.pool).await.unwrap()
}

/// A job of three chunks on a host, five seconds of rest, and the end without a signal.
async fn job_and_stop(instance: &str, connection: &str) -> Rig {
    let rig = Rig::new().await;
    let extra = [
        LONG,
        (CONNECTION, connection),
        ("WEBSITE_SITE_NAME", "pixcrawler"),
        // It comes before HOSTNAME, and a machine that runs tests may be a container that has one.
        ("CONTAINER_NAME", instance),
        ("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", "3"),
    ];
    let host = rigged::host_of(&rig, "app", Path::new(&programs::handler()), &extra).await;
    rig.submit(1, &rig.pictures(6), 2);
    rig.until(COMPLETED).await;
    tokio::time::sleep(IDLE).await;
    host.kill9_group().unwrap();
    rig
}

/// M3 M7 B4: a job, five seconds of rest, a kill -9: every metric of the job has arrived, ten times out of
/// ten, no counter short and none twice.
#[tokio::test(flavor = "multi_thread")]
async fn ten_idle_stops_lose_no_metric_and_send_none_twice() {
    let seen = Arc::new(Ingestion::default());
    let connection = serve(&seen).await;
    let names: Vec<String> = (0..STOPS).map(|n| format!("instance-{n}")).collect();
    let rigs = all(names.iter().map(|name| job_and_stop(name, &connection))).await;
    for (name, rig) in names.iter().zip(&rigs) {
        let arrived = arrived(&seen, name);
        let truth = truth(rig).await;
        println!("{name}: {truth:?}");
        for (metric, n) in &truth {
            assert!(*n > 0, "{metric} counts nothing");
            let got = arrived.get(metric).map(|n| *n as i64);
            assert_eq!(got, Some(*n), "{metric} of {name}: {arrived:?}");
        }
        // A message may be delivered twice, and its claim refused.
        let attempts = truth.iter().find(|(metric, _)| metric == "started_chunks").unwrap().1;
        assert!(arrived["claim_ms"] as i64 >= attempts, "{arrived:?}");
        for gauge in ["temp_storage_mb", "temp_high_water_mb", "instance_active_chunks"] {
            assert!(arrived.contains_key(gauge), "{gauge} of {name}");
        }
    }
}

/// M7: what a drain releases is counted by what is sent before a host ends the drained process.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_at_the_end_of_the_drain_is_sent_at_once() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let extra = [
        LONG,
        (CONNECTION, &serve(&seen).await),
        ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "one"),
        ("PIXCRAWLER_DRAIN_SECONDS", "0.5"),
    ];
    let handler = rig.handler_with(&extra).await;
    let message = inline(1, 0, &[rig.origin.url("/hang")]);
    let (_, ()) = tokio::join!(handler.deliver("one", &message), async {
        rig.until(PROCESSING).await;
        handler.signal(Signal::SIGTERM);
        rig.until("select outcome = 'released' from chunk_handler.attempt_log").await;
    });
    // It stays for twelve seconds and would send it then.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(handler.exit(), None);
    handler.kill9();
    assert_eq!(seen.sum("released_chunks"), Some(1.0));
}

/// M7: a process that has just sent its metrics sends them again for what ends next, once.
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_soon_after_a_flush_is_in_the_next_one() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let connection = serve(&seen).await;
    let handler = rig.handler_with(&[LONG, (CONNECTION, &connection)]).await;
    for index in 0..2 {
        handler.deliver("one", &inline(1, index, &rig.pictures(2))).await;
        let completed = Some(f64::from(index + 1));
        wait_for("it is counted", async || seen.sum("completed_chunks") == completed).await;
    }
    let exports = seen.of("MetricData").into_iter();
    let exports = exports.filter(|data| data["metrics"][0]["name"] == "instance_active_chunks");
    assert_eq!(exports.count(), 2, "each export has this gauge");
}

/// M1 M2: what the health check says has arrived when it is answered, with what dead processes left
/// in the temp root, above every limit of the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_is_answered_when_its_metrics_have_arrived() {
    let rig = Rig::new().await;
    let seen = Arc::new(Ingestion::default());
    let connection = serve(&seen).await;
    let handler = rig.handler_with(&[LONG, (CONNECTION, &connection)]).await;
    // After the first sweep; the next one is a minute away. No process has this number.
    let dead = rig.temp.path().join("pixcrawler-chunks/4194305-dddddddddddddddddddddddddddddddd");
    fs::create_dir(&dead).unwrap();
    fs::File::create(dead.join("0.body")).unwrap().set_len(460 << 20).unwrap();
    let (status, _) =
        handler.post("/health_check", "timer", r#"{"Data":{},"Metadata":{}}"#.into()).await;
    assert_eq!(status, 200);
    assert_eq!(seen.sum("active_chunks"), Some(0.0), "said once, and there already");
    assert_eq!(seen.sum("temp_storage_mb"), Some(460.0));
    assert_eq!(seen.sum("temp_high_water_mb"), Some(0.0), "the ledger's");
}

/// H7: what is recorded of the poison queues counts as rejected, each record once: one that was there
/// already does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_record_of_poison_is_counted_once() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let poison = Account::parse(&rig.storage).unwrap().queue("chunks-poison");
    poison.create().await.unwrap();
    for text in ["known already", "no JSON", "none either"] {
        poison.put(text).await.unwrap();
    }
    let first = poison.peek().await.unwrap().unwrap().remove(0);
    let sql = "insert into chunk_handler.rejected (source_key, queue, body, reason)
        values ('chunks-poison:' || $1, 'chunks', 'known already', 'before')";
    sqlx::query(sql).bind(&first.id).execute(&rig.pool).await.unwrap();
    let seen = Arc::new(Ingestion::default());
    let connection = serve(&seen).await;
    let handler = rig.handler_with(&[LONG, (CONNECTION, &connection)]).await;
    wait_for("the poison queue is empty", async || poison.count().await.unwrap() == 0).await;
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.rejected_message").await, 3);
    // No invocation ever came: what the background counts leaves soon, too.
    wait_for("they are counted", async || seen.sum("rejected_messages").is_some()).await;
    handler.signal(Signal::SIGTERM);
    handler.ended().await;
    assert_eq!(seen.sum("rejected_messages"), Some(2.0));
}
