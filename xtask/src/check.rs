//! `cargo xtask check`: what needs no server, one check or all of them.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};
use support::checkout::root;
use support::child;

use crate::build::cargo;
use crate::tools::{DENY, MACHETE};

const EXAMPLES: &str = "\
Examples:
  cargo xtask check           all of them, in the order above, until one fails
  cargo xtask check clippy    one of them
  cargo xtask check deny      installs its tools below target/tools when they are missing";

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
    let checks = options.check.as_ref().map_or(Check::value_variants(), std::slice::from_ref);
    Ok(ExitCode::from(run_all(checks, Missing::Install).await?))
}

/// What `cargo xtask test` runs before the tests; returns the exit code of the first that fails, else 0.
pub(crate) async fn before_tests() -> Result<u8> {
    // A test run must not spend minutes on installing tools.
    run_all(&[Check::Fmt, Check::Clippy, Check::Doc, Check::Deny], Missing::Skip).await
}

/// What to do about a tool that is not installed.
#[derive(Debug, Clone, Copy)]
enum Missing {
    Install,
    Skip,
}

async fn run_all(checks: &[Check], missing: Missing) -> Result<u8> {
    for check in checks {
        if let Some(value) = check.to_possible_value() {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            eprintln!("check {}: {help}", value.get_name());
        }
        for command in check.commands(missing).await? {
            let code = step(command).await?;
            if code != 0 {
                return Ok(code);
            }
        }
    }
    Ok(0)
}

/// Runs a command, naming it first, says how long it took, and returns its exit code.
pub(crate) async fn step(command: Command) -> Result<u8> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let name = words.join(" ");
    eprintln!("$ {name}");
    let start = Instant::now();
    let code = child::run(&name, command).await?.code();
    eprintln!("took {} s: {name}", start.elapsed().as_secs());
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The examples of the documentation, compiled and run.
pub(crate) fn doctests() -> Command {
    cargo(&["test", "--workspace", "--locked", "--doc", "--quiet"])
}

impl Check {
    async fn commands(self, missing: Missing) -> Result<Vec<Command>> {
        Ok(match self {
            Self::Fmt => vec![cargo(&["fmt", "--all", "--check"])],
            Self::Clippy => vec![clippy()],
            Self::Doc => vec![documentation()],
            Self::Deny => dependencies(missing).await?,
            Self::Unit => {
                vec![cargo(&["test", "--workspace", "--locked", "--lib", "--bins"]), doctests()]
            }
        })
    }
}

fn clippy() -> Command {
    let mut clippy = cargo(&["clippy", "--workspace", "--all-targets", "--locked"]);
    clippy.args(["--", "-D", "warnings"]);
    clippy
}

async fn dependencies(missing: Missing) -> Result<Vec<Command>> {
    let (mut deny, mut machete) = match (missing, DENY.installed(), MACHETE.installed()) {
        (_, Some(deny), Some(machete)) => (deny, machete),
        (Missing::Install, ..) => (DENY.ensure().await?, MACHETE.ensure().await?),
        (Missing::Skip, ..) => {
            eprintln!("not run: cargo-deny, cargo-machete; `cargo xtask check deny` installs them");
            return Ok(Vec::new());
        }
    };
    deny.args(["--workspace", "--locked", "check", "bans", "licenses", "sources"]);
    // With what cargo says of each package: some crates are named otherwise than their libraries.
    machete.arg("--with-metadata");
    deny.current_dir(root());
    machete.current_dir(root());
    Ok(vec![deny, machete])
}

/// Of the whole workspace, as clippy before it: so it uses what that has compiled.
fn documentation() -> Command {
    let mut doc =
        cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    doc
}
