//! What people send back to a job: rows of other jobs, lists that it knows, URLs that it has, nothing.

use super::{
    control::control,
    extend::{extend, extended, rows, runs},
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

/// Case 437: lists that a job knows: in a cancelled job they are refused, with how it opens again; with other
/// options they are refused with what differs.
#[tokio::test(flavor = "multi_thread")]
async fn a_known_list_is_refused_where_nothing_of_it_would_run() {
    let rig = Rig::new().await;
    let urls = rig.pictures(3);
    rig.submit(1, &urls[..2], 2);
    let own = rig.temp.path().join("1.txt");
    for (option, difference) in [
        (["--chunk-size", "1"], "--chunk-size 2, not 1"),
        (["--priority", "9"], "--priority 5, not 9"),
        (["--label", "cat"], "--label none, not cat"),
    ] {
        let refused = extend(&rig, &own, &option);
        assert!(refused.code == Some(1) && refused.stderr.contains(difference), "{refused:?}");
    }
    let again = |options: &[&str]| {
        let own = own.to_str().unwrap();
        let fixed = ["submit", "--job-id", "1", "--chunk-size", "2", "--urls", own];
        rig.chunkctl(&[&fixed, options].concat())
    };
    for (option, difference) in [
        ("--level slow", "--level medium, not slow"),
        ("--min-size 200", "--min-size none, not 200x200"),
        ("--formats png,jpeg", "--formats none, not jpeg,png"),
        ("--extension original", "--extension jpg, not original"),
        ("--text label", "--text none, not label"),
        ("--robots respect", "--robots none, not respect"),
    ] {
        let refused = again(&option.split(' ').collect::<Vec<_>>());
        assert!(refused.code == Some(1) && refused.stderr.contains(difference), "{refused:?}");
    }
    let more = rig.list("more.txt", &urls[2..]);
    extended(&rig, &more, &[]);
    assert_eq!(extended(&rig, &more, &[])["is_new"], false);
    control(&rig, &["cancel", "--job-id", "1"]);
    let before = rows(&rig).await;
    for refused in [extend(&rig, &more, &[]), extend(&rig, &own, &[]), again(&[])] {
        let says = refused.stderr.contains("`chunkctl control retry --job-id 1`");
        assert!(refused.code == Some(1) && says, "{refused:?}");
    }
    assert_eq!(rows(&rig).await, before);
    control(&rig, &["retry", "--job-id", "1"]);
    assert_eq!(again(&[]).code, Some(0));
    assert_eq!(extended(&rig, &more, &[])["is_new"], false);
}

/// Case 438: a URL is new as a handler asks for it, once in the list; where a chunk's list is gone, its
/// manifest says what the job has.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_url_is_none_that_is_spelled_otherwise() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(6);
    rig.submit(1, &urls[..2], 1);
    runs(&rig, &handler, 0..2).await;
    let lists = rig.blobs.list("chunk-sources", "job_1/").await.unwrap();
    rig.blobs.delete("chunk-sources", &lists[1]).await.unwrap();
    let sent = [
        urls[0].replace("http://", "HTTP://"),
        format!("{}#part", urls[1].replace("/img/", "/x/../img/")),
        format!("{}#1", urls[2]),
        format!("{}#2", urls[2]),
        urls[3].clone(),
        urls[3].replace("http:", "Http:"),
        "no URL".to_owned(),
    ];
    let said = extended(&rig, &rig.list("a.txt", &sent), &["--new-only"]);
    assert_eq!((&said["images"], &said["left_out"]), (&json!(3), &json!(4)), "{said}");
    // Nothing tells any more what a chunk has.
    let manifest = "job_1/chunks/chunk_00001.manifest.json";
    rig.blobs.delete("pixcrawler-datasets", manifest).await.unwrap();
    let refused = extend(&rig, &rig.list("b.txt", &urls[4..]), &["--new-only"]);
    let words = "list and manifest of chunk 1/1 are gone";
    assert!(refused.code == Some(1) && refused.stderr.contains(words), "{refused:?}");
}

/// Case 439: nothing to read is no list: the command before the pipe may have failed.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_is_refused_with_what_to_do() {
    let rig = Rig::new().await;
    rig.submit(1, &rig.pictures(1), 1);
    let before = rows(&rig).await;
    let new = ["submit", "--job-id", "2", "--urls", "-", "--format", "jsonl"];
    for (arguments, words) in [
        (&AGAIN[..], "no URL of job 1 is what it was asked for"),
        (&new[..], "a command that was to write it says why it did not"),
    ] {
        for empty in ["", "\n \n"] {
            let output = piped(&rig, arguments, empty);
            let says = output.stderr.contains("has no URL") && output.stderr.contains(words);
            assert!(output.code == Some(1) && says, "{output:?}");
        }
    }
    assert_eq!(rows(&rig).await, before);
}
