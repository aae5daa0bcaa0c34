//! Every case of the list in `doc/cases.md` has a test, and the tables that tests read have numbers of it.

use std::{collections::BTreeSet, fs};
use support::{
    cases::rows,
    catalogue::{self, Case, Lists, joined, tests_of},
    checkout::root,
};

/// The numbers of which no test that runs everywhere speaks.
fn missing(cases: &[Case]) -> Vec<u32> {
    cases.iter().filter(|case| case.tests.is_empty()).map(|case| case.number).collect()
}

/// Each number stands for one case, and has a test that needs nothing but what tests make themselves.
/// `cargo xtask cases` shows which.
#[test]
fn every_case_has_a_test() {
    let cases = catalogue::cases();
    let numbers: BTreeSet<u32> = cases.iter().map(|case| case.number).collect();
    assert_eq!(numbers.len(), cases.len(), "a number stands for one case");
    assert!((1..=132).all(|number| numbers.contains(&number)), "the list is read");
    assert_eq!(
        missing(&cases),
        Vec::<u32>::new(),
        "no test that always runs says `Case N` of these"
    );
}

/// The control: what names no number, is no test, or may be ignored, proves nothing.
#[test]
fn a_case_without_a_test_is_found() {
    let list = "| case | input | what must happen |\n| --- | --- | --- |\n\
        | 1 | a | refused |\n| 2 | b `x` | `y`, z |\n| 3 | c | d |\n| 5 | e | f |\n| 6 | e | f |\n\
        | 7 | e | f |\n| 8 | e | f |\n| 11 | e | f |\n| 111 | e | f |\n";
    // Not as comments: this file is read, too.
    let source = "
        @ Cases 1-2,
        @ 6: said.
        #[test]
        fn marked() {}
        @ Case 3.
        fn helper() {}
        // Case 3.
        #[test]
        fn silent() {}
        @ Case 5
        #[tokio::test(flavor = \"multi_thread\")]
        #[ignore = \"slow\"]
        async fn ignored() {}
        @ Case 7: of the machine.
        pub async fn needy() {}
        @ Case 8
        fn given() {}
        @ Case 111
        #[test]
        fn other() {}
        trials![m::needy needs python;] trial(\"given\", given)"
        .replace('@', "///");
    let cases = joined(list, &tests_of(&source, &Lists::of(&source)));
    assert_eq!(missing(&cases), [3, 5, 7, 11]);
    assert_eq!((&*cases[1].input, &*cases[1].outcome), ("b `x`", "`y`, z"));
    assert_eq!(cases[1].tests, ["marked"]);
}

/// Each number of a table is in the list, each table has numbers, and each file is read here.
#[test]
fn tables_of_inputs_have_numbers_of_the_list() {
    let listed: BTreeSet<String> =
        catalogue::cases().iter().map(|case| case.number.to_string()).collect();
    for entry in fs::read_dir(root().join("tests/cases")).unwrap() {
        let path = entry.unwrap().path();
        let table = path.file_stem().unwrap().to_str().unwrap();
        let numbers: BTreeSet<String> = rows(table).into_iter().map(|row| row.case).collect();
        let unknown: Vec<&String> = numbers
            .iter()
            .filter(|number| !number.is_empty() && !listed.contains(*number))
            .collect();
        assert!(numbers.len() > 5 && unknown.is_empty(), "{table}: {unknown:?}");
    }
}

/// A range that a test of a table claims is in its table, number for number.
#[test]
fn what_tests_of_tables_claim_is_in_their_tables() {
    for (table, claimed) in [
        ("urls", (1..=28).chain([31, 32, 33]).chain(40..=42).chain(44..=46).collect::<Vec<u32>>()),
        ("messages", [111, 112, 113, 114, 115, 116, 119, 120].to_vec()),
        ("answers", (171..=176).collect()),
        ("database_urls", (200..=205).collect()),
        ("storage_strings", (206..=211).collect()),
    ] {
        let numbers: BTreeSet<String> = rows(table).into_iter().map(|row| row.case).collect();
        let absent: Vec<u32> =
            claimed.into_iter().filter(|number| !numbers.contains(&number.to_string())).collect();
        assert_eq!(absent, Vec::<u32>::new(), "{table}");
    }
}
