//! Messages that can never work are recorded once, odd ones work, and other requests are refused.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use functions_host::{
    payload::{self, Message, ScheduleStatus, Sys},
    storage::{Account, Queue},
};
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    cases::rows,
    rig::{DATASETS, Handler, Rig, envelope, inline, wait_for, wake_up},
    verdict::{verdicts, verdicts_of},
};
use time::macros::datetime;

/// What was recorded, in the order of arrival: queue, body, reason.
async fn rejected(rig: &Rig) -> Vec<(String, String, String)> {
    let sql = "select queue, body, reason from chunk_handler.rejected_message order by received_at";
    sqlx::query_as(sql).fetch_all(&rig.pool).await.unwrap()
}

fn queue(rig: &Rig, name: &str) -> Queue {
    Account::parse(&rig.storage).unwrap().queue(name)
}

/// Texts that can never work, and words of the reason that is recorded.
fn hopeless() -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> =
        rows("messages").into_iter().map(|row| (row.input, row.outcome)).collect();
    assert!(texts.len() > 40, "the table is read");
    // 117: the database knows whether a chunk is registered.
    let unknown = r#"{"version":1,"job_id":1,"chunk_index":0,"priority":5}"#;
    texts.push((unknown.into(), "not registered and the message has no source".into()));
    texts
}

/// Cases 111-117, 119, 120: answered with success, recorded once with body and reason, and that
/// is the end of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_can_never_work_is_recorded_once() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let texts = hopeless();
    let mut wrong = Vec::new();
    for (n, (text, _)) in texts.iter().enumerate() {
        // The host repeats an invocation whose answer it did not get.
        for _ in 0..2 {
            let (status, answer) =
                handler.post("/process_chunk", &format!("bad-{n}"), envelope(text)).await;
            let log = answer["Logs"][0].as_str().unwrap_or_default();
            if status != 200 || !log.starts_with("rejected and recorded: ") {
                wrong.push(format!("{text:.80}: {status} {answer}"));
            }
        }
    }
    let rows = rejected(&rig).await;
    assert_eq!(rows.len(), texts.len(), "one record for each: {wrong:#?}");
    for ((text, words), (queue, body, reason)) in texts.iter().zip(rows) {
        let stored = text.replace('\0', "\u{fffd}");
        if (queue.as_str(), &body) != ("chunks", &stored) || !reason.contains(words) {
            wrong.push(format!("{text:.80}: not {words:?} but {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.chunk").await, 0);
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.job").await, 0);
    assert_eq!(queue(&rig, "chunks").count().await.unwrap(), 0, "not retried");
}

/// H10: requests that are no invocation are recorded too; ids that messages fake do not merge
/// their records.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_kept_apart_by_invocation() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let shadow = json!({"id": "MYID", "DequeueCount": 99, "sys": "MYSYS"}).to_string();
    let bodies = [
        shadowed(&shadow),
        shadowed(&shadow),
        "{".into(),
        "[]".into(),
        r#"{"Data":{"other":"\"{}\""},"Metadata":{}}"#.into(),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let (status, answer) = handler.post("/process_chunk", &n.to_string(), body.clone()).await;
        assert_eq!(status, 200, "{answer}");
    }
    let rows = rejected(&rig).await;
    let stored: Vec<&str> = rows.iter().map(|(_, body, _)| body.as_str()).collect();
    assert_eq!(stored, [&shadow, &shadow, &bodies[2], &bodies[3], &bodies[4]]);
    assert!(rows[4].2.contains("function.json"), "{rows:?}");
}

/// A request as the real host makes it, with Metadata that the message's own fields replaced.
fn shadowed(text: &str) -> String {
    let message = Message {
        id: "5fad1d3f-bcbb-4308-b6a6-07c82e817e14".into(),
        pop_receipt: "MjJOb3Y".into(),
        dequeue_count: 1,
        // 132
        inserted: datetime!(2099-01-01 0:00 UTC),
        expires: datetime!(2099-01-08 0:00 UTC),
        next_visible: datetime!(2099-01-01 0:10 UTC),
        text: text.to_owned(),
    };
    payload::queue("message", &message, &sys("process_chunk"))
}

