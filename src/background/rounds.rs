//! The rounds of a process: schema and containers first, then the duties, every few seconds.

use crate::{
    circuit::Part,
    process::{Error, Process},
    redact::cause_chain,
    state,
    upkeep::{Duty, Upkeep},
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{sleep, timeout};

/// Between two rounds.
pub(super) const UPKEEP_PERIOD: Duration = Duration::from_secs(5);
/// Between two rounds while schema or containers are not there yet.
pub(super) const PREPARING_PERIOD: Duration = Duration::from_millis(500);

/// The longest time that one duty takes from the others.
const DUTY_LIMIT: Duration = Duration::from_secs(20);

/// What the rounds remember. Each thing that fails holds up only what needs it.
pub(super) struct Rounds<'a> {
    process: &'a Process,
    upkeep: &'a Upkeep,
    is_schema_ready: bool,
    are_containers_ready: bool,
    /// What failed last time, by name: a failure is logged once.
    failing: BTreeSet<&'static str>,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(process: &'a Process, upkeep: &'a Upkeep) -> Self {
        Self {
            process,
            upkeep,
            is_schema_ready: false,
            are_containers_ready: false,
            failing: BTreeSet::new(),
        }
    }

    /// Does round after round until intake stops: a draining process wakes nobody.
    pub(super) async fn run(mut self) {
        // First: leases of a process that died here are reclaimed in the first round.
        self.upkeep.sweep().await;
        let mut is_ready = false;
        while !self.process.shutdown.is_intake_stopped() {
            self.round().await;
            let has_started = !self.process.circuits.is_open(Part::Start);
            let is_prepared = self.is_schema_ready && self.are_containers_ready && has_started;
            if is_prepared && !is_ready {
                is_ready = true;
                tracing::info!("ready");
            }
            tokio::select! {
                () = self.process.shutdown.intake_stopped() => {}
                () = sleep(if is_prepared { UPKEEP_PERIOD } else { PREPARING_PERIOD }) => {}
            }
        }
    }

    async fn round(&mut self) {
        self.process.budget.recount_others();
        self.prepare().await;
        // Without a schema there is nothing to do, and every duty would say so.
        if !self.is_schema_ready {
            return;
        }
        for duty in Duty::ALL {
            if self.process.shutdown.is_intake_stopped() {
                return;
            }
            let done = timeout(DUTY_LIMIT, self.upkeep.run(duty)).await;
            match done {
                Ok(done) => self.note(duty.name(), done.map(drop)),
                Err(_) => tracing::debug!(duty = duty.name(), "no time left, goes on next time"),
            }
        }
    }

    /// Schema and containers, once each.
    async fn prepare(&mut self) {
        let Process { database, storage, circuits, .. } = self.process;
        if !self.is_schema_ready {
            let prepared = database.prepare().await;
            match &prepared {
                Err(error @ state::Error::Migrate(_)) => {
                    circuits.open(Part::Release, &cause_chain(error));
                }
                Err(error @ state::Error::TransactionPooler) => {
                    circuits.open(Part::Pooler, &cause_chain(error));
                }
                Ok(()) | Err(_) => {}
            }
            self.is_schema_ready = prepared.is_ok();
            let is_away = prepared.as_ref().is_err_and(state::Error::is_away);
            // The pool has one word for every login that does not come about.
            if is_away
                && !self.failing.contains("migration")
                && let Err(hindrance) = database.try_login().await
            {
                tracing::warn!(%hindrance, "no login to the database; `chunkctl doctor` says what to do");
            }
            self.note("migration", prepared.map_err(Error::from));
        }
        if self.is_schema_ready && !self.are_containers_ready {
            let created = Box::pin(storage.create_containers_and_queues()).await;
            self.are_containers_ready = created.is_ok();
            self.note("containers and queues", created.map_err(Error::from));
        }
    }

    /// Logs a failure once, until what failed works again.
    fn note(&mut self, what: &'static str, result: Result<(), Error>) {
        match result {
            Ok(()) => {
                self.failing.remove(what);
            }
            Err(error) if self.failing.insert(what) => {
                tracing::warn!(what, cause = cause_chain(&error), "failed, trying again");
            }
            Err(_) => {}
        }
    }
}
