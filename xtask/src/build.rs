//! Builds: `cargo xtask build`, and the programs that the other commands need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use support::checkout::root;
use support::child::run_ok;

/// Build the release binary as ./handler, so that `func start` works in the root as it stands.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cargo xtask build && func start")]
pub(crate) struct Options {}

pub(crate) async fn run() -> Result<ExitCode> {
    let handler = handler_in_root().await?;
    println!("{}", handler.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the handler and puts it where `host.json` expects it.
pub(crate) async fn handler_in_root() -> Result<PathBuf> {
    let release = product(&["handler"]).await?;
    let handler = root().join("handler");
    install(&release.join("handler"), &handler)?;
    Ok(handler)
}

/// Builds release programs of the product and returns their directory.
pub(crate) async fn product(programs: &[&str]) -> Result<PathBuf> {
    eprintln!("building {} (release; the first time this takes minutes)", programs.join(" and "));
    let mut build = cargo(&["build", "--release", "--locked"]);
    for program in programs {
        build.args(["--bin", program]);
    }
    run_ok("cargo build", build).await?;
    Ok(target_directory()?.join("release"))
}

/// Builds the stand-in for the Functions host and returns its path.
pub(crate) async fn host_stand_in() -> Result<PathBuf> {
    let build = cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--package",
        "functions-host",
        "--bin",
        "host-stand-in",
    ]);
    run_ok("cargo build", build).await?;
    Ok(target_directory()?.join("debug/host-stand-in"))
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

/// Copies a program so that whoever runs the old one is not disturbed and nobody sees half of the new one.
pub(crate) fn install(from: &Path, to: &Path) -> Result<()> {
    let unfinished = to.with_extension("new");
    fs::copy(from, &unfinished).with_context(|| format!("copying {}", from.display()))?;
    fs::rename(&unfinished, to).with_context(|| format!("creating {}", to.display()))
}

fn target_directory() -> Result<PathBuf> {
    let output = cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"]).output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    Ok(metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?
        .into())
}
