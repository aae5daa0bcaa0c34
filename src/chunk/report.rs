//! What a chunk's run produced: the manifest, its totals, and what completes the row.

use super::{
    ChunkId, ClaimToken, Detail, Fence, ImageRange, Meta, Reason, Rejection, SHOWN_BYTES, Status,
    UrlKey, cut,
};
use imagecheck::Format;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IntoDeserializer as _, value::StringDeserializer},
};
use std::{collections::BTreeMap, fmt::Write as _, io};

/// The schema word of every manifest.
pub const MANIFEST_SCHEMA: &str = "pixcrawler.manifest.v1";

/// What became of one URL. A word of a later release (a reason, a detail, a format) is read as none: what
/// is needed of another's manifest stands beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemReport {
    /// The URL's position in the chunk's source, from 0.
    pub idx: usize,
    /// As given, without its query and user info when the settings say so.
    pub url: String,
    /// As given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// As given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// As given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<i64>,
    /// The verdict.
    pub status: Status,
    /// Null only for valid.
    #[serde(deserialize_with = "known_word")]
    pub reason: Option<Reason>,
    /// What more is known of the reason.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known_word")]
    pub detail: Option<Detail>,
    /// The sample's key, for valid.
    pub key: Option<String>,
    /// By content.
    #[serde(deserialize_with = "known_word")]
    pub format: Option<Format>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Bytes.
    pub file_size: Option<u64>,
    /// Of the image's bytes, in hex.
    pub sha256: Option<String>,
    /// Perceptual hash in hex, at level slow; null for a picture without structure.
    pub phash: Option<String>,
    /// The kept sample's key, for duplicates.
    pub duplicate_of: Option<String>,
    /// A duplicate's, which no sidecar has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// Where the image's bytes start in the shard.
    pub offset: Option<u64>,
    /// How many bytes of the shard they are.
    pub length: Option<u64>,
    /// What mode `report_only` let pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known_words")]
    pub violations: Vec<Reason>,
    /// The first kept sample of the chunk that looks like this one, at level slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_duplicate: Option<NearDuplicate>,
    /// The first try of the URL in its job, if it was asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<UrlKey>,
}

/// What a word means in this release; none: nothing.
///
/// # Errors
///
/// It is no word at all.
fn known_word<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(Option::<String>::deserialize(deserializer)?.and_then(meaning))
}

/// Those of several words that mean something in this release.
///
/// # Errors
///
/// One is no word at all.
fn known_words<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(Vec::<String>::deserialize(deserializer)?.into_iter().filter_map(meaning).collect())
}

fn meaning<T: DeserializeOwned>(word: String) -> Option<T> {
    let word: StringDeserializer<serde::de::value::Error> = word.into_deserializer();
    T::deserialize(word).ok()
}

impl ItemReport {
    /// A URL that is not in the shard.
    pub fn rejected(
        idx: usize,
        url: String,
        label: Option<String>,
        rejection: impl Into<Rejection>,
    ) -> Self {
        let Rejection { reason, detail } = rejection.into();
        Self {
            idx,
            url,
            label,
            caption: None,
            class: None,
            status: reason.status(),
            reason: Some(reason),
            detail,
            key: None,
            format: None,
            width: None,
            height: None,
            file_size: None,
            sha256: None,
            phash: None,
            duplicate_of: None,
            meta: None,
            offset: None,
            length: None,
            violations: Vec::new(),
            near_duplicate: None,
            retry_of: None,
        }
    }
}

/// A sample that looks like another one; both are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearDuplicate {
    /// The other sample's key, in the same chunk.
    pub of: String,
    /// In how many bits of 256 they differ, at most [`imagecheck::PerceptualHash::NEAR`].
    pub distance: u32,
}

/// A committed shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRef {
    /// Its name in the dataset container.
    pub blob: String,
    /// Its length.
    pub bytes: u64,
    /// Of the whole tar, in hex.
    pub sha256: String,
    /// How many samples it holds.
    pub samples: u64,
}

/// The sums of a chunk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// URLs.
    pub images_total: u64,
    /// URLs of which a whole body arrived.
    pub images_downloaded: u64,
    /// Samples in the shard.
    pub images_valid: u64,
    /// Verdict invalid.
    pub images_invalid: u64,
    /// Verdict failed.
    pub images_failed: u64,
    /// Verdict duplicate.
    pub duplicates_removed: u64,
    /// `images_valid / images_total`, 0 for no URLs.
    pub success_rate: f64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Bytes of the shard.
    pub bytes_out: u64,
    /// The most temp bytes the chunk held at once.
    pub temp_peak_bytes: u64,
    /// How often each reason occurred.
    pub errors: BTreeMap<String, u64>,
    /// URLs that an earlier chunk of the job has, too: they were asked for again.
    #[serde(default)]
    pub images_asked_again: u64,
}

