//! A file that is on its way: beside its place, under a name that says which bytes it will have.

use super::{
    digest::{Hasher, Told},
    place::own_file,
};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// What the name of such a file ends with.
const SUFFIX: &str = ".part";

/// A file that has a blob's first bytes.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    /// Bytes that are there.
    pub(super) length: u64,
}

/// The path of the part of a file: `chunk_00000.tar.9f86d081884c7d65.part`.
pub(super) fn path(target: &Path, told: &Told) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}{SUFFIX}", told.tag()));
    PathBuf::from(name)
}

/// Whether a file's name is that of a part of one of our files.
pub(super) fn is_part(name: &str, is_ours: impl Fn(&str) -> bool) -> bool {
    let parts = name.strip_suffix(SUFFIX).and_then(|rest| rest.rsplit_once('.'));
    parts.is_some_and(|(target, tag)| {
        tag.len() == 16 && tag.chars().all(|c| c.is_ascii_hexdigit()) && is_ours(target)
    })
}

impl Part {
    /// Opens the part of a file, with what an earlier fetch left of it.
    pub(super) fn open(target: &Path, told: &Told, most_bytes: u64) -> io::Result<Self> {
        let path = path(target, told);
        let (mut file, mut hasher) = (own_file(&path)?, told.hasher());
        let mut length = hasher.read(&mut file)?;
        if length > most_bytes {
            file.set_len(0)?;
            (file, hasher, length) = (own_file(&path)?, told.hasher(), 0);
        }
        Ok(Self { path, file, hasher, length })
    }

    /// Appends what came.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    /// Gives the whole file its name, if its bytes are those that were told; else it goes.
    pub(super) fn finish(self, target: &Path, told: &Told) -> io::Result<bool> {
        if !told.is(self.hasher) {
            fs::remove_file(&self.path)?;
            return Ok(false);
        }
        // The bytes before the name: after a power cut a name without them would count.
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        Ok(true)
    }

    /// Takes away what is of no use any more.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Told {
        let mut hasher = Told::Sha256(String::new()).hasher();
        hasher.update(text.as_bytes());
        let Hasher::Sha256(hasher) = hasher else { panic!() };
        Told::Sha256(chunk_handler::chunk::hex(&sha2::Digest::finalize(hasher)))
    }

    /// A part goes on where it ended, also where it ended inside a block; what is too long, of other
    /// bytes or wrong does not become the file.
    #[test]
    fn a_part_goes_on_where_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("chunk_00000.tar");
        let told = told("hello world");
        Part::open(&target, &told, 11).unwrap().append(b"hello").unwrap();
        let mut part = Part::open(&target, &told, 11).unwrap();
        assert_eq!(part.length, 5);
        part.append(b" world").unwrap();
        assert!(part.finish(&target, &told).unwrap());
        assert_eq!(fs::read(&target).unwrap(), b"hello world");
        assert!(!path(&target, &told).exists());

        Part::open(&target, &told, 11).unwrap().append(b"hello mars and more").unwrap();
        assert_eq!(Part::open(&target, &told, 11).unwrap().length, 0);
        let mut wrong = Part::open(&target, &told, 11).unwrap();
        wrong.append(b"hello w\0\0\0\0").unwrap();
        assert!(!wrong.finish(&target, &told).unwrap());
        assert!(!path(&target, &told).exists());
        assert_eq!(fs::read(&target).unwrap(), b"hello world");
        assert_ne!(path(&target, &told), path(&target, &Told::Md5("ab".into())));
    }

    #[test]
    fn parts_are_known_by_their_names() {
        let is_part = |name| is_part(name, |target| target == "a.tar");
        assert!(is_part("a.tar.0123456789abcdef.part"));
        for name in ["a.tar", "a.tar.part", "a.tar.0123.part", "b.tar.0123456789abcdef.part"] {
            assert!(!is_part(name), "{name}");
        }
        let told = Told::Sha256("../../x".into());
        assert_eq!(path(Path::new("/d/a"), &told), Path::new("/d/a.0000000000000000.part"));
    }
}
