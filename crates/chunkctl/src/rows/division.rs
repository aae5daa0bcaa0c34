//! How a list is divided into chunks, and which of its rows a job that grows takes.

use crate::list::{Doubt, Row};
use chunk_handler::chunk::UrlKey;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

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
    /// URLs that it has, and that are left out.
    pub(crate) had: Arc<HashSet<UrlDigest>>,
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

/// The digest of a URL.
pub(crate) fn digest_of(url: &str) -> UrlDigest {
    let mut digest = UrlDigest::default();
    digest.iter_mut().zip(Sha256::digest(url)).for_each(|(to, byte)| *to = byte);
    digest
}

impl Division {
    /// Whether a row becomes an item, which then says what its URL's first try in the job is. The same
    /// in both readings.
    pub(super) fn takes(&self, row: &mut Row) -> bool {
        let Some(growth) = &self.growth else { return true };
        let is_had = !growth.had.is_empty() && growth.had.contains(&digest_of(&row.item.url));
        let first = row.first_try.filter(|first| first.job_id == growth.job_id);
        row.item.retry_of = first.map(|first| first.key).filter(|key| growth.has(*key));
        if first.is_some() && row.item.retry_of.is_none() {
            row.doubt = Some(Doubt::Place);
        }
        !is_had
    }

    /// Whether a row is about another job than the one that grows.
    pub(super) fn is_of_another(&self, row: &Row) -> bool {
        let growth = self.growth.as_ref();
        growth.zip(row.first_try).is_some_and(|(growth, first)| growth.job_id != first.job_id)
    }
}
