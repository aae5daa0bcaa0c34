//! The directory that a job is fetched to: one fetch at a time, of one job, with room for it.

use super::{
    digest::Told,
    mark::{self, Mark},
    part,
    transfer::{self, NEWER},
};
use crate::failure::bail_as;
use crate::folder::Member;
use anyhow::Context as _;
use chunk_handler::storage::ListedBlob;
use indicatif::HumanBytes;
use nix::{errno::Errno, fcntl::OFlag};
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
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

/// Opens a file of a fetch's own, which is made if it is not there. Not through a link: nobody but its
/// owner knows what that leads to.
pub(super) fn own_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(path).map_err(|error| {
        match error.raw_os_error().map(Errno::from_raw) == Some(Errno::ELOOP) {
            true => io::Error::other("it is a link, which no fetch makes; move it away"),
            false => error,
        }
    })
}

/// Makes the directory, if it is not there.
pub(super) fn make(directory: &Path) -> anyhow::Result<()> {
    let is_link = fs::symlink_metadata(directory).is_ok_and(|there| there.is_symlink());
    match fs::metadata(directory) {
        Ok(there) if there.is_dir() => return Ok(()),
        Ok(_) => bail_as!(DirectoryRefused, "{} is a file; give a directory", directory.display()),
        Err(_) if is_link => {
            bail_as!(
                DirectoryRefused,
                "{} is a link to nothing; give a directory",
                directory.display()
            )
        }
        Err(_) => {}
    }
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))
}

/// Takes a directory, unless another fetch has it.
pub(super) fn lock(directory: &Path) -> anyhow::Result<Lock> {
    let path = directory.join(LOCK);
    loop {
        let file = own_file(&path).with_context(|| format!("creating {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail_as!(
                    DirectoryRefused,
                    "another fetch writes to {}; wait for it",
                    directory.display()
                )
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

/// What a file in a directory is that is no member of a job's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// [`Mark`].
    Mark,
    /// A fetch did not end.
    Begun,
    /// A document that is newer than one that somebody changed.
    Newer,
    /// Somebody else's.
    Stranger,
}

impl Beside {
    /// By its name in the directory.
    pub(crate) fn of(name: &str) -> Self {
        let newer = name.strip_suffix(NEWER);
        if name == mark::NAME {
            Self::Mark
        } else if matches!(newer.and_then(Member::of), Some(Member::Document(_))) {
            Self::Newer
        } else if name == LOCK || newer == Some(mark::NAME) || is_part(name) {
            Self::Begun
        } else {
            Self::Stranger
        }
    }
}

fn is_part(name: &str) -> bool {
    part::is_part(name, |of| Member::of(of.trim_end_matches(NEWER)).is_some())
}

/// What is in a directory.
#[derive(Debug, Default)]
pub(super) struct There {
    pub(super) members: Vec<Member>,
    /// Of files that are on their way.
    pub(super) parts: Vec<PathBuf>,
    /// Names of files of somebody else.
    pub(super) strangers: Vec<String>,
}

/// The members of a job's folder that are in a directory, and what is there beside them.
pub(super) fn there(directory: &Path) -> anyhow::Result<There> {
    let mut there = There::default();
    for folder in ["", "chunks/"] {
        let path = directory.join(folder);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("reading {}", path.display()))?,
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", path.display()))?;
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            if let Some(member) = Member::of(&name) {
                there.members.push(member);
            } else if is_part(&name) {
                there.parts.push(entry.path());
            } else if Beside::of(&name) == Beside::Stranger && !entry.path().is_dir() {
                there.strangers.push(name);
            }
        }
    }
    there.members.sort_unstable();
    there.strangers.sort_unstable();
    Ok(there)
}

/// Refuses a directory that another job was fetched to: its files have the same names.
pub(super) fn refuse_another_job(directory: &Path, own: &Mark) -> anyhow::Result<Option<Mark>> {
    match Mark::read(directory) {
        Some(there) if (there.job_id, &there.storage) != (own.job_id, &own.storage) => bail_as!(
            DirectoryRefused,
            "{} has job {} of {}; give another directory",
            directory.display(),
            there.job_id,
            there.storage
        ),
        // Without its time it is not known which one it is.
        Some(Mark { created_at: Some(there), .. })
            if own.created_at.as_ref().is_some_and(|own| *own != there) =>
        {
            bail_as!(
                DirectoryRefused,
                "{} has an earlier job of this number, which was made at {there}; give another directory",
                directory.display()
            )
        }
        mark => Ok(mark),
    }
}

