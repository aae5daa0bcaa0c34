//! The queue message of a chunk: untrusted text in, a checked value out.

mod dedupe;
mod output;
mod robots;

pub use dedupe::{Dedupe, DedupeScope};
pub use output::{Output, OutputExtension, OutputText};
pub use robots::RobotsTxt;

use super::{ChunkId, Item, Validation, job_folder};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The most bytes a message with an inline source may have: what stays under the queue's 64 KiB
/// after XML escaping (<https://learn.microsoft.com/azure/storage/queues/scalability-targets>).
pub(crate) const MESSAGE_LIMIT_BYTES: usize = 60_000;

/// Why a message can never work. Its text is recorded with the message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Neither JSON nor Base64 of JSON.
    #[error("the message is neither JSON nor Base64 of JSON: {0}")]
    NotJson(String),
    /// JSON, but not an object: serde would take an array for a struct.
    #[error("the message is no JSON object")]
    NotObject,
    /// JSON of the wrong shape.
    #[error("the message does not have the shape of version 1: {0}")]
    Shape(#[source] serde_json::Error),
    /// The right shape with a value that is not allowed.
    #[error("{field} {problem}")]
    Value {
        /// The field of the message.
        field: &'static str,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
}

/// Decodes queue text: JSON, or Base64 of JSON (rule H6). A byte order mark is skipped.
///
/// # Errors
///
/// When the text is neither.
pub(crate) fn decode_message(text: &str) -> Result<String, MessageError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let failure = match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => return Ok(text.to_owned()),
        Err(error) => MessageError::NotJson(error.to_string()),
    };
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text) else {
        return Err(failure);
    };
    let decoded = String::from_utf8(bytes).map_err(|e| MessageError::NotJson(e.to_string()))?;
    let decoded = decoded.trim_start_matches('\u{feff}');
    serde_json::from_str::<&RawValue>(decoded).map_err(|e| MessageError::NotJson(e.to_string()))?;
    Ok(decoded.trim().to_owned())
}

/// First and last position of the chunk's URLs in the job's list, 0-based, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRange {
    /// First.
    pub start: u64,
    /// Last.
    pub end: u64,
}

/// A list of URLs in the source container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobSource {
    /// Its name; `.jsonl` or `.txt`.
    pub blob: String,
}

/// Where the chunk's URLs are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawSource", into = "RawSource")]
pub enum Source {
    /// In a blob.
    Blob(BlobSource),
    /// In the message.
    Inline(Vec<Item>),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RawSource {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    urls: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<Vec<Item>>,
}

impl TryFrom<RawSource> for Source {
    type Error = &'static str;

    fn try_from(raw: RawSource) -> Result<Self, Self::Error> {
        match (raw.blob, raw.urls, raw.items) {
            (Some(blob), None, None) => Ok(Self::Blob(BlobSource { blob })),
            (None, Some(urls), None) => {
                Ok(Self::Inline(urls.into_iter().map(Item::of_url).collect()))
            }
            (None, None, Some(items)) => Ok(Self::Inline(items)),
            (None, None, None) => Err("source must have blob, urls or items"),
            (_, _, _) => Err("source must have only one of blob, urls and items"),
        }
    }
}

impl From<Source> for RawSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Blob(BlobSource { blob }) => Self { blob: Some(blob), ..Self::default() },
            Source::Inline(items) => Self { items: Some(items), ..Self::default() },
        }
    }
}

/// A well-formed chunk message, version 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkMessage {
    version: u32,
    /// The job, 0 to 2^63 - 1.
    pub job_id: i64,
    /// The chunk's place in the job, 0 to 99999.
    pub chunk_index: i32,
    /// How many chunks the job has; a job of messages without it runs until it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_chunks: Option<i32>,
    /// 0 to 10, highest first.
    #[serde(default = "default_priority")]
    pub priority: i16,
    /// Where the URLs are; may be absent only when the chunk is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Position of the URLs in the job's list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_range: Option<ImageRange>,
    /// The checks.
    #[serde(default)]
    pub validation: Validation,
    /// The duplicate check.
    #[serde(default)]
    pub dedupe: Dedupe,
    /// How the shard is written.
    #[serde(default)]
    pub output: Output,
    /// What robots.txt is to it; none: what the setting says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robots: Option<RobotsTxt>,
}

fn default_priority() -> i16 {
    5
}

