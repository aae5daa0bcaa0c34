//! The Bicep files themselves: what can be seen in their text, and what the compiler says of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use support::workdir::WorkDir;

use super::rpc::Compiler;
use super::snapshot::Snapshot;
use super::template;
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
        for entry in
            fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?
        {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "bicep" || extension == "bicepparam")
            {
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
        let silenced = |line: &str| {
            ["#disable-next-line", "#disable-diagnostics"].iter().any(|word| line.contains(word))
        };
        for (number, _) in text.lines().enumerate().filter(|(_, line)| silenced(line)) {
            findings.push(format!("{}:{}: a #disable line", name(&file), number + 1));
        }
    }
    let config: Value = serde_json::from_str(&fs::read_to_string(infra.join("bicepconfig.json"))?)?;
    let rules = config["analyzers"]["core"]["rules"].as_object();
    for (rule, of) in rules.into_iter().flatten() {
        if !LINTS.contains(&rule.as_str()) || of["level"] != "warning" {
            findings.push(format!(
                "bicepconfig.json: {rule} is not known, or its level is not warning"
            ));
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
    let (template, mut findings) = compiler.compile(&main)?;
    findings.extend(compiler.parameters(&infra.join("main.bicepparam"))?.1);
    for file in files(infra)? {
        if compiler.format(&file)? != fs::read_to_string(&file)? {
            findings.push(format!("{}: not in canonical format (bicep format)", name(&file)));
        }
    }
    findings.extend(template.iter().flat_map(template::check));
    Ok(findings)
}

/// A copy of the folder that has room for parameters files, and the parameters that its own file gives.
#[derive(Debug)]
pub(super) struct Copy {
    folder: WorkDir,
    own: Value,
}

impl Copy {
    /// Copies the folder.
    pub(super) fn of(compiler: &mut Compiler, infra: &Path) -> Result<Self> {
        let (own, said) = compiler.parameters(&infra.join("main.bicepparam"))?;
        let Some(own) = own else { bail!("main.bicepparam: {}", said.join("\n")) };
        let folder = WorkDir::create("infra")?;
        copy_below(infra, folder.path())?;
        Ok(Self { folder, own })
    }

    /// Where something in it is.
    #[cfg(test)]
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The snapshot of one deployment.
    pub(super) fn snapshot(&self, compiler: &mut Compiler, variant: Variant) -> Result<Snapshot> {
        let answer = self.snapshot_of(compiler, &variant.name(), &variant.parameters())?;
        Ok(Snapshot::new(variant, &answer))
    }

    /// What the compiler evaluates to, with some of the parameters replaced.
    pub(super) fn snapshot_of(
        &self,
        compiler: &mut Compiler,
        name: &str,
        replaced: &Value,
    ) -> Result<Value> {
        let file = self.folder.join(&format!("{name}.bicepparam"));
        fs::write(&file, parameters_file(&self.own, replaced))?;
        compiler.snapshot(&file).with_context(|| format!("the snapshot {name}"))
    }
}

/// Copies the files of a folder and of the folders in it.
fn copy_below(from: &Path, to: &Path) -> Result<()> {
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
