//! One chunk from its message to a terminal state: admission, work against lease, deadline and
//! drain, then completion or giving up. The only place that picks a [`Disposition`].
#![deny(clippy::wildcard_enum_match_arm)]

mod fault;
mod work;

use crate::{
    admission::{self, Admitted, Decision, Deferral, Invocation},
    chunk::{ChunkId, ChunkMessage, ClaimToken, Completion, Manifest},
    jobs,
    pipeline::Stages,
    process::Process,
    redact::cause_chain,
    settings::MIB,
    stall::Deadline,
    state::{self, GivenUp, Keeper, Lease, Refusal, WhyGivenUp},
    telemetry, wake,
};
use fault::{Fault, judge};
use futures_util::FutureExt as _;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

/// What runs chunks.
#[derive(Debug)]
pub struct Runner {
    process: Arc<Process>,
    stages: Arc<Stages>,
    keeper: Arc<Keeper>,
    /// Hashes of other jobs that this process reads back.
    returning: jobs::Returning,
}

/// What the host should do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Delete it: the chunk is over, or will be woken when it can run. A line for people.
    Delete(String),
    /// Delete it once it is recorded with this reason: it can never work.
    Record(String),
    /// Deliver it again: the database gave no answer, for this reason.
    Redeliver(String),
}

/// So long after the work must be over the database is asked to complete or give up a chunk. With the
/// next wake-up that leaves 65 s of the 120 s before the host's patience ends.
const LAST_CALL: Duration = Duration::from_secs(45);
/// The manifest of a cancelled chunk is removed within this.
const WITHDRAW_LIMIT: Duration = Duration::from_secs(5);
/// The next wake-up and the job's end, before the answer.
const AFTER_LIMIT: Duration = Duration::from_secs(10);

impl Runner {
    /// A runner whose leases `keeper` renews.
    pub fn new(process: Arc<Process>, stages: Stages, keeper: Arc<Keeper>) -> Self {
        Self { process, stages: Arc::new(stages), keeper, returning: jobs::Returning::default() }
    }

    /// Runs the chunk of a message, if it may run here and now.
    pub async fn run(&self, message: &ChunkMessage, invocation: &Invocation) -> Disposition {
        match admission::admit(&self.process, message, invocation).await {
            Decision::Admitted(admitted) => Box::pin(self.run_admitted(admitted, invocation)).await,
            Decision::Deferred(deferral) => {
                self.let_first(deferral).await;
                deferred(message.id(), deferral)
            }
            Decision::Rejected(reason) => Disposition::Record(reason),
            Decision::NoAnswer(cause) => Disposition::Redeliver(cause),
        }
    }

    /// The chunk that another one lets go first is woken at once.
    async fn let_first(&self, deferral: Deferral) {
        if deferral == Deferral::Refused(Refusal::Outranked) {
            let Process { database, storage, .. } = &*self.process;
            if let Err(error) = Box::pin(wake::send_to_first(database, storage)).await {
                tracing::debug!(cause = cause_chain(&error), "left to the upkeep");
            }
        }
    }

    async fn run_admitted(&self, admitted: Admitted, invocation: &Invocation) -> Disposition {
        let Admitted { claim, allowance } = admitted;
        let process = &self.process;
        let id = claim.lease.id;
        claim.lease.progress().holds(allowance.temp_held());
        let kept = self.keeper.keep(&claim.lease);
        let started = Instant::now();
        telemetry::chunk_started(&claim, process.budget.temp_used_bytes() / MIB);
        process.metrics.started();
        let length = process.settings.chunk_deadline;
        let limit = process.settings.function_timeout.work_limit();
        let over = limit.and_then(|limit| invocation.arrived.checked_add(limit));
        // Where the host sets no limit, standstills move the end by as much again at most.
        let deadline = Deadline::after(length, over.unwrap_or(started + length * 2));
        let work = AssertUnwindSafe(self.work(&claim, &allowance, deadline)).catch_unwind();
        let result = tokio::select! {
            // First: a deadline that comes while the chunk stands still is not the chunk's fault.
            biased;
            result = claim.lease.while_trusted(work, deadline) => match result {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(Fault::Panicked(panic_text(panic.as_ref()))),
                Err(not_held) => Err(not_held.into()),
            },
            () = process.shutdown.drain_over() => Err(Fault::Drained),
            () = deadline.passed() => Err(match claim.lease.is_hindered() || deadline.is_cut() {
                true => Fault::Hindered,
                false => Fault::Overran,
            }),
        };
        let temp_peak = allowance.temp_peak_bytes();
        let until = over.unwrap_or_else(|| deadline.at()) + LAST_CALL;
        let summary = match result {
            Ok(manifest) => self.complete(claim.lease, &manifest, started, until).await,
            Err(fault) => self.give_up(claim.lease, fault, temp_peak, until).await,
        };
        // The slot was freed first, the chunk permit only now. The other way round this instance
        // could claim its next chunk while the fleet still counts this one, and be refused as full.
        drop((allowance, kept));
        self.wake_next(id).await;
        Disposition::Delete(summary)
    }

