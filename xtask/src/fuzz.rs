//! `cargo xtask fuzz`: changed pictures against the checks of images.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use support::child;

use crate::build::cargo;

const EXAMPLES: &str = "\
Examples:
  cargo xtask fuzz                  for a minute
  cargo xtask fuzz --seconds 3600   for an hour";

/// Feed changed pictures to the checks of images: none may panic, hang or take too much memory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// How long
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    eprintln!("building the fuzzer (optimised; the first time this takes minutes)");
    let mut fuzz = cargo(&["run", "--profile", "fuzz", "--locked", "--package", "fuzz"]);
    fuzz.args(["--bin", "fuzz", "--", "--seconds", &options.seconds.to_string()]);
    let status = child::run("cargo run --package fuzz", fuzz).await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
