//! Chromium, driven over pages by the scripts of `xtask/browser`.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::checkout::{is_root, root};
use crate::tool::{apt_install, ensure_node, npm_ci, tools, works};

/// Names of the program, the one that is enough first. Debian's packages have the same names.
const PROGRAMS: [&str; 2] = ["chromium-headless-shell", "chromium"];

/// An installed browser, and what drives it.
#[derive(Debug)]
pub struct Browser {
    program: &'static str,
    modules: PathBuf,
}

impl Browser {
    /// The browser of this machine; as root it is installed where it is missing.
    ///
    /// # Errors
    ///
    /// When it is missing and cannot be installed.
    pub async fn ensure() -> Result<Self> {
        ensure_node().await?;
        if found().is_none() && is_root() && works("apt-get", &["--version"]) {
            apt_install(&PROGRAMS[..1]).await?;
        }
        let Some(program) = found() else {
            bail!("Chromium is needed (Debian: apt-get install chromium-headless-shell)");
        };
        let modules = npm_ci("xtask/browser", &tools().join("browser")).await?;
        Ok(Self { program, modules })
    }

    /// Starts a script of `xtask/browser` with these arguments. It ends when it is dropped, and the
    /// browser with it.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Script {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new("node")
            .arg(root().join("xtask/browser").join(name))
            .args(arguments)
            .env("NODE_PATH", &self.modules)
            .env("CHROMIUM", self.program)
            // The browser's profile.
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Script { name: name.to_owned(), child, input, lines, _temporary: temporary }
    }

    /// Runs a script to its end; what it found.
    pub async fn run(&self, name: &str, arguments: &[&str]) -> Value {
        let mut script = self.start(name, arguments);
        let found = script.says().await;
        script.ends().await;
        found
    }
}

fn found() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|program| works(program, &["--version"]))
}

/// A running script. What it says is one JSON document a line; it waits where it is told to.
#[derive(Debug)]
pub struct Script {
    name: String,
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _temporary: TempDir,
}

impl Script {
    /// The next thing that it says; one that fails has said why on stderr.
    pub async fn says(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap();
        let line = line.unwrap_or_else(|| panic!("{} failed: see above", self.name));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Lets it go on.
    pub async fn goes_on(&mut self) {
        self.input.write_all(b"\n").await.unwrap();
    }

    /// Waits until it has ended well.
    pub async fn ends(mut self) {
        assert_eq!(self.lines.next_line().await.unwrap(), None, "{} says more", self.name);
        assert!(self.child.wait().await.unwrap().success(), "{} failed: see above", self.name);
    }
}
