//! May this chunk start here and now? One chunk permit of this instance, one claim in the database.

use crate::{
    chunk::ChunkMessage,
    process::Process,
    redact::cause_chain,
    spool::Allowance,
    state::{Claim, ClaimAnswer, Error, Refusal, until_answered},
};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

/// How long an invocation waits for a database that is away: the host renews the message meanwhile,
/// and a 503 costs one of its five deliveries (rule H8).
const HOLD: Duration = Duration::from_secs(180);
/// How long an invocation waits for a chunk permit of this instance.
const PERMIT_PATIENCE: Duration = Duration::from_secs(15);

/// One delivery of a message.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The host's id for it: a repeated claim gets the same lease back.
    pub id: String,
    /// When it arrived.
    pub arrived: Instant,
}

impl Invocation {
    /// Asks the database for this invocation while `is_passing` says that its error will pass, for
    /// 180 s, less when the process drains.
    ///
    /// # Errors
    ///
    /// One that does not pass, or the last one when the wait ended.
    pub async fn hold<T, F>(
        &self,
        process: &Process,
        is_passing: impl Fn(&Error) -> bool,
        ask: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let patience = async {
            tokio::select! {
                () = process.shutdown.intake_stopped() => {}
                () = sleep_until(self.arrived + HOLD) => {}
            }
        };
        until_answered(patience, is_passing, ask).await
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
}

/// Decides about one message. Unless the database gave no answer, a valid message's chunk is durable
/// by then.
pub(crate) async fn admit(
    process: &Process,
    message: &ChunkMessage,
    invocation: &Invocation,
) -> Decision {
    let allowance = match process.budget.admit(Duration::ZERO).await {
        Some(allowance) => allowance,
        None => match wait_for_permit(process, message, invocation).await {
            Ok(allowance) => allowance,
            Err(decision) => return decision,
        },
    };
    let ask = || async {
        let asked_at = Instant::now();
        let claim = process.database.claim(message, &process.owner, &invocation.id);
        let span = tracing::info_span!("claim", otel.kind = "client", db.system = "postgresql");
        let answer = claim.instrument(span).await;
        process.metrics.claimed(asked_at.elapsed());
        answer
    };
    match invocation.hold(process, Error::is_environment, ask).await {
        Ok(ClaimAnswer::Granted(claim)) => Decision::Admitted(Admitted { claim, allowance }),
        Ok(ClaimAnswer::Refused(refusal)) => Decision::Deferred(Deferral::Refused(refusal)),
        Ok(ClaimAnswer::Rejected(reason)) => Decision::Rejected(reason.to_owned()),
        Err(error) => without_answer(&error),
    }
}

/// The instance is full: the chunk is made durable first, then waits for a permit.
async fn wait_for_permit(
    process: &Process,
    message: &ChunkMessage,
    invocation: &Invocation,
) -> Result<Allowance, Decision> {
    let database = &process.database;
    let register = || database.register(message);
    let registered = invocation.hold(process, Error::is_environment, register).await;
    match registered.map(|registration| registration.rejection()) {
        Ok(None) => {}
        Ok(Some(reason)) => return Err(Decision::Rejected(reason.to_owned())),
        Err(error) => return Err(without_answer(&error)),
    }
    let allowance = tokio::select! {
        allowance = process.budget.admit(PERMIT_PATIENCE) => allowance,
        () = process.shutdown.intake_stopped() => None,
    };
    if let Some(allowance) = allowance {
        return Ok(allowance);
    }
    // If this fails, the waker sends the next message a minute later.
    let unwake = || database.unwake(message.id());
    let unwake = invocation.hold(process, Error::is_away, unwake).await;
    unwake.unwrap_or_default();
    Err(Decision::Deferred(Deferral::InstanceFull))
}

/// Only an error about the message's own values may end the message.
fn without_answer(error: &Error) -> Decision {
    match error {
        Error::Unstorable(_) => Decision::Rejected(cause_chain(error)),
        Error::Away { .. } | Error::Refused { .. } | Error::Migrate(_) | Error::LeaseLost(_) => {
            Decision::NoAnswer(cause_chain(error))
        }
    }
}
