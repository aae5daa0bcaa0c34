//! Every requirement has a test whose doc comment names its id (`doc/requirements.md`).

use std::collections::BTreeSet;
use support::catalogue::{Lists, tests, tests_of};

/// The ids that must have a test. An area that is finished adds its own.
const REQUIRED: &[&str] = &[
    // Settings, profiles and what is right about them.
    "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S13", "S14", "P1", "P2",
    "P3", "P4", "X1", "X3", "X7", "X10", "X11", "X12", "X13", "X14", "X15",
    // The rules of the observed host.
    "H1", "H2", "H3", "H4", "H5", "H6", "H7", "H8", "H9", "H10", "H11", "H12", "H14", "H15",
    // Health, telemetry, Azure Monitor.
    "F10", "F11", "F12", "F13", "F15", "F16", "M1", "M2", "M3", "M4", "M5", "M6", "M7", "B2", "B3",
    "B4", "B5", "B6", "S12", "X9", "X16", "X17", "X22", "X23", "X24", "X25", "X26",
    // Alerts, and what they lead to.
    "A1", "A2", "A3", "A4", "A5", "A6", "A7", "F14", "X18", "X19", "X20", "X21", "X27",
    // The package, and what lies where.
    "C3", "H13", // What holds under any crash.
    "I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13", "I14", "I15",
    "I16",
];

/// Every required id stands in the doc comment of a test.
#[test]
fn every_required_id_has_a_test() {
    let proven: BTreeSet<String> = tests().iter().flat_map(|test| ids(&test.doc)).collect();
    let missing: Vec<&str> = REQUIRED.iter().copied().filter(|id| !proven.contains(*id)).collect();
    assert!(missing.is_empty(), "no test's doc comment names {}", missing.join(" "));
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
