//! `cargo xtask fuzz`: changed pictures against the checks of images.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use support::child;

use crate::build::cargo;

const EXAMPLES: &str = "\
Examples:
  cargo xtask fuzz                           for a minute
  cargo xtask fuzz --seconds 3600            for an hour
  cargo xtask fuzz --seed 7                  the same changes again
  cargo xtask fuzz target/fuzz/*             what earlier runs have found, again";

/// Change pictures at random and inspect them: none may make the checks panic or contradict themselves.
///
/// An input that does is written below target/fuzz.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// How long
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Decides the changes [default: a fresh one, printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Inspect these files once, and change nothing
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    eprintln!("building the fuzzer (optimised; the first time this takes minutes)");
    let mut fuzz = cargo(&["run", "--profile", "checked", "--locked", "--package", "fuzz"]);
    fuzz.args(["--bin", "fuzz", "--", "--seconds", &options.seconds.to_string()]);
    if let Some(seed) = options.seed {
        fuzz.args(["--seed", &seed.to_string()]);
    }
    // It runs in the root of the checkout, wherever the files were named from.
    for file in &options.files {
        fuzz.arg(std::path::absolute(file)?);
    }
    let status = child::run("cargo run --package fuzz", fuzz).await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
