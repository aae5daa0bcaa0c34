//! The Bicep files themselves: what can be seen in their text, and what the compiler says of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;
use support::workdir::WorkDir;

use super::rpc::Compiler;
use super::snapshot::Snapshot;
use super::variant::{Variant, parameters_file};

/// The linter's rules that are switched on: the compiler passes over a name that it does not know.
const LINTS: [&str; 8] = [
    "explicit-values-for-loc-params",
    "no-explicit-any",
    "no-hardcoded-location",
    "no-hardcoded-outputs",
    "no-loc-expr-outside-params",
    "no-module-name",
    "use-description-outputs",
    "use-description-params",
];

/// The Bicep files of a folder, in order.
fn files(infra: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in [infra.to_path_buf(), infra.join("app")] {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "bicep" || extension == "bicepparam") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What can be seen without the compiler.
pub(super) fn check_text(infra: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in files(infra)? {
        let text = fs::read_to_string(&file)?;
        let silenced = |line: &str| ["#disable-next-line", "#disable-diagnostics"].iter().any(|word| line.contains(word));
        for (number, _) in text.lines().enumerate().filter(|(_, line)| silenced(line)) {
            findings.push(format!("{}:{}: a #disable line", name(&file), number + 1));
        }
    }
    let config: Value = serde_json::from_str(&fs::read_to_string(infra.join("bicepconfig.json"))?)?;
    let rules = config["analyzers"]["core"]["rules"].as_object();
    for (rule, of) in rules.into_iter().flatten() {
        if !LINTS.contains(&rule.as_str()) || of["level"] != "warning" {
            findings.push(format!("bicepconfig.json: {rule} is not known, or its level is not warning"));
        }
    }
    if rules.map_or(0, serde_json::Map::len) != LINTS.len() {
        findings.push("bicepconfig.json: a rule is missing".to_owned());
    }
    Ok(findings)
}

/// Diagnostics and form of every file, and what only the compiled template shows.
pub(super) fn check_compiled(compiler: &mut Compiler, infra: &Path) -> Result<Vec<String>> {
    let main = infra.join("main.bicep");
    let mut findings = compiler.diagnostics(&main)?;
    for file in files(infra)? {
        if compiler.format(&file)? != fs::read_to_string(&file)? {
            findings.push(format!("{}: not in canonical format (bicep format)", name(&file)));
        }
    }
    if findings.is_empty() {
        findings.extend(order(&compiler.template(&main)?));
    }
    Ok(findings)
}

/// The snapshots of all variants, from a copy of the folder that has room for their parameters.
pub(super) fn snapshots(compiler: &mut Compiler, infra: &Path, variants: &[Variant]) -> Result<Vec<Snapshot>> {
    let copy = WorkDir::create("infra")?;
    copy_below(infra, copy.path())?;
    let mut found = Vec::new();
    for variant in variants {
        let given = compiler.parameters(&copy.path().join("main.bicepparam"), &variant.parameters())?;
        let file = copy.path().join(variant.name() + ".bicepparam");
        fs::write(&file, parameters_file(&given))?;
        let answer = compiler.snapshot(&file).with_context(|| format!("the snapshot {}", variant.name()))?;
        found.push(Snapshot::new(*variant, &answer));
    }
    Ok(found)
}

/// The app comes after its roles, and the database's parts one after the other.
fn order(template: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    let text = template.to_string();
    let depends = |module: &str| {
        let pointer = format!("/resources/{module}/dependsOn");
        template.pointer(&pointer).map(Value::to_string).unwrap_or_default()
    };
    if !depends("function").contains("rbac") && !depends("app").contains("rbac") {
        findings.push("main.bicep: the app is deployed before its roles".to_owned());
    }
    for forbidden in ["listKeys(", "listAccountSas(", "listServiceSas("] {
        if text.contains(forbidden) {
            findings.push(format!("the compiled template uses {forbidden})"));
        }
    }
    findings
}

/// Copies the files of a folder and of the folders in it.
pub(super) fn copy_below(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            copy_below(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
