//! What `chunkctl doctor` says.

use crate::{programs::Output, rig::Rig};

/// Runs doctor with some variables replaced.
pub fn doctor(rig: &Rig, replaced: &[(&str, &str)], arguments: &[&str]) -> Output {
    rig.chunkctl_with(replaced, &[&["doctor"], arguments].concat())
}

/// The failed checks: what, problem and remedy.
pub fn failures(output: &Output) -> Vec<(String, String)> {
    let checks = output.json()["checks"].clone();
    let failed = checks.as_array().unwrap().iter().filter(|check| check["ok"] == false);
    let failed = failed.map(|check| {
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        (text("what"), format!("{} | {}", text("problem"), text("remedy")))
    });
    failed.collect()
}

/// The check of this name failed, and what it says has all these words.
pub fn names(output: &Output, what: &str, words: &[&str]) {
    assert_eq!(output.code, Some(1), "{}", output.stdout);
    let failures = failures(output);
    let found = failures.iter().find(|(name, _)| name == what);
    let (_, said) = found.unwrap_or_else(|| panic!("{what} did not fail: {failures:?}"));
    for word in words {
        assert!(said.contains(word), "{what} does not say {word:?}: {said}");
    }
}
