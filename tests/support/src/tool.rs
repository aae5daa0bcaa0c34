//! Installs what this machine lacks: locked npm packages, and Debian packages when run as root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::checkout::{hex, is_root, root};
use crate::child::run_ok;

/// Whether a program is there and runs.
pub fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Makes sure that Node.js and npm are there.
pub async fn ensure_node() -> Result<()> {
    if works("node", &["--version"]) && works("npm", &["--version"]) {
        return Ok(());
    }
    if !is_root() {
        bail!("Node.js and npm are needed: install them (Debian: apt-get install nodejs npm)");
    }
    apt_install(&["nodejs", "npm"]).await
}

/// Installs Debian packages.
pub async fn apt_install(packages: &[&str]) -> Result<()> {
    eprintln!("installing {} with apt-get", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args([
            "-qq",
            "-o",
            "DPkg::Lock::Timeout=300",
        ]);
        command.args(arguments);
        command
    };
    run_ok("apt-get update", apt(&["update"])).await?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    run_ok("apt-get install", apt(&arguments)).await
}

/// Where installed tools are kept.
pub fn tools() -> PathBuf {
    root().join("target/tools")
}

/// Installs the npm packages locked in a directory of the checkout, and returns their `node_modules`.
///
/// They stay in their place and are installed again when the lock file has changed.
pub async fn npm_ci(locked_in: &str, place: &Path) -> Result<PathBuf> {
    let source = root().join(locked_in);
    fs::create_dir_all(place).with_context(|| format!("creating {}", place.display()))?;
    let _guard = lock(place).await?;
    let wanted = hex(&Sha256::digest(fs::read(source.join("package-lock.json"))?));
    let stamp = place.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(place.join("node_modules"));
    }
    ensure_node().await?;
    eprintln!("installing what {locked_in}/package.json names into {} with npm", place.display());
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source.join(file), place.join(file))?;
    }
    let mut npm = Command::new("npm");
    npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--loglevel=error",
    ])
    .current_dir(place);
    run_ok("npm ci", npm).await?;
    fs::write(&stamp, wanted)?;
    Ok(place.join("node_modules"))
}

/// One installation at a time, also between processes.
pub(crate) async fn lock(place: &Path) -> Result<File> {
    let path = place.join("lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let locked = move || file.lock().map(|()| file);
    Ok(tokio::task::spawn_blocking(locked).await??)
}
