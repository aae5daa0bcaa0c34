//! Circuits: what of the environment does not work. While one is open the process starts no chunk.
//!
//! An environment that cannot do the work (rights, schema, keys, a missing container, a full disk) is
//! never a chunk's fault. The first answer that concerns all chunks opens a circuit, and a cheap probe
//! closes it (I13). What keeps one chunk only from its blob opens none.

use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// A part of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The process has not yet compared itself with its fleet.
    Start,
    /// Postgres refuses statements.
    Database,
    /// What stands in front of Postgres keeps no sessions.
    Pooler,
    /// Blob storage refuses or does not answer.
    Blobs,
    /// Queues refuse or do not answer.
    Queues,
    /// The process's own temporary files and descriptors.
    Temp,
    /// The schema and this release do not fit each other.
    Release,
    /// The database belongs to another storage account.
    Account,
    /// A list of what is blocked cannot be read.
    Blocklists,
}

impl Part {
    /// What a person should do.
    fn advice(self) -> &'static str {
        match self {
            Self::Start => "it does so as soon as the database answers",
            Self::Database => {
                "check rights and state of DATABASE_URL's server with `chunkctl doctor`"
            }
            Self::Pooler => {
                "DATABASE_URL must lead to the server itself, or to a pooler in session mode"
            }
            Self::Blobs => {
                "check key, identity, roles, network and containers of ChunkStorage with `chunkctl doctor`"
            }
            Self::Queues => {
                "check key, identity, roles and network of ChunkStorage's queues with `chunkctl doctor`"
            }
            Self::Temp => "check space, rights and descriptors of PIXCRAWLER_TEMP_DIR",
            Self::Release => "deploy the release that made the schema, or let this one migrate it",
            Self::Blocklists => {
                "upload or correct the blob of the source container that PIXCRAWLER_BLOCKED_HOSTS or PIXCRAWLER_BLOCKED_HASHES names; it goes on by itself"
            }
            Self::Account => {
                "name that account and those containers; if all blobs were moved to the new one, run `update chunk_handler.fleet set storage = null`"
            }
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Database => "database",
            Self::Pooler => "pooler",
            Self::Blobs => "blob storage",
            Self::Queues => "queues",
            Self::Temp => "temp space",
            Self::Release => "release",
            Self::Account => "storage account",
            Self::Blocklists => "blocklists",
        })
    }
}

/// The open circuits of a process, each with its cause.
#[derive(Debug)]
pub struct Circuits {
    open: watch::Sender<BTreeMap<Part, String>>,
    /// What was said about a part, and when.
    said: Mutex<BTreeMap<(Part, String), Instant>>,
}

/// The cause of a circuit whose part was not looked at yet.
const UNKNOWN: &str = "not read yet";
/// A cause is said again after this: one that the probe does not see comes back after each of them.
const SAY_AGAIN: Duration = Duration::from_secs(300);

impl Default for Circuits {
    /// Those of a process that starts. What it is to the fleet is not known yet, and no news.
    fn default() -> Self {
        let start = BTreeMap::from([(Part::Start, "not checked in yet".to_owned())]);
        Self { open: watch::Sender::new(start), said: Mutex::default() }
    }
}

impl Circuits {
    /// Opens a circuit: this part of the environment cannot do the work. One that is open keeps its
    /// cause.
    pub(crate) fn open(&self, part: Part, cause: &str) {
        if self.is_open(part) {
            return;
        }
        self.explain(part, cause);
    }

    /// Opens a circuit, or gives an open one a better cause.
    pub(crate) fn explain(&self, part: Part, cause: &str) {
        self.open.send_modify(|open| {
            open.insert(part, cause.to_owned());
        });
        let mut said = self.said.lock();
        said.retain(|_, at| at.elapsed() < SAY_AGAIN);
        // The id of a request makes a cause no other one.
        let kind = cause.split(", request id ").next().unwrap_or_default().to_owned();
        if let Entry::Vacant(news) = said.entry((part, kind)) {
            news.insert(Instant::now());
            let advice = part.advice();
            tracing::warn!(%part, cause, advice, "degraded: no chunk starts here");
        }
    }

    /// Opens a circuit of a process that starts: this part is not known yet, which is no news.
    pub(crate) fn begin(&self, part: Part) {
        self.open.send_modify(|open| {
            open.insert(part, UNKNOWN.to_owned());
        });
    }

    /// Closes a circuit: this part works again.
    pub(crate) fn close(&self, part: Part) {
        let mut cause = None;
        let was_open = self.open.send_if_modified(|open| {
            cause = open.remove(&part);
            cause.is_some()
        });
        if was_open && part != Part::Start && cause.as_deref() != Some(UNKNOWN) {
            tracing::info!(%part, "works again");
        }
    }

    /// Whether database and account may be those of another fleet or release: nothing of them is this
    /// process's to change.
    pub(crate) fn is_foreign(&self) -> bool {
        [Part::Start, Part::Release, Part::Account].into_iter().any(|part| self.is_open(part))
    }

    /// Whether this circuit is open.
    pub(crate) fn is_open(&self, part: Part) -> bool {
        self.open.borrow().contains_key(&part)
    }

    /// What keeps this process from starting chunks, with what to do; none: nothing.
    pub fn degraded(&self) -> Option<String> {
        let open = self.open.borrow();
        let reasons: Vec<String> = open
            .iter()
            .map(|(part, cause)| format!("{part}: {cause}; {}", part.advice()))
            .collect();
        (!reasons.is_empty()).then(|| reasons.join(" | "))
    }

    /// Waits until a circuit is open.
    pub(crate) async fn any_open(&self) {
        // The sender is `self`.
        drop(self.open.subscribe().wait_for(|open| !open.is_empty()).await);
    }

    /// Waits until no circuit is open.
    pub(crate) async fn all_closed(&self) {
        drop(self.open.subscribe().wait_for(BTreeMap::is_empty).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I13: one circuit for each part; all of them must be closed.
    #[tokio::test(start_paused = true)]
    async fn a_process_is_degraded_while_a_circuit_is_open() {
        let circuits = Circuits::default();
        assert!(circuits.is_foreign(), "nobody knows yet");
        circuits.close(Part::Start);
        circuits.all_closed().await;
        assert_eq!(circuits.degraded(), None);
        circuits.open(Part::Blobs, "no key");
        circuits.open(Part::Database, "refused");
        circuits.open(Part::Database, "refused again");
        circuits.explain(Part::Database, "no right, request id 1");
        circuits.explain(Part::Database, "no right, request id 2");
        assert_eq!(circuits.said.lock().len(), 3, "the same is said once");
        circuits.explain(Part::Database, "no right");
        circuits.any_open().await;
        let text = circuits.degraded().unwrap();
        assert!(text.starts_with("database: no right; check"), "{text}");
        assert!(text.contains(" | blob storage: no key; check"), "{text}");
        circuits.close(Part::Blobs);
        assert!(circuits.is_open(Part::Database) && !circuits.is_open(Part::Blobs));
        circuits.close(Part::Database);
        circuits.all_closed().await;
    }
}
