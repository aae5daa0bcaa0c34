//! What all pages share: the database, blobs, options, and the last reading of each address.

use super::{answer::Kept, chunk_page::Manifests, job_page::HostsOfChunk};
use crate::Session;
use chunk_handler::{
    redact::without_queries,
    state::{Capacity, Database, Error},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Instant};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

/// What all pages share.
pub(super) struct World {
    /// Settings, storage, and the database for what is changed.
    pub(super) session: Session,
    /// The database for what is shown: two connections, two seconds for each statement.
    pub(super) read: Database,
    pub(super) allow_control: bool,
    pub(super) kept: Mutex<Kept>,
    /// Pages that are read at once. A page uses both connections at times: with more of them one would wait
    /// longer for a connection than it may.
    pub(super) turns: Semaphore,
    /// Hosts of images that were not downloaded, by job, chunk and the claim that wrote the manifest.
    pub(super) hosts: Mutex<HashMap<(i64, i32, i64), Arc<HostsOfChunk>>>,
    /// When a manifest could not be read in time.
    pub(super) storage_failed: Mutex<Option<Instant>>,
    /// Manifests that were read last, for the pictures of a page.
    pub(super) manifests: Mutex<Manifests>,
    /// What was done last, and when.
    pub(super) notice: Mutex<Option<(OffsetDateTime, String)>>,
}

impl World {
    pub(super) fn new(session: Session, read: Database, allow_control: bool) -> Arc<Self> {
        Arc::new(Self {
            session,
            read,
            allow_control,
            kept: Mutex::default(),
            turns: Semaphore::new(2),
            hosts: Mutex::default(),
            manifests: Mutex::default(),
            storage_failed: Mutex::default(),
            notice: Mutex::default(),
        })
    }

    /// What the head of every page shows.
    pub(super) async fn capacity(&self) -> Result<Capacity, Error> {
        self.read.capacity().await
    }

    /// A text of a stranger, which may have URLs in it, as it may be shown.
    pub(super) fn shown_text(&self, text: &str) -> String {
        if self.session.settings.keep_query { text.to_owned() } else { without_queries(text) }
    }
}
