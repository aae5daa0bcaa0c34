//! Upkeep: what any live process does for the whole fleet, as a list of duties.
//!
//! The background does them every few seconds, the timer (but for the sweep, which is about one
//! machine) every few minutes; each duty fails alone, and each driver reports a failure in its own
//! way.

mod failure_export;
mod keep;
mod poison;

pub(crate) use failure_export::export_failures;

use crate::{
    jobs,
    process::{Error, Process},
    spool::{Swept, TempDir},
    state::Reclaimed,
    wake,
};
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;

/// One thing that is to be done again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Chunks whose lease ran out become pending again.
    Reclaim,
    /// What the host gave up on is recorded or made durable.
    Poison,
    /// Jobs whose chunks are all over get their documents and end.
    EndJobs,
    /// The queue is topped up with messages for chunks that could start.
    Wake,
    /// What is older than the settings keep goes.
    Keep,
    /// Temp space that dead processes left on this machine goes, when an operator asked for it.
    Sweep,
}

impl Duty {
    /// Every duty, in an order in which each prepares the next: reclaimed chunks and those of poison
    /// messages can be woken.
    pub(crate) const ALL: [Self; 6] =
        [Self::Reclaim, Self::Poison, Self::EndJobs, Self::Wake, Self::Keep, Self::Sweep];

    /// Its name in logs and in the report of the health check.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reclaim => "reclaimed",
            Self::Poison => "poison_messages",
            Self::EndJobs => "jobs_ended",
            Self::Wake => "woken",
            Self::Keep => "rows_removed",
            Self::Sweep => "swept",
        }
    }
}

/// The duties of this process.
#[derive(Debug)]
pub struct Upkeep {
    process: Arc<Process>,
    /// The last request for a sweep that was followed.
    swept_for: Mutex<Option<OffsetDateTime>>,
}

impl Upkeep {
    /// The upkeep of a process.
    pub fn new(process: Arc<Process>) -> Self {
        Self { process, swept_for: Mutex::default() }
    }

    /// Does one duty; returns how many things it did.
    ///
    /// # Errors
    ///
    /// When database or storage is away or refuses; the next one who does the duty makes up for it.
    pub async fn run(&self, duty: Duty) -> Result<u64, Error> {
        let Process { database, storage, owner, .. } = &*self.process;
        // Boxed: the storage client's futures are large.
        match duty {
            Duty::Reclaim => self.reclaim().await,
            Duty::Poison => Box::pin(poison::drain_poison(&self.process)).await,
            Duty::EndJobs => Box::pin(jobs::end_jobs(database, storage, None)).await,
            Duty::Wake => {
                let sent = Box::pin(wake::top_up_in_turn(database, storage, owner)).await?;
                Ok(u64::try_from(sent).unwrap_or(u64::MAX))
            }
            Duty::Keep => keep::remove_in_turn(&self.process).await,
            Duty::Sweep => self.sweep_if_asked().await,
        }
    }

    async fn reclaim(&self) -> Result<u64, Error> {
        let Reclaimed { reclaimed, failed } = self.process.database.reclaim().await?;
        if reclaimed > 0 {
            tracing::warn!(reclaimed, failed, "reclaimed expired leases");
            self.process.metrics.reclaimed(reclaimed);
        }
        Ok(u64::try_from(reclaimed).unwrap_or(0))
    }

    async fn sweep_if_asked(&self) -> Result<u64, Error> {
        let asked = self.process.database.sweep_asked_at().await?;
        let swept_for = || self.swept_for.lock().unwrap_or_else(PoisonError::into_inner);
        if asked <= *swept_for() {
            return Ok(0);
        }
        let n = sweep(&self.process).await;
        *swept_for() = asked;
        Ok(n)
    }
}

/// Removes what dead processes left under this machine's temp root; returns how many directories.
pub async fn sweep(process: &Process) -> u64 {
    let root = process.settings.temp_root.clone();
    match tokio::task::spawn_blocking(move || TempDir::sweep(&root)).await {
        Ok(Ok(Swept { directories: directories @ 1.., bytes })) => {
            tracing::info!(directories, bytes, "swept temp space of dead processes");
            return directories;
        }
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(cause = %error, "temp space cannot be swept"),
        Err(error) => tracing::warn!(cause = %error, "the sweep broke"),
    }
    0
}
