//! `chunkctl urls`: what became of each URL, as a list.

use super::{
    control::{ENDED, say},
    extend::runs,
    fetch::through,
};
use serde_json::{Value, json};
use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{
    programs::{self, Output},
    proxy::{Call, Calls, Fate, Proxy, Wire},
    rig::{DATASETS, Handler, Rig, inline, wait_for, wake_up},
};

fn urls(rig: &Rig, options: &[&str]) -> Output {
    rig.chunkctl(&[&["urls", "--job-id", "1"], options].concat())
}

fn rows(output: &Output) -> Vec<Value> {
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The items of the lists of a job, in order.
async fn items(rig: &Rig, job: i64) -> Vec<Value> {
    let mut items = Vec::new();
    for name in rig.blobs.list("chunk-sources", &format!("job_{job}/")).await.unwrap() {
        let list = rig.blobs.read("chunk-sources", &name).await.unwrap();
        let list = String::from_utf8(list.to_vec()).unwrap();
        items.extend(list.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    items
}

/// A job of two chunks with one of each verdict, labels that are formulas, and meta.
async fn job(rig: &Rig) -> Handler {
    // Of two with the same picture the first is kept.
    let one_by_one = ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "1");
    let handler = rig.handler_with(&[("PIXCRAWLER_KEEP_QUERY", "false"), one_by_one]).await;
    let row = |path: &str, label: &str| json!({"url": rig.origin.url(path), "label": label, "meta": {"n": 1.0, "idx": path}});
    let rows = [
        row("/same/1?sig=a", "=1+1"),
        row("/same/1/b?sig=b", "two\nlines"),
        row("/404/1?sig=c", "@cmd"),
        row("/html/1", "'-1"),
        json!({"url": rig.origin.url("/img/7"), "caption": " =two\ncats", "class": 3}),
    ];
    let list = rig.list("1.jsonl", &rows.map(|row| row.to_string()));
    let list = list.to_str().unwrap();
    let submit = ["submit", "--job-id", "1", "--chunk-size", "3", "--urls", list];
    assert_eq!(rig.chunkctl(&submit).code, Some(0));
    say(&handler, &wake_up(1, 0)).await;
    handler
}

/// Case 365: a row for each URL, in order, with what the manifest says and what the list said; chunks
/// that are not complete are named.
#[tokio::test(flavor = "multi_thread")]
async fn each_url_has_its_row() {
    let rig = Rig::new().await;
    let handler = job(&rig).await;
    let output = urls(&rig, &[]);
    assert_eq!(rows(&output).len(), 3);
    assert!(output.stderr.contains("no manifest yet of 1 chunk (1) of job 1"), "{output:?}");
    say(&handler, &wake_up(1, 1)).await;
    rig.until(ENDED).await;
    let output = urls(&rig, &[]);
    assert_eq!(output.stderr, "");
    let all = rows(&output);
    let said = |row: &Value| format!("{} {} {}", row["chunk_index"], row["idx"], row["status"]);
    let expected = [
        "0 0 \"valid\"",
        "0 1 \"duplicate\"",
        "0 2 \"failed\"",
        "1 0 \"invalid\"",
        "1 1 \"valid\"",
    ];
    assert_eq!(all.iter().map(said).collect::<Vec<_>>(), expected);
    for (row, item) in all.iter().zip(items(&rig, 1).await) {
        for field in ["url", "label", "caption", "class", "meta"] {
            assert_eq!(row[field], item[field], "{row}");
        }
        let chunk = i32::try_from(row["chunk_index"].as_i64().unwrap()).unwrap();
        let manifest = rig.manifest(1, chunk).await;
        let idx = usize::try_from(row["idx"].as_i64().unwrap()).unwrap();
        let reported = manifest["items"][idx].as_object().unwrap();
        // The manifest shows no query; what is asked for again has one.
        let others = reported.iter().filter(|(name, _)| *name != "url" && *name != "meta");
        others.for_each(|(name, value)| assert_eq!(row[name], *value, "{name}"));
        assert_eq!(row["shard"], manifest["shard"]["blob"]);
    }
    let of = |options: &[&str]| rows(&urls(&rig, options)).iter().map(said).collect::<Vec<_>>();
    assert_eq!(of(&["--status", "failed,invalid"]), expected[2..4]);
    assert_eq!(of(&["--reason", "not_image,http_404"]), expected[2..4]);
    assert_eq!(of(&["--status", "failed", "--reason", "not_image"]), [""; 0]);
    assert_eq!(of(&["--chunk-index", "1"]), expected[3..]);
    assert_eq!(of(&["--transient"]), [""; 0]);
    for (options, code, words) in [
        (["--chunk-index", "7"], 1, "job 1 has no chunk 7"),
        (["--chunk-index", "-3"], 2, "-3 is not in 0..=99999"),
        (["--reason", "http_5xx"], 2, "http_5xx"),
        (["--status", "bad"], 2, "bad"),
    ] {
        let refused = urls(&rig, &[&options[..], &["--format", "csv"]].concat());
        assert_eq!((refused.code, &*refused.stdout), (Some(code), ""), "{refused:?}");
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    for command in [&["status", "1"][..], &["control", "retry", "--job-id", "1"]] {
        let refused = rig.chunkctl(&[command, &["--chunk-index", "-3"]].concat());
        assert!(refused.stderr.contains("-3 is not in 0..=99999"), "{refused:?}");
    }
    let unknown = rig.chunkctl(&["urls", "--job-id", "2", "--format", "csv"]);
    assert_eq!((unknown.code, &*unknown.stdout), (Some(1), ""), "{unknown:?}");
    let nothing = urls(&rig, &["--transient", "--format", "csv"]);
    assert!(nothing.stdout.starts_with("job_id,chunk_index,idx,url,"), "{nothing:?}");
}

/// Four chunks are read at once, and no fifth before the first of them is written; rows are in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_few_chunks_are_read_ahead() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let pictures = rig.pictures(6);
    rig.submit(1, &pictures, 1);
    runs(&rig, &handler, 0..6).await;
    let calls = Calls::default();
    let (real, _) = through(&rig, "");
    let proxy = Proxy::start("blob", Wire::Http, &real, &calls).await.unwrap();
    let (_, storage) = through(&rig, &proxy.address().to_string());
    let is_manifest = |call: &Call| call.what.contains(".manifest.json");
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    calls.restart(move |call| match is_manifest(call) && !over.load(Ordering::SeqCst) {
        true => Fate::HoldBefore,
        false => Fate::Pass,
    });
    let asked = || calls.seen().iter().filter(|call| is_manifest(call)).count();
    let (asked, output) = std::thread::scope(|scope| {
        let storage = [("ChunkStorage", &*storage)];
        let arguments = ["urls", "--job-id", "1", "--format", "txt"];
        let rig = &rig;
        let run = scope.spawn(move || rig.chunkctl_with(&storage, &arguments));
        let asked = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let four = wait_for("four chunks are asked for", async || asked() >= 4);
                let _ = tokio::time::timeout(Duration::from_secs(10), four).await;
                calls.quiet(Duration::from_millis(200)).await;
                let asked = asked();
                is_over.store(true, Ordering::SeqCst);
                calls.release();
                asked
            })
        });
        (asked, run.join().unwrap())
    });
    assert_eq!(asked, 4);
    assert_eq!(output.stdout.lines().collect::<Vec<_>>(), pictures, "{output:?}");
}

