//! What a test may need of the machine. Each answers with what is missing, in a few words.

use std::{path::PathBuf, sync::OnceLock};
use support::{browser::Browser, pooler, postgres, python as installed, tool::works};

/// Whether something is there, or else why not.
pub type Condition = fn() -> Result<(), String>;

pub fn nothing() -> Result<(), String> {
    Ok(())
}

/// A Postgres server that is ours to crash: `DATABASE_URL` may name one that belongs to somebody else.
pub fn own_postgres() -> Result<(), String> {
    let is_given = std::env::var("DATABASE_URL").is_ok_and(|url| !url.is_empty());
    if is_given && !postgres::is_installed() {
        return Err("no Postgres of our own".into());
    }
    Ok(())
}

pub fn name_of_loopback() -> Result<(), String> {
    loopback().map(drop).ok_or_else(|| "no name of loopback in /etc/hosts".into())
}

/// A name of this machine's hosts file, other than localhost, that leads to loopback.
pub fn loopback() -> Option<String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut names = hosts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("127.0.0.1"))
        .flat_map(str::split_whitespace)
        .filter(|name| !name.contains("localhost") && name.chars().all(|c| c.is_alphanumeric()));
    names.next().map(str::to_owned)
}

/// Permission to mount file systems that one process sees.
pub fn mount_namespace() -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mounted = directory.path().display().to_string();
    let script = "mount -t tmpfs -o size=4m tmpfs $0 && mount --bind $0 /sys/fs/cgroup";
    let is_there = works("unshare", &["--mount", "sh", "-c", script, &mounted]);
    if is_there { Ok(()) } else { Err("no mount namespace".into()) }
}

pub fn pgbouncer() -> Result<(), String> {
    if pooler::is_installed() { Ok(()) } else { Err("no pgbouncer".into()) }
}

pub fn zsh() -> Result<(), String> {
    if works("zsh", &["--version"]) { Ok(()) } else { Err("no zsh".into()) }
}

pub fn fish() -> Result<(), String> {
    if works("fish", &["--version"]) { Ok(()) } else { Err("no fish".into()) }
}

/// A program that runs another one on a terminal.
pub fn terminal() -> Result<(), String> {
    let is_there = works("script", &["-qec", "test -t 1", "/dev/null"]);
    if is_there { Ok(()) } else { Err("no script (util-linux)".into()) }
}

pub fn python() -> Result<(), String> {
    if works("python3", &["--version"]) { Ok(()) } else { Err("no python3".into()) }
}

pub fn loaders() -> Result<(), String> {
    python_with_loaders().as_ref().map(drop).map_err(Clone::clone)
}

/// The Python with the loaders, which is installed when it is missing.
pub fn python_with_loaders() -> &'static Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        crate::block_on(installed::loaders()).map_err(|error| {
            eprintln!("the loaders cannot be installed: {error:#}");
            "no loaders".into()
        })
    })
}

pub fn kql() -> Result<(), String> {
    python_with_kql().as_ref().map(drop).map_err(Clone::clone)
}

/// The Python that runs the queries of the alerts, which is installed when it is missing.
pub fn python_with_kql() -> &'static Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        crate::block_on(installed::kql()).map_err(|error| {
            eprintln!("duckdb-kql cannot be installed: {error:#}");
            "no duckdb-kql".into()
        })
    })
}

/// The programs that people come from: curl, and img2dataset, which is installed when it is missing.
pub fn others() -> Result<(), String> {
    if !works("curl", &["--version"]) {
        return Err("no curl".into());
    }
    python_with_img2dataset().as_ref().map(drop).map_err(Clone::clone)
}

/// The Python that runs img2dataset.
pub fn python_with_img2dataset() -> &'static Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        crate::block_on(installed::img2dataset()).map_err(|error| {
            eprintln!("img2dataset cannot be installed: {error:#}");
            "no img2dataset".into()
        })
    })
}

pub fn browser() -> Result<(), String> {
    chromium().as_ref().map(drop).map_err(Clone::clone)
}

/// The browser, which is installed when it is missing.
pub fn chromium() -> &'static Result<Browser, String> {
    static FOUND: OnceLock<Result<Browser, String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        crate::block_on(Browser::ensure()).map_err(|error| {
            eprintln!("Chromium cannot be installed: {error:#}");
            "no Chromium".into()
        })
    })
}