fn sys(function: &'static str) -> Sys<'static> {
    Sys { function, now: datetime!(2099-01-01 0:00 UTC), guid: uuid::Uuid::nil() }
}

/// Cases 130, 132; H6, H10: a chunk is what its message says, whatever the Metadata claim, and
/// JSON text, Base64 of it and a byte order mark are the same.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_encoding_do_not_change_the_chunk() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let picture = rig.pictures(1);
    let text = |index| inline(1, index, &picture).to_string();
    let mut faker = inline(1, 0, &picture);
    for (name, value) in [("id", "2"), ("dequeueCount", "-1"), ("PopReceipt", "x"), ("sys", "y")] {
        faker[name] = json!(value);
    }
    faker["insertionTime"] = json!("2099-01-01");
    let with = |text: String, metadata: &str| {
        let doubled = Value::String(text).to_string();
        format!(r#"{{"Data":{{"message":{}}},"Metadata":{metadata}}}"#, Value::String(doubled))
    };
    let bodies = [
        shadowed(&faker.to_string()),
        with(text(1), r#"{"DequeueCount":"-1"}"#),
        with(text(2), r#"{"DequeueCount":-7,"Id":7}"#),
        with(text(3), "{}"),
        with(text(4), "null"),
        with(text(5), r#"{"DequeueCount":"\"99\"","sys":"\"MYSYS\""}"#),
        envelope(&STANDARD.encode(text(6))),
        envelope(&format!("\u{feff}{}", text(7))),
        envelope(&format!(" \r\n{}\n", STANDARD.encode(format!("\u{feff}{}", text(8))))),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let (status, answer) = handler.post("/process_chunk", &n.to_string(), body.clone()).await;
        let log = answer["Logs"][0].as_str().unwrap();
        assert!(status == 200 && log.contains("completed"), "{n}: {answer}");
        assert_eq!(rig.manifest(1, n as i32).await["chunk_index"], n);
    }
    let jobs =
        "select count(*) = 9 and min(job_id) = 1 and max(job_id) = 1 from chunk_handler.chunk";
    assert!(rig.value::<bool>(jobs).await);
    assert_eq!(rejected(&rig).await, []);
}

/// Case 118: a list that is missing is tried again, charged, and fails with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_list_fails_after_the_last_attempt() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_MAX_ATTEMPTS", "2")]).await;
    let message = json!({"version": 1, "job_id": 1, "chunk_index": 0,
        "source": {"blob": "job_1/nothing/00000.jsonl"}});
    let (status, answer) = handler.deliver("first", &message).await;
    assert_eq!(status, 200, "{answer}");
    let row = "select status = 'pending' and attempt = 1 and error_code = 'source_missing'
        and not_before > clock_timestamp() from chunk_handler.chunk_status";
    assert!(rig.value::<bool>(row).await);
    wait_for("the second attempt", async || {
        handler.deliver("again", &wake_up(1, 0)).await;
        rig.value::<i32>("select attempt from chunk_handler.chunk_status").await == 2
    })
    .await;
    rig.until("select status = 'failed' and error_code = 'source_missing' from chunk_handler.chunk_status")
        .await;
    let outcomes = "select string_agg(outcome, ' ' order by fence) from chunk_handler.attempt_log";
    assert_eq!(rig.value::<String>(outcomes).await, "retried failed");
    assert_eq!(rejected(&rig).await, []);
    assert_eq!(rig.blobs.list(DATASETS, "job_1/chunks/").await.unwrap(), Vec::<String>::new());
}

/// Case 118: a list that is larger than any chunk's is no storage that is away: its attempts are
/// charged, or the chunk would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_large_fails_its_chunk() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_MAX_ATTEMPTS", "1")]).await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let name = "own/list.txt";
    let long = format!("http://a/{}\n", "a".repeat(3_000_000)).repeat(25);
    rig.blobs.put("chunk-sources", name, long.into_bytes()).await.unwrap();
    let message = json!({"version": 1, "job_id": 1, "chunk_index": 0, "source": {"blob": name}});
    let (status, answer) = handler.deliver("one", &message).await;
    assert_eq!(status, 200, "{answer}");
    let row = rig.value::<String>("select status from chunk_handler.chunk_status").await;
    assert_eq!(row, "failed", "{answer}");
}

/// Case 193: a list of another kind than its name says, and so without one URL, fails its chunk with
/// both named; nobody is asked for rows that are brackets.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_blob_of_another_kind_fails_its_chunk() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let name = "own/list.txt";
    let array = format!("[\n{{\"url\": \"{}\"}}\n]", rig.origin.url("/img/1"));
    rig.blobs.put("chunk-sources", name, array.into_bytes()).await.unwrap();
    let message = json!({"version": 1, "job_id": 1, "chunk_index": 0, "source": {"blob": name}});
    let (status, answer) = handler.deliver("one", &message).await;
    assert_eq!(status, 200, "{answer}");
    let row = rig
        .value::<String>(
            "select concat_ws(' ', status, error_code, error_message) from chunk_handler.chunk_status",
        )
        .await;
    let expected =
        "failed source_unreadable the source blob should be one URL a line, and is a JSON array";
    assert_eq!(row, expected);
    assert_eq!(rig.origin.total(), 0);
}

/// Cases 121-123: no URLs, one more than the usual chunk has, and one URL 500 times.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_odd_sizes_complete() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    assert_eq!(verdicts(&rig, &handler, 1, &[]).await, Vec::<String>::new());
    assert_eq!(rig.shard(1, 0).await, [0; 1024], "an empty tar");
    let none = json!({"version": 1, "job_id": 4, "chunk_index": 0, "source": {"items": []}});
    handler.deliver("items", &none).await;
    assert_eq!(verdicts_of(&rig.manifest(4, 0).await, &[]), Vec::<String>::new());
    let most: Vec<String> = (0..501).map(|n| format!("file:///{n}")).collect();
    assert_eq!(verdicts(&rig, &handler, 2, &most).await, ["failed url_refused"; 501]);
    let same = vec![rig.origin.url("/img/1"); 500];
    let verdicts = verdicts(&rig, &handler, 3, &same).await;
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "valid").count(), 1);
    let duplicates = verdicts.iter().filter(|verdict| *verdict == "duplicate exact_duplicate");
    assert_eq!(duplicates.count(), 499);
    let finished = "select bool_and(status = 'completed') from chunk_handler.chunk_status";
    assert!(rig.value::<bool>(finished).await);
}

