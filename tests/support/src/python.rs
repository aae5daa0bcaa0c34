//! What people use with the product: Python packages pinned in the checkout, each set in a virtual
//! environment of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::checkout::{hex, is_root, root};
use crate::child::run_ok;
use crate::tool::{apt_install, lock, tools, works};

/// The oldest Python that the pinned packages run on, with what makes virtual environments.
const IS_FIT: &str = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))";

/// A Python with the loaders that people read shards with.
pub async fn loaders() -> Result<PathBuf> {
    environment("loaders", "tests/machine/loaders/requirements.txt").await
}

/// A Python with what runs the queries of the alerts over rows.
pub async fn kql() -> Result<PathBuf> {
    environment("kql", "tests/machine/alerts/requirements.txt").await
}

/// A Python with `img2dataset`.
pub async fn img2dataset() -> Result<PathBuf> {
    environment("img2dataset", "tests/bench/img2dataset/requirements.txt").await
}

/// A Python with `pillow` and OpenCV.
pub async fn decoders() -> Result<PathBuf> {
    environment("decoders", "tests/bench/decode/requirements.txt").await
}

/// A Python with pinned packages, made below `target/tools`, where it stays until the pins change.
async fn environment(name: &str, pins: &str) -> Result<PathBuf> {
    let place = tools().join(name);
    fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
    let _guard = lock(&place).await?;
    let (environment, stamp) = (place.join("environment"), place.join("installed"));
    let python = environment.join("bin/python");
    let wanted = hex(&Sha256::digest(fs::read(root().join(pins))?));
    let is_made = fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted);
    if is_made && works(&python.to_string_lossy(), &["-c", IS_FIT]) {
        return Ok(python);
    }
    ensure_python().await?;
    eprintln!("installing what {pins} names into {} with pip", place.display());
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&environment);
    run_ok("python3 -m venv", venv).await?;
    let mut pip = Command::new(&python);
    // Given up on early: without a network nothing comes of waiting.
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(["--only-binary", ":all:", "--no-deps", "--retries", "2", "--timeout", "30"])
        .arg("--requirement")
        .arg(root().join(pins));
    run_ok("pip install", pip).await?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}

/// Makes sure that there is a Python that can make virtual environments.
async fn ensure_python() -> Result<()> {
    if !works("python3", &["-c", IS_FIT]) && is_root() && works("apt-get", &["--version"]) {
        apt_install(&["python3", "python3-venv"]).await?;
    }
    if !works("python3", &["-c", IS_FIT]) {
        bail!("Python 3.11 or later with venv is needed (Debian: apt-get install python3-venv)");
    }
    Ok(())
}
