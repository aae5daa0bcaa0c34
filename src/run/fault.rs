//! Why a chunk's run ended without a manifest, and the one judge of it: who pays, and what the row
//! says.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::{
    chunk::{ErrorCode, ListError, OtherContent},
    circuit::Part,
    jobs::NotReady,
    pipeline::{self, upload::CommitError},
    state::{self, Backoff, GiveUp, NotHeld},
    storage,
};
use std::{io, time::Duration};

/// Why a chunk's run ended without a manifest.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the lease is lost")]
    LeaseLost,
    #[error("the process drains")]
    Drained,
    #[error("the chunk overran its deadline")]
    Overran,
    #[error("the chunk had to wait for its environment, and did not fit its deadline any more")]
    Hindered,
    #[error("the process stood still, and no URL got any HTTP answer")]
    StoodStill,
    #[error("no URL got any HTTP answer")]
    NothingReachable,
    #[error("no name server answers")]
    NamesAway,
    #[error("no URL was asked for: all of its hosts want to be left alone, the first for {} s", .0.as_secs())]
    HostsBusy(Duration),
    #[error("hashes of images are read back from the manifests of job {0}")]
    HashesAway(i64),
    #[error("the images of job {0} are not known any more: {1}")]
    HashesLost(i64, String),
    #[error("the source blob is missing")]
    SourceMissing,
    #[error("the source has more than {} URLs or 32 MiB", crate::chunk::MAX_ITEMS)]
    SourceTooLarge,
    #[error(transparent)]
    SourceUnreadable(OtherContent),
    #[error("the chunk panicked: {0}")]
    Panicked(String),
    #[error("the registered message cannot be read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error(transparent)]
    State(#[from] state::Error),
    #[error("the spool failed")]
    Spool(#[source] io::Error),
}

impl From<pipeline::Error> for Fault {
    fn from(error: pipeline::Error) -> Self {
        match error {
            pipeline::Error::Spool(error) => Self::Spool(error),
            pipeline::Error::Storage(error) => Self::Storage(error),
            pipeline::Error::State(error) => Self::State(error),
            pipeline::Error::NothingReachable => Self::NothingReachable,
            pipeline::Error::NamesAway => Self::NamesAway,
            pipeline::Error::HostsBusy(wait) => Self::HostsBusy(wait),
        }
    }
}

impl From<NotReady> for Fault {
    fn from(error: NotReady) -> Self {
        match error {
            NotReady::Away(job_id) => Self::HashesAway(job_id),
            NotReady::Lost(job_id, why) => Self::HashesLost(job_id, why),
            NotReady::State(error) => Self::State(error),
        }
    }
}

impl From<ListError> for Fault {
    fn from(error: ListError) -> Self {
        match error {
            ListError::TooLarge => Self::SourceTooLarge,
            ListError::OtherContent(error) => Self::SourceUnreadable(error),
        }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => Self::Storage(error),
            CommitError::State(error) => Self::State(error),
        }
    }
}

impl From<NotHeld> for Fault {
    fn from(not_held: NotHeld) -> Self {
        match not_held {
            NotHeld::Lost => Self::LeaseLost,
            NotHeld::Unknown => Self::State(state::Error::Away { doing: "renew", source: None }),
        }
    }
}

impl Fault {
    /// The part of the environment that cannot do any chunk's work; none: the fault is of this chunk,
    /// or of its blob alone, or the database is away, which every statement shows.
    pub(super) fn broken_part(&self) -> Option<Part> {
        match self {
            Self::Storage(error) => error.concerns_all_blobs().then_some(Part::Blobs),
            Self::State(
                state::Error::Refused { .. }
                | state::Error::Unstorable(_)
                | state::Error::Degraded(_)
                | state::Error::Migrate(_),
            ) => Some(Part::Database),
            Self::State(state::Error::TransactionPooler) => Some(Part::Pooler),
            Self::Spool(_) => Some(Part::Temp),
            Self::State(state::Error::Away { .. } | state::Error::LeaseLost(_))
            | Self::LeaseLost
            | Self::Drained
            | Self::Overran
            | Self::Hindered
            | Self::StoodStill
            | Self::NothingReachable
            // A list of addresses needs no name: other chunks may go on.
            | Self::NamesAway
            | Self::HostsBusy(_)
            | Self::HashesAway(_)
            | Self::HashesLost(..)
            | Self::SourceMissing
            | Self::SourceTooLarge
            | Self::SourceUnreadable(_)
            | Self::Panicked(_)
            | Self::Unreadable(_) => None,
        }
    }
}

