//! Seeded faults on real parts, then the invariants.
//!
//! With `--seed` or `--rounds` it runs that many rounds and reports them; without, it is a test
//! program with a round of a fixed seed, one of a fresh seed, and the checks' own checks.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::let_underscore_must_use,
    let_underscore_drop,
    unreachable_pub,
    reason = "test code"
)]

mod birth;
mod blame;
mod blobs;
mod check;
mod environment;
mod extend;
mod fault;
mod jobs;
mod machine;
mod orders;
mod plan;
mod red;
mod report;
mod restore;
mod rights;
mod round;
mod rows;
mod site;
mod submit;
mod watch;

use anyhow::Result;
use clap::Parser;
use libtest_mimic::{Arguments, Failed, Trial};
use report::Totals;
use std::{future::Future, process::ExitCode};
use support::env;

/// Run rounds of seeded faults against real parts and check the invariants after each.
#[derive(Debug, Parser)]
struct Options {
    /// Decides which faults come when [default: a fresh one, printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds of at least 25 faults
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

fn main() -> ExitCode {
    let is_run = |argument: &String| {
        ["--seed", "--rounds"].iter().any(|option| argument.starts_with(option))
    };
    if std::env::args().any(|argument| is_run(&argument)) {
        let options = Options::parse();
        let is_good = block_on(rounds(options.seed.unwrap_or_else(fresh), options.rounds));
        return if is_good.unwrap() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // One after the other: a round restarts the server that all would share.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials()).exit_code()
}

fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn() -> Result<(), Failed>| Trial::test(name, run);
    vec![
        trial("a_fixed_seed_keeps_every_invariant", || one_round(1)),
        trial("a_fresh_seed_keeps_every_invariant", || one_round(fresh())),
        trial("the_checks_of_rows_turn_red", || block_on(red::rows()).map_err(Failed::from)),
        trial("the_checks_of_blame_turn_red", || block_on(red::blame()).map_err(Failed::from)),
        trial("the_checks_of_bytes_turn_red", || block_on(red::bytes()).map_err(Failed::from)),
        trial("the_checks_of_processes_turn_red", || {
            block_on(red::processes()).map_err(Failed::from)
        }),
        trial("the_check_of_the_limit_turns_red", red::slots),
        trial("a_plan_follows_from_its_seed", red::plans),
    ]
}

fn one_round(seed: u64) -> Result<(), Failed> {
    eprintln!("cargo xtask chaos --seed {seed} --rounds 1");
    let outcome = block_on(async {
        say_what_is_left_out().await?;
        round::run(seed, 1).await
    })?;
    match outcome.violations.as_slice() {
        [] => Ok(()),
        violations => Err(format!("{violations:#?}").into()),
    }
}

/// Runs rounds of a seed; whether no invariant was violated.
async fn rounds(seed: u64, rounds: u32) -> Result<bool> {
    eprintln!("seed {seed}");
    say_what_is_left_out().await?;
    let mut totals = Totals::new(seed);
    for round in 1..=rounds {
        totals.add(&round::run(seed, round).await?);
    }
    Ok(totals.finish())
}

async fn say_what_is_left_out() -> Result<()> {
    if !env::postgres().await?.is_private() {
        eprintln!("the Postgres server was given: it is neither restarted nor filled with clients");
    }
    Ok(())
}

fn fresh() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 >> 32
}

fn block_on<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run)
}
