//! Rows divided into chunks, read once and again.

use super::*;
use crate::list::{Listed, Names};
use std::{fs, path::Path, sync::Arc};

/// The source of files in a folder, given in order.
pub(crate) fn source(folder: &Path, files: &[(&str, &str)]) -> Source {
    let write = |(name, text): &(&str, &str)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let paths: Vec<_> = files.iter().map(write).collect();
    let (files, _) = Listed::of_paths(&paths, None, folder).unwrap();
    Source { files, format: None, names: Names::default() }
}

fn division(chunk_size: usize, label: Option<&str>) -> Division {
    Division { chunk_size, label: label.map(str::to_owned), growth: None }
}

pub(crate) fn judged(files: &[(&str, &str)], chunk_size: usize) -> Result<Judged, SubmitError> {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), files);
    Judged::read(&source, &division(chunk_size, None), &Progress::hidden())
}

/// The lists of chunks, as they would be written.
fn chunks(source: &Source, division: &Division, judged: &Judged) -> Result<Vec<String>, String> {
    let mut chunks = Vec::new();
    let read = judged.read_again(source, division, &Progress::hidden(), &mut |chunk| {
        assert_eq!(chunk.n, chunk.lines.iter().filter(|byte| **byte == b'\n').count());
        chunks.push(String::from_utf8(chunk.lines).unwrap());
        ControlFlow::Continue(())
    });
    read.map(|()| chunks).map_err(|error| error.to_string())
}

#[test]
fn the_label_of_the_job_is_for_urls_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), &[("a.csv", "url,label\nhttp://a/1,cat\n,\n")]);
    let division = division(2, Some("all"));
    let judged = Judged::read(&source, &division, &Progress::hidden()).unwrap();
    let expected = "{\"url\":\"http://a/1\",\"label\":\"cat\"}\n{\"url\":\"\",\"label\":\"all\"}\n";
    assert_eq!(chunks(&source, &division, &judged).unwrap(), [expected]);
}

#[test]
fn a_job_has_at_most_as_many_chunks_as_there_are_indices() {
    let table = |n: usize| format!("url\n{}", "http://a\n".repeat(n));
    assert!(judged(&[("a.csv", &table(100_000))], 1).is_ok());
    let error = judged(&[("a.csv", &table(100_001))], 1).unwrap_err().to_string();
    assert_eq!(error, "the job would have more than 100000 chunks; raise --chunk-size");
    assert_eq!(judged(&[("a.csv", &table(100_001))], 2).unwrap().chunks.len(), 50_001);
}

/// Case 261: too long as a line of its chunk's list, though not in the file: a name of a column is
/// in every line.
#[test]
fn a_row_whose_line_is_above_the_limit_is_one_that_cannot_be_used() {
    let name = "n".repeat(60_000);
    let text = format!("url,{name}\nhttp://a/1,\nhttp://a/2,{}\n", "x".repeat(6000));
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), &[("a.csv", &text)]);
    let division = division(9, Some("all"));
    let judged = Judged::read(&source, &division, &Progress::hidden()).unwrap();
    assert_eq!((judged.n, judged.remarks.unusable.rows), (2, 1));
    let lines = chunks(&source, &division, &judged).unwrap().remove(0);
    let last = r#"{"url":"http://a/2","label":"all","refused":"item_too_large"}"#;
    assert_eq!(lines.lines().nth(1), Some(last));
}

fn judged_in_chunks_of_3(files: &[(&str, &str)]) -> Judged {
    judged(files, 3).unwrap()
}

/// Case 348: several files are one list, in order, whatever they are; a chunk may have rows of two.
#[test]
fn several_files_are_one_list() {
    let files = [
        ("b.txt", "http://a/1\nhttp://a/2"),
        ("a.csv", "id,url\n7,http://a/3\n"),
        ("empty.txt", "\n"),
        ("c.jsonl", "{\"url\":\"http://a/4\"}"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), &files);
    let division = division(3, None);
    let judged = Judged::read(&source, &division, &Progress::hidden()).unwrap();
    let expected = [
        "{\"url\":\"http://a/1\"}\n{\"url\":\"http://a/2\"}\n\
         {\"url\":\"http://a/3\",\"meta\":{\"id\":\"7\"}}\n",
        "{\"url\":\"http://a/4\"}\n",
    ];
    assert_eq!(chunks(&source, &division, &judged).unwrap(), expected);
    assert_eq!(judged.format, "text+csv+text+jsonl");
    // In another order it is another list.
    let digest = |files: &[(&str, &str)]| judged_in_chunks_of_3(files).sha256;
    let [b, a, empty, c] = files;
    assert_eq!(digest(&files), judged.sha256);
    assert_ne!(digest(&[a, b, empty, c]), judged.sha256);
    // The digest of one file is its own, whatever it is called.
    let own = hex(&Sha256::digest(b.1));
    assert_eq!(digest(&[b]), own);
    assert_eq!(digest(&[("other.txt", b.1)]), own);
}

