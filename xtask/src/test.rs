//! `cargo xtask test`: every check and every test.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use support::azurite::{Azurite, AzuriteOptions};
use support::postgres::{Postgres, PostgresOptions};
use xtask::infra;

use crate::build::{self, cargo};
use crate::check::{self, step};

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                             everything
  cargo xtask test --filter expired_lease      the checks, and the tests with that in their name
  cargo xtask test -- --nocapture              arguments for the test programs";

/// Run all checks and the whole test suite against real Postgres and real Azurite.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Run only the tests whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Arguments for the test programs
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let mut code = check::before_tests().await?;
    for command in [build::debug_build(), check::doctests()] {
        if code == 0 {
            code = step(command).await?;
        }
    }
    if code != 0 {
        return Ok(ExitCode::from(code));
    }
    let infrastructure = infra::run(infra::Options::default()).await?;
    if infrastructure != ExitCode::SUCCESS {
        return Ok(infrastructure);
    }
    let (postgres, azurite) = tokio::try_join!(
        Postgres::given_or_start(PostgresOptions::default()),
        Azurite::start(AzuriteOptions::default())
    )?;
    // The documentation's examples ran before: the last lines are those of the real tests.
    let mut tests = cargo(&["test", "--workspace", "--locked", "--lib", "--bins", "--tests"]);
    tests.args(&options.filter).arg("--").args(&options.arguments);
    tests.env(support::env::DATABASE_URL, postgres.base_url());
    tests.env(support::env::STORAGE, azurite.connection_string());
    Ok(ExitCode::from(step(tests).await?))
}
