//! The command line does what operators and producers expect, and says what went wrong.

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::io::Write as _;
use support::rig::{Rig, wake_up};

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// The same job and file change nothing; another file is refused; every line gets an index.
#[tokio::test(flavor = "multi_thread")]
async fn submit_is_idempotent() {
    let rig = Rig::new().await;
    let list = rig.list("a.txt", &["http://a/1".into(), String::new(), "no url".into()]);
    let submit = |file: &str| {
        rig.chunkctl(&["submit", "--job-id", "7", "--urls", file, "--chunk-size", "1", "--json"])
    };
    let first = submit(text(&list)).json();
    assert_eq!(
        (&first["chunks"], &first["images"], &first["is_new"]),
        (&2.into(), &2.into(), &true.into())
    );
    assert_eq!(submit(text(&list)).json()["is_new"], false);
    let other = rig.list("b.txt", &["http://b/1".into()]);
    let refused = submit(text(&other));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("job 7 is known with another source"), "{}", refused.stderr);
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.chunk_status").await, 2);
    let sources = rig.blobs.list("chunk-sources", "job_7/").await.unwrap();
    assert_eq!(sources.len(), 2, "{sources:?}");
}

/// A compressed table as a spreadsheet writes it: labels and the other columns reach the samples. Half
/// of the file is refused and registers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_table_keeps_its_columns() {
    let rig = Rig::new().await;
    let mut table = "\u{feff}id,url,label,TEXT\r\n".to_owned();
    for (n, url) in rig.pictures(3).iter().enumerate() {
        table += &format!("{n},{url},cat,\"so, {n}\"\r\n");
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(table.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let path = rig.temp.path().join("cats.csv.gz");
    let submit = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        rig.chunkctl(&["submit", "--job-id", "1", "--urls", text(&path), "--json"])
    };
    let refused = submit(&packed[..packed.len() / 2]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("cannot be unpacked"), "{}", refused.stderr);
    assert_eq!(submit(&packed).json()["images"], 3);
    assert_eq!(rig.handler().await.deliver("run", &wake_up(1, 0)).await.0, 200);
    let shard = rig.shard(1, 0).await;
    let mut archive = tar::Archive::new(shard.as_slice());
    let mut n_sidecars = 0;
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let Some(key) = name.strip_suffix(".json") else { continue };
        let n: usize = key.split_once('_').unwrap().1.parse().unwrap();
        let sidecar: Value = serde_json::from_reader(entry).unwrap();
        let meta: Value = serde_json::from_str(sidecar["meta"].as_str().unwrap()).unwrap();
        assert_eq!((&sidecar["label"], &meta), (&json!("cat"), &json!({"id": n.to_string()})));
        assert_eq!(sidecar["caption"], format!("so, {n}"));
        n_sidecars += 1;
    }
    assert_eq!(n_sidecars, 3);
}

/// The handler is down: the job waits as rows; wake-ups lie in the queue; status says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_job_runs_and_watch_tells_its_end() {
    let rig = Rig::new().await;
    rig.submit(3, &rig.pictures(4), 2);
    let status = rig.chunkctl(&["status", "--job-id", "3", "--json"]).json();
    assert_eq!(status["jobs"][0]["status"], "pending");
    assert_eq!(status["jobs"][0]["pending_chunks"], 2);
    let handler = rig.handler().await;
    for index in 0..2 {
        let (_, answer) = handler.deliver(&format!("w{index}"), &wake_up(3, index)).await;
        assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
    }
    let watched = rig.chunkctl(&["status", "--job-id", "3", "--watch"]);
    assert_eq!(watched.code, Some(0), "{}", watched.stderr);
    assert!(watched.stdout.contains("job 3: completed 100%"), "{}", watched.stdout);
}

/// Rows carry the columns of the views under the same names.
#[tokio::test(flavor = "multi_thread")]
async fn json_rows_have_the_columns_of_the_views() {
    let rig = Rig::new().await;
    rig.submit(1, &["http://a/1".into()], 1);
    assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "1"]).code, Some(0));
    let status = rig.chunkctl(&["status", "--json"]).json();
    let keys = |row: &Value| {
        let mut keys: Vec<String> = row.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    for (row, view) in [
        (&status["capacity"], "capacity"),
        (&status["jobs"][0], "job_progress"),
        (&status["failed_chunks"][0], "chunk_status"),
    ] {
        let columns: Vec<String> = sqlx::query_scalar(
            "select column_name::text from information_schema.columns
            where table_schema = 'chunk_handler' and table_name = $1 order by 1",
        )
        .bind(view)
        .fetch_all(&rig.pool)
        .await
        .unwrap();
        assert_eq!(keys(row), columns, "{view}");
    }
}

/// Mistakes of the caller: exit code 2 for usage and settings, 1 for what failed, and advice.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_get_an_exit_code_and_advice() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["dance"]).code, Some(2));
    assert_eq!(rig.chunkctl(&["submit", "--job-id", "-1", "--urls", "x"]).code, Some(2));
    assert_eq!(rig.chunkctl(&["control", "pause", "--minutes", "0"]).code, Some(2));
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let unknown = rig.chunkctl(&["status", "--job-id", "99"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("job 99 is unknown"), "{}", unknown.stderr);
    assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "99"]).code, Some(1));
    let empty = rig.list("empty.txt", &[]);
    let refused = rig.chunkctl(&["submit", "--job-id", "1", "--urls", text(&empty)]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("the file has no URL"), "{}", refused.stderr);
}

/// A cancelled job ends; retry by hand runs its chunks again.
#[tokio::test(flavor = "multi_thread")]
async fn retry_reopens_a_cancelled_job() {
    let rig = Rig::new().await;
    rig.submit(1, &rig.pictures(2), 1);
    assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "1"]).code, Some(0));
    let watched = rig.chunkctl(&["status", "--job-id", "1", "--watch"]);
    assert_eq!(watched.code, Some(1), "cancelled is no success");
    assert_eq!(rig.chunkctl(&["control", "retry", "--job-id", "1"]).code, Some(0));
    let handler = rig.handler().await;
    for index in 0..2 {
        handler.deliver(&format!("w{index}"), &wake_up(1, index)).await;
    }
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    assert!(rig.blobs.read(support::rig::DATASETS, "job_1/dataset.json").await.is_ok());
}
