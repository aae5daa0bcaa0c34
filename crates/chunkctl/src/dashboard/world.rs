//! What all pages share: the database, blobs, options, and the last reading of each address.

use super::{answer::Kept, chunk_page::Manifests, clock, job_page::HostsOfChunk, room::Room};
use crate::Session;
use chunk_handler::{
    redact::{bare_url, without_queries},
    state::{Capacity, Database, Error},
};
use maud::{Markup, html};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Instant};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What all pages share.
pub(super) struct World {
    /// Settings, storage, and the database for what is changed.
    pub(super) session: Session,
    /// The database for what is shown: two connections, two seconds for each statement.
    pub(super) read: Database,
    pub(super) allow_control: bool,
    /// Whether pages are answers, with links and forms; else they are a file that leads nowhere.
    pub(super) is_served: bool,
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
    /// For the files that are on their way.
    pub(super) room: Room,
    /// What was done last, and when.
    pub(super) notice: Mutex<Option<(OffsetDateTime, String)>>,
}

/// The right to ask the database for a page, until it is dropped.
pub(super) type Turn<'a> = Option<SemaphorePermit<'a>>;

impl World {
    /// For pages that are served.
    pub(super) fn new(session: Session, read: Database, allow_control: bool) -> Arc<Self> {
        Arc::new(Self { allow_control, is_served: true, ..Self::of_file(session, read) })
    }

    /// For a page that is written into a file.
    pub(super) fn of_file(session: Session, read: Database) -> Self {
        Self {
            session,
            read,
            allow_control: false,
            is_served: false,
            kept: Mutex::default(),
            turns: Semaphore::new(2),
            hosts: Mutex::default(),
            manifests: Mutex::default(),
            storage_failed: Mutex::default(),
            room: Room::new(),
            notice: Mutex::default(),
        }
    }

    /// Waits until the database may be asked for a page.
    pub(super) async fn turn(&self) -> Turn<'_> {
        self.turns.acquire().await.ok()
    }

    /// What the head of every page shows, and what time it is.
    pub(super) async fn capacity(&self) -> Result<Capacity, Error> {
        let capacity = self.read.capacity().await?;
        clock::set(capacity.now);
        Ok(capacity)
    }

    /// A link to another page of ours; in a file the text alone.
    pub(super) fn link(&self, place: &str, text: &str) -> Markup {
        html! { @if self.is_served { a href=(place) { (text) } } @else { (text) } }
    }

    /// A label or a caption as it may be shown: what looks like a URL loses its query, and a question keeps
    /// its mark.
    pub(super) fn shown_words(&self, text: &str) -> String {
        if self.session.settings.keep_query { text.to_owned() } else { words_without_queries(text) }
    }

    /// The URL of an item as it may be shown: as manifests have it.
    pub(super) fn shown_url(&self, url: &str) -> String {
        if self.session.settings.keep_query { url.to_owned() } else { bare_url(url) }
    }

    /// An item of a list or of a manifest as it may be saved: each text as the page shows it.
    pub(super) fn hide(&self, item: &mut serde_json::Value) {
        if self.session.settings.keep_query {
            return;
        }
        let Some(fields) = item.as_object_mut() else { return };
        for (name, value) in fields {
            each_text(value, &|text| match name.as_str() {
                "url" => bare_url(text),
                _ => words_without_queries(text),
            });
        }
    }

    /// A text of a stranger, which may have URLs in it, as it may be shown.
    pub(super) fn shown_text(&self, text: &str) -> String {
        if self.session.settings.keep_query {
            return text.to_owned();
        }
        // As JSON may write a question mark.
        without_queries(&text.replace("\\u003f", "?").replace("\\u003F", "?"))
    }
}

/// Changes every text of a value.
fn each_text(value: &mut serde_json::Value, change: &dyn Fn(&str) -> String) {
    match value {
        serde_json::Value::String(text) => *text = change(text),
        serde_json::Value::Array(values) => {
            values.iter_mut().for_each(|value| each_text(value, change));
        }
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(|value| each_text(value, change));
        }
        _ => {}
    }
}

fn words_without_queries(text: &str) -> String {
    let has_query = |word: &str| {
        word.split_once('?').is_some_and(|(before, after)| {
            before.contains(['/', '.']) && after.starts_with(|c: char| !c.is_whitespace())
        })
    };
    let shown = |word: &str| if has_query(word) { without_queries(word) } else { word.to_owned() };
    text.split_inclusive(char::is_whitespace).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_lose_their_query() {
        for (text, shown) in [
            ("what is this? a cat", "what is this? a cat"),
            ("and/or? yes?no", "and/or? yes?no"),
            ("see https://a.example/x?sig=hush, a cat?", "see https://a.example/x a cat?"),
            ("a.example?sig=hush /x?sig=hush", "a.example /x"),
        ] {
            assert_eq!(words_without_queries(text), shown);
        }
    }
}
