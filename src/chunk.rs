//! The vocabulary: identifiers, the message, verdicts, error codes and the manifest. No IO.
#![deny(clippy::wildcard_enum_match_arm)]

mod detail;
mod error_code;
mod item;
mod message;
mod meta;
mod report;
pub mod source;
mod url_key;
mod validation;
mod verdict;

pub use detail::{Detail, Rejection};
pub use error_code::ErrorCode;
pub use item::{ITEM_LIMIT, Item};
pub(crate) use item::{SHOWN_BYTES, cut};
pub(crate) use message::decode_message;
pub use message::{
    BlobSource, ChunkMessage, Dedupe, DedupeScope, ImageRange, MessageError, Output,
    OutputExtension, OutputText, RobotsTxt, Source,
};
pub use meta::Meta;
pub(crate) use report::sha256_of_hex;
pub use report::{
    Completion, ItemReport, MANIFEST_SCHEMA, Manifest, NearDuplicate, ShardRef, Totals, Traffic,
    hex,
};
pub(crate) use source::{ListError, ListFormat, OtherContent};
pub use url_key::{NoUrlKey, UrlKey};
pub use validation::{Mode, Validation};
pub use verdict::{Reason, Status};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Identifies a chunk: its job and its place in the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChunkId {
    /// The crawl job, 0 to 2^63 - 1.
    pub job_id: i64,
    /// The chunk's place in the job, 0 to [`ChunkId::MAX_INDEX`].
    pub chunk_index: i32,
}

impl ChunkId {
    /// The highest index: keys and blob names hold five digits.
    pub const MAX_INDEX: i32 = 99_999;

    /// Names the shard's blob in the dataset container.
    pub fn shard_blob(&self) -> String {
        format!("{}/chunks/chunk_{:05}.tar", job_folder(self.job_id), self.chunk_index)
    }

    /// Names the manifest's blob in the dataset container.
    pub fn manifest_blob(&self) -> String {
        format!("{}/chunks/chunk_{:05}.manifest.json", job_folder(self.job_id), self.chunk_index)
    }

    /// Names the sample of the URL at `idx`: `{index:05}_{idx:05}`.
    pub(crate) fn sample_key(&self, idx: usize) -> String {
        format!("{:05}_{idx:05}", self.chunk_index)
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job_id, self.chunk_index)
    }
}

/// The folder of a job in the source container and in the dataset container.
pub fn job_folder(job_id: i64) -> String {
    format!("job_{job_id}")
}

/// The most URLs of a chunk.
pub(crate) const MAX_ITEMS: usize = 10_000;

/// The increasing number of a claim; every effect of a claim carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub i64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who claims: made by the claimant for each delivery of a message, so that no two claims share one
/// even when the database forgets and gives a fence twice (I16).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimToken(String);

impl ClaimToken {
    /// A new one: 128 random bits.
    #[expect(clippy::new_without_default, reason = "each one differs from all others")]
    pub fn new() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// That of a release before tokens: no claim has it.
    pub(crate) fn none() -> Self {
        Self(String::new())
    }

    /// 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClaimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
