//! `cargo xtask bench`: the goals of performance, measured side by side.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use support::child;

use crate::build::{cargo, release_programs};

const EXAMPLES: &str = "\
Examples:
  cargo xtask bench --quick               every case that fits 15 minutes
  cargo xtask bench claim                 the cases of claims, with all their samples
  cargo xtask bench fair_slow_host        one case
  cargo xtask bench 2>/dev/null | jq .    one JSON line a case";

/// Measure the cases, each as a ratio of two things in one run.
///
/// A table of goal, measured and verdict goes to stderr, one JSON object a case to stdout.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Fewer samples; what does not fit 15 minutes is marked as not run
    #[arg(long)]
    quick: bool,
    /// Only the cases whose name begins with this
    #[arg(value_name = "CASE")]
    case: Option<String>,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    // The benchmarks run them, and find them in target/release.
    release_programs().await?;
    let mut bench = cargo(&["bench", "--locked", "--bench", "bench", "--"]);
    if options.quick {
        bench.arg("--quick");
    }
    bench.args(&options.case);
    let status = child::run("cargo bench --bench bench", bench).await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
