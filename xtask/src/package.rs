//! `cargo xtask package`: what is deployed, one zip with a binary that needs nothing of its machine.

mod alone;
mod check;

use std::fs::{self, Permissions};
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use support::checkout::root;
use support::child::run_ok;
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

use crate::build::cargo;

/// The C library of Flex Consumption's machines is not ours to know, so none is needed.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Files of the package but for the program, by their place in the checkout and in the zip.
const FILES: [&str; 5] = [
    "LICENSE",
    "control/function.json",
    "health_check/function.json",
    "host.json",
    "process_chunk/function.json",
];

const EXAMPLES: &str = "\
Examples:
  cargo xtask package            target/package/handler.zip, and the same as target/package/app
  cargo xtask package --check    builds it twice, and runs it where there is nothing else
  cd target/package/app && func start";

/// Build what is deployed: a static binary, host.json and the functions as one zip.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Check content, size and reproducibility, and run it in a bare root (as root)
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let place = root().join("target/package");
    let zip = place.join("handler.zip");
    let handler = static_handler(&place.join("build")).await?;
    let bytes = packed(&handler)?;
    unpack(&handler, &place.join("app"))?;
    fs::write(&zip, &bytes).with_context(|| format!("writing {}", zip.display()))?;
    eprintln!("{}: {:.1} MB", zip.display(), check::megabytes(bytes.len()));
    if options.check {
        check::content(&bytes)?;
        check::is_static(&handler)?;
        let again = static_handler(&place.join("build-again")).await?;
        check::is_equal(&bytes, &packed(&again)?)?;
        alone::runs(&place.join("app")).await?;
    }
    println!("{}", zip.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the handler with its C library inside, in a target directory of its own.
async fn static_handler(target: &Path) -> Result<PathBuf> {
    needs_static_libc()?;
    eprintln!("building the static handler (release; this takes minutes)");
    let mut build = cargo(&["build", "--release", "--locked", "--bin", "handler"]);
    build.args(["--package", "pixcrawler-chunk-handler", "--target", TARGET, "--target-dir"]);
    build.arg(target);
    // Paths of this machine say nothing to anybody, and would make two builds differ. Of several that
    // match, rustc takes the last.
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=registry", registry()?.display()),
        format!("--remap-path-prefix={}=.", root().display()),
        format!("--remap-path-prefix={}=target", target.display()),
    ];
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "none").env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    run_ok("cargo build", build).await?;
    Ok(target.join(TARGET).join("release/handler"))
}

/// Where cargo keeps the sources of dependencies, which messages of panics name.
fn registry() -> Result<PathBuf> {
    let home = match std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    Ok(home.join("registry/src"))
}

/// Names what the machine lacks, before minutes of building.
fn needs_static_libc() -> Result<()> {
    let install =
        "install it with `apt-get install gcc libc6-dev` (or glibc-static, as others call it)";
    let asked = Command::new("gcc").args(["-m64", "-print-file-name=libc.a"]).output();
    let asked = asked.with_context(|| format!("gcc is missing: {install}"))?;
    let found = String::from_utf8_lossy(&asked.stdout);
    // Where it has none, gcc answers with the bare name.
    ensure!(Path::new(found.trim()).is_absolute(), "glibc's static library is missing: {install}");
    Ok(())
}

/// The zip: names in order, no times, modes of Unix. Two of one commit are equal.
fn packed(handler: &Path) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default());
    for (name, path) in entries(handler) {
        zip.start_file(name, options.unix_permissions(mode(name)))?;
        zip.write_all(&fs::read(&path).with_context(|| format!("reading {}", path.display()))?)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// The same as files, for `func start`.
fn unpack(handler: &Path, app: &Path) -> Result<()> {
    if app.exists() {
        fs::remove_dir_all(app)?;
    }
    for (name, path) in entries(handler) {
        let to = app.join(name);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&path, &to).with_context(|| format!("copying {}", path.display()))?;
        fs::set_permissions(&to, Permissions::from_mode(mode(name)))?;
    }
    Ok(())
}

/// Name and source of each entry, sorted by name.
fn entries(handler: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut entries: Vec<_> = FILES.iter().map(|name| (*name, root().join(name))).collect();
    entries.push(("handler", handler.to_owned()));
    entries.sort();
    entries
}

fn mode(name: &str) -> u32 {
    if name == "handler" { 0o755 } else { 0o644 }
}
