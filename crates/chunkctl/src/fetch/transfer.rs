//! One file: left alone when it is right, else brought, going on where an earlier fetch ended.

use super::{
    digest::{Told, sha256_of},
    mark::Mark,
    part::Part,
};
use crate::{
    folder::{Interrupted, Member, read_blob},
    progress::Progress,
};
use chunk_handler::storage::{ListedBlob, Storage};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Where to, and what is said meanwhile.
pub(super) struct Transfer<'a> {
    pub(super) storage: &'a Storage,
    pub(super) directory: &'a Path,
    pub(super) progress: &'a Progress,
    pub(super) counts: Counts,
    /// What is right by now, by its tag: it is not hashed again.
    pub(super) done: RefCell<BTreeMap<Member, String>>,
    pub(super) mark: RefCell<Mark>,
    /// Documents that were changed here since they came.
    pub(super) changed: RefCell<BTreeMap<&'static str, Changed>>,
}

/// A document that was changed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    /// Storage has what came.
    SameThere,
    /// A newer one stands beside it.
    NewerBeside,
    /// The newer one that came beside it was changed, too, and storage has another one.
    AllDiffer,
}

/// What the name of a newer document ends with that stands beside a changed one.
pub(super) const NEWER: &str = ".new";

/// What came and what was there.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) files_fetched: Cell<u64>,
    pub(super) files_kept: Cell<u64>,
    /// Those that came for nothing too.
    pub(super) bytes_fetched: Cell<u64>,
}

fn add(count: &Cell<u64>, n: u64) {
    count.set(count.get() + n);
}

/// A file that could not be brought.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The whole blob came, and its bytes are others.
    #[error("its bytes in storage are not those that its metadata tells of")]
    Damaged,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Interrupted(Interrupted::File(error))
    }
}

/// Where a member of the folder lies in the directory.
pub(super) fn place(directory: &Path, member: Member) -> PathBuf {
    directory.join(member.name())
}

/// Whether a file of this length is there.
pub(super) fn has_length(path: &Path, bytes: u64) -> bool {
    fs::metadata(path).is_ok_and(|there| there.is_file() && there.len() == bytes)
}