/// Refuses to write over what no fetch of this job brought: members that are not `right`, in a directory
/// without a mark; in any, what is no file at all.
pub(super) fn refuse_strangers(
    directory: &Path,
    is_marked: bool,
    members: &[Member],
    is_right: impl Fn(Member) -> bool,
) -> anyhow::Result<()> {
    let no_file = |member: &&Member| {
        fs::metadata(transfer::place(directory, **member)).is_ok_and(|there| !there.is_file())
    };
    if let Some(member) = members.iter().find(no_file) {
        bail_as!(
            DirectoryRefused,
            "{} is no file; move it away",
            transfer::place(directory, *member).display()
        );
    }
    let others: Vec<String> =
        members.iter().filter(|m| !is_marked && !is_right(**m)).map(|m| m.name()).collect();
    if others.is_empty() {
        return Ok(());
    }
    bail_as!(
        DirectoryRefused,
        "{} has files that this job does not have so, and that no fetch of it brought: {}; give another \
         directory, or move them away",
        directory.display(),
        super::shown(&others)
    )
}

/// Bytes of these files that are still to come; one that is replaced takes room until it is.
pub(super) fn lacking<'a>(
    directory: &Path,
    files: impl Iterator<Item = (Member, &'a ListedBlob)>,
    is_right: impl Fn(Member) -> bool,
) -> u64 {
    let lacks = |(member, blob): (Member, &ListedBlob)| {
        let target = transfer::place(directory, member);
        if is_right(member) {
            return 0;
        }
        let part = fs::metadata(part::path(&target, &Told::of(blob)));
        blob.head.bytes.saturating_sub(part.map_or(0, |part| part.len()))
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
        Some(free) if free < lacking => bail_as!(
            DirectoryRefused,
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
        let of =
            |job_id, storage: &str| Mark { job_id, storage: storage.into(), ..Mark::default() };
        assert!(refuse_another_job(directory.path(), &of(7, "a")).unwrap().is_none());
        of(8, "a").write(directory.path()).unwrap();
        assert!(refuse_another_job(directory.path(), &of(8, "a")).unwrap().is_some());
        for other in [of(7, "a"), of(8, "b")] {
            let refusal = refuse_another_job(directory.path(), &other).unwrap_err().to_string();
            assert!(refusal.contains("has job 8 of a"), "{refusal}");
        }
        let made = |at: &str| Mark { created_at: Some(at.into()), ..of(8, "a") };
        assert!(refuse_another_job(directory.path(), &made("1")).is_ok());
        made("1").write(directory.path()).unwrap();
        assert!(refuse_another_job(directory.path(), &made("1")).is_ok());
        assert!(refuse_another_job(directory.path(), &of(8, "a")).is_ok());
        let refusal = refuse_another_job(directory.path(), &made("2")).unwrap_err().to_string();
        assert!(refusal.contains("an earlier job of this number"), "{refusal}");
    }

    /// What is there of others is named; what is right, or none of ours, is in nobody's way.
    #[test]
    fn files_of_others_are_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("chunks")).unwrap();
        for name in ["README.md", "notes.txt", "chunks/chunk_00003.tar"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::write(directory.path().join("chunks/chunk_00003.tar.0123456789abcdef.part"), "")
            .unwrap();
        let There { members: found, parts, strangers } = there(directory.path()).unwrap();
        assert_eq!((found.len(), parts.len(), &*strangers), (2, 1, &["notes.txt".to_owned()][..]));
        let refuse = |is_marked, right: &[Member]| {
            refuse_strangers(directory.path(), is_marked, &found, |member| right.contains(&member))
        };
        let refusal = refuse(false, &[Member::Shard(3)]).unwrap_err().to_string();
        assert!(refusal.contains("brought: README.md; give another"), "{refusal}");
        refuse(false, &found).unwrap();
        refuse(true, &[]).unwrap();
        fs::remove_file(directory.path().join("README.md")).unwrap();
        fs::create_dir(directory.path().join("README.md")).unwrap();
        let refusal = refuse(true, &[]).unwrap_err().to_string();
        assert!(refusal.contains("README.md is no file"), "{refusal}");
    }
}
