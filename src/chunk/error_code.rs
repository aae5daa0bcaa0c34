//! Why an attempt at a chunk did not complete: the words of `error_code`, and what to do about each.

use serde::{Deserialize, Serialize, de::IntoDeserializer as _};
use std::fmt;

/// The words of `error_code` in `chunk_status` and `attempt_log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The job was cancelled by hand.
    Cancelled,
    /// No URL got any HTTP answer.
    NothingReachable,
    /// The list of URLs is not in the source container.
    SourceMissing,
    /// The list has more URLs, or bytes, than a chunk may have.
    SourceTooLarge,
    /// The content of the list is of another kind than its name says, and has no URL as such.
    SourceUnreadable,
    /// The registered message cannot be read.
    MessageUnreadable,
    /// Hashes of a job that it is deduplicated with are gone, and so is a manifest that had them.
    HashesLost,
    /// Too many leases in a row ran out (`most_expiries` in the database).
    WorkerLost,
    /// The commit did not fit the deadline.
    DeadlineOverrun,
    /// Not charged: it waited for its environment, and did not fit the deadline any more.
    DeadlineHindered,
    /// A defect.
    Panic,
    /// Not charged: blob storage refused a request, for its key, role or network.
    StorageRefused,
    /// Not charged: a container is missing.
    StorageMissing,
    /// Not charged: Postgres refused a statement.
    DatabaseRefused,
    /// Not charged: a temporary file cannot be written, for another reason than a full disk.
    SpoolFailed,
    /// Not charged: blob storage or queue did not answer.
    StorageUnreachable,
    /// Not charged: another writer was at the same blob.
    StorageConflict,
    /// Not charged: a lease, a legal hold, the archive tier or the like keeps one blob from being used.
    StorageBlocked,
    /// Not charged: Postgres did not answer.
    DatabaseAway,
    /// Not charged: no name server answers anything.
    NamesAway,
    /// Not charged: all of its hosts want to be left alone, and none was asked for anything.
    HostBusy,
    /// Not charged: hashes of a job that it is deduplicated with are being brought back.
    HashesAway,
    /// Not charged: the temp space is full.
    DiskFull,
    /// Not charged: the lease could not be renewed in time, or a newer claim was there.
    LeaseLost,
    /// Not charged: a lease ran out and was reclaimed.
    LeaseExpired,
    /// Not charged: the process was asked to end.
    Drained,
}

impl ErrorCode {
    /// The failure that a row names; none: a word of another release.
    pub fn parse(word: &str) -> Option<Self> {
        let word: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
            word.into_deserializer();
        Self::deserialize(word).ok()
    }

    /// What a person should do about a chunk that ended so.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Cancelled => "the job was cancelled by hand; `retry` reopens it",
            Self::NothingReachable => {
                "check the network of the app and its name service, then `retry`"
            }
            Self::SourceMissing => {
                "its list of URLs is not in the source container; submit the job under a new number"
            }
            Self::SourceTooLarge => {
                "submit the list under a new number with a smaller `--chunk-size`"
            }
            Self::SourceUnreadable => {
                "write the list as its name says, or under another name; submit it under a new number"
            }
            Self::MessageUnreadable => {
                "another release wrote its message; submit the list under a new number"
            }
            Self::HashesLost => {
                "run the chunk that it names again with `control retry --again`, or submit the list under a new number without that job; then `retry`"
            }
            Self::WorkerLost => {
                "too many processes in a row died on it; check its images and the memory of the app, then `retry`"
            }
            Self::DeadlineOverrun => {
                "make chunks smaller, or raise PIXCRAWLER_CHUNK_DEADLINE_SECONDS, then `retry`"
            }
            Self::Panic => "a defect: report the logged message; `retry` runs it again",
            Self::StorageRefused => {
                "check key, identity and roles of ChunkStorage with `chunkctl doctor`; it runs again by itself"
            }
            Self::StorageMissing => {
                "run `chunkctl migrate`, which makes containers and queues; it runs again by itself"
            }
            Self::DatabaseRefused => {
                "check rights and schema of DATABASE_URL with `chunkctl doctor`; it runs again by itself"
            }
            Self::SpoolFailed => {
                "check PIXCRAWLER_TEMP_DIR with `chunkctl doctor`; it runs again by itself"
            }
            Self::NamesAway => {
                "check the network and /etc/resolv.conf of the app, or set PIXCRAWLER_NAME_SERVERS; it runs again by itself"
            }
            Self::StorageBlocked => {
                "free the named blob, as the message says; it runs again by itself"
            }
            Self::StorageUnreachable
            | Self::StorageConflict
            | Self::DatabaseAway
            | Self::DeadlineHindered
            | Self::LeaseLost
            | Self::LeaseExpired
            | Self::Drained => "nothing: it is not charged and runs again by itself",
            Self::HostBusy => {
                "nothing: its hosts asked to be left alone; it is not charged and runs again when they are back"
            }
            Self::HashesAway => {
                "nothing: hashes are read back from manifests; it is not charged and runs again by itself"
            }
            Self::DiskFull => {
                "nothing at once, it runs again by itself; if it lasts, see what else fills PIXCRAWLER_TEMP_DIR"
            }
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// README's table of error codes has every word, and no other.
    #[test]
    fn readme_names_every_error_code() {
        let readme = include_str!("../../README.md");
        let table = readme.split("| `error_code` |").nth(1).unwrap().split("\n\n").next().unwrap();
        let first_cells = table.lines().skip(2).filter_map(|row| row.split('|').nth(1));
        let listed: Vec<&str> =
            first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        for word in &listed {
            let code = ErrorCode::parse(word).unwrap_or_else(|| panic!("{word} is no error code"));
            assert_eq!(code.to_string(), *word);
        }
        let words = include_str!("error_code.rs").split("pub enum ErrorCode {").nth(1).unwrap();
        let variants = words.split("\n}").next().unwrap().lines().filter(|l| l.ends_with(','));
        assert_eq!(listed.len(), variants.count());
    }

    #[test]
    fn a_word_of_another_release_is_no_error_code() {
        assert_eq!(ErrorCode::parse("gremlins"), None);
    }
}
