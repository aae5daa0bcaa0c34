//! Cargo's helpers that judge the dependencies, pinned and installed below `target/tools`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;
use support::child::run_ok;
use support::tool::tools;

use crate::build::cargo;

/// Bans, licenses and sources of the dependencies; what they may be is in `deny.toml`.
pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
/// Dependencies that a Cargo.toml names and no code uses.
pub(crate) const MACHETE: Tool = Tool { name: "cargo-machete", version: "0.9.2" };

/// A program from crates.io.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    /// The program, below `target/tools` or on the PATH; none: it is not installed.
    pub(crate) fn installed(self) -> Option<Command> {
        let places = [self.directory().join("bin").join(self.name), self.name.into()];
        places.into_iter().find(|place| self.is_pinned_version(place)).map(Command::new)
    }

    /// The program, which is installed first where it is missing.
    pub(crate) async fn ensure(self) -> Result<Command> {
        if let Some(program) = self.installed() {
            return Ok(program);
        }
        let Self { name, version } = self;
        eprintln!("building {name} {version} in target/tools; the first time this takes minutes");
        // It runs for seconds and takes minutes to compile: optimising it would cost more than it saves.
        let mut install = cargo(&["install", "--debug", "--locked", "--quiet", "--force"]);
        install.args([name, "--version", version]).arg("--root").arg(self.directory());
        // In a target directory of its own, which cargo removes afterwards.
        install.env_remove("CARGO_TARGET_DIR").env("CARGO_PROFILE_DEV_DEBUG", "false");
        run_ok("cargo install", install).await?;
        Ok(Command::new(self.directory().join("bin").join(name)))
    }

    fn directory(self) -> PathBuf {
        tools().join(self.name)
    }

    /// Another version may judge differently. The one prints its version alone, the other its name before.
    fn is_pinned_version(self, program: &PathBuf) -> bool {
        let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
        let output = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        output.is_ok_and(|text| text.split_whitespace().last() == Some(self.version))
    }
}
