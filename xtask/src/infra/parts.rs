//! The connections of the fleet, and what azd reads.

use std::fs;

use support::checkout::root;

use super::snapshot::Snapshot;

/// What is wrong with the database and the outputs of a snapshot.
pub(super) fn check(snapshot: &Snapshot) -> Vec<String> {
    let mut findings = outputs(snapshot);
    // Five connections of each process, and four processes that are no chunks'.
    let site = snapshot.one("Microsoft.Web/sites");
    let instances =
        &site["properties"]["functionAppConfig"]["scaleAndConcurrency"]["maximumInstanceCount"];
    if 5 * (instances.as_u64().unwrap_or(1000) + 4) > 35 {
        findings.push(format!("database: {instances} instances open more connections than it has"));
    }
    findings
}

/// azd keeps them as environment variables.
fn outputs(snapshot: &Snapshot) -> Vec<String> {
    let upper = |name: &str| {
        name.chars()
            .all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
    };
    let names = snapshot.value["outputs"].as_object().into_iter().flatten().map(|(name, _)| name);
    names
        .filter(|name| !upper(name))
        .map(|name| format!("output {name} is no environment variable's name"))
        .collect()
}

/// What is wrong with `azure.yaml`.
pub(super) fn azure_yaml() -> Vec<String> {
    match fs::read_to_string(root().join("azure.yaml")) {
        Ok(text) => azure_yaml_text(&text),
        Err(_) => vec!["azure.yaml: missing".to_owned()],
    }
}

/// The few lines of it that must agree with the rest, each at its place.
pub(super) fn azure_yaml_text(text: &str) -> Vec<String> {
    let wanted = [
        "services/api/project: .",
        "services/api/host: function",
        "services/api/language: custom",
        "services/api/dist: ./target/package/handler.zip",
        "services/api/hooks/prepackage/posix/shell: sh",
        "services/api/hooks/prepackage/posix/run: cargo xtask package",
        "requiredVersions/azd: \">= 1.20.0\"",
    ];
    let lines = paths(text);
    let missing = wanted.into_iter().filter(|wanted| !lines.iter().any(|line| line == wanted));
    missing.map(|wanted| format!("azure.yaml: no {wanted:?}")).collect()
}

/// Each line of simple YAML with the names above it, by its indentation.
fn paths(text: &str) -> Vec<String> {
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let content = line.trim();
        let indent = line.len() - line.trim_start().len();
        above.retain(|(of, _)| *of < indent);
        let names = above.iter().map(|(_, name)| format!("{name}/"));
        found.push(names.collect::<String>() + content);
        if let Some(name) = content.strip_suffix(':') {
            above.push((indent, name));
        }
    }
    found
}
