//! How a list is divided into chunks, and which of its rows a job that grows takes.

use crate::list::{Doubt, Row};
use chunk_handler::chunk::{
    UrlKey,
    source::{is_web_url, trimmed},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use url::Url;

/// How a list is divided.
#[derive(Debug, Clone)]
pub(crate) struct Division {
    /// URLs of a chunk, at least 1.
    pub(crate) chunk_size: usize,
    /// For rows without a label.
    pub(crate) label: Option<String>,
    /// The job that grows by the list; none: a new one, which has asked for nothing before.
    pub(crate) growth: Option<Growth>,
}

/// A job that grows by a list.
#[derive(Debug, Clone)]
pub(crate) struct Growth {
    /// Its number.
    pub(crate) job_id: i64,
    /// URLs that it has, and that are left out, as is what the list has twice; none: all are taken.
    pub(crate) had: Option<Arc<HashSet<UrlDigest>>>,
    /// How many URLs the chunks have that rows name; none: that was not looked up.
    pub(crate) lengths: Option<Arc<HashMap<u32, u32>>>,
}

impl Growth {
    /// Whether the job has a URL at a place, as far as that was looked up.
    fn has(&self, key: UrlKey) -> bool {
        let Some(lengths) = &self.lengths else { return true };
        lengths.get(&key.chunk_index).is_some_and(|length| key.idx < *length)
    }
}

/// A URL, as far as it must be known again.
pub(crate) type UrlDigest = [u8; 16];

/// The digest of a URL as a handler asks for it, and so the same however it is spelled; of a text that is
/// none as it is.
pub(crate) fn digest_of(text: &str) -> UrlDigest {
    let text = trimmed(text);
    // With a backslash a handler asks for none, or for another one than is parsed here.
    let is_plain = is_web_url(text) && !text.contains('\\');
    let mut url = Url::parse(text).ok().filter(|_| is_plain);
    if let Some(url) = &mut url {
        url.set_fragment(None);
    }
    let mut digest = UrlDigest::default();
    let whole = Sha256::digest(url.as_ref().map_or(text, Url::as_str));
    digest.iter_mut().zip(whole).for_each(|(to, byte)| *to = byte);
    digest
}

impl Division {
    /// URLs of which a row is left out; none: no row is.
    pub(super) fn had(&self) -> Option<&HashSet<UrlDigest>> {
        self.growth.as_ref()?.had.as_deref()
    }

    /// Says in a row what its URL's first try in the job is.
    pub(super) fn name_first_try(&self, row: &mut Row) {
        let Some(growth) = &self.growth else { return };
        let first = row.first_try.filter(|first| first.job_id == growth.job_id);
        row.item.retry_of = first.map(|first| first.key).filter(|key| growth.has(*key));
        if first.is_some() && row.item.retry_of.is_none() {
            row.doubt = Some(Doubt::Place);
        }
    }

    /// Whether a row is about another job than the one that grows.
    pub(super) fn is_of_another(&self, row: &Row) -> bool {
        let growth = self.growth.as_ref();
        growth.zip(row.first_try).is_some_and(|(growth, first)| growth.job_id != first.job_id)
    }
}
