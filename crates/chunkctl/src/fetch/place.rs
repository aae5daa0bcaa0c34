//! The directory that a job is fetched to: one fetch at a time, of one job, with room for it.

use super::{digest::Told, part, transfer};
use crate::folder::Member;
use anyhow::{Context as _, bail};
use chunk_handler::storage::ListedBlob;
use indicatif::HumanBytes;
use serde::Deserialize;
use std::{
    fs::{self, File, TryLockError},
    io::BufReader,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The file whose lock a fetch holds; it goes at the end.
const LOCK: &str = ".fetch.lock";

/// The right to write into a directory.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before it is free: who waits for it then sees that it is gone. What stays is taken over.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// Takes a directory, unless another fetch has it.
pub(super) fn lock(directory: &Path) -> anyhow::Result<Lock> {
    let path = directory.join(LOCK);
    loop {
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another fetch writes to {}; wait for it", directory.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
        // Another fetch may have ended, and removed it, before the lock.
        if file.metadata()?.nlink() > 0 {
            return Ok(Lock { path, _file: file });
        }
    }
}

/// The members of a job's folder that are in a directory, and the parts of such.
pub(super) fn members(directory: &Path) -> anyhow::Result<(Vec<Member>, Vec<PathBuf>)> {
    let (mut members, mut parts) = (Vec::new(), Vec::new());
    for folder in ["", "chunks/"] {
        let path = directory.join(folder);
        let entries = fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", path.display()))?;
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            if let Some(member) = Member::of(&name) {
                members.push(member);
            } else if part::is_part(&name, |target| Member::of(target).is_some()) {
                parts.push(entry.path());
            }
        }
    }
    members.sort_unstable();
    Ok((members, parts))
}

/// Refuses a directory with another job: its files have the same names.
pub(super) fn refuse_another_job(
    directory: &Path,
    members: &[Member],
    job_id: i64,
) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct OfJob {
        job_id: i64,
    }
    let manifest = members.iter().find(|member| matches!(member, Member::Manifest(_)));
    let Some(file) = manifest.and_then(|m| File::open(transfer::place(directory, *m)).ok()) else {
        return Ok(());
    };
    // One that cannot be read says nothing, and is fetched again.
    match serde_json::from_reader::<_, OfJob>(BufReader::new(file)) {
        Ok(there) if there.job_id != job_id => bail!(
            "{} has job {}; give another directory, or empty it",
            directory.display(),
            there.job_id
        ),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Bytes of these files that are not there yet, by their lengths.
pub(super) fn lacking<'a>(
    directory: &Path,
    files: impl Iterator<Item = (Member, &'a ListedBlob)>,
) -> u64 {
    let lacks = |(member, blob): (Member, &ListedBlob)| {
        let target = transfer::place(directory, member);
        if transfer::has_length(&target, blob.bytes) {
            return 0;
        }
        let part = fs::metadata(part::path(&target, &Told::of(blob)));
        blob.bytes.saturating_sub(part.map_or(0, |part| part.len()))
    };
    files.map(lacks).sum()
}

/// Refuses to begin what the disk cannot hold.
pub(super) fn refuse_without_room(
    directory: &Path,
    lacking: u64,
    free: Option<u64>,
) -> anyhow::Result<()> {
    match free {
        Some(free) if free < lacking => bail!(
            "{} are still to come, and the disk of {} has {} free: {} are missing",
            HumanBytes(lacking),
            directory.display(),
            HumanBytes(free),
            HumanBytes(lacking - free)
        ),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_before_anything_comes() {
        let room = |lacking, free| refuse_without_room(Path::new("/data"), lacking, free);
        assert!(room(10, Some(10)).is_ok() && room(10, None).is_ok());
        let refusal = room(5 << 30, Some(2 << 30)).unwrap_err().to_string();
        let expected = "5.00 GiB are still to come, and the disk of /data has 2.00 GiB free: 3.00 GiB are missing";
        assert_eq!(refusal, expected);
    }

    /// Whoever comes second is told; a lock file that nobody holds stops nobody.
    #[test]
    fn a_directory_has_one_fetch() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(LOCK), "").unwrap();
        let first = lock(directory.path()).unwrap();
        assert!(lock(directory.path()).unwrap_err().to_string().contains("another fetch writes"));
        drop(first);
        assert!(!directory.path().join(LOCK).exists());
        lock(directory.path()).unwrap();
    }

    #[test]
    fn a_directory_of_another_job_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("chunks")).unwrap();
        let manifest = directory.path().join("chunks/chunk_00003.manifest.json");
        fs::write(&manifest, r#"{"schema":"x","job_id":8,"items":[]}"#).unwrap();
        fs::write(directory.path().join("chunks/chunk_00003.tar.0123456789abcdef.part"), "")
            .unwrap();
        fs::write(directory.path().join("chunks/notes.txt"), "").unwrap();
        let (members, parts) = members(directory.path()).unwrap();
        assert_eq!((members.len(), parts.len()), (1, 1));
        assert!(refuse_another_job(directory.path(), &members, 8).is_ok());
        let refusal = refuse_another_job(directory.path(), &members, 7).unwrap_err().to_string();
        assert!(refusal.contains("has job 8"), "{refusal}");
        fs::write(&manifest, "{").unwrap();
        assert!(refuse_another_job(directory.path(), &members, 7).is_ok());
    }
}
