//! Why a chunk's run ended without a manifest, and the one judge of it: who pays, and what the row
//! says.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::{
    chunk::ErrorCode,
    pipeline,
    state::{self, GiveUp},
    storage,
};
use std::io;

/// Why a chunk's run ended without a manifest.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the lease is lost")]
    LeaseLost,
    #[error("a newer claim wrote the shard")]
    Superseded,
    #[error("the process drains")]
    Drained,
    #[error("the chunk overran its deadline")]
    Overran,
    #[error("no URL got any HTTP answer")]
    NothingReachable,
    #[error("the source blob is missing")]
    SourceMissing,
    #[error("the source has more than {} URLs", crate::chunk::MAX_ITEMS)]
    SourceTooLarge,
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
        }
    }
}

/// The one judge of faults: how the chunk is given up, and the word in its row.
///
/// What the infrastructure did is released and costs nothing. What may be the chunk's own fault is
/// charged and tried again, up to `max_attempts`. What no further attempt can change fails it.
pub(super) fn judge(fault: &Fault, max_attempts: i32) -> (GiveUp, ErrorCode) {
    let release = GiveUp::Release { backoff: true };
    let retry = GiveUp::Retry { max_attempts };
    match fault {
        Fault::LeaseLost | Fault::Superseded | Fault::State(state::Error::LeaseLost(_)) => {
            (release, ErrorCode::LeaseLost)
        }
        // No back-off: another process may go on at once.
        Fault::Drained => (GiveUp::Release { backoff: false }, ErrorCode::Drained),
        Fault::Storage(storage::Error::Away { .. }) => (release, ErrorCode::StorageUnreachable),
        Fault::Storage(storage::Error::Conflict { .. }) => (release, ErrorCode::StorageConflict),
        Fault::Storage(storage::Error::Missing { .. }) => (retry, ErrorCode::StorageMissing),
        Fault::Storage(storage::Error::Refused { .. }) => (retry, ErrorCode::StorageRefused),
        Fault::State(state::Error::Away { .. }) => (release, ErrorCode::DatabaseAway),
        Fault::State(
            state::Error::Refused { .. } | state::Error::Unstorable(_) | state::Error::Migrate(_),
        ) => (retry, ErrorCode::DatabaseRefused),
        Fault::Spool(error) if is_disk_full(error) => (release, ErrorCode::DiskFull),
        Fault::Spool(_) => (retry, ErrorCode::SpoolFailed),
        Fault::Overran => (retry, ErrorCode::DeadlineOverrun),
        Fault::SourceMissing => (retry, ErrorCode::SourceMissing),
        Fault::Panicked(_) => (retry, ErrorCode::Panic),
        Fault::NothingReachable => (GiveUp::Fail, ErrorCode::NothingReachable),
        Fault::SourceTooLarge => (GiveUp::Fail, ErrorCode::SourceTooLarge),
        Fault::Unreadable(_) => (GiveUp::Fail, ErrorCode::MessageUnreadable),
    }
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
    use crate::chunk::ChunkId;
    use storage::Error as S;

    fn refused() -> state::Error {
        // A URL that is not one of Postgres is refused without any server.
        let terms = state::LeaseTerms::new(std::time::Duration::from_secs(60));
        state::Database::open("nonsense", terms).unwrap_err()
    }

    fn unstorable() -> state::Error {
        state::Error::Unstorable(sqlx::Error::RowNotFound)
    }

    fn unmigrated() -> state::Error {
        state::Error::Migrate(sqlx::migrate::MigrateError::VersionMissing(1))
    }

    /// I8: who pays for each fault, as a table.
    #[test]
    fn every_fault_has_its_judgement() {
        let (doing, cause) = ("test", String::new);
        let release = Some(true);
        let retry = None;
        let id = ChunkId { job_id: 1, chunk_index: 0 };
        let full = |kind: io::ErrorKind| Fault::Spool(kind.into());
        let table = [
            (Fault::LeaseLost, release, "lease_lost"),
            (Fault::Superseded, release, "lease_lost"),
            (Fault::State(state::Error::LeaseLost(id)), release, "lease_lost"),
            (Fault::Drained, Some(false), "drained"),
            (Fault::Storage(S::Away { doing, cause: cause() }), release, "storage_unreachable"),
            (Fault::Storage(S::Conflict { doing, cause: cause() }), release, "storage_conflict"),
            (Fault::State(state::Error::Away { doing, source: None }), release, "database_away"),
            (full(io::ErrorKind::StorageFull), release, "disk_full"),
            (full(io::ErrorKind::QuotaExceeded), release, "disk_full"),
            (full(io::ErrorKind::FileTooLarge), release, "disk_full"),
            (full(io::ErrorKind::PermissionDenied), retry, "spool_failed"),
            (Fault::Storage(S::Missing { doing }), retry, "storage_missing"),
            (Fault::Storage(S::Refused { doing, cause: cause() }), retry, "storage_refused"),
            (Fault::State(refused()), retry, "database_refused"),
            (Fault::State(unstorable()), retry, "database_refused"),
            (Fault::State(unmigrated()), retry, "database_refused"),
            (Fault::Overran, retry, "deadline_overrun"),
            (Fault::SourceMissing, retry, "source_missing"),
            (Fault::Panicked(cause()), retry, "panic"),
        ];
        for (fault, backoff, code) in table {
            let expected = match backoff {
                Some(backoff) => GiveUp::Release { backoff },
                None => GiveUp::Retry { max_attempts: 5 },
            };
            let (how, word) = judge(&fault, 5);
            assert_eq!((how, word.to_string().as_str()), (expected, code), "{fault}");
        }
        for (fault, code) in [
            (Fault::NothingReachable, "nothing_reachable"),
            (Fault::SourceTooLarge, "source_too_large"),
            (Fault::Unreadable(cause()), "message_unreadable"),
        ] {
            let (how, word) = judge(&fault, 5);
            assert_eq!((how, word.to_string().as_str()), (GiveUp::Fail, code), "{fault}");
        }
    }
}
