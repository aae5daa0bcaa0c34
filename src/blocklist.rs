//! What an operator never wants: hosts that are not asked for anything, and bytes that are kept nowhere.
//!
//! The lists are blobs of the source container. Each process reads them when it starts, and again when they
//! change. As long as one that is named cannot be read, the environment is broken (I13): nothing is fetched
//! unfiltered, and nothing with half a list.

mod lines;

use crate::{
    redact::cause_chain,
    settings::{BlockedSettings, Settings},
    storage::{Error, Storage},
};
use azure_core::http::Etag;
use lines::{Hashes, Hosts, Lines, List};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};
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
        self.good.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        let (is_new, read) = (hosts.1 || hashes.1, Blocklist { hosts: hosts.0, hashes: hashes.0 });
        let found = format!("{read:?}");
        if is_new || self.current().is_none() {
            *self.good.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(read));
            tracing::info!(found, "blocklists read");
        }
        Ok(found)
    }
}

/// The list of a blob, read again when it is another version, and whether it is one.
async fn look_at<T: List>(
    storage: &Storage,
    name: Option<&str>,
    seen: &mut Option<Version<T>>,
) -> Result<(Arc<T>, bool), String> {
    let Some(name) = name else { return Ok((Arc::default(), false)) };
    let mut lines = Lines::default();
    let before = seen.as_ref().map(|version| version.etag.clone());
    // One line of each entry, with room for blanks and comments.
    let read = storage.read_list(name, before, T::LIMIT_BYTES, |piece| lines.take(piece));
    let etag = read.await.map_err(|error| match error {
        Error::TooLarge { .. } => format!("{name} has more than {} MB", T::LIMIT_BYTES >> 20),
        other => format!("{name}: {}", cause_chain(&other)),
    })?;
    let is_new = etag.is_some();
    if let Some(etag) = etag {
        // A million hashes are sorted: not on one of the threads that serve all chunks.
        let list = spawn_blocking(|| lines.end()).await.map_err(|error| error.to_string())?;
        *seen = Some(Version { etag, list: list.map(Arc::new) });
    }
    match seen.as_ref().map(|version| version.list.clone()) {
        Some(Ok(list)) => Ok((list, is_new)),
        Some(Err(why)) => Err(format!("{name}, {why}")),
        None => Err(format!("{name}: storage says that it is unchanged, and it was never read")),
    }
}