/// The one judge of faults: how the chunk is given up, and the word in its row.
///
/// What the environment did is released and costs nothing (I13). What may be the chunk's own fault is
/// charged and tried again, up to `max_attempts`. What no further attempt can change fails it.
pub(super) fn judge(fault: &Fault, max_attempts: i32) -> (GiveUp, ErrorCode) {
    let release = |backoff| GiveUp::Release { backoff };
    let retry = GiveUp::Retry { max_attempts };
    match fault {
        Fault::LeaseLost | Fault::State(state::Error::LeaseLost(_)) => {
            (release(Backoff::Long), ErrorCode::LeaseLost)
        }
        // Another process may go on at once.
        Fault::Drained => (release(Backoff::None), ErrorCode::Drained),
        Fault::Storage(error) => judge_storage(error),
        Fault::State(state::Error::Away { .. }) => {
            (release(Backoff::Short), ErrorCode::DatabaseAway)
        }
        Fault::State(
            state::Error::Refused { .. }
            | state::Error::Unstorable(_)
            | state::Error::Degraded(_)
            | state::Error::TransactionPooler
            | state::Error::Migrate(_),
        ) => (release(Backoff::Short), ErrorCode::DatabaseRefused),
        Fault::Spool(error) if is_disk_full(error) => {
            (release(Backoff::Short), ErrorCode::DiskFull)
        }
        Fault::Spool(_) => (release(Backoff::Short), ErrorCode::SpoolFailed),
        Fault::NamesAway => (release(Backoff::Short), ErrorCode::NamesAway),
        Fault::HostsBusy(wait) => (release(Backoff::Exactly(*wait)), ErrorCode::HostBusy),
        Fault::HashesAway(_) => (release(Backoff::Short), ErrorCode::HashesAway),
        Fault::Hindered | Fault::StoodStill => {
            (release(Backoff::Short), ErrorCode::DeadlineHindered)
        }
        Fault::Overran => (retry, ErrorCode::DeadlineOverrun),
        Fault::SourceMissing => (retry, ErrorCode::SourceMissing),
        Fault::Panicked(_) => (retry, ErrorCode::Panic),
        Fault::NothingReachable => (GiveUp::Fail, ErrorCode::NothingReachable),
        Fault::HashesLost(..) => (GiveUp::Fail, ErrorCode::HashesLost),
        Fault::SourceTooLarge => (GiveUp::Fail, ErrorCode::SourceTooLarge),
        Fault::SourceUnreadable(_) => (GiveUp::Fail, ErrorCode::SourceUnreadable),
        Fault::Unreadable(_) => (GiveUp::Fail, ErrorCode::MessageUnreadable),
    }
}

