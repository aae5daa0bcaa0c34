//! The process's own temp directory: owned by a file lock, swept when nobody holds the lock.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The directory under the temp root that all processes of this product share.
const SHARED: &str = "pixcrawler-chunks";
const LOCK_SUFFIX: &str = ".lock";
/// Digits after the process id: a UUID.
const DIGITS: usize = 32;

/// Bytes that the file system of a path still has for us; none: it does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let space = nix::sys::statvfs::statvfs(path).ok()?;
    Some(space.blocks_available() * space.fragment_size())
}

/// A directory of this process (rule H9), removed when it is dropped.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
    next: AtomicU64,
}

/// What a sweep removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Directories of dead processes.
    pub directories: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whose they were, as process id and random digits: no such process lives any more.
    pub processes: Vec<String>,
}

impl TempDir {
    /// Makes a directory under `root` and holds its lock.
    ///
    /// # Errors
    ///
    /// When the root cannot be written, or the shared directory is a link.
    pub fn create(root: &Path) -> io::Result<Self> {
        let shared = root.join(SHARED);
        fs::create_dir_all(&shared)?;
        refuse_link(&shared)?;
        loop {
            let unique = uuid::Uuid::new_v4().simple().to_string();
            let name = format!("{}-{unique}", std::process::id());
            let lock_path = shared.join(format!("{name}{LOCK_SUFFIX}"));
            let lock = File::create_new(&lock_path)?;
            lock.lock()?;
            // A sweep may have taken the file between its creation and the lock.
            if !same_file(&lock, &lock_path) {
                continue;
            }
            // The lock comes first: a sweep removes a directory whose lock is free.
            let path = shared.join(name);
            fs::create_dir(&path)?;
            return Ok(Self { path, lock_path, _lock: lock, next: AtomicU64::new(0) });
        }
    }

    /// Process id and random digits: no two directories of a machine have the same.
    pub(crate) fn process(&self) -> String {
        process_of(&self.path)
    }

