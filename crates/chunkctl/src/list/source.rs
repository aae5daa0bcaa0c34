//! The files that a list is made of: one, several, a folder of them, or stdin.

use super::{Error, Format, Names};
use crate::failure::bail_as;
use anyhow::Context as _;
use std::{
    fs::{self, File},
    io::{self, Seek as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// All of a list: its files in order, and what is said of them.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// In order.
    pub(crate) files: Vec<Listed>,
    /// Whatever they are called.
    pub(crate) format: Option<Format>,
    /// What their columns are called.
    pub(crate) names: Names,
}

/// A file of a list, which is read twice.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// As it was given; `-` is stdin.
    pub(crate) name: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Path(PathBuf),
    /// A copy of what can be read only once.
    Copy(Arc<File>),
}

impl Source {
    /// How many bytes there are to read.
    pub(crate) fn len(&self) -> u64 {
        let len = |file: &Listed| file.open().and_then(|file| Ok(file.metadata()?.len()));
        self.files.iter().map(|file| len(file).unwrap_or_default()).sum()
    }

    /// An error in one of the files, which is named if there are several.
    pub(crate) fn in_file(&self, file: &Listed, error: Error) -> Error {
        match self.files.len() {
            1 => error,
            _ => Error::InFile { name: file.name.clone(), error: Box::new(error) },
        }
    }
}

impl Listed {
    /// From its first byte on.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn open(&self) -> io::Result<File> {
        match &self.place {
            Place::Path(path) => File::open(path),
            Place::Copy(file) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Ok(file)
            }
        }
    }

    /// The files that some paths mean, in order: `-` is stdin, and of a folder all that are lists, in the
    /// order of their names. What is hidden there (`.` or `_` before the name) is passed over, and comes
    /// back as the second. What can be read only once is copied below a folder for such files.
    ///
    /// # Errors
    ///
    /// When something cannot be read, or a folder has what is no list by its name, unless a format is
    /// told.
    pub(crate) fn of_paths(
        paths: &[PathBuf],
        told: Option<Format>,
        temp_root: &Path,
    ) -> anyhow::Result<(Vec<Self>, Vec<String>)> {
        let (mut files, mut passed_over) = (Vec::new(), Vec::new());
        if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
            bail_as!(ListRefused, "stdin (-) can be read once");
        }
        for path in paths {
            let name = path.to_string_lossy().into_owned();
            if name == "-" {
                files.push(Self::copy(name, &mut io::stdin().lock(), temp_root)?);
                continue;
            }
            let reading = || format!("reading {name}");
            let kind = fs::metadata(path).with_context(reading)?;
            if kind.is_dir() {
                let found = folder(path, told, &mut passed_over).with_context(reading)?;
                files.extend(found);
            } else if kind.is_file() {
                files.push(Self { name, place: Place::Path(path.clone()) });
            } else {
                let mut pipe = File::open(path).with_context(reading)?;
                files.push(Self::copy(name, &mut pipe, temp_root)?);
            }
        }
        Ok((files, passed_over))
    }

    /// A copy of what can be read only once; it goes with the process.
    fn copy(name: String, from: &mut impl io::Read, temp_root: &Path) -> anyhow::Result<Self> {
        let copied = || -> io::Result<File> {
            let mut file = tempfile::tempfile_in(temp_root)?;
            io::copy(from, &mut file)?;
            Ok(file)
        };
        let mut copied = copied;
        let file = copied().with_context(|| {
            format!("copying {name}, which is read twice, into {}", temp_root.display())
        })?;
        Ok(Self { name, place: Place::Copy(Arc::new(file)) })
    }
}

/// The lists in a folder.
fn folder(
    path: &Path,
    told: Option<Format>,
    passed_over: &mut Vec<String>,
) -> anyhow::Result<Vec<Listed>> {
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.path();
        let name = path.to_string_lossy().into_owned();
        if entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            passed_over.push(name);
            continue;
        }
        if !fs::metadata(&path).with_context(|| format!("reading {name}"))?.is_file() {
            bail_as!(
                ListRefused,
                "{name} is no file; give the folders and files to read one by one"
            );
        }
        if told.is_none() && Format::of_name(&name)?.is_none() {
            bail_as!(ListRefused, "{name} is no list by its suffix; take it away, or say --format");
        }
        files.push(Listed { name, place: Place::Path(path) });
    }
    if files.is_empty() {
        bail_as!(ListRefused, "there is no list in the folder");
    }
    Ok(files)
}
