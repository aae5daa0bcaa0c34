//! The programs under test, which Cargo puts into the same directory as the test programs.

use serde_json::Value;
use std::{path::Path, process::Command};

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
    program("handler")
}

/// The command line of the same profile.
pub fn chunkctl() -> String {
    program("chunkctl")
}

/// A program beside this one: `target/<profile>/deps/it-...` and `target/<profile>/handler`.
fn program(name: &str) -> String {
    let own = std::env::current_exe().expect("this program has a path");
    let beside = own.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    let found = beside.clone().find(|path| path.is_file());
    found.map(|path| path.display().to_string()).unwrap_or_else(|| {
        let places: Vec<_> = beside.map(|path| path.display().to_string()).collect();
        panic!("no {name} at {}: `cargo build --workspace --bins` makes it", places.join(", "))
    })
}