    /// Whether a file of this many bytes can be made here; it is removed again.
    pub(crate) fn probe(&self, bytes: u64) -> io::Result<()> {
        // Somebody may have cleaned up too much.
        fs::create_dir_all(&self.path)?;
        let path = self.new_path();
        let made = File::create_new(&path).and_then(|file| {
            let len = i64::try_from(bytes).unwrap_or(i64::MAX);
            Ok(nix::fcntl::posix_fallocate(&file, 0, len)?)
        });
        fs::remove_file(&path).unwrap_or_default();
        made
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path for a new file.
    pub(crate) fn new_path(&self) -> PathBuf {
        self.path.join(format!("{}.body", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Bytes of the files in it, by walking it: to show and to compare, the ledger decides.
    pub(crate) fn walk_bytes(&self) -> u64 {
        directory_bytes(&self.path)
    }

    /// Bytes in the directories of other processes under the same root, dead ones too until they are
    /// swept: they take the same space.
    pub fn others_bytes(&self) -> u64 {
        let entries = self.path.parent().and_then(|shared| fs::read_dir(shared).ok());
        let others = entries.into_iter().flatten().flatten().filter_map(|entry| Ours::of(&entry));
        let directories = others.filter_map(Ours::directory).filter(|path| *path != self.path);
        directories.map(|path| directory_bytes(&path)).sum()
    }

    /// Bytes that the file system still has for us; none: it does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.path)
    }

    /// Removes the directory now: a process that ends does not drop everything.
    pub fn remove(&self) {
        // Whatever stays behind is swept by the next process.
        remove_flat(&self.path).unwrap_or_default();
        fs::remove_file(&self.lock_path).unwrap_or_default();
    }

    /// Removes what dead processes left under `root`; their locks are free. What is not named and made
    /// as ours is somebody else's and stays.
    ///
    /// # Errors
    ///
    /// When the shared directory cannot be read, or is a link.
    pub fn sweep(root: &Path) -> io::Result<Swept> {
        let mut swept = Swept::default();
        let shared = root.join(SHARED);
        let entries = match fs::read_dir(&shared) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
            Err(error) => return Err(error),
        };
        refuse_link(&shared)?;
        for entry in entries.flatten() {
            match Ours::of(&entry) {
                Some(Ours::Lock(path)) => sweep_one(&path, &mut swept),
                Some(Ours::Directory(path)) if !with_suffix(&path).exists() && !may_live(&path) => {
                    remove(&path, &mut swept);
                }
                Some(Ours::Directory(_)) | None => {}
            }
        }
        if !is_local(&shared) {
            swept.processes.clear();
        }
        Ok(swept)
    }
}

/// Whether locks there are seen by every process: a file system over the network may lose one while
/// its holder lives (<https://man7.org/linux/man-pages/man2/flock.2.html>).
fn is_local(path: &Path) -> bool {
    use nix::sys::statfs::{self, FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC};
    // Not among the constants of the library.
    let (cifs, smb2) = (statfs::FsType(0xff53_4d42), statfs::FsType(0xfe53_4d42));
    let remote = [NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, FUSE_SUPER_MAGIC, cifs, smb2];
    statfs::statfs(path).is_ok_and(|fs| !remote.contains(&fs.filesystem_type()))
}

impl Drop for TempDir {
    fn drop(&mut self) {
        self.remove();
    }
}

fn sweep_one(lock_path: &Path, swept: &mut Swept) {
    let Ok(lock) = File::open(lock_path) else { return };
    match lock.try_lock() {
        Ok(()) => {
            let directory = lock_path.with_extension("");
            swept.processes.push(process_of(&directory));
            remove(&directory, swept);
            fs::remove_file(lock_path).unwrap_or_default();
        }
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
    }
}

fn remove(directory: &Path, swept: &mut Swept) {
    let bytes = directory_bytes(directory);
    if remove_flat(directory).is_ok() {
        swept.directories += 1;
        swept.bytes += bytes;
    }
}

/// Removes a directory of ours, which has files only: with anything else in it, it stays.
fn remove_flat(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// A link would lead to files that are not ours.
fn refuse_link(shared: &Path) -> io::Result<()> {
    if fs::symlink_metadata(shared)?.is_dir() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} is a link, and must be a directory", shared.display())))
}

/// What one of our processes made: everything else in the shared directory is left alone.
enum Ours {
    Directory(PathBuf),
    Lock(PathBuf),
}

impl Ours {
    /// By its name and by what it is, which follows no link.
    fn of(entry: &fs::DirEntry) -> Option<Self> {
        let (name, kind) = (entry.file_name(), entry.file_type().ok()?);
        let name = name.to_str()?;
        let stem = name.strip_suffix(LOCK_SUFFIX);
        let (pid, digits) = stem.unwrap_or(name).split_once('-')?;
        let is_ours = !pid.is_empty()
            && pid.bytes().all(|b| b.is_ascii_digit())
            && digits.len() == DIGITS
            && digits.bytes().all(|b| b.is_ascii_hexdigit());
        match (is_ours, stem) {
            (true, Some(_)) if kind.is_file() => Some(Self::Lock(entry.path())),
            (true, None) if kind.is_dir() => Some(Self::Directory(entry.path())),
            _ => None,
        }
    }

    fn directory(self) -> Option<PathBuf> {
        match self {
            Self::Directory(path) => Some(path),
            Self::Lock(_) => None,
        }
    }
}

/// Whether the process of a directory may still live: its lock file may have been cleaned up by
/// somebody.
fn may_live(directory: &Path) -> bool {
    let process = process_of(directory);
    let pid = process.split('/').next().unwrap_or_default();
    !pid.is_empty() && Path::new("/proc").join(pid).exists()
}

/// `{pid}/{eight digits}` of a directory named `{pid}-{digits}`.
fn process_of(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let (pid, digits) = name.split_once('-').unwrap_or((&name, ""));
    format!("{pid}/{}", digits.get(..8).unwrap_or(digits))
}

fn with_suffix(directory: &Path) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(LOCK_SUFFIX);
    PathBuf::from(name)
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

/// Lengths, as the ledger counts. A quota counts blocks, but a body is written from its start to its
/// end without holes, so the two differ by less than a block for each file.
fn directory_bytes(path: &Path) -> u64 {
    // A file that vanishes during the walk counts nothing; the others still count (X7).
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file);
    files.map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name as [`TempDir::create`] makes it.
    fn name(pid: u32, digit: char) -> String {
        format!("{pid}-{}", digit.to_string().repeat(DIGITS))
    }

    /// H9 X7 I7: a live directory stays, a dead one goes, strangers are left alone.
    #[test]
    fn sweep_removes_only_what_nobody_holds() {
        let root = tempfile::tempdir().unwrap();
        let live = TempDir::create(root.path()).unwrap();
        fs::write(live.new_path(), [0; 10]).unwrap();
        let shared = root.path().join(SHARED);
        // No process has this number: the highest is 2^22.
        let dead = name(4_194_305, 'd');
        fs::create_dir(shared.join(&dead)).unwrap();
        fs::write(shared.join(&dead).join("a.WEBP"), [0; 7]).unwrap();
        fs::write(shared.join(format!("{dead}.lock")), []).unwrap();
        fs::create_dir(shared.join(name(4_194_305, 'e'))).unwrap();
        let own = name(std::process::id(), 'f');
        fs::create_dir(shared.join(&own)).unwrap();
        fs::write(root.path().join("strangers.jpg"), [0; 9]).unwrap();
        let swept = TempDir::sweep(root.path()).unwrap();
        let processes = vec!["4194305/dddddddd".to_owned()];
        assert_eq!(swept, Swept { directories: 2, bytes: 7, processes });
        assert_eq!(live.walk_bytes(), 10);
        assert!(root.path().join("strangers.jpg").exists());
        drop(live);
        let left: Vec<_> = fs::read_dir(shared).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [own.as_str()], "a process that lives keeps its directory");
    }