impl ChunkMessage {
    /// A message of the current version with every optional part at its default.
    pub fn new(id: ChunkId) -> Self {
        Self {
            version: 1,
            job_id: id.job_id,
            chunk_index: id.chunk_index,
            total_chunks: None,
            priority: default_priority(),
            source: None,
            image_range: None,
            validation: Validation::default(),
            dedupe: Dedupe::default(),
            output: Output::default(),
            robots: None,
        }
    }

    /// Parses queue text (JSON or Base64 of JSON) and checks every value.
    ///
    /// # Errors
    ///
    /// When the message can never work; the error says why.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        let json = decode_message(text)?;
        if !json.starts_with('{') {
            return Err(MessageError::NotObject);
        }
        let message = Self::from_json(&json)?;
        message.check_length(json.len())?;
        message.check_index()?;
        message.validation.check_new()?;
        Ok(message)
    }

    /// Reads JSON of any length and checks every value. Of any length for the chunk's row: that is our
    /// own JSON, in which an inline list takes more room than in the message that was sent.
    ///
    /// # Errors
    ///
    /// [`MessageError::Shape`] or [`MessageError::Value`].
    pub(crate) fn from_json(json: &str) -> Result<Self, MessageError> {
        let message: Self = serde_json::from_str(json).map_err(MessageError::Shape)?;
        message.check()?;
        Ok(message)
    }

    /// Whether its URLs are only asked for where robots.txt lets us, by its own word or else by the `setting`.
    pub(crate) fn respects_robots(&self, setting: bool) -> bool {
        self.robots.map_or(setting, |robots| robots == RobotsTxt::Respect)
    }

    /// The chunk that the message names.
    pub fn id(&self) -> ChunkId {
        ChunkId { job_id: self.job_id, chunk_index: self.chunk_index }
    }

    fn check(&self) -> Result<(), MessageError> {
        let fail = |field, problem: String| Err(MessageError::Value { field, problem });
        if self.version != 1 {
            return fail("version", format!("is {}, and only 1 is known", self.version));
        }
        if self.job_id < 0 {
            return fail("job_id", format!("is {}, and must be 0 or more", self.job_id));
        }
        if !(0..=ChunkId::MAX_INDEX).contains(&self.chunk_index) {
            return fail("chunk_index", format!("is {}, and must be 0 to 99999", self.chunk_index));
        }
        if self.total_chunks.is_some_and(|n| !(1..=ChunkId::MAX_INDEX + 1).contains(&n)) {
            return fail("total_chunks", "must be 1 to 100000".into());
        }
        if !(0..=10).contains(&self.priority) {
            return fail("priority", format!("is {}, and must be 0 to 10", self.priority));
        }
        if self.image_range.is_some_and(|range| range.end.saturating_add(1) < range.start) {
            return fail("image_range", "must not end before it starts".into());
        }
        self.validation.check()?;
        self.dedupe.check(self.job_id)?;
        let folder = job_folder(self.job_id);
        if self.output.prefix.as_ref().is_some_and(|prefix| *prefix != folder) {
            return fail("output.prefix", format!("must be {folder}"));
        }
        self.check_source()
    }

    /// Of a message only: a chunk that is registered keeps its place.
    fn check_index(&self) -> Result<(), MessageError> {
        match self.total_chunks {
            Some(total) if self.chunk_index >= total => {
                let problem =
                    format!("is {}, and must be below total_chunks, {total}", self.chunk_index);
                Err(MessageError::Value { field: "chunk_index", problem })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_source(&self) -> Result<(), MessageError> {
        match &self.source {
            Some(Source::Blob(BlobSource { blob })) if !is_blob_name(blob) => {
                let problem = "names no blob of the source container: at most 1024 bytes, \
                               ending in .jsonl or .txt, without empty, . or .. segments or \
                               control characters";
                Err(MessageError::Value { field: "source", problem: problem.to_owned() })
            }
            Some(Source::Blob(_) | Source::Inline(_)) | None => Ok(()),
        }
    }

    fn check_length(&self, length_bytes: usize) -> Result<(), MessageError> {
        if length_bytes > MESSAGE_LIMIT_BYTES && matches!(self.source, Some(Source::Inline(_))) {
            let problem = "is inline in a message over 60000 bytes; put the list into a blob";
            return Err(MessageError::Value { field: "source", problem: problem.to_owned() });
        }
        Ok(())
    }
}

fn is_blob_name(name: &str) -> bool {
    name.len() <= 1024
        && (name.ends_with(".jsonl") || name.ends_with(".txt"))
        && !name.chars().any(|c| c.is_control() || c == '\\')
        && name.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests;
