//! Temporary directories that are removed when their owner is done, or by the next run when it was killed.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::checkout::reachable;

const PREFIX: &str = "pixcrawler-parts-";

/// A directory of this process, with a locked file beside it that tells others so.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    lock_path: PathBuf,
    /// Held for as long as the directory is in use; the system frees it when the process ends.
    _lock: File,
}

impl WorkDir {
    /// Creates an empty directory, after removing those whose owners are gone.
    pub fn create(purpose: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let base = reachable(std::env::temp_dir());
        sweep(&base);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = base.join(format!("{PREFIX}{purpose}-{pid}-{count}"));
        let lock_path = path.with_extension("lock");
        fs::create_dir_all(&base)?;
        let lock = lock_anew(&lock_path)?;
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(Self { path, lock_path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // A process that is just ending may still write: the second try finds what it left.
        if fs::remove_dir_all(&self.path).is_err() && self.path.exists() {
            let _ = fs::remove_dir_all(&self.path);
        }
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// Removes the directories whose owners are gone.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let lock_path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !ours || lock_path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(&lock_path) else { continue };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(lock_path.with_extension(""));
            let _ = fs::remove_file(&lock_path);
        }
    }
}

/// A locked file that no sweep removed between its creation and the lock.
fn lock_anew(path: &Path) -> Result<File> {
    loop {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        file.lock()?;
        if path.exists() {
            return Ok(file);
        }
    }
}
