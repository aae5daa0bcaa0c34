//! A list is understood, or refused before anything is written.

use serde_json::{Value, json};
use std::path::Path;
use support::{
    programs::{self, Output},
    rig::{Rig, wake_up},
};

fn submit(rig: &Rig, list: &Path, options: &[&str]) -> Output {
    let list = list.to_str().unwrap();
    rig.chunkctl(&[&["submit", "--job-id", "1", "--urls", list], options].concat())
}

/// Cases 160-170, 190-192: each with words of the refusal; no row and no blob is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_understood_leaves_nothing() {
    let rig = Rig::new().await;
    let lines = "{\"url\":\"http://a\"}\n";
    let long = format!("{{\"url\":\"http://b\",\"n\":\"{}\"}}\n", "a".repeat(65_000)).repeat(600);
    let lists: [(&str, &[u8], &str); 16] = [
        ("a.zip", b"PK\x03\x04", "ZIP"),
        ("a.txt", b"PK\x03\x04[Content_Types].xml", "(.xlsx)"),
        ("a.csv", b"<!DOCTYPE html>\nhttp://a", "HTML"),
        (
            "b.txt",
            b"[{\"url\":\"http://a\"}]",
            "one URL a line (.txt), and the content is a JSON array",
        ),
        ("a.json", lines.as_bytes(), "name it .jsonl"),
        ("c.txt", b"id\turl\n1\thttp://a", "name it .tsv"),
        ("d.txt", b"\xff\xfe\0\0h\0\0\0", "UTF-32"),
        ("e.txt", b"h\0t\0t\0p\0:\0/\0/\0a\0", "UTF-16 without a byte order mark"),
        ("f.txt", b"http://a\nhttp://b/\xe9", "line 2, byte 10 is 0xE9"),
        ("a.jsonl", b"{\"url\":\"http://a\"}\n{\"url\":", "line 2: no JSON"),
        ("b.json", b"[\"http://a\",\n", "line 2: no JSON array"),
        ("d.json", b"{\"url\":{\"0\":\"http://a\"},\"id\":{\"0\":7}}", "orient=\"records\""),
        ("c.jsonl", long.as_bytes(), "the 600 rows of chunk 0 are more than 32 MiB"),
        ("b.csv", b"url,label\nhttp://a,\"x\nhttp://b,y", "line 2: a quote"),
        (
            "c.csv",
            b"link,label\nhttp://a,x",
            "no url column between commas in its first line, which is `link,label`",
        ),
        (
            "g.txt",
            b"no url\nftp://a",
            "its first line is `no url`, and expected is one http(s) URL a line",
        ),
    ];
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    for (name, bytes, words) in lists {
        let path = rig.temp.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let refused = submit(&rig, &path, &["--chunk-size", "1000"]);
        assert_eq!(refused.code, Some(1), "{name}: {refused:?}");
        assert!(refused.stderr.contains(words), "{name}: {}", refused.stderr);
    }
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.job").await, 0);
    assert_eq!(rig.value::<i64>("select count(*) from chunk_handler.chunk").await, 0);
    assert!(rig.blobs.list("chunk-sources", "").await.unwrap().is_empty());
}

/// I15: rows without a URL are told when they are submitted, and who watches is told that little
/// came of it; so does the status say later.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_which_little_is_valid_says_so() {
    let rig = Rig::new().await;
    let rows = [rig.origin.url("/img/1"), "no url".into(), "ftp://u:secret@a/b".into()];
    let list = rig.list("few.txt", &rows);
    let submitted = submit(&rig, &list, &[]);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    let warning = "warning: 2 of 3 rows have no http(s) URL";
    assert!(submitted.stderr.contains(warning), "{}", submitted.stderr);
    assert!(submitted.stderr.contains("chunk 0, idx 1: `no url`"), "{}", submitted.stderr);
    assert!(submitted.stderr.contains("idx 2: `ftp://a/b`"), "{}", submitted.stderr);
    let status = rig.chunkctl(&["--json", "status"]).json();
    assert_eq!(status["few_valid"], json!([]), "it is not over");
    assert_eq!(rig.handler().await.deliver("one", &wake_up(1, 0)).await.0, 200);
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    let line = "job 1: only 1 of its 3 images are valid, less than half";
    for options in [&["--watch"][..], &["--watch", "--json"]] {
        let watched = submit(&rig, &list, options);
        assert_eq!(watched.code, Some(0), "{watched:?}");
        assert!(watched.stderr.contains(line), "{}", watched.stderr);
    }
    assert!(rig.chunkctl(&["status"]).stdout.contains(line));
    let few: Value = rig.chunkctl(&["--json", "status"]).json()["few_valid"].take();
    let row = json!({"job_id": 1, "images_total": 3, "images_valid": 1, "duplicates_removed": 0});
    assert_eq!(few, json!([row]));
}

/// Case 264: the command line too reads millions of empty items in memory near their bytes. A list of
/// 28 MiB took 2.8 GB; here it may have 1.2 GB of addresses, of which few are memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_millions_of_empty_items_is_read_in_little_memory() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let meta = format!("{{\"url\":\"http://a\",\"meta\":[{}0]}}", "{\"\":0},".repeat(4 << 20));
    let keys = format!("{{\"url\":\"http://a\",{}\"n\":NaN}}", "\"\":0,".repeat(4 << 20));
    let environment = rig.environment();
    let mut variables: Vec<_> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    variables.push(("MALLOC_ARENA_MAX", "2"));
    for (job, name, list) in [
        ("1", "a.jsonl", format!("{meta}\n{{\"url\":\"http://b\"}}\n")),
        ("2", "b.json", format!("[{meta},{{\"url\":\"http://b\"}}]")),
        ("3", "c.jsonl", format!("{keys}\n{{\"url\":\"http://b\"}}\n")),
        ("4", "d.json", format!("[{keys},{{\"url\":\"http://b\"}}]")),
    ] {
        std::fs::write(rig.temp.path().join(name), list).unwrap();
        let command = "ulimit -v 1200000; exec \"$0\" --json submit --job-id \"$1\" --urls \"$2\"";
        let arguments = ["-c", command, &programs::chunkctl(), job, name];
        let said = programs::run("/bin/sh", &arguments, &variables, rig.temp.path());
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        let said = said.json();
        assert_eq!((&said["images"], &said["unusable"]["too_large"]), (&json!(2), &json!(1)));
    }
}
