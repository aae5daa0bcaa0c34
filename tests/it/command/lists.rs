//! A list is understood, or refused before anything is written.

use serde_json::{Value, json};
use std::{io::Write as _, path::Path, process::Stdio, time::Duration};
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
    let row = json!({"job_id": 1, "images_total": 3, "images_asked_again": 0, "images_valid": 1,
        "duplicates_removed": 0});
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
    // A line of many cells took a hundred times its size.
    let cells = |between: &str| {
        let many = format!("x{between}").repeat(7 << 20);
        format!("url{between}label\nhttp://a{between}{many}\nhttp://b{between}y\n")
    };
    let environment = rig.environment();
    let mut variables: Vec<_> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    variables.push(("MALLOC_ARENA_MAX", "2"));
    for (job, name, list) in [
        ("1", "a.jsonl", format!("{meta}\n{{\"url\":\"http://b\"}}\n")),
        ("2", "b.json", format!("[{meta},{{\"url\":\"http://b\"}}]")),
        ("3", "c.jsonl", format!("{keys}\n{{\"url\":\"http://b\"}}\n")),
        ("4", "d.json", format!("[{keys},{{\"url\":\"http://b\"}}]")),
        ("5", "e.csv", cells(",")),
        ("6", "f.tsv", cells("\t")),
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

/// Case 348: a folder and a file are one list, in the order of names; what is hidden is passed over and told, and
/// what is no list by its name is refused with it. The same again changes nothing; another order does.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_several_files_are_one_job() {
    let rig = Rig::new().await;
    let folder = rig.temp.path().join("parts");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("b.csv", "link,title\nhttp://a/2,two\n");
    write("a.csv", "link,title\nhttp://a/1,one\n");
    write("_SUCCESS", "");
    let last = rig.list("last.csv", &["link,title".to_owned(), "http://a/3,three".to_owned()]);
    let last = last.to_str().unwrap();
    let names = ["--url-column", "link", "--caption-column", "title"];
    let options = [&["--urls", last, "--chunk-size", "2", "--json"], &names[..]].concat();
    write("notes.md", "my lists");
    let refused = submit(&rig, &folder, &options);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("notes.md is no list by its suffix"), "{}", refused.stderr);
    std::fs::remove_file(folder.join("notes.md")).unwrap();
    for is_new in [true, false] {
        let submitted = submit(&rig, &folder, &options);
        assert_eq!(submitted.code, Some(0), "{submitted:?}");
        let said = submitted.json();
        assert_eq!((&said["images"], &said["is_new"]), (&json!(3), &json!(is_new)), "{said}");
        assert!(submitted.stderr.contains("_SUCCESS"), "{}", submitted.stderr);
    }
    let mut lines = String::new();
    for name in rig.blobs.list("chunk-sources", "job_1/").await.unwrap() {
        let list = rig.blobs.read("chunk-sources", &name).await.unwrap();
        lines += &String::from_utf8_lossy(&list);
    }
    let items: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let item = |n: u8, title| json!({"url": format!("http://a/{n}"), "caption": title});
    assert_eq!(items, [item(1, "one"), item(2, "two"), item(3, "three")]);
    // Named otherwise, it is another list.
    let other =
        submit(&rig, &folder, &["--urls", last, "--chunk-size", "2", "--url-column", "link"]);
    let words = "a file read as csv with --url-column link --caption-column title, not csv with";
    assert!(other.stderr.contains(words), "{}", other.stderr);
    // Behind one option, as a shell expands them.
    let options = ["--json", "submit", "--job-id", "1", "--chunk-size", "2"];
    let folder = folder.to_str().unwrap();
    let other = rig.chunkctl(&[&options[..], &["--urls", last, folder], &names[..]].concat());
    assert!(other.stderr.contains("known with another source"), "{}", other.stderr);
}

/// Stdin is read twice as well: it is copied for that, and the copy goes with the process.
#[tokio::test(flavor = "multi_thread")]
async fn stdin_is_read_as_it_is_told() {
    let rig = Rig::new().await;
    let temp = rig.temp.path().join("copies");
    std::fs::create_dir(&temp).unwrap();
    let mut child = std::process::Command::new(programs::chunkctl())
        .env_clear()
        .envs(rig.environment())
        .env("PIXCRAWLER_TEMP_DIR", &temp)
        .current_dir(rig.temp.path())
        .args(["--json", "submit", "--job-id", "1", "--urls", "-", "--format", "tsv"])
        .args(["--columns", "caption,url"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let rows = "a red chair\thttp://a/1\nanother\thttp://a/2\n";
    child.stdin.take().unwrap().write_all(rows.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["images"], 2);
    let left: Vec<_> = std::fs::read_dir(&temp).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Case 350: memory does not grow with a list: one of 100 MB is read, and written, in less.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_submitted_in_less_memory_than_it_has() {
    const BYTES: u64 = 100 << 20;
    let rig = Rig::new().await;
    let path = rig.temp.path().join("long.csv");
    let mut list = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let mut n = writeln!(list, "url,label").map(|()| 0_u64).unwrap();
    let label = "a caption of some words ".repeat(40);
    while n * 1000 < BYTES {
        writeln!(list, "http://a/{n:020},{label}").unwrap();
        n += 1;
    }
    drop(list);
    assert!(std::fs::metadata(&path).unwrap().len() > BYTES * 99 / 100);
    let mut child = std::process::Command::new(programs::chunkctl())
        .env_clear()
        .envs(rig.environment())
        .current_dir(rig.temp.path())
        .args(["--json", "submit", "--job-id", "1", "--chunk-size", "2000", "--urls", "long.csv"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        // It never falls, and what of it is missed at the end is not of the list.
        peak = resident(child.id()).unwrap_or(peak);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let said = child.wait_with_output().unwrap();
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["images"], n);
    println!("{} MB at most for {} MB", peak >> 20, BYTES >> 20);
    assert!((1 << 20..BYTES).contains(&peak), "{peak}");
}

/// The most memory that a process had, in bytes.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
