//! The limits in force, as the handlers of the fleet announced them, beside those of this machine.

use crate::Session;
use serde::Serialize;

/// What a handler announces of its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Fleet {
    /// The profile.
    pub(super) profile: String,
    /// Chunks that run at once, over all handlers.
    pub(super) max_chunks: i64,
    /// URLs of a chunk that is submitted without a size.
    pub(super) chunk_size: i64,
    /// Temp space of one handler.
    pub(super) temp_storage_mb: i64,
}

impl Session {
    /// What the handlers said; none: nobody has, or the database does not answer, as its checks say.
    pub(super) async fn fleet(&self) -> Option<Fleet> {
        // Without a place of its blobs the row is new, and its limits are nobody's.
        self.database.fleet_storage().await.ok()??;
        let capacity = self.database.capacity().await.ok()?;
        Some(Fleet {
            profile: capacity.environment,
            max_chunks: capacity.max_chunks.into(),
            chunk_size: capacity.chunk_size.into(),
            temp_storage_mb: capacity.storage_limit_mb.into(),
        })
    }

    /// What a handler with these settings would announce.
    pub(super) fn own_limits(&self) -> Fleet {
        let limits = &self.settings.limits;
        Fleet {
            profile: self.settings.profile.to_string(),
            max_chunks: self.settings.fleet_max_chunks.into(),
            chunk_size: limits.chunk_size_images.into(),
            temp_storage_mb: i64::try_from(limits.temp_storage_mb).unwrap_or(i64::MAX),
        }
    }
}

/// A line for each limit. Where this machine has another one, that stands beside it.
pub(super) fn as_text(fleet: Option<&Fleet>, own: &Fleet) -> Vec<String> {
    let Some(fleet) = fleet else {
        return vec!["  not known: no handler has said it, or the database does not answer".into()];
    };
    let line = |what: &str, theirs: String, own: String| {
        let here = if theirs == own { "as here".to_owned() } else { format!("here {own}") };
        format!("  {what}: {theirs} ({here})")
    };
    let of = |number: fn(&Fleet) -> i64, unit: &str| {
        [fleet, own].map(|of| format!("{}{unit}", number(of)))
    };
    let numbers = [
        ("chunks at once", of(|f| f.max_chunks, "")),
        ("URLs of a chunk", of(|f| f.chunk_size, "")),
        ("temp space of a handler", of(|f| f.temp_storage_mb, " MB")),
    ];
    let profile = line("profile", fleet.profile.clone(), own.profile.clone());
    let numbers = numbers.into_iter().map(|(what, [theirs, own])| line(what, theirs, own));
    std::iter::once(profile).chain(numbers).collect()
}
