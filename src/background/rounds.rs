//! The rounds of a process: schema and containers first, then check-in and duties, every few seconds.

use crate::{
    circuit::Part,
    process::{Error, Process},
    redact::cause_chain,
    state::{self, CheckIn, Database},
    upkeep::{Duty, Upkeep},
};
use std::{collections::BTreeSet, time::Duration};
use time::OffsetDateTime;
use tokio::time::sleep;

/// Between two rounds.
pub(super) const UPKEEP_PERIOD: Duration = Duration::from_secs(5);
/// Between two rounds while schema or containers are not there yet.
const PREPARING_PERIOD: Duration = Duration::from_millis(500);

/// What the rounds remember. Each thing that fails holds up only what needs it.
pub(super) struct Rounds<'a> {
    process: &'a Process,
    upkeep: &'a Upkeep,
    is_schema_ready: bool,
    are_containers_ready: bool,
    is_announced: bool,
    /// The last request for a sweep that was followed.
    swept_for: Option<OffsetDateTime>,
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
            is_announced: false,
            swept_for: None,
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
            let is_prepared =
                self.is_schema_ready && self.are_containers_ready && self.is_announced;
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
        let checked_in = self.check_in().await;
        self.note("check-in", checked_in.map_err(Error::from));
        // Without a schema there is nothing to do, and every duty would say so.
        if !self.is_schema_ready {
            return;
        }
        for duty in Duty::ALL {
            if self.process.shutdown.is_intake_stopped() {
                return;
            }
            let done = self.upkeep.run(duty).await;
            self.note(duty.name(), done.map(drop));
        }
    }

    /// Schema and containers, once each.
    async fn prepare(&mut self) {
        let Process { database, storage, circuits, .. } = self.process;
        if !self.is_schema_ready {
            let prepared = database.prepare().await;
            if let Err(error @ (state::Error::Migrate(_) | state::Error::TransactionPooler)) =
                &prepared
            {
                circuits.open(Part::Release, &cause_chain(error));
            }
            self.is_schema_ready = prepared.is_ok();
            self.note("migration", prepared.map_err(Error::from));
        }
        if !self.are_containers_ready {
            let created = Box::pin(storage.create_containers_and_queues()).await;
            self.are_containers_ready = created.is_ok();
            self.note("containers and queues", created.map_err(Error::from));
        }
    }

    /// Tells the fleet of this process, and compares what it says with what this process is.
    async fn check_in(&mut self) -> Result<(), state::Error> {
        if !self.is_schema_ready {
            return Ok(());
        }
        let Process { database, settings, owner, circuits, started, .. } = self.process;
        let degraded = circuits.degraded();
        let fleet = database.check_in(owner, started.elapsed(), degraded.as_deref()).await?;
        self.compare(&fleet);
        // A row that nobody announced is new: its schema was made again under living processes.
        if !circuits.is_open(Part::Account) && (!self.is_announced || !fleet.is_announced) {
            database.announce(settings, started.elapsed()).await?;
            self.is_announced = true;
        }
        if fleet.sweep_asked_at > self.swept_for {
            self.upkeep.sweep().await;
            self.swept_for = fleet.sweep_asked_at;
        }
        Ok(())
    }

    fn compare(&self, fleet: &CheckIn) {
        let Process { settings, circuits, .. } = self.process;
        let known = Database::known_schema_version();
        if i64::from(fleet.min_handler) > known {
            let needed = fleet.min_handler;
            let cause = format!(
                "the schema needs a release that knows migration {needed}, this one knows {known}"
            );
            circuits.explain(Part::Release, &cause);
        } else {
            circuits.close(Part::Release);
        }
        let own = settings.storage.account();
        match &fleet.storage {
            Some(other) if *other != own => {
                let cause = format!("the database belongs to account {other}, this is {own}");
                circuits.explain(Part::Account, &cause);
            }
            Some(_) | None => circuits.close(Part::Account),
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