    /// Whatever else somebody put there is neither removed nor counted nor waited for.
    #[test]
    fn what_is_not_ours_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let live = TempDir::create(root.path()).unwrap();
        let shared = root.path().join(SHARED);
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("photo.jpg"), [0; 9]).unwrap();
        let link = |name: &str| {
            std::os::unix::fs::symlink(elsewhere.path(), shared.join(name)).unwrap();
        };
        link(&name(4_194_305, 'a'));
        link("4194305-link");
        for (name, deeper) in [("holiday-photos", ""), (&*name(4_194_305, 'b'), "deeper")] {
            fs::create_dir_all(shared.join(name).join(deeper)).unwrap();
            fs::write(shared.join(name).join(deeper).join("a.jpg"), [0; 9]).unwrap();
        }
        fs::write(shared.join("project.lock"), []).unwrap();
        let fifo = shared.join(format!("{}.lock", name(4_194_305, 'c')));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let before = fs::read_dir(&shared).unwrap().count();
        assert_eq!(live.others_bytes(), 0);
        assert_eq!(TempDir::sweep(root.path()).unwrap(), Swept::default());
        assert_eq!(fs::read_dir(&shared).unwrap().count(), before);
        assert!(shared.join("holiday-photos/a.jpg").exists());
        assert!(elsewhere.path().join("photo.jpg").exists());
    }

    #[test]
    fn a_shared_directory_that_is_a_link_is_refused() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), root.path().join(SHARED)).unwrap();
        let error = TempDir::create(root.path()).unwrap_err().to_string();
        assert!(error.ends_with("is a link, and must be a directory"), "{error}");
        assert!(TempDir::sweep(root.path()).is_err());
    }
}