impl Transfer<'_> {
    /// Looks whether a file is here as it should be: then it does not come.
    pub(super) async fn look(&self, member: Member, blob: &ListedBlob) -> io::Result<()> {
        let (target, told) = (place(self.directory, member), Told::of(blob));
        if is_there(&target, &told, blob.head.bytes)
            .await
            .map_err(|error| named(&target, &error))?
        {
            if let Member::Document(name) = member {
                self.mark.borrow_mut().note(name, &target)?;
            }
            self.progress.skip(blob.head.bytes);
            add(&self.counts.files_kept, 1);
            self.done.borrow_mut().insert(member, told.tag());
        }
        Ok(())
    }

    /// Brings a file, if it is not there already.
    pub(super) async fn bring(&self, member: Member, blob: &ListedBlob) -> Result<(), Failed> {
        let (target, told) = (place(self.directory, member), Told::of(blob));
        if self.done.borrow().get(&member) == Some(&told.tag()) {
            return Ok(());
        }
        let brought = match member {
            Member::Document(name) => self.bring_document(name, &target, &told, blob).await,
            Member::Shard(_) | Member::Manifest(_) => self.bring_told(&target, &told, blob).await,
        };
        brought.map_err(|failed| match failed {
            Failed::Interrupted(Interrupted::File(error)) => named(&target, &error).into(),
            failed => failed,
        })?;
        self.done.borrow_mut().insert(member, told.tag());
        Ok(())
    }

    /// Notes in the directory what is known of the job now.
    pub(super) fn mark_anew(&self, now: Mark) -> anyhow::Result<()> {
        let now = now.after(Some(&self.mark.borrow()));
        self.mark.replace(now);
        self.mark.borrow().write(self.directory)
    }

    /// What is said of documents that stay as somebody changed them.
    pub(super) fn changed_documents(&self) -> Vec<String> {
        let say = |(name, changed): (&&str, &Changed)| match changed {
            Changed::NewerBeside => format!(
                "{name} was changed here, and stays; what the job has now is in {name}{NEWER}"
            ),
            Changed::SameThere => format!(
                "{name} was changed here, and stays; without it the same command brings it as it was"
            ),
            Changed::AllDiffer => format!(
                "{name} and {name}{NEWER} were changed here, and stay; without {name}{NEWER} the same \
                 command brings what the job has now"
            ),
        };
        self.changed.borrow().iter().map(say).collect()
    }

    /// Brings a document. One that somebody changed here stays: a card with its licence must not be lost.
    async fn bring_document(
        &self,
        name: &'static str,
        target: &Path,
        told: &Told,
        blob: &ListedBlob,
    ) -> Result<(), Failed> {
        let mut place = target.to_owned();
        if target.exists() && !is_there(target, told, blob.head.bytes).await? {
            let came = self.mark.borrow().documents.get(name).cloned();
            if came != Some(sha256_of(target)?) {
                place.as_mut_os_string().push(NEWER);
                let is_newer = came.as_ref().is_none_or(|came| *told != Told::Sha256(came.clone()));
                let changed = match is_newer {
                    false => Changed::SameThere,
                    true if is_changed(&place, came, told, blob.head.bytes).await? => {
                        Changed::AllDiffer
                    }
                    true => Changed::NewerBeside,
                };
                self.changed.borrow_mut().insert(name, changed);
                if changed != Changed::NewerBeside {
                    self.progress.skip(blob.head.bytes);
                    add(&self.counts.files_kept, 1);
                    return Ok(());
                }
            }
        }
        self.bring_told(&place, told, blob).await?;
        let mut mark = self.mark.borrow_mut();
        mark.note(name, &place)?;
        Ok(mark.replace(self.directory)?)
    }

    async fn bring_told(
        &self,
        target: &Path,
        told: &Told,
        blob: &ListedBlob,
    ) -> Result<(), Failed> {
        if is_there(target, told, blob.head.bytes).await? {
            self.progress.skip(blob.head.bytes);
            add(&self.counts.files_kept, 1);
            return Ok(());
        }
        let mut is_resumed = true;
        // What a power cut left of a part may not be what came. Then it comes once more, from its start.
        while is_resumed {
            let mut part = open(target, told, blob.head.bytes).await?;
            is_resumed = part.length > 0;
            let start = part.length;
            self.progress.skip(start);
            let read = read_blob(self.storage, blob, start, |piece| {
                let n = u64::try_from(piece.len()).unwrap_or(0);
                self.progress.add(n);
                add(&self.counts.bytes_fetched, n);
                part.append(piece)
            });
            match read.await {
                Ok(()) => {}
                Err(Interrupted::Changed) => {
                    self.progress.forget(part.length);
                    part.remove()?;
                    return Err(Interrupted::Changed.into());
                }
                Err(error) => return Err(error.into()),
            }
            let length = part.length;
            if finish(part, target, told).await? {
                add(&self.counts.files_fetched, 1);
                return Ok(());
            }
            self.progress.forget(length);
        }
        Err(Failed::Damaged)
    }
}

/// Whether a document is there that is neither what came last nor what is to come.
async fn is_changed(
    place: &Path,
    came: Option<String>,
    told: &Told,
    bytes: u64,
) -> io::Result<bool> {
    Ok(place.exists() && !is_there(place, told, bytes).await? && came != Some(sha256_of(place)?))
}

/// An error with the file that it is of.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Whether a file is there with its length and bytes.
async fn is_there(target: &Path, told: &Told, bytes: u64) -> io::Result<bool> {
    if !has_length(target, bytes) {
        return Ok(false);
    }
    let (target, told) = (target.to_owned(), told.clone());
    blocking(move || told.is_file(&mut File::open(target)?)).await
}

async fn open(target: &Path, told: &Told, bytes: u64) -> io::Result<Part> {
    let (target, told) = (target.to_owned(), told.clone());
    blocking(move || Part::open(&target, &told, bytes)).await
}

async fn finish(part: Part, target: &Path, told: &Told) -> io::Result<bool> {
    let (target, told) = (target.to_owned(), told.clone());
    blocking(move || part.finish(&target, &told)).await
}

/// Runs what takes long beside the transfers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