/// Case 348: an error names the file; a file of which no row has a URL is none, whatever the others have.
#[test]
fn of_several_files_the_one_that_is_refused_is_named() {
    let good = ("a.txt", "http://a/1");
    for (file, words) in [
        (("b.csv", "id,title\n1,x\n"), "b.csv: line 1: the table has no url column"),
        (("b.jsonl", "{\"url\":\"http://a\"}\n{"), "b.jsonl: line 2: no JSON"),
        (("b.txt", "nonsense\n"), "b.txt: no row of the file has an http(s) URL"),
        (("b.json", "http://a"), "b.json: the name says a JSON array"),
    ] {
        let error = judged(&[good, file], 9).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        let alone = judged(&[file], 9).unwrap_err().to_string();
        assert!(!alone.contains("b.json:") && !alone.contains(file.0), "{alone}");
    }
    let nothing = judged(&[("a.txt", "\n"), ("b.txt", "")], 9).unwrap_err().to_string();
    assert!(nothing.starts_with("the file has no URL; "), "{nothing}");
}

/// Case 349: whatever changes between the two readings, what would be written is not what was judged, and no chunk
/// comes out that was not.
#[test]
fn a_file_that_changes_between_the_readings_is_refused() {
    let before = "http://a/1\nhttp://a/2\nhttp://a/3\n";
    for (after, n_chunks) in [
        ("http://a/1\nhttp://a/2\nhttp://b/3\n", 2),
        ("http://b/1\nhttp://a/2\nhttp://a/3\n", 0),
        ("http://a/1\nhttp://a/2\nhttp://a/3\nhttp://a/4\n", 3),
        ("http://a/1\nhttp://a/2\n", 2),
        // The same rows, and yet another file.
        ("http://a/1\nhttp://a/2\n\nhttp://a/3\n", 3),
        ("http://a/1\nhttp://a/2\n\u{0}{", 2),
        ("", 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let source = source(folder.path(), &[("a.txt", before)]);
        let division = division(1, None);
        let judged = Judged::read(&source, &division, &Progress::hidden()).unwrap();
        assert_eq!(chunks(&source, &division, &judged).unwrap().len(), 3);
        fs::write(folder.path().join("a.txt"), after).unwrap();
        let mut n = 0;
        let read = judged.read_again(&source, &division, &Progress::hidden(), &mut |_| {
            n += 1;
            ControlFlow::Continue(())
        });
        let error = read.unwrap_err().to_string();
        assert!(error.contains("changed while it was read"), "{after:?}: {error}");
        assert_eq!(n, n_chunks, "{after:?}");
    }
}

/// A row of job 7 as `chunkctl urls` writes it.
fn told(job_id: i64, url: &str, label: &str) -> String {
    serde_json::json!({"job_id": job_id, "chunk_index": 0, "idx": 2, "url": url, "label": label})
        .to_string()
}

/// Of a job that grows both readings take the same rows; what it has is left out, and only its own rows
/// name a first try, whatever becomes of their items.
#[test]
fn rows_of_a_job_that_grows_are_taken_alike_in_both_readings() {
    let large = "x".repeat(ITEM_LIMIT);
    let rows = [
        told(7, "http://a/1", "cat"),
        told(7, "http://a/2", &large),
        told(8, "http://a/3", "cat"),
        told(7, "http://a/4", "cat"),
        r#"{"url":"http://a/5","retry_of":"00000_00001"}"#.to_owned(),
    ];
    let folder = tempfile::tempdir().unwrap();
    let had = ["http://A:80/1#x", "http://a/5?"].map(digest_of).into();
    let growth = Some(Growth { job_id: 7, had: Some(Arc::new(had)), lengths: None });
    let division = Division { growth, ..division(2, None) };
    let files = [("a.jsonl", &*rows.join("\n")), ("b.txt", "http://a/1\nno URL\n")];
    let source = source(folder.path(), &files);
    let judged = Judged::read(&source, &division, &Progress::hidden()).unwrap();
    assert_eq!((judged.n, judged.left_out, judged.asked_again), (5, 2, 2));
    assert_eq!((judged.of_other_jobs, judged.named.clone()), (1, [(0, 2)].into()));
    let chunks = chunks(&source, &division, &judged).unwrap().concat();
    let expected = [
        r#"{"url":"http://a/2","label":"LARGE","refused":"item_too_large","retry_of":"00000_00002"}"#,
        r#"{"url":"http://a/3","label":"cat"}"#,
        r#"{"url":"http://a/4","label":"cat","retry_of":"00000_00002"}"#,
        r#"{"url":"http://a/5"}"#,
        r#"{"url":"no URL"}"#,
    ];
    let shown = chunks.lines().next().unwrap().matches('x').count();
    assert!(shown > 900, "{shown}");
    let chunks = chunks.replace(&format!("{}...", "x".repeat(shown)), "LARGE");
    assert_eq!(chunks.lines().collect::<Vec<_>>(), expected);
    // A new job has asked for nothing before.
    let division = Division { growth: None, ..division };
    let judged = Judged::read(&source, &division, &Progress::hidden()).unwrap();
    assert_eq!((judged.n, judged.left_out, judged.asked_again), (7, 0, 0));
}

/// A list of which a job has every URL adds nothing, and that is no fault of the list.
#[test]
fn a_list_of_nothing_new_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), &[("a.txt", "http://a/1\nhttp://a/2\n")]);
    let had = urls_of(&source, &Progress::hidden()).unwrap();
    let growth = Some(Growth { job_id: 7, had: Some(Arc::new(had)), lengths: None });
    let division = Division { growth, ..division(2, None) };
    let judged = Judged::read(&source, &division, &Progress::hidden()).unwrap();
    assert_eq!((judged.n, judged.left_out, judged.chunks.len()), (0, 2, 0));
}
