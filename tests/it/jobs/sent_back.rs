//! What people send back to a job: rows of other jobs, lists that it knows, URLs that it has, nothing.

use super::{
    extend::extended,
    tries::{AGAIN, piped},
};
use serde_json::{Value, json};
use support::rig::Rig;

/// A row of `chunkctl urls`.
fn row(job: i64, (chunk, idx): (u32, u32), url: &str) -> String {
    json!({"job_id": job, "chunk_index": chunk, "idx": idx, "url": url, "status": "failed"})
        .to_string()
}

/// Case 436: rows of another job are new URLs, and that is said; a row that names no place of the job is
/// doubtful, and asks for nothing again.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_url_of_the_job_is_asked_for_again() {
    let rig = Rig::new().await;
    let urls = rig.pictures(5);
    rig.submit(1, &urls[..3], 2);
    let sent = [
        row(1, (0, 1), &urls[1]),
        row(2, (0, 0), &urls[3]),
        row(1, (1, 1), &urls[2]),
        row(1, (9, 0), &urls[4]),
    ];
    let said = extended(&rig, &rig.list("a.jsonl", &sent), &[]);
    let numbers = ["images", "images_asked_again", "of_other_jobs"].map(|name| said[name].clone());
    assert_eq!(numbers, [4, 1, 1].map(Value::from), "{said}");
    assert_eq!(said["doubtful"]["rows"], 2, "{said}");
    let problem = said["doubtful"]["first"][1]["problem"].as_str().unwrap();
    assert!(problem.contains("no URL at its chunk_index and idx"), "{said}");
    let tries = "select message::jsonb #>> '{source,blob}' from chunk_handler.chunk
        where chunk_index = 2";
    let list: String = rig.value(tries).await;
    let list = rig.blobs.read("chunk-sources", &list).await.unwrap();
    let items = String::from_utf8(list.to_vec()).unwrap();
    let tries: Vec<Value> = items
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["retry_of"].clone())
        .collect();
    assert_eq!(tries, [json!("00000_00001"), Value::Null], "{items}");

    let other = format!("{}\n{}\n", row(3, (0, 0), &urls[0]), row(4, (0, 0), &urls[1]));
    let output = piped(&rig, &AGAIN, &other);
    let words = "from chunk 4 on; 2 rows are of other jobs, and their URLs are new ones here\n";
    assert!(output.code == Some(0) && output.stdout.ends_with(words), "{output:?}");
}
