//! The list of cases of bad input, `doc/cases.md`, and the tests whose doc comments name their numbers.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::checkout::root;

/// Where tests are.
const PLACES: [&str; 4] = ["src", "crates", "tests", "xtask"];

/// A row of the list.
#[derive(Debug)]
pub struct Case {
    pub number: u32,
    pub input: String,
    /// What must happen.
    pub outcome: String,
    /// The names of the tests that say `Case N` and run on every machine.
    pub tests: Vec<String>,
}

/// A test, as its source has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Test {
    pub name: String,
    pub doc: String,
    /// It needs something of the machine, or is ignored for another reason.
    pub may_be_ignored: bool,
}

/// Every case, each with its tests.
pub fn cases() -> Vec<Case> {
    let list = fs::read_to_string(root().join("doc/cases.md")).expect("doc/cases.md");
    joined(&list, &tests())
}

/// The cases of a list with those of these tests that prove them.
pub fn joined(list: &str, tests: &[Test]) -> Vec<Case> {
    let cells = list.lines().filter_map(|line| {
        let [number, input, outcome] =
            line.strip_prefix("| ")?.strip_suffix(" |")?.splitn(3, " | ").collect::<Vec<_>>()[..]
        else {
            return None;
        };
        Some((number.parse::<u32>().ok()?, input, outcome))
    });
    let case = |(number, input, outcome): (u32, &str, &str)| Case {
        number,
        input: input.to_owned(),
        outcome: outcome.to_owned(),
        tests: tests
            .iter()
            .filter(|test| !test.may_be_ignored && numbers(&test.doc).contains(&number))
            .map(|test| test.name.clone())
            .collect(),
    };
    cells.map(case).collect()
}

/// All tests of the checkout.
pub fn tests() -> Vec<Test> {
    let mut files = Vec::new();
    PLACES.iter().for_each(|place| collect(&root().join(place), &mut files));
    let texts: Vec<String> =
        files.iter().map(|file| fs::read_to_string(file).expect("a source")).collect();
    let lists: Vec<Lists<'_>> = texts.iter().map(|text| Lists::of(text)).collect();
    let lists = Lists {
        everywhere: lists.iter().flat_map(|lists| lists.everywhere.clone()).collect(),
        somewhere: lists.iter().flat_map(|lists| lists.somewhere.clone()).collect(),
    };
    assert!(lists.somewhere.len() > 5 && lists.everywhere.len() > 2, "the lists are read");
    texts.iter().flat_map(|text| tests_of(text, &lists)).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the checkout") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Names of tests that are not marked but listed, by programs that run them themselves.
#[derive(Debug, Default)]
pub struct Lists<'a> {
    /// `trial("NAME", ...)`.
    pub everywhere: BTreeSet<&'a str>,
    /// `module::NAME needs CONDITION`: ignored where the machine lacks it.
    pub somewhere: BTreeSet<&'a str>,
}

impl<'a> Lists<'a> {
    /// Those that a source has.
    pub fn of(text: &'a str) -> Self {
        let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let needing = text.split(" needs ").filter_map(|before| before.rsplit("::").next());
        let given = text.split("trial(\"").skip(1).filter_map(|after| after.split('"').next());
        Self {
            everywhere: given.filter(is_name).collect(),
            somewhere: needing.filter(is_name).collect(),
        }
    }
}

/// The tests of a source, each with the doc comment directly above it.
pub fn tests_of(text: &str, lists: &Lists<'_>) -> Vec<Test> {
    let mut found = Vec::new();
    let (mut doc, mut is_test, mut is_ignored) = (String::new(), false, false);
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            doc.push_str(comment);
            doc.push('\n');
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            is_ignored |= line.starts_with("#[ignore") || line.starts_with("#[cfg(target");
        } else {
            let name = line.split_once("fn ").and_then(|(_, rest)| rest.split(['(', '<']).next());
            if let Some(name) = name {
                let is_needy = lists.somewhere.contains(name);
                if is_test || is_needy || lists.everywhere.contains(name) {
                    let (name, doc) = (name.to_owned(), std::mem::take(&mut doc));
                    found.push(Test { name, doc, may_be_ignored: is_ignored || is_needy });
                }
            }
            doc.clear();
            (is_test, is_ignored) = (false, false);
        }
    }
    found
}

/// The numbers that a text names: after "case" or "cases" come numbers and ranges.
pub fn numbers(text: &str) -> Vec<u32> {
    let lower = text.to_ascii_lowercase().replace('\n', " ");
    let mut found = Vec::new();
    for list in lower.split("case").skip(1).filter_map(|rest| {
        let list = rest.strip_prefix('s').unwrap_or(rest).strip_prefix(' ')?;
        let end = list.find(|c: char| !c.is_ascii_digit() && !", -and".contains(c));
        list.starts_with(|c: char| c.is_ascii_digit()).then(|| &list[..end.unwrap_or(list.len())])
    }) {
        for part in list.split([',', ' ']).filter(|part| part.starts_with(char::is_numeric)) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u32 = first.parse().unwrap_or_default();
            found.extend(first..=last.parse().unwrap_or(first));
        }
    }
    found
}
