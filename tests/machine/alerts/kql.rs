//! Log searches: the text of a query, run over rows by `duckdb-kql`.

use super::row::Row;
use crate::condition::python_with_kql;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    io::Write as _,
    process::{Command, Stdio},
};
use support::checkout::root;

/// A query at a moment of the past.
#[derive(Debug, Serialize)]
pub struct Search<'q> {
    pub query: &'q str,
    /// It sees rows later than this,
    pub from: i64,
    /// and up to this, when it runs.
    pub to: i64,
}

/// What each search finds among these rows.
pub fn search(rows: &[Row], searches: &[Search<'_>]) -> Vec<Vec<Value>> {
    let mut command = Command::new(python_with_kql().as_ref().unwrap());
    command.arg(root().join("tests/machine/alerts/kql.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let given = json!({"rows": rows, "searches": searches}).to_string();
    let mut stdin = child.stdin.take().unwrap();
    // It reads all before it prints; one that ended early says why below.
    stdin.write_all(given.as_bytes()).unwrap_or_default();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}