/// Never the chunk's fault.
fn judge_storage(error: &storage::Error) -> (GiveUp, ErrorCode) {
    let (backoff, code) = match error {
        storage::Error::Away { .. } => (Backoff::Short, ErrorCode::StorageUnreachable),
        storage::Error::Missing { .. } | storage::Error::NoContainer { .. } => {
            (Backoff::Short, ErrorCode::StorageMissing)
        }
        storage::Error::Refused { .. } => (Backoff::Short, ErrorCode::StorageRefused),
        storage::Error::Conflict { .. } => (Backoff::Long, ErrorCode::StorageConflict),
        storage::Error::Blocked { .. } | storage::Error::TooLarge { .. } => {
            (Backoff::Blob, ErrorCode::StorageBlocked)
        }
    };
    (GiveUp::Release { backoff }, code)
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkId, ListFormat};
    use storage::Error as S;

    fn refused() -> state::Error {
        // A URL that is not one of Postgres is refused without any server.
        let terms = state::LeaseTerms::new(Duration::from_secs(60));
        state::Database::open("nonsense", terms).unwrap_err()
    }

    fn unstorable() -> state::Error {
        state::Error::Unstorable(sqlx::Error::RowNotFound)
    }

    fn unmigrated() -> state::Error {
        state::Error::Migrate(sqlx::migrate::MigrateError::VersionMissing(1))
    }

    /// I8 I13: who pays for each fault, and which circuit it opens, as a table.
    #[test]
    fn every_fault_has_its_judgement() {
        use {Backoff as B, Part as P};
        let (doing, cause, blob) = ("test", String::new, String::new());
        let minute = Duration::from_secs(60);
        let id = ChunkId { job_id: 1, chunk_index: 0 };
        let spool = |kind: io::ErrorKind| Fault::Spool(kind.into());
        let released = [
            (Fault::LeaseLost, B::Long, "lease_lost", None),
            (Fault::State(state::Error::LeaseLost(id)), B::Long, "lease_lost", None),
            (Fault::Drained, B::None, "drained", None),
            (Fault::Hindered, B::Short, "deadline_hindered", None),
            (Fault::StoodStill, B::Short, "deadline_hindered", None),
            (Fault::NamesAway, B::Short, "names_away", None),
            (Fault::HostsBusy(minute), B::Exactly(minute), "host_busy", None),
            (Fault::HashesAway(7), B::Short, "hashes_away", None),
            (
                S::Away { doing, cause: cause() }.into(),
                B::Short,
                "storage_unreachable",
                Some(P::Blobs),
            ),
            (
                S::Missing { doing, cause: cause() }.into(),
                B::Short,
                "storage_missing",
                Some(P::Blobs),
            ),
            (
                S::NoContainer { doing, cause: cause() }.into(),
                B::Short,
                "storage_missing",
                Some(P::Blobs),
            ),
            (
                S::Refused { doing, cause: cause() }.into(),
                B::Short,
                "storage_refused",
                Some(P::Blobs),
            ),
            (S::Conflict { doing, cause: cause() }.into(), B::Long, "storage_conflict", None),
            (S::Blocked { doing, blob, cause: cause() }.into(), B::Blob, "storage_blocked", None),
            (S::TooLarge { doing }.into(), B::Blob, "storage_blocked", None),
            (state::Error::Away { doing, source: None }.into(), B::Short, "database_away", None),
            (Fault::State(refused()), B::Short, "database_refused", Some(P::Database)),
            (Fault::State(unstorable()), B::Short, "database_refused", Some(P::Database)),
            (Fault::State(unmigrated()), B::Short, "database_refused", Some(P::Database)),
            (spool(io::ErrorKind::StorageFull), B::Short, "disk_full", Some(P::Temp)),
            (spool(io::ErrorKind::QuotaExceeded), B::Short, "disk_full", Some(P::Temp)),
            (spool(io::ErrorKind::FileTooLarge), B::Short, "disk_full", Some(P::Temp)),
            (spool(io::ErrorKind::PermissionDenied), B::Short, "spool_failed", Some(P::Temp)),
        ];
        for (fault, backoff, code, part) in released {
            let (how, word) = judge(&fault, 5);
            let expected = (GiveUp::Release { backoff }, code);
            assert_eq!((how, word.to_string().as_str()), expected, "{fault}");
            assert_eq!(fault.broken_part(), part, "{fault}");
        }
        let retry = || GiveUp::Retry { max_attempts: 5 };
        let other_content = ListFormat::Text.read([b"[]"], 9).unwrap_err();
        for (fault, how, code) in [
            (Fault::Overran, retry(), "deadline_overrun"),
            (Fault::SourceMissing, retry(), "source_missing"),
            (Fault::Panicked(cause()), retry(), "panic"),
            (Fault::NothingReachable, GiveUp::Fail, "nothing_reachable"),
            (Fault::HashesLost(7, cause()), GiveUp::Fail, "hashes_lost"),
            (Fault::SourceTooLarge, GiveUp::Fail, "source_too_large"),
            (other_content.into(), GiveUp::Fail, "source_unreadable"),
            (Fault::Unreadable(cause()), GiveUp::Fail, "message_unreadable"),
        ] {
            let (judged, word) = judge(&fault, 5);
            assert_eq!((judged, word.to_string().as_str()), (how, code), "{fault}");
            assert_eq!(fault.broken_part(), None, "{fault}");
        }
    }
}
