//! Every requirement has a test whose doc comment names its id (`doc/requirements.md`).

use std::{collections::BTreeSet, fs};
use support::{
    catalogue::{Lists, tests, tests_of},
    checkout::root,
};

/// Tables of ids, each of which must have a test.
const PAPERS: [&str; 3] = ["doc/requirements.md", "doc/host.md", "doc/invariants.md"];
/// The kind of program and its packages: who reads judges them.
const JUDGED_BY_READING: [&str; 2] = ["C1", "C2"];

/// Every id of the papers stands in the doc comment of a test.
#[test]
fn every_required_id_has_a_test() {
    let read = |paper: &str| fs::read_to_string(root().join(paper)).unwrap();
    let required: BTreeSet<String> = PAPERS.iter().flat_map(|paper| rows(&read(paper))).collect();
    for id in ["S1", "P4", "F17", "M7", "B6", "PR8", "X27", "C9", "A7", "H15", "I16"] {
        assert!(required.contains(id), "the tables are read: {id} is not there");
    }
    let mut proven: BTreeSet<String> = tests().iter().flat_map(|test| ids(&test.doc)).collect();
    proven.extend(JUDGED_BY_READING.map(str::to_owned));
    let missing: Vec<String> = required.difference(&proven).cloned().collect();
    assert!(missing.is_empty(), "no test's doc comment names {}", missing.join(" "));
}

/// The ids that have a row in a table.
fn rows(paper: &str) -> Vec<String> {
    let first = |line: &str| line.strip_prefix("| ")?.split(" | ").next().map(str::to_owned);
    paper.lines().filter_map(first).flat_map(|cell| ids(&cell)).collect()
}

/// Doc comments count only above tests, whatever attributes stand between; ids only as whole words.
#[test]
fn only_doc_comments_of_tests_count() {
    // Not as comments: this file is read, too.
    let text = "
        @ S1
        fn helper() {}
        @ X3, S2: of two lines,
        @ H4 (P1).
        #[tokio::test(flavor = \"multi_thread\")]
        #[ignore]
        async fn test() {}
        // S3
        #[test]
        fn without() {}
        @ S4

        #[test]
        fn apart() {}
        @ S5X xS6 S7_ B52
        #[test]
        fn words() {}
        @ M1
        pub async fn in_a_list() {}
        trials![somewhere::in_a_list needs something;]"
        .replace('@', "///");
    let found: Vec<String> =
        tests_of(&text, &Lists::of(&text)).iter().flat_map(|test| ids(&test.doc)).collect();
    assert_eq!(found, ["X3", "S2", "H4", "P1", "B52", "M1"]);
}

/// Words of one or two capitals and a number.
fn ids(doc: &str) -> Vec<String> {
    let words = doc.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_id = |word: &&str| {
        let digits = word.trim_start_matches(|c: char| c.is_ascii_uppercase());
        (1..=2).contains(&(word.len() - digits.len()))
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_ascii_digit())
    };
    words.filter(is_id).map(str::to_owned).collect()
}
