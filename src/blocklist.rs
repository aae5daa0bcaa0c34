//! What an operator never wants: hosts that are not asked for anything, and bytes that are kept nowhere.
//!
//! The lists are blobs of the source container. Each process reads them when it starts, and again when they
//! change. As long as one that is named cannot be read, the environment is broken (I13): nothing is fetched
//! unfiltered, and nothing with half a list.

mod lines;

use crate::{
    redact::cause_chain,
    settings::{BlockedSettings, Settings},
    storage::{ListRead, Storage},
};
use azure_core::http::Etag;
use lines::{Hashes, Hosts, Lines, List};
use parking_lot::RwLock;
use std::{fmt, sync::Arc};
use tokio::{sync::Mutex, task::spawn_blocking};
use url::Url;

/// The lists as they were read, for as long as a chunk runs.
#[derive(Default, Clone)]
pub struct Blocklist {
    hosts: Arc<Hosts>,
    hashes: Arc<Hashes>,
}

/// Its entries are in no log.
impl fmt::Debug for Blocklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hosts and {} hashes", self.hosts.len(), self.hashes.len())
    }
}

impl Blocklist {
    /// Whether the host of a URL, or one above it, is on the list.
    pub(crate) fn has_host(&self, url: &Url) -> bool {
        self.hosts.has(url)
    }

    /// Whether bytes with this SHA-256 are on the list.
    pub(crate) fn has_hash(&self, sha256: &[u8]) -> bool {
        self.hashes.has(sha256)
    }

    /// Whether both lists are of the same reading.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.hosts, &other.hosts) && Arc::ptr_eq(&self.hashes, &other.hashes)
    }
}

/// The lists that the settings name, and what was last read of them.
#[derive(Debug)]
pub struct Blocklists {
    names: BlockedSettings,
    seen: Mutex<Seen>,
    /// None until all that are named were read once.
    good: RwLock<Option<Arc<Blocklist>>>,
}

#[derive(Debug, Default)]
struct Seen {
    hosts: Option<Version<Hosts>>,
    hashes: Option<Version<Hashes>>,
}

/// A version of a blob, and the list in it, or why it is none.
#[derive(Debug)]
struct Version<T> {
    etag: Etag,
    list: Result<Arc<T>, String>,
}

impl Blocklists {
    /// Lists that are still to be read, if any are named.
    pub fn new(settings: &Settings) -> Self {
        let names = settings.blocked.clone();
        let good = (!names.are_any()).then(Arc::default);
        Self { names, seen: Mutex::default(), good: RwLock::new(good) }
    }

    /// Whether the settings name any.
    pub fn are_any(&self) -> bool {
        self.names.are_any()
    }

    /// What was last read without a fault; none: nothing yet, and nothing may be fetched.
    pub(crate) fn current(&self) -> Option<Arc<Blocklist>> {
        self.good.read().clone()
    }

    /// Reads what has changed. Answers what the lists have, for people.
    ///
    /// # Errors
    ///
    /// Which list cannot be read, and why: the last good ones stay for chunks that run.
    pub async fn look(&self, storage: &Storage) -> Result<String, String> {
        let mut seen = self.seen.lock().await;
        let Seen { hosts, hashes } = &mut *seen;
        let hosts = look_at(storage, self.names.hosts.as_deref(), hosts).await?;
        let hashes = look_at(storage, self.names.hashes.as_deref(), hashes).await?;
        let before = self.current();
        let old = before.as_deref().cloned().unwrap_or_default();
        // A list that nobody names stays the empty one.
        let read = Blocklist {
            hosts: hosts.unwrap_or_else(|| Arc::clone(&old.hosts)),
            hashes: hashes.unwrap_or_else(|| Arc::clone(&old.hashes)),
        };
        let found = format!("{read:?}");
        // Not when it was read: the other list may have been out of reach then.
        if before.is_none() || !read.is_same(&old) {
            *self.good.write() = Some(Arc::new(read));
            tracing::info!(found, "blocklists read");
        }
        Ok(found)
    }
}

/// The list of a blob, read again when it is another version; none when no blob is named.
async fn look_at<T: List>(
    storage: &Storage,
    name: Option<&str>,
    seen: &mut Option<Version<T>>,
) -> Result<Option<Arc<T>>, String> {
    let Some(name) = name else { return Ok(None) };
    let mut lines = Lines::default();
    let before = seen.as_ref().map(|version| &version.etag);
    // One line of each entry, with room for blanks and comments.
    let read = storage.read_list(name, before, T::LIMIT_BYTES, |piece| lines.take(piece));
    match read.await.map_err(|error| format!("{name}: {}", cause_chain(&error)))? {
        ListRead::Unchanged => {}
        ListRead::Whole(etag) => {
            // A million hashes are sorted: not on one of the threads that serve all chunks.
            let list = spawn_blocking(|| lines.end()).await.map_err(|error| error.to_string())?;
            let list = list.map(Arc::new).map_err(|why| format!("{name}, {why}"));
            *seen = Some(Version { etag, list });
        }
        ListRead::TooLarge(etag) => {
            let list = Err(format!("{name} has more than {} MB", T::LIMIT_BYTES >> 20));
            *seen = Some(Version { etag, list });
        }
    }
    match seen.as_ref().map(|version| version.list.clone()) {
        Some(list) => list.map(Some),
        None => Err(format!("{name}: storage says that it is unchanged, and it was never read")),
    }
}

#[cfg(test)]
mod tests;
