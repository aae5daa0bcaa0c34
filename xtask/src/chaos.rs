//! `cargo xtask chaos`: seeded faults on real parts, then the invariants.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use support::child;

use crate::build::{cargo, debug_programs};

const EXAMPLES: &str = "\
Examples:
  cargo xtask chaos                        a fresh seed
  cargo xtask chaos --seed 7 --rounds 40   the same faults again, more than a thousand
  cargo xtask chaos 2>/dev/null | jq .     one JSON line a round";

/// Run rounds of seeded faults against real parts and check the invariants after each.
///
/// A table goes to stderr, one JSON object a round and a last one with the totals to stdout. Exit code
/// 1: an invariant was violated.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Decides which faults come when [default: a fresh one, printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds of at least 25 faults
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    // The test runs them, and finds them in target/debug.
    debug_programs().await?;
    let mut chaos = cargo(&["test", "--locked", "--test", "chaos", "--"]);
    chaos.args(["--rounds", &options.rounds.to_string()]);
    if let Some(seed) = options.seed {
        chaos.args(["--seed", &seed.to_string()]);
    }
    let status = child::run("cargo test --test chaos", chaos).await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
