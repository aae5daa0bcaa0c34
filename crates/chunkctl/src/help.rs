//! The command line as clap knows it, with what all its commands share: the version and the exit codes. Help,
//! completions and man pages are made of it.

use crate::{
    Cli, failure,
    hint::{self, Meant},
};
use chunk_handler::state::Database;
use clap::{Command, CommandFactory as _, FromArgMatches as _};
use std::{process::ExitCode, sync::LazyLock};

/// What each command's end means.
const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed: the reason stands on stderr
  2  wrong arguments or settings";

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("CHUNKCTL_COMMIT"));
    format!("{version} (commit {commit}, schema {})", Database::known_schema_version())
});

/// Version, commit, and the schema that it makes and needs.
pub(crate) fn version() -> &'static str {
    VERSION.as_str()
}

/// The whole command line.
pub(crate) fn command() -> Command {
    with_exit_codes(Cli::command())
}

fn with_exit_codes(command: Command) -> Command {
    let own = command.get_after_help().map(|text| format!("{text}\n\n"));
    let own = own.unwrap_or_default();
    command.after_help(format!("{own}{EXIT_CODES}")).mut_subcommands(with_exit_codes)
}

/// What was asked for; or else the code to end with, after it was said why.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let parsed = command().try_get_matches().and_then(|all| Cli::from_arg_matches(&all));
    // What is not understood was not parsed: the option is looked for by hand.
    let json = || std::env::args_os().skip(1).take_while(|a| a != "--").any(|a| a == "--json");
    parsed.map_err(|error| match hint::of(&error) {
        Some(Meant { word, command }) => failure::tell_wrong(
            format!("`{word}` is no command"),
            format!("you want `chunkctl {command}`"),
            json(),
        ),
        None => failure::tell_usage(&error, json()),
    })
}

#[cfg(test)]
mod tests;
