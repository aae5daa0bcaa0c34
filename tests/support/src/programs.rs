//! The programs under test, which Cargo puts into the same directory as the test programs.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What a program said.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn json(&self) -> Value {
        serde_json::from_str(self.stdout.trim())
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.stdout, self.stderr))
    }
}

/// Runs a program to its end with exactly these variables.
pub fn run(
    program: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
    directory: &Path,
) -> Output {
    let mut command = Command::new(program);
    command.env_clear().envs(variables.iter().copied()).current_dir(directory).args(arguments);
    let output = command.output().unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The handler of the profile that this test program was built in.
pub fn handler() -> String {
    found("handler")
}

/// The command line of the same profile.
pub fn chunkctl() -> String {
    found("chunkctl")
}

fn found(name: &str) -> String {
    program(name).unwrap_or_else(|error| panic!("{error:#}")).display().to_string()
}

/// A program in the directory of the running one or above it: that is `target/debug/xtask`, or
/// `target/debug/deps/it-0123`.
///
/// # Errors
///
/// When it is not built: the error names the places and the command that builds it.
pub fn program(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe()?;
    let places = running.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    let found = places.clone().find(|path| path.is_file());
    found.with_context(|| {
        let places: Vec<_> = places.map(|place| place.display().to_string()).collect();
        format!("no {name} at {}: `cargo build --workspace --bins` makes it", places.join(" or "))
    })
}
