//! The cases of the tables that tests read are those of the list in `doc/cases.md`.

use std::{collections::BTreeSet, fs};
use support::{cases::rows, checkout::root};

/// Each number of a table is in the list, each table has numbers, and each file is read here.
#[test]
fn tables_of_inputs_have_numbers_of_the_list() {
    let list = fs::read_to_string(root().join("doc/cases.md")).unwrap();
    let first_cells = list.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let first_cells: Vec<&str> = first_cells.collect();
    let listed: BTreeSet<&str> = first_cells.iter().copied().collect();
    let is_number = |cell: &&&str| cell.bytes().all(|byte| byte.is_ascii_digit());
    let mut numbers: Vec<&&str> = first_cells.iter().filter(is_number).collect();
    numbers.sort_unstable();
    let twice = numbers.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "a number stands for one case");
    for entry in fs::read_dir(root().join("tests/cases")).unwrap() {
        let path = entry.unwrap().path();
        let table = path.file_stem().unwrap().to_str().unwrap();
        let numbers: BTreeSet<String> = rows(table).into_iter().map(|row| row.case).collect();
        let unknown: Vec<&String> = numbers
            .iter()
            .filter(|number| !number.is_empty() && !listed.contains(number.as_str()))
            .collect();
        assert!(numbers.len() > 5 && unknown.is_empty(), "{table}: {unknown:?}");
    }
}
