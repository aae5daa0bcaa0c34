//! The README against the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

fn readme() -> String {
    fs::read_to_string(Path::new(PACKAGE).join("README.md")).unwrap()
}

/// The file of a test as the README names it.
fn file_of(test: &str) -> String {
    match test.rsplit_once("::tests::") {
        None => format!("tests/conformance/{}.rs", test.split("::").next().unwrap_or_default()),
        Some((module, _)) => {
            let module = module.replace("::", "/");
            let own = format!("src/{module}/tests.rs");
            if Path::new(PACKAGE).join(&own).exists() { own } else { format!("src/{module}.rs") }
        }
    }
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let readme = readme();
    // Everything between backticks that is a path of a test.
    let quoted = readme.split('`').skip(1).step_by(2);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let tests: BTreeSet<_> = quoted
        .filter(|text| text.contains("::") && text.chars().all(is_name))
        .filter(|text| !text.ends_with("::name") && !text.starts_with("functions_host::"))
        .collect();
    assert!(tests.len() > 40, "only {} tests are named", tests.len());
    for test in tests {
        let (file, name) = (file_of(test), test.rsplit("::").next().unwrap_or_default());
        let code = fs::read_to_string(Path::new(PACKAGE).join(&file)).unwrap_or_default();
        let attribute =
            |line: &str| line.trim_start().starts_with("#[tokio::test") || line.trim() == "#[test]";
        let lines: Vec<_> = code.lines().collect();
        let is_test = lines
            .windows(2)
            .any(|pair| attribute(pair[0]) && pair[1].contains(&format!("fn {name}()")));
        assert!(is_test, "{file} has no test {name}");
    }
}

#[test]
fn every_rule_has_a_row() {
    let readme = readme();
    for number in 1..=15 {
        let rows =
            readme.lines().filter(|line| line.starts_with(&format!("| H{number} |"))).count();
        assert_eq!(rows, 1, "rows of H{number}");
    }
}
