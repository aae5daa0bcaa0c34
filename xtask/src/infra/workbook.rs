//! The workbook: its queries are those of the files, and ask for what is sent.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use super::alerts::query_problems;
use super::app::profile;
use super::expression::resolve;
use super::facts::Facts;
use super::identity::walk;
use super::snapshot::{Snapshot, text};

/// What is wrong with the workbook of a snapshot; `kql` are the query files' texts.
pub(super) fn check(
    snapshot: &Snapshot,
    facts: &Facts,
    kql: &BTreeSet<String>,
) -> Result<Vec<String>> {
    let Some(workbook) = snapshot.of("Microsoft.Insights/workbooks").next() else {
        return Ok(vec!["workbook: missing".to_owned()]);
    };
    let mut findings = Vec::new();
    let name = text(workbook, "/name");
    if name.len() != 36 || name.chars().any(|letter| !letter.is_ascii_hexdigit() && letter != '-') {
        findings.push(format!("its name {name} is no GUID"));
    }
    let Some(shown) = shown(workbook) else {
        findings.push("serializedData is no JSON".to_owned());
        return Ok(findings);
    };
    let queries = queries(&shown);
    if queries.len() < 5 {
        findings.push(format!("{} queries", queries.len()));
    }
    let profile = profile(snapshot);
    let (temp, quota) = (profile.temp_mb().to_string(), profile.quota_mb().to_string());
    let filled = |text: &String| {
        text.replace("__TEMP_LIMIT_MB__", &temp).replace("__TEMP_QUOTA_MB__", &quota)
    };
    let kql: BTreeSet<String> = kql.iter().map(filled).collect();
    for query in queries {
        if !kql.contains(query.trim()) {
            findings.push(format!("a query is of no file below kql: {query:?}"));
        }
        findings.extend(query_problems(&query, facts, false)?);
    }
    Ok(findings.into_iter().map(|finding| format!("workbook: {finding}")).collect())
}

/// The queries of the workbook of a snapshot.
pub(super) fn shown_queries(snapshot: &Snapshot) -> Vec<String> {
    let shown = snapshot.of("Microsoft.Insights/workbooks").find_map(shown);
    shown.map(|shown| queries(&shown)).unwrap_or_default()
}

/// What a workbook shows: JSON in a text, or, where a reference is inside, an expression that makes one.
fn shown(workbook: &Value) -> Option<Value> {
    let data = resolve(text(workbook, "/properties/serializedData"));
    serde_json::from_str(&data).ok()
}

fn queries(shown: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(shown, "", &mut |path, text| {
        if path.ends_with("/query") && text.contains("customMetrics") {
            found.push(text.to_owned());
        }
    });
    found
}
