//! Microsoft's own parser on every query.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use support::checkout::root;
use support::tool::{npm_ci, tools, works};

/// The text of every file below `infra/kql`, by its name.
pub(super) fn files(infra: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![infra.join("kql")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "kql") {
                let name = path.strip_prefix(infra).unwrap_or(&path).display().to_string();
                found.push((name, fs::read_to_string(&path)?));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The texts alone, as the workbook and the rules have them.
pub(super) fn texts(infra: &Path) -> Result<BTreeSet<String>> {
    Ok(files(infra)?.into_iter().map(|(_, text)| text.trim().to_owned()).collect())
}

fn place() -> PathBuf {
    tools().join("kusto")
}

/// Whether the parser can be had on this machine; it is installed where it is not yet.
pub(super) async fn ready() -> bool {
    if !works("node", &["--version"]) || !works("npm", &["--version"]) {
        return false;
    }
    match npm_ci("xtask/kql", &place()).await {
        Ok(_) => true,
        Err(error) => {
            eprintln!("{error:#}");
            false
        }
    }
}

/// What the parser says of the queries, one line each; [`ready`] was true.
pub(super) fn check(queries: &[(String, String)]) -> Result<Vec<String>> {
    let asked: Vec<Value> =
        queries.iter().map(|(name, query)| json!({ "name": name, "query": query })).collect();
    let mut node = Command::new("node");
    node.arg(root().join("xtask/kql/check.js")).env("NODE_PATH", place().join("node_modules"));
    let mut node =
        node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting node")?;
    let mut input = node.stdin.take().context("node has an input")?;
    input.write_all(Value::from(asked).to_string().as_bytes())?;
    drop(input);
    let output = node.wait_with_output()?;
    if !output.status.success() {
        bail!("the parser of KQL failed");
    }
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    if answers.len() != queries.len() {
        bail!("the parser of KQL left out a query");
    }
    let said = |answer: &Value| -> Vec<String> {
        let name = answer["name"].as_str().unwrap_or_default().to_owned();
        let said = answer["diagnostics"].as_array().into_iter().flatten();
        said.map(|one| format!("{name}:{}", one.as_str().unwrap_or_default())).collect()
    };
    Ok(answers.iter().flat_map(said).collect())
}
