//! Developer commands of the chunk handler; `cargo xtask --help` lists them.

mod bench;
mod build;
mod cases;
mod chaos;
mod check;
mod demo;
mod dev;
mod fuzz;
mod host;
mod images;
mod package;
mod signals;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::infra;

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                 a whole job on this machine, with nothing set up before
  cargo xtask dev                  the parts to work with, until Ctrl-C
  cargo xtask check                format, lints, documentation, dependencies, unit tests
  cargo xtask test                 all checks and tests
  cargo xtask chaos --seed 7       random faults, then the invariants
  cargo xtask cases                the cases of bad input and their tests
  cargo xtask fuzz --seconds 60    changed inputs against all that reads what strangers write
  cargo xtask bench --quick        every benchmark that fits 15 minutes
  cargo xtask images               the pictures of the dashboard in doc/images, made again
  cargo xtask infra                the infrastructure, without a subscription
  cargo xtask package              what is deployed: one zip
  cargo xtask build && func start  the handler under the Functions host";

/// Developer commands of the chunk handler.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Options),
    Dev(dev::Options),
    Build(build::Options),
    Check(check::Options),
    Test(test::Options),
    Bench(bench::Options),
    Cases(cases::Options),
    Chaos(chaos::Options),
    Fuzz(fuzz::Options),
    Images(images::Options),
    Infra(infra::Options),
    Package(package::Options),
}

impl Command {
    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(options) => demo::run(options).await,
            Self::Dev(options) => dev::run(options).await,
            Self::Build(_) => build::run().await,
            Self::Check(options) => check::run(options).await,
            Self::Test(options) => test::run(options).await,
            Self::Bench(options) => bench::run(options).await,
            Self::Cases(options) => cases::run(&options),
            Self::Chaos(options) => chaos::run(options).await,
            Self::Fuzz(options) => fuzz::run(options).await,
            Self::Package(options) => package::run(options).await,
            Self::Images(_) => images::run().await,
            Self::Infra(options) => infra::run(options).await,
        }
    }

    /// The exit code after a signal: for `dev` it is how one ends it.
    fn interrupted(&self) -> ExitCode {
        match self {
            Self::Dev(_) => ExitCode::SUCCESS,
            _ => ExitCode::from(signals::INTERRUPTED),
        }
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let interrupted = command.interrupted();
    match drive(command) {
        Ok(Some(code)) => code,
        Ok(None) => interrupted,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command, or drops it at the first signal: its parts then stop, the last one started first.
fn drive(command: Command) -> anyhow::Result<Option<ExitCode>> {
    let signal = signals::watch()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = command.run() => outcome.map(Some),
            name = signal => {
                eprintln!("{}: stopping; a second signal stops at once", name.unwrap_or("a signal"));
                Ok(None)
            }
        }
    });
    runtime.shutdown_background();
    outcome
}
