//! `completions` and `man`: what a shell and a system want to know of the command line. Made of its definition,
//! without settings.

use crate::{failure::bail_as, help, out, words::count};
use anyhow::Context as _;
use clap::Args;
use clap_complete::{Shell, generate};
use serde_json::json;
use std::{fs, path::PathBuf, process::ExitCode};

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chunkctl completions bash > /etc/bash_completion.d/chunkctl
  chunkctl completions zsh > \"${fpath[1]}/_chunkctl\"
  chunkctl completions fish > ~/.config/fish/completions/chunkctl.fish")]
pub(crate) struct Completions {
    /// Whose words they are.
    #[arg(value_enum)]
    shell: Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chunkctl man ~/.local/share/man/man1 && man chunkctl-submit
  chunkctl man man && man -l man/chunkctl.1")]
pub(crate) struct Man {
    /// Where the pages go; it is made if it is not there.
    directory: PathBuf,
}

/// Writes the completions of a shell to stdout.
pub(crate) fn completions(asked: &Completions, json: bool) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    generate(asked.shell, &mut help::command(), "chunkctl", &mut script);
    let script = String::from_utf8(script)?;
    if json {
        out(format_args!("{}", json!({"shell": asked.shell.to_string(), "script": script})));
    } else {
        out(format_args!("{}", script.trim_end()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a page for each command.
pub(crate) fn man(asked: &Man, json: bool) -> anyhow::Result<ExitCode> {
    let directory = &asked.directory;
    if directory.exists() && !directory.is_dir() {
        bail_as!(DirectoryRefused, "{} is no directory; give another", directory.display());
    }
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let command = help::command();
    let pages = names("chunkctl", &command);
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("writing to {}", directory.display()))?;
    if json {
        out(format_args!("{}", json!({"directory": directory, "pages": pages})));
    } else {
        out(format_args!("{} in {}", count(pages.len(), "page"), directory.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The files of a command and of those below it.
fn names(name: &str, command: &clap::Command) -> Vec<String> {
    let below = command.get_subcommands();
    let below = below.flat_map(|sub| names(&format!("{name}-{}", sub.get_name()), sub));
    std::iter::once(format!("{name}.1")).chain(below).collect()
}
