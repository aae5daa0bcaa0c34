//! The control: what is missing is counted as ignored, never as passed, and what is there runs.

use crate::{condition::Condition, trial};
use libtest_mimic::{Arguments, Conclusion};
use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

static RUNS: AtomicU32 = AtomicU32::new(0);

/// Runs one test with this condition; what was counted, and what was printed.
fn run(condition: Condition, arguments: &[&str]) -> (Conclusion, String) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let path = log.display().to_string();
    let all = [&["machine", "--logfile", &path], arguments].concat();
    let arguments = Arguments::from_iter(all);
    let count = || {
        RUNS.fetch_add(1, Ordering::SeqCst);
    };
    let conclusion =
        libtest_mimic::run(&arguments, vec![trial(&arguments, "counts", condition, count)]);
    (conclusion, fs::read_to_string(log).unwrap())
}

pub async fn a_missing_condition_is_ignored_and_never_passed() {
    let counted = |conclusion: &Conclusion| {
        (conclusion.num_passed, conclusion.num_failed, conclusion.num_ignored)
    };
    let (conclusion, text) = run(|| Err("no such thing".into()), &[]);
    assert_eq!((counted(&conclusion), RUNS.load(Ordering::SeqCst)), ((0, 0, 1), 0));
    assert!(text.contains("[no such thing] counts") && text.contains("ignored"), "{text}");
    let (conclusion, _) = run(|| Ok(()), &[]);
    assert_eq!((counted(&conclusion), RUNS.load(Ordering::SeqCst)), ((1, 0, 0), 1));
    // Nobody finds out for a test that is not chosen.
    let (conclusion, _) = run(|| panic!("not asked for"), &["other"]);
    assert_eq!((counted(&conclusion), conclusion.num_filtered_out), ((0, 0, 0), 1));
}
