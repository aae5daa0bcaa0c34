//! May this chunk start here and now? One chunk permit of this instance, one claim in the database.

use crate::{
    chunk::{ChunkMessage, ClaimToken},
    process::Process,
    redact::cause_chain,
    spool::Allowance,
    state::{Claim, ClaimAnswer, Error, Refusal, until_answered},
};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument as _;

/// How long an invocation waits for a database that is away: the host renews the message meanwhile,
/// and a 503 costs one of its five deliveries (rule H8).
const HOLD: Duration = Duration::from_secs(180);
/// How long an invocation waits for a chunk permit of this instance, or for its environment.
const PERMIT_PATIENCE: Duration = Duration::from_secs(15);

/// One delivery of a message.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The host's id for it.
    pub id: String,
    /// What it claims with: asked again, it gets the same lease back.
    pub token: ClaimToken,
    /// When it arrived.
    pub arrived: Instant,
}

impl Invocation {
    /// Asks the database for this invocation while its error [will pass](Process::will_pass), for 180 s,
    /// less when the process drains.
    ///
    /// # Errors
    ///
    /// One that does not pass, or the last one when the wait ended.
    pub async fn hold<T, F>(&self, process: &Process, ask: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let patience = async {
            tokio::select! {
                () = process.shutdown.intake_stopped() => {}
                () = sleep_until(self.arrived + HOLD) => {}
            }
        };
        until_answered(patience, |error| process.will_pass(error), ask).await
    }
}

/// A chunk that may run here; dropping it frees the budget.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Slot, lease and what to do.
    pub claim: Box<Claim>,
    /// The chunk's part of the budget.
    pub allowance: Allowance,
}

/// What admission decided.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It runs.
    Admitted(Admitted),
    /// It does not run now, or never again; it is durable and will be woken if it is not over.
    Deferred(Deferral),
    /// The message can never work.
    Rejected(String),
    /// The database stayed away, or went on refusing: its last error.
    NoAnswer(String),
}

/// Why a chunk does not run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deferral {
    /// The database said so.
    Refused(Refusal),
    /// Every chunk permit of this instance is taken.
    InstanceFull,
    /// A circuit of this process is open.
    Degraded,
}

/// Decides about one message. Unless the database gave no answer, a valid message's chunk is durable
/// by then.
///
/// A message that is held keeps no chunk permit: a database that refuses some chunks must not keep
/// this instance from running the others.
pub(crate) async fn admit(
    process: &Process,
    message: &ChunkMessage,
    invocation: &Invocation,
) -> Decision {
    let decide = || decide(process, message, invocation);
    match invocation.hold(process, decide).await {
        Ok(decision) => decision,
        Err(error @ Error::Unstorable(_)) => Decision::Rejected(cause_chain(&error)),
        Err(error) => Decision::NoAnswer(cause_chain(&error)),
    }
}

/// One attempt at a decision.
async fn decide(
    process: &Process,
    message: &ChunkMessage,
    invocation: &Invocation,
) -> Result<Decision, Error> {
    let allowance = match process.budget.admit(Duration::ZERO).await {
        Some(allowance) if process.circuits.degraded().is_none() => allowance,
        // What may have to wait is made durable first.
        taken => {
            drop(taken);
            refuse_foreign(process)?;
            let registration = process.database.register(message).await?;
            if let Some(reason) = registration.rejection() {
                return Ok(Decision::Rejected(reason.to_owned()));
            }
            match wait_for_permit(process).await {
                Ok(allowance) => allowance,
                Err(deferral) => {
                    process.database.unwake(message.id()).await?;
                    return Ok(Decision::Deferred(deferral));
                }
            }
        }
    };
    let asked_at = Instant::now();
    let claim = process.database.claim(message, &process.owner, &invocation.id, &invocation.token);
    let span = tracing::info_span!("claim", otel.kind = "client", db.system = "postgresql");
    let answer = claim.instrument(span).await;
    process.metrics.claimed(asked_at.elapsed());
    let answer = answer?;
    let decision = match answer {
        ClaimAnswer::Granted(claim) => Decision::Admitted(Admitted { claim, allowance }),
        ClaimAnswer::Refused(refusal) => Decision::Deferred(Deferral::Refused(refusal)),
        ClaimAnswer::Rejected(reason) => Decision::Rejected(reason.to_owned()),
    };
    Ok(decision)
}

/// A message of another fleet is not registered in this database, nor deleted: it is held, and
/// delivered again.
fn refuse_foreign(process: &Process) -> Result<(), Error> {
    match process.circuits.degraded() {
        Some(degraded) if process.circuits.is_foreign() => Err(Error::Degraded(degraded)),
        Some(_) | None => Ok(()),
    }
}

/// Waits for an environment that works, and for a permit.
async fn wait_for_permit(process: &Process) -> Result<Allowance, Deferral> {
    let ready = async {
        process.circuits.all_closed().await;
        process.budget.admit(PERMIT_PATIENCE).await
    };
    let allowance = tokio::select! {
        ready = timeout(PERMIT_PATIENCE, ready) => ready.ok().flatten(),
        () = process.shutdown.intake_stopped() => None,
    };
    allowance.ok_or_else(|| match process.circuits.degraded() {
        Some(_) => Deferral::Degraded,
        None => Deferral::InstanceFull,
    })
}
