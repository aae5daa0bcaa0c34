//! `cargo xtask check`: what needs no server, one check or all of them.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::Value;
use support::checkout::root;
use support::child;

use crate::build::{self, cargo};
use crate::tools::{DENY, MACHETE};

const EXAMPLES: &str = "\
Examples:
  cargo xtask check           all of them, in the order above, until one fails
  cargo xtask check clippy    one of them
  cargo xtask check deny      installs cargo-deny and cargo-machete below target/tools when they are missing";

/// Run the checks that need neither Postgres nor Azurite.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Only this one
    #[arg(value_enum)]
    check: Option<Check>,
}

/// One of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// The code is formatted
    Fmt,
    /// Clippy has nothing to say
    Clippy,
    /// The documentation builds, and its links lead somewhere
    Doc,
    /// Dependencies are allowed (cargo-deny) and used (cargo-machete)
    Deny,
    /// Unit tests and the examples of the documentation pass
    Unit,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let all = Check::value_variants();
    for check in options.check.as_ref().map_or(all, std::slice::from_ref) {
        let steps = match check {
            Check::Deny => judge_dependencies(DENY.ensure().await?, MACHETE.ensure().await?),
            other => other.steps()?,
        };
        let code = check.run(steps).await?;
        if code != 0 {
            return Ok(ExitCode::from(code));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What `cargo xtask test` runs before the tests; returns the exit code of the first that fails, else 0.
pub(crate) async fn before_tests() -> Result<u8> {
    for check in [Check::Fmt, Check::Clippy, Check::Doc, Check::Deny] {
        let steps = check.steps()?;
        let code = check.run(steps).await?;
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}

/// Runs a command, naming it first, and returns its exit code.
pub(crate) async fn step(command: Command) -> Result<u8> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let name = words.join(" ");
    eprintln!("$ {name}");
    let code = child::run(&name, command).await?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The examples of the documentation, compiled and run.
pub(crate) fn doctests() -> Command {
    cargo(&["test", "--workspace", "--locked", "--doc", "--quiet"])
}

impl Check {
    /// Says what it does and does it, until something fails.
    async fn run(self, steps: Vec<Command>) -> Result<u8> {
        if let Some(value) = self.to_possible_value() {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            eprintln!("check {}: {help}", value.get_name());
        }
        for command in steps {
            let code = step(command).await?;
            if code != 0 {
                return Ok(code);
            }
        }
        Ok(0)
    }

    /// What it runs, as far as that is installed.
    fn steps(self) -> Result<Vec<Command>> {
        Ok(match self {
            Self::Fmt => vec![cargo(&["fmt", "--all", "--check"])],
            Self::Clippy => {
                let clippy = ["clippy", "--workspace", "--all-targets", "--locked"];
                vec![cargo(&[&clippy[..], &["--", "-D", "warnings"]].concat())]
            }
            Self::Doc => vec![documentation()?],
            Self::Deny => match (DENY.installed(), MACHETE.installed()) {
                (Some(deny), Some(machete)) => judge_dependencies(deny, machete),
                // A test run must not spend minutes on installing them.
                _ => {
                    eprintln!(
                        "not installed: cargo-deny, cargo-machete; `cargo xtask check deny` installs and runs them"
                    );
                    Vec::new()
                }
            },
            Self::Unit => {
                vec![cargo(&["test", "--workspace", "--locked", "--lib", "--bins"]), doctests()]
            }
        })
    }
}

fn judge_dependencies(mut deny: Command, mut machete: Command) -> Vec<Command> {
    deny.args(["--workspace", "--locked", "check", "bans", "licenses", "sources"]);
    // With what cargo says of each package: some crates are named otherwise than their libraries.
    machete.arg("--with-metadata");
    deny.current_dir(root());
    machete.current_dir(root());
    vec![deny, machete]
}

/// The documentation of the product: the handler and the crates beside it, not the tests' and xtask's.
fn documentation() -> Result<Command> {
    let mut doc = cargo(&["doc", "--no-deps", "--document-private-items", "--locked"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    for package in products(&build::metadata()?)? {
        doc.args(["--package", &package]);
    }
    Ok(doc)
}

/// The packages in the root of the checkout and below `crates`.
fn products(metadata: &Value) -> Result<Vec<String>> {
    let workspace = Path::new(metadata["workspace_root"].as_str().context("no workspace root")?);
    let packages = metadata["packages"].as_array().context("no packages")?;
    let products = packages.iter().filter(|package| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        manifest.parent() == Some(workspace) || manifest.starts_with(workspace.join("crates"))
    });
    products.map(|package| Ok(package["name"].as_str().context("no name")?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn products_lie_in_the_root_and_below_crates() {
        let package = |name: &str, path: &str| json!({ "name": name, "manifest_path": path });
        let metadata = json!({
            "workspace_root": "/w",
            "packages": [
                package("handler", "/w/Cargo.toml"),
                package("inner", "/w/crates/inner/Cargo.toml"),
                package("support", "/w/tests/support/Cargo.toml"),
                package("crates-of-others", "/w/crates-of-others/Cargo.toml"),
            ],
        });
        assert_eq!(products(&metadata).unwrap(), ["handler", "inner"]);
    }
}
