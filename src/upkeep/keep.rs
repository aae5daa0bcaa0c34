//! Retention: what is older than the settings keep goes, in small batches; what jobs add up to is kept.

use crate::{
    process::{Error, Process},
    state::Kept,
};
use std::time::Duration;
use tokio::time::Instant;

/// What is not removed within it waits for the next minute: reclaiming and waking come first.
const LIMIT: Duration = Duration::from_secs(2);

/// Removes what is old, unless a process did so within the minute; returns how many rows went.
///
/// # Errors
///
/// When the database is away or refuses; what was removed stays removed.
pub(super) async fn remove_in_turn(process: &Process) -> Result<u64, Error> {
    let Process { database, owner, settings, .. } = process;
    let keep = settings.keep;
    let mut left: Vec<(Kept, i32)> = [
        (Kept::Hashes, keep.hashes_days),
        (Kept::Attempts, keep.history_days),
        (Kept::HealthRows, keep.history_days),
        (Kept::Rejected, keep.rejected_days),
        (Kept::Jobs, keep.jobs_days),
    ]
    .into();
    left.retain(|(_, days)| *days > 0);
    let mut n = 0;
    if !database.take_removal(owner).await? {
        return Ok(n);
    }
    let until = Instant::now() + LIMIT;
    // Nearly all were counted by who ended them.
    while Instant::now() < until && database.keep_sums(None).await?.is_some() {}
    let until = Instant::now() + LIMIT;
    // A batch of each in turn: much of one kind must not hold up the others.
    while !left.is_empty() && Instant::now() < until {
        let mut further = Vec::new();
        for (what, days) in left {
            if let Some(rows) = database.remove(what, days).await? {
                n += u64::try_from(rows).unwrap_or(0);
                further.push((what, days));
            }
        }
        left = further;
    }
    Ok(n)
}