impl Totals {
    /// The sums of a whole chunk: one report for each of its URLs.
    pub fn of(items: &[ItemReport], traffic: &Traffic) -> Self {
        let count = |status| as_u64(items.iter().filter(|item| item.status == status).count());
        let total = as_u64(items.len());
        let mut errors = BTreeMap::new();
        for reason in items.iter().filter_map(|item| item.reason) {
            *errors.entry(reason.to_string()).or_default() += 1;
        }
        Self {
            images_total: total,
            images_downloaded: traffic.downloaded,
            images_valid: count(Status::Valid),
            images_invalid: count(Status::Invalid),
            images_failed: count(Status::Failed),
            duplicates_removed: count(Status::Duplicate),
            success_rate: ratio(count(Status::Valid), total),
            bytes_in: traffic.bytes_in,
            bytes_out: traffic.bytes_out,
            temp_peak_bytes: traffic.temp_peak_bytes,
            errors,
            images_asked_again: as_u64(items.iter().filter(|i| i.retry_of.is_some()).count()),
        }
    }

    /// How often a reason occurred.
    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.errors.get(&reason.to_string()).copied().unwrap_or(0)
    }
}

/// Bytes and bodies that a chunk's run moved; verdicts are counted from its items.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Whole bodies received.
    pub downloaded: u64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Bytes of the shard.
    pub bytes_out: u64,
    /// The most temp bytes held at once.
    pub temp_peak_bytes: u64,
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a ratio of counts far below 2^53"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The blob that says a chunk is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// The job and the place in it.
    #[serde(flatten)]
    pub id: ChunkId,
    /// Over source, validation and output, in hex.
    pub source_sha256: String,
    /// Position of the URLs in the job's list.
    pub image_range: Option<ImageRange>,
    /// Which attempt wrote it.
    pub attempt: i32,
    /// The number of the claim that wrote it.
    pub fence: Fence,
    /// Its token: the shard's metadata has the same.
    #[serde(default = "ClaimToken::none")]
    pub claim: ClaimToken,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub completed_at: String,
    /// Seconds.
    pub duration_sec: f64,
    /// The sums.
    #[serde(flatten)]
    pub totals: Totals,
    /// The shard it describes.
    pub shard: ShardRef,
    /// One for every URL of the source, by `idx`.
    pub items: Vec<ItemReport>,
}

impl Manifest {
    /// Its bytes, at most so many, for who reads it reads no more. One that would be longer, which only a
    /// list of control characters or the like can do, shows of each URL, label and caption their start,
    /// and of duplicates no meta: 4 kB an item at most.
    pub(crate) fn to_json(&self, most_bytes: usize) -> Vec<u8> {
        let mut writer = Bounded { bytes: Vec::new(), most_bytes };
        if serde_json::to_writer(&mut writer, self).is_ok() {
            return writer.bytes;
        }
        drop(writer);
        let mut short = self.clone();
        for item in &mut short.items {
            item.url = cut(&item.url, SHOWN_BYTES);
            item.label = item.label.as_ref().map(|label| cut(label, SHOWN_BYTES));
            item.caption = item.caption.as_ref().map(|caption| cut(caption, SHOWN_BYTES));
            item.meta = None;
        }
        serde_json::to_vec(&short).unwrap_or_default()
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    most_bytes: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > self.most_bytes {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What completes a chunk: the manifest's sums and what later chunks need for their dedupe.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The sums.
    pub totals: Totals,
    /// The committed shard.
    pub shard: ShardRef,
    /// The number of the claim that wrote shard and manifest.
    pub shard_fence: Fence,
    /// Its token.
    pub shard_claim: ClaimToken,
    /// SHA-256 and key of every sample.
    pub hashes: Vec<(Vec<u8>, String)>,
}

impl Completion {
    /// What the manifest of a committed shard says. A malformed hash is left out: it could only be one
    /// that this program did not write.
    pub(crate) fn from_manifest(manifest: &Manifest) -> Self {
        let hashes = manifest.items.iter().filter(|item| item.status == Status::Valid);
        Self {
            totals: manifest.totals.clone(),
            shard: manifest.shard.clone(),
            shard_fence: manifest.fence,
            shard_claim: manifest.claim.clone(),
            hashes: hashes
                .filter_map(|item| {
                    Some((sha256_of_hex(item.sha256.as_ref()?)?.to_vec(), item.key.clone()?))
                })
                .collect(),
        }
    }
}

/// Bytes in hex, as in manifests and metadata.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// The SHA-256 that a text of 64 hex digits is; none: it is something else. Nothing is allocated, for a
/// list may have a million.
pub(crate) fn sha256_of_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |c: u8| char::from(c).to_digit(16);
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    (text.len() == 64).then_some(hash)
}

#[cfg(test)]
mod tests;
