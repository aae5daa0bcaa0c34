//! Upkeep: what any live process does for the whole fleet, as a list of duties.
//!
//! The background does them every few seconds, the timer every few minutes; each duty fails alone, and
//! each driver reports a failure in its own way.

mod failure_export;
mod keep;
mod poison;

pub(crate) use failure_export::export_failures;

use crate::{
    circuit::Part,
    jobs,
    process::{Error, Process},
    redact::cause_chain,
    spool::{Swept, TempDir},
    stall::WATCH,
    state::{LONGEST_CALL, Reclaimed},
    wake,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::time::Instant;

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
    /// What chunks completed with is added to the sums of their jobs.
    AddUp,
}

impl Duty {
    /// Every duty, in an order in which each prepares the next: reclaimed chunks and those of poison
    /// messages can be woken.
    pub(crate) const ALL: [Self; 6] =
        [Self::Reclaim, Self::Poison, Self::EndJobs, Self::Wake, Self::Keep, Self::AddUp];

    /// Its name in logs and in the report of the health check.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reclaim => "reclaimed",
            Self::Poison => "poison_messages",
            Self::EndJobs => "jobs_ended",
            Self::Wake => "woken",
            Self::Keep => "rows_removed",
            Self::AddUp => "sums_added",
        }
    }
}

/// The duties of this process.
#[derive(Debug)]
pub struct Upkeep {
    process: Arc<Process>,
    /// Processes that died on this machine, and since when that is known.
    dead: Mutex<BTreeMap<String, Instant>>,
    /// Whether the database was there of late.
    reach: Mutex<Reach>,
}

/// Whether the database was there when it was last asked.
///
/// All leases run out while it is away, and all processes hear from it again at the same time. Who
/// reclaimed at once would take chunks from workers that stood still and are about to renew.
#[derive(Debug, Clone, Copy, Default)]
enum Reach {
    #[default]
    Steady,
    Away,
    /// Since then.
    Back(Instant),
}

impl Upkeep {
    /// The upkeep of a process.
    pub fn new(process: Arc<Process>) -> Self {
        Self { process, dead: Mutex::default(), reach: Mutex::default() }
    }

    /// Does one duty; returns how many things it did. One that this process cannot do while it is
    /// degraded is left to the others.
    ///
    /// # Errors
    ///
    /// When database or storage is away or refuses; the next one who does the duty makes up for it.
    pub async fn run(&self, duty: Duty) -> Result<u64, Error> {
        if self.must_leave(duty) {
            return Ok(0);
        }
        let Process { database, storage, owner, circuits, .. } = &*self.process;
        // Boxed: the storage client's futures are large.
        let done = match duty {
            Duty::Reclaim => self.reclaim().await,
            Duty::Poison => Box::pin(poison::drain_poison(&self.process)).await,
            // What keeps a document from being written is not in the way of chunks.
            Duty::EndJobs => {
                let ended = Box::pin(jobs::end_touched_jobs(database, storage)).await;
                self.notice(&ended);
                self.note_reach(duty, &ended);
                return ended;
            }
            Duty::Wake => {
                let sent = Box::pin(wake::top_up_in_turn(database, storage, owner)).await;
                sent.map(|n| u64::try_from(n).unwrap_or(u64::MAX))
            }
            Duty::Keep => Box::pin(keep::remove_in_turn(&self.process)).await,
            // Nobody waits for it: who looks at a job adds up what is left.
            Duty::AddUp => return Ok(database.fold_sums().await?),
        };
        if let Err(Error::Storage(error)) = &done
            && error.concerns_all_blobs()
        {
            circuits.open(Part::Queues, &cause_chain(error));
        }
        self.notice(&done);
        self.note_reach(duty, &done);
        done
    }

    /// Notes whether the database was there. The poison queue may be empty without asking it.
    fn note_reach(&self, duty: Duty, done: &Result<u64, Error>) {
        let mut reach = self.reach.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Err(Error::State(error)) if error.is_away() => *reach = Reach::Away,
            Ok(_) if matches!(*reach, Reach::Away) && duty != Duty::Poison => {
                *reach = Reach::Back(Instant::now());
            }
            _ => {}
        }
    }

    /// Whether workers that stood still have not had the time to renew yet: a renewal that failed is
    /// tried again four times in this.
    fn lets_others_renew(&self) -> bool {
        let reach = *self.reach.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = self.process.settings.lease / 4;
        // This process may have been one of them, or its whole machine.
        let just_woke = WATCH.awake_for().is_some_and(|awake| awake < patience);
        match reach {
            Reach::Steady => just_woke,
            Reach::Away => true,
            Reach::Back(since) => just_woke || since.elapsed() < patience,
        }
    }

    /// A statement that the database refuses concerns more than this duty.
    fn notice(&self, done: &Result<u64, Error>) {
        if let Err(Error::State(error)) = done {
            self.process.will_pass(error);
        }
    }

    /// Jobs of another account or of another schema are not ours to end; who cannot write or send leaves
    /// it to those who can.
    fn must_leave(&self, duty: Duty) -> bool {
        let circuits = &self.process.circuits;
        match duty {
            Duty::Reclaim => false,
            Duty::Poison => circuits.is_foreign() || circuits.is_open(Part::Queues),
            Duty::EndJobs => circuits.is_foreign() || circuits.is_open(Part::Blobs),
            Duty::Keep | Duty::AddUp => circuits.is_foreign(),
            Duty::Wake => circuits.degraded().is_some(),
        }
    }

    async fn reclaim(&self) -> Result<u64, Error> {
        let dead: Vec<(String, Instant)> =
            self.dead().iter().map(|(process, since)| (process.clone(), *since)).collect();
        let mut n = 0;
        for (process, since) in &dead {
            // A statement that the process sent before it died may still hold a chunk, which is then
            // left out, or claim one: it is asked again until none can be under way.
            let is_settled = since.elapsed() > LONGEST_CALL;
            n += self.reclaim_of(Some(process)).await?;
            if is_settled {
                self.dead().remove(process);
            }
        }
        if self.lets_others_renew() {
            // Asked all the same: the answer says that the database is there again.
            self.process.database.obstacle().await?;
            return Ok(n);
        }
        Ok(n + self.reclaim_of(None).await?)
    }

    async fn reclaim_of(&self, dead_process: Option<&str>) -> Result<u64, Error> {
        let Reclaimed { reclaimed, failed } = self.process.database.reclaim(dead_process).await?;
        if reclaimed > 0 {
            tracing::warn!(reclaimed, failed, dead_process, "reclaimed leases that nobody renews");
            self.process.metrics.reclaimed(reclaimed);
        }
        Ok(u64::try_from(reclaimed).unwrap_or(0))
    }

    fn dead(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what dead processes left under this machine's temp root, and notes whose leases are to
    /// be reclaimed.
    pub async fn sweep(&self) {
        let root = self.process.settings.temp_root.clone();
        match tokio::task::spawn_blocking(move || TempDir::sweep(&root)).await {
            Ok(Ok(Swept { directories, bytes, processes })) => {
                let now = Instant::now();
                self.dead().extend(processes.into_iter().map(|process| (process, now)));
                if directories > 0 {
                    tracing::info!(directories, bytes, "swept temp space of dead processes");
                }
            }
            Ok(Err(error)) => tracing::warn!(cause = %error, "temp space cannot be swept"),
            Err(error) => tracing::warn!(cause = %error, "the sweep broke"),
        }
    }
}
