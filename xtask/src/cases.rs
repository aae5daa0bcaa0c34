//! `cargo xtask cases`: the cases of bad input, each with its tests.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use support::catalogue;

/// List the cases of doc/cases.md, each with the tests that prove it on every machine.
///
/// Ends with code 1 when one of them has none.
#[derive(Debug, Args)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<ExitCode> {
    let cases = catalogue::cases();
    for case in &cases {
        let tests = if case.tests.is_empty() { "MISSING".into() } else { case.tests.join(", ") };
        println!("{}\t{}\t{}\t{tests}", case.number, case.input, case.outcome);
    }
    let missing = cases.iter().filter(|case| case.tests.is_empty()).count();
    println!("{} cases, {missing} missing", cases.len());
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
