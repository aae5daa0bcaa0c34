//! Builds: `cargo xtask build`, and the programs that the other commands need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use support::checkout::root;
use support::child::run_ok;

const EXAMPLES: &str = "\
Examples:
  cargo xtask build                  ./handler, optimised, as it is deployed
  cargo xtask build && func start    the same under the Functions host";

/// Build the release binary as ./handler, so that `func start` works in the root as it stands.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {}

pub(crate) async fn run() -> Result<ExitCode> {
    let handler = handler_in_root(&release_programs().await?)?;
    println!("{}", handler.display());
    Ok(ExitCode::SUCCESS)
}

/// Puts the handler of a build where `host.json` expects it.
pub(crate) fn handler_in_root(programs: &Path) -> Result<PathBuf> {
    let handler = root().join("handler");
    install(&programs.join("handler"), &handler)?;
    Ok(handler)
}

/// Builds the product optimised, with its own features only, and returns the directory of its programs.
pub(crate) async fn release_programs() -> Result<PathBuf> {
    eprintln!("building handler and chunkctl (release; the first time this takes minutes)");
    let product = ["--package", "pixcrawler-chunk-handler", "--package", "chunkctl", "--bins"];
    let mut build = cargo(&["build", "--release", "--locked"]);
    build.args(product);
    run_ok("cargo build", build).await?;
    Ok(target_directory()?.join("release"))
}

/// Builds all programs for debugging and returns their directory.
pub(crate) async fn debug_programs() -> Result<PathBuf> {
    eprintln!("building the programs (debug; the first time this takes minutes)");
    run_ok("cargo build", debug_build()).await?;
    Ok(target_directory()?.join("debug"))
}

/// The build that `demo`, `dev`, `chaos` and `test` share.
///
/// Of the whole workspace, as `cargo xtask` itself is built: with fewer packages Cargo would choose other
/// features for the dependencies, and compile them again.
pub(crate) fn debug_build() -> Command {
    cargo(&["build", "--workspace", "--bins", "--locked"])
}

/// Cargo in the root of the checkout.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root());
    // What `cargo run` says of this package would mislead subcommands about theirs.
    for (name, _) in std::env::vars_os() {
        let said = name.to_string_lossy();
        if said.starts_with("CARGO_PKG_") || said.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Copies a program without disturbing a process that runs the old one; nobody ever sees half a file.
pub(crate) fn install(from: &Path, to: &Path) -> Result<()> {
    let unfinished = to.with_extension("new");
    fs::copy(from, &unfinished).with_context(|| format!("copying {}", from.display()))?;
    fs::rename(&unfinished, to).with_context(|| format!("creating {}", to.display()))
}

fn target_directory() -> Result<PathBuf> {
    let output = cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"]).output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let directory = metadata["target_directory"].as_str();
    Ok(directory.context("cargo metadata names no target directory")?.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Lines of package and features, with host and target apart.
    fn packages(edges: &str) -> BTreeSet<String> {
        let tree = ["tree", "--workspace", "--locked", "--offline", "--no-dedupe", "--prefix=none"];
        let output = cargo(&tree).args(["--format={p} features: {f}", edges]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| line.replace(" (proc-macro)", "")).collect()
    }

    fn name(line: &str) -> &str {
        line.split(" features:").next().unwrap()
    }

    /// Else Cargo compiles the dependency once for the programs and again for the tests, and with it
    /// everything that uses it. The mending: ask for the feature in `[workspace.dependencies]`.
    #[test]
    fn tests_ask_for_no_other_features_of_what_programs_use() {
        let programs = packages("--edges=normal,build");
        let with_tests = packages("--edges=normal,build,dev");
        let names: BTreeSet<_> = programs.iter().map(|line| name(line)).collect();
        assert!(names.iter().any(|name| name.starts_with("clap v")), "{names:?}");
        let others = with_tests.difference(&programs).filter(|line| names.contains(name(line)));
        assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
