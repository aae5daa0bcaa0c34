//! What all pages share: the database, blobs, options, and the last reading of each address.

use super::answer::Kept;
use crate::Session;
use chunk_handler::{
    redact::{bare_url, without_queries},
    state::{Capacity, Database, Error},
};
use parking_lot::Mutex;
use std::sync::Arc;
use time::OffsetDateTime;

/// What all pages share.
pub(super) struct World {
    /// Settings, storage, and the database for what is changed.
    pub(super) session: Session,
    /// The database for what is shown: two connections, two seconds for each statement.
    pub(super) read: Database,
    pub(super) allow_control: bool,
    pub(super) kept: Mutex<Kept>,
    /// What was done last, and when.
    pub(super) notice: Mutex<Option<(OffsetDateTime, String)>>,
}

impl World {
    pub(super) fn new(session: Session, read: Database, allow_control: bool) -> Arc<Self> {
        let (kept, notice) = (Mutex::default(), Mutex::default());
        Arc::new(Self { session, read, allow_control, kept, notice })
    }

    /// What the head of every page shows.
    pub(super) async fn capacity(&self) -> Result<Capacity, Error> {
        self.read.capacity().await
    }

    /// A stranger's URL as it may be shown.
    pub(super) fn shown_url(&self, url: &str) -> String {
        if self.session.settings.keep_query { url.to_owned() } else { bare_url(url) }
    }

    /// A text of a stranger, which may have URLs in it, as it may be shown.
    pub(super) fn shown_text(&self, text: &str) -> String {
        if self.session.settings.keep_query { text.to_owned() } else { without_queries(text) }
    }
}