    /// Completes the row; returns a line for people.
    async fn complete(
        &self,
        lease: Lease,
        manifest: &Manifest,
        started: Instant,
        until: Instant,
    ) -> String {
        let (id, token) = (lease.id, lease.token.clone());
        let completion = Completion::from_manifest(manifest);
        let totals = &completion.totals;
        let complete = self
            .process
            .database
            .complete(lease, &completion, until, |error| self.process.will_pass(error));
        let span = tracing::info_span!("complete", otel.kind = "client", db.system = "postgresql");
        match complete.instrument(span).await {
            Ok(()) => {
                tracing::info!(
                    images_downloaded = totals.images_downloaded,
                    images_valid = totals.images_valid,
                    duration_sec = started.elapsed().as_secs_f64(),
                    "Chunk completed"
                );
                self.process.metrics.completed(totals, started.elapsed());
                let (valid, total) = (totals.images_valid, totals.images_total);
                format!("chunk {id}: completed, {valid} of {total} images valid")
            }
            Err(error) => {
                let cause = cause_chain(&error);
                tracing::warn!(cause, "the row was not completed, left to be reclaimed");
                self.withdraw_if_lost(id, &token, &error).await;
                format!("chunk {id}: {cause}")
            }
        }
    }

    /// A claim that was cancelled leaves no manifest: its presence would say that the chunk is
    /// complete. If it stays, what counts is what dataset.json lists.
    async fn withdraw_if_lost(&self, id: ChunkId, token: &ClaimToken, error: &state::Error) {
        if matches!(error, state::Error::LeaseLost(_)) {
            let Process { database, storage, .. } = &*self.process;
            let withdraw = Box::pin(jobs::withdraw_manifest(database, storage, id, token));
            let _in_vain = timeout(WITHDRAW_LIMIT, withdraw).await;
        }
    }

    /// Gives the chunk up as its fault is judged; returns a line for people.
    async fn give_up(&self, lease: Lease, fault: Fault, temp_peak: u64, until: Instant) -> String {
        let (id, token) = (lease.id, lease.token.clone());
        let (how, code) = judge(&fault, self.process.settings.max_attempts);
        let cause = cause_chain(&fault);
        if let Some(part) = fault.broken_part() {
            self.process.circuits.open(part, &cause);
        }
        let why = WhyGivenUp { how, code, message: &cause, temp_peak_bytes: temp_peak };
        let given_up = self
            .process
            .database
            .give_up(lease, &why, until, |error| self.process.will_pass(error));
        let given_up = given_up.await;
        if let Ok(GivenUp::Released | GivenUp::Retried) = given_up {
            self.process.metrics.released();
        }
        if let Err(error) = &given_up {
            self.withdraw_if_lost(id, &token, error).await;
        }
        let outcome = match given_up {
            Ok(GivenUp::Released) => "released",
            Ok(GivenUp::Retried) => "will be retried",
            Ok(GivenUp::Failed) => "failed",
            Err(_) => "left to be reclaimed",
        };
        // What a library panicked with may quote what it worked on. It is in the row and in the line
        // "Panicked", which are not exported.
        let is_panic = matches!(fault, Fault::Panicked(_));
        let told = if is_panic { "the line of the panic says with what" } else { cause.as_str() };
        // A wait is no failure.
        if !matches!(fault, Fault::HostsBusy(_) | Fault::HashesAway(_)) {
            telemetry::exception(&code.to_string(), told);
        }
        tracing::warn!(%code, cause = told, outcome, "Chunk not completed");
        format!("chunk {id}: {outcome} ({code}: {told})")
    }

    /// The end of a chunk wakes exactly one other, and ends its job if it was the last one.
    async fn wake_next(&self, id: ChunkId) {
        let Process { database, storage, shutdown, .. } = &*self.process;
        if shutdown.is_intake_stopped() {
            return;
        }
        let after = async {
            wake::send(database, storage, 1).await?;
            jobs::end_if_over(database, storage, id.job_id).await
        };
        // What does not happen here the upkeep does within seconds.
        match timeout(AFTER_LIMIT, after).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(cause = cause_chain(&error), "left to the upkeep"),
            Err(_) => tracing::debug!("no time left, left to the upkeep"),
        }
    }
}

fn deferred(id: ChunkId, deferral: Deferral) -> Disposition {
    Disposition::Delete(format!("chunk {id}: {}", explain(deferral)))
}

fn explain(deferral: Deferral) -> &'static str {
    match deferral {
        Deferral::InstanceFull => "this instance is full, the chunk waits",
        Deferral::Degraded => "this process cannot work now, the chunk waits",
        Deferral::Refused(Refusal::Completed) => "completed already",
        Deferral::Refused(Refusal::Failed) => "failed already",
        Deferral::Refused(Refusal::WorkerLost) => "failed: too many of its workers died in a row",
        Deferral::Refused(Refusal::Cancelled) => "cancelled",
        Deferral::Refused(Refusal::Running) => "running already",
        Deferral::Refused(Refusal::Later) => "not due yet, the chunk waits",
        Deferral::Refused(Refusal::Full) => "all slots are taken, the chunk waits",
        Deferral::Refused(Refusal::Outranked) => "chunks of a higher priority go first",
        Deferral::Refused(Refusal::Paused) => "intake is paused, the chunk waits",
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every deferral keeps the chunk and deletes the message: an error would burn a delivery.
    #[test]
    fn a_deferred_chunk_costs_no_delivery() {
        let id = ChunkId { job_id: 7, chunk_index: 3 };
        let full = deferred(id, Deferral::InstanceFull);
        let expected = "chunk 7/3: this instance is full, the chunk waits";
        assert_eq!(full, Disposition::Delete(expected.into()));
        let paused = deferred(id, Deferral::Refused(Refusal::Paused));
        let expected = "chunk 7/3: intake is paused, the chunk waits";
        assert_eq!(paused, Disposition::Delete(expected.into()));
    }

    #[test]
    fn a_panic_is_shown_whatever_it_was_raised_with() {
        let text = |panic: Box<dyn std::any::Any + Send>| panic_text(panic.as_ref());
        assert_eq!(text(Box::new("static")), "static");
        assert_eq!(text(Box::new(format!("made {}", "here"))), "made here");
        assert_eq!(text(Box::new(7)), "");
    }
}