/// Case 361: rows in either form are a list of another job: the items that the first one had, and
/// nothing of its manifests. In a table nothing begins as a formula does.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_a_list_of_the_same_items() {
    let rig = Rig::new().await;
    let handler = job(&rig).await;
    say(&handler, &wake_up(1, 1)).await;
    rig.until(ENDED).await;
    let first = items(&rig, 1).await;
    for (job, format) in [(2, "jsonl"), (3, "csv")] {
        let output = urls(&rig, &["--format", format]);
        if format == "csv" {
            let is_formula = |cell: &str| cell.trim_matches('"').starts_with(['=', '+', '-', '@']);
            assert!(output.stdout.contains(",'=1+1,"), "{output:?}");
            assert_eq!(output.stdout.split([',', '\n']).find(|cell| is_formula(cell)), None);
        }
        let path = rig.temp.path().join(format!("again.{format}"));
        std::fs::write(&path, &output.stdout).unwrap();
        let number = job.to_string();
        let list = path.to_str().unwrap();
        let submit = rig.chunkctl(&["submit", "--json", "--job-id", &number, "--urls", list]);
        assert_eq!(submit.code, Some(0), "{submit:?}");
        assert_eq!(submit.json()["doubtful"]["rows"], 0);
        assert_eq!(items(&rig, job).await, first, "{format}");
    }
    let text = urls(&rig, &["--format", "txt", "--status", "valid"]);
    let valid = [&first[0], &first[4]].map(|item| item["url"].as_str().unwrap());
    assert_eq!(text.stdout.lines().collect::<Vec<_>>(), valid);
}

/// A list that is not there any more: the manifest shows what it knows, and that is said.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_list_a_chunk_shows_its_manifest() {
    let rig = Rig::new().await;
    let handler = job(&rig).await;
    let names = rig.blobs.list("chunk-sources", "job_1/").await.unwrap();
    rig.blobs.delete("chunk-sources", &names[0]).await.unwrap();
    let output = urls(&rig, &["--chunk-index", "0"]);
    assert!(output.stderr.contains("the lists of 1 chunk (0) of job 1 are gone"), "{output:?}");
    assert_eq!(rows(&output)[2]["url"], rig.origin.url("/404/1"));
    // What was sent in a message has its list there.
    say(&handler, &inline(5, 0, &[rig.origin.url("/img/1?sig=d")])).await;
    let inline = rig.chunkctl(&["urls", "--job-id", "5"]);
    assert_eq!(rows(&inline)[0]["url"], rig.origin.url("/img/1?sig=d"));
    // A manifest that is gone is no empty one.
    rig.blobs.delete(DATASETS, "job_1/chunks/chunk_00000.manifest.json").await.unwrap();
    let output = urls(&rig, &["--chunk-index", "0"]);
    assert!(output.stderr.contains("no manifest yet"), "{output:?}");
}

/// A reader that has seen enough (`| head -1`) is no failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_may_stop() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let label = "x".repeat(60_000);
    let row = |n: usize| json!({"url": rig.origin.url(&format!("/404/{n}")), "label": label});
    let list = rig.list("1.jsonl", &(0..20).map(|n| row(n).to_string()).collect::<Vec<_>>());
    let submit = ["submit", "--job-id", "1", "--urls", list.to_str().unwrap()];
    assert_eq!(rig.chunkctl(&submit).code, Some(0));
    say(&handler, &wake_up(1, 0)).await;
    let mut command = Command::new(programs::chunkctl());
    command.env_clear().envs(rig.environment()).args(["urls", "--job-id", "1"]);
    let mut reading = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(reading.stdout.take());
    let output = reading.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}
