//! Which commit this is built from, for `chunkctl --version`. A tree without git, as a tarball is, has none.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A tarball may lie inside a checkout of something else: only the repository of this tree counts.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let is_own = git(&["rev-parse", "--show-cdup"]).is_some_and(|up| {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join(up).canonicalize();
        top.ok().is_some_and(|top| Some(top) == root.canonicalize().ok())
    });
    let commit = if is_own { git(&["rev-parse", "--short=12", "HEAD"]) } else { None };
    println!("cargo::rustc-env=CHUNKCTL_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    // Each commit and each checkout is noted there; a file that is not there would run this each time.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|_| is_own);
    let log = log.map(|log| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(log));
    if let Some(log) = log.filter(|log| log.exists()) {
        println!("cargo::rerun-if-changed={}", log.display());
    }
}

/// One line of git; none: there is no git, no repository, or no such thing.
fn git(arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    let output = git.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    output.status.success().then_some(line)
}