/// Cases 124, 125: too large, another method, path or type; nothing of it is recorded or run.
#[tokio::test(flavor = "multi_thread")]
async fn other_requests_than_the_hosts_are_refused() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |path: &str| client.post(handler.url(path));
    let json = "application/json";
    let large = format!(r#"{{"Data":{{"message":"{}"}}}}"#, "x".repeat(1024 * 1024));
    let mut requests = vec![
        (404, post("/nothing").header("content-type", json).body("{}")),
        (404, post("/api/process_chunk").header("content-type", json).body("{}")),
        (405, post("/").body("{}")),
    ];
    for path in ["/process_chunk", "/control", "/health_check"] {
        requests.push((405, client.get(handler.url(path))));
        requests.push((415, post(path).body("{}")));
        requests.push((415, post(path).header("content-type", "text/plain").body("{}")));
        requests.push((415, post(path).header("content-type", "text/json; x=application/json")));
    }
    for path in ["/process_chunk", "/control"] {
        requests.push((413, post(path).header("content-type", json).body(large.clone())));
    }
    for (wanted, request) in requests {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), wanted, "{}", answer.url());
    }
    assert_eq!(rejected(&rig).await, []);
    let (status, _) = handler.deliver("good", &inline(1, 0, &rig.pictures(1))).await;
    assert_eq!(status, 200);
}

/// Case 131: a timer that is past due, and two at once, are answered.
#[tokio::test(flavor = "multi_thread")]
async fn timers_past_due_and_two_at_once_are_answered() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let at = datetime!(2026-11-22 22:33 UTC);
    let status = ScheduleStatus { last: payload::NEVER, next: at, last_updated: at };
    let late = payload::timer("timer", Some(status), true, None, &sys("health_check"));
    let first = payload::timer("timer", None, false, Some(""), &sys("health_check"));
    let answers = tokio::join!(
        handler.post("/health_check", "a", late.clone()),
        handler.post("/health_check", "b", first),
        handler.post("/health_check", "c", late),
    );
    for (status, answer) in [answers.0, answers.1, answers.2] {
        let log = answer["Logs"][0].as_str().unwrap();
        assert!(status == 200 && log.starts_with("active_chunks 0"), "{status} {answer}");
    }
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.health").await, 3);
}

/// H7: the timer empties the poison queues: what cannot be decoded is recorded, a chunk that
/// nobody knows is registered and woken, an old command is recorded and not applied.
#[tokio::test(flavor = "multi_thread")]
async fn poison_is_recorded_or_made_durable() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let known = inline(2, 0, &rig.pictures(1));
    assert_eq!(handler.deliver("known", &known).await.0, 200);
    let (chunks, control) = (queue(&rig, "chunks-poison"), queue(&rig, "chunk-control-poison"));
    chunks.create().await.unwrap();
    control.create().await.unwrap();
    let unknown = inline(1, 7, &rig.pictures(1)).to_string();
    let orphan = wake_up(9, 9).to_string();
    let cancel = r#"{"version":1,"action":"cancel","job_id":1}"#;
    for text in ["no JSON <&>", &unknown, &STANDARD.encode(known.to_string()), &orphan] {
        chunks.put(text).await.unwrap();
    }
    control.put(cancel).await.unwrap();
    empty(&handler, &[&chunks, &control]).await;

    let mut rows = rejected(&rig).await;
    rows.sort();
    let bodies: Vec<(&str, &str)> = rows.iter().map(|(q, b, _)| (q.as_str(), b.as_str())).collect();
    let wanted =
        [("chunk-control", cancel), ("chunks", "no JSON <&>"), ("chunks", orphan.as_str())];
    assert_eq!(bodies, wanted);
    rig.until(
        "select status = 'pending' and fence = 0 from chunk_handler.chunk_status where job_id = 1",
    )
    .await;
    rig.until("select status = 'completed' from chunk_handler.chunk_status where job_id = 2").await;
    let waiting = queue(&rig, "chunks");
    wait_for("the unknown chunk is woken", async || {
        let messages = waiting.peek().await.unwrap().unwrap();
        messages.iter().any(|m| m.text.contains(r#""job_id":1,"chunk_index":7"#))
    })
    .await;
}

/// Calls the timer until the queues are empty: the background pass may hold some of it.
async fn empty(handler: &Handler, queues: &[&Queue]) {
    wait_for("the poison queues are empty", async || {
        let timer = r#"{"Data":{"timer":{"IsPastDue":false}},"Metadata":{}}"#;
        assert_eq!(handler.post("/health_check", "timer", timer.into()).await.0, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut left = 0;
        for queue in queues {
            left += queue.count().await.unwrap();
        }
        left == 0
    })
    .await;
}
