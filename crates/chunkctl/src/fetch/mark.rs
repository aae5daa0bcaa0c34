//! The mark of a directory that a job was fetched to: whose it is, and which documents came.

use super::{digest::sha256_of, place::own_file};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::Path,
};

/// The file that has it.
pub(super) const NAME: &str = ".fetch.json";

/// Whose a directory is, and what was known of the job when it was last fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) job_id: i64,
    /// Account and containers that the job is in: another fleet has the same numbers.
    pub(super) storage: String,
    /// SHA-256 in hex of each document as it came last.
    pub(super) documents: BTreeMap<String, String>,
    /// When the job was made: the database may forget it, and its number come again. None: an earlier
    /// release wrote this, or the database did not know the job.
    #[serde(default)]
    pub(super) created_at: Option<String>,
    /// Whether the job was over, so that all of it is to be here. None: an earlier release wrote this.
    #[serde(default)]
    pub(crate) is_over: Option<bool>,
    /// How many chunks the job had, complete or not. None: as of `created_at`.
    #[serde(default)]
    pub(crate) chunks: Option<i32>,
}

impl Mark {
    /// That of a directory; none: it has none that can be read, and no fetch vouches for its files.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(directory.join(NAME)).ok()?).ok()
    }

    /// Writes it: the old one or the new one is there, whatever happens.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        self.replace(directory)
            .with_context(|| format!("writing {}", directory.join(NAME).display()))
    }

    /// Notes the bytes with which a document came.
    pub(super) fn note(&mut self, document: &str, file: &Path) -> io::Result<()> {
        self.documents.insert(document.to_owned(), sha256_of(file)?);
        Ok(())
    }

    /// This one, with what is known only from that of an earlier fetch.
    pub(super) fn after(self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        Self {
            documents: earlier.documents.clone(),
            created_at: self.created_at.or_else(|| earlier.created_at.clone()),
            chunks: self.chunks.or(earlier.chunks),
            ..self
        }
    }

    pub(super) fn replace(&self, directory: &Path) -> io::Result<()> {
        let beside = directory.join(format!("{NAME}.new"));
        let mut file = own_file(&beside)?;
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(self).unwrap_or_default())?;
        file.sync_all()?;
        fs::rename(beside, directory.join(NAME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mark that cannot be read is none: nothing is overwritten on its word.
    #[test]
    fn a_mark_is_read_as_it_was_written_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(directory.path()), None);
        let mut mark = Mark { job_id: 7, storage: "a/b/c".into(), ..Mark::default() };
        fs::write(directory.path().join("README.md"), "abc").unwrap();
        mark.note("README.md", &directory.path().join("README.md")).unwrap();
        mark.write(directory.path()).unwrap();
        assert_eq!(Mark::read(directory.path()), Some(mark.clone()));
        assert!(mark.documents["README.md"].starts_with("ba7816bf"));
        let early = r#"{"job_id":7,"storage":"a/b/c","documents":{}}"#;
        fs::write(directory.path().join(NAME), early).unwrap();
        assert_eq!(Mark::read(directory.path()).unwrap().is_over, None);
        fs::write(directory.path().join(NAME), "{").unwrap();
        assert_eq!(Mark::read(directory.path()), None);
    }
}
