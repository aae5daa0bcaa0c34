//! May this chunk start here and now? One budget reservation, one claim.

use crate::{
    chunk::ChunkMessage,
    spool::{Allowance, Budget},
    state::{Answer, Claim, Database, Error, Refusal},
    telemetry::{Metrics, cause_chain},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// The host renews a held message; a 503 burns a delivery (rule H8).
const HOLD: Duration = Duration::from_secs(180);
/// Between two questions to a database that is away.
const HOLD_PAUSE: Duration = Duration::from_millis(500);
/// How long an invocation waits for a place in this instance (`reliability`, section 3).
const LOCAL_PATIENCE: Duration = Duration::from_secs(15);

/// A chunk that may run here; dropping it frees the budget.
#[derive(Debug)]
pub struct Admitted {
    /// Slot, lease and what to do.
    pub claim: Claim,
    /// The chunk's part of the budget.
    pub allowance: Allowance,
}

/// What admission decided.
#[derive(Debug)]
pub enum Decision {
    /// It runs.
    Admitted(Admitted),
    /// It does not run now, or never again; it is durable and will be woken if it is not over.
    Deferred(Deferral),
    /// The message can never work.
    Rejected(String),
    /// The database stayed away.
    DatabaseAway,
}

/// Why a chunk does not run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deferral {
    /// The database said so.
    Refused(Refusal),
    /// This instance is full.
    InstanceFull,
}

/// How a question to the database ended.
#[derive(Debug)]
pub enum Held<T> {
    /// With an answer.
    Answered(T),
    /// It refused the statement.
    Refused(Error),
    /// It stayed away, or the process drains.
    Away,
}

/// Asks the database until it answers, for at most 180 s from `since`, less when the process
/// drains.
pub async fn hold<T, F>(
    since: Instant,
    drain: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Held<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut noted = false;
    loop {
        match ask().await {
            Ok(answer) => return Held::Answered(answer),
            Err(error @ Error::Away { .. }) => {
                if !noted {
                    let cause = cause_chain(&error);
                    tracing::warn!(cause, "database away, holding the invocation");
                    noted = true;
                }
            }
            Err(error @ (Error::Refused { .. } | Error::LeaseLost(_) | Error::Migrate(_))) => {
                return Held::Refused(error);
            }
        }
        if since.elapsed() + HOLD_PAUSE > HOLD {
            return Held::Away;
        }
        tokio::select! {
            () = drain.cancelled() => return Held::Away,
            () = tokio::time::sleep(HOLD_PAUSE) => {}
        }
    }
}

/// Who asks for admission.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The process.
    pub owner: &'a str,
    /// The invocation: a repeated claim gets the same lease back.
    pub invocation: &'a str,
    /// When the invocation arrived.
    pub arrived: Instant,
    /// Ends holds and waits.
    pub drain: &'a CancellationToken,
    /// Told how long claims take.
    pub metrics: &'a Metrics,
}

/// Decides about one message. Whatever the answer, a valid message's chunk is durable by then.
pub async fn admit(
    database: &Database,
    budget: &Arc<Budget>,
    message: &ChunkMessage,
    asker: Asker<'_>,
) -> Decision {
    let allowance = match budget.admit(Duration::ZERO).await {
        Some(allowance) => allowance,
        None => match wait_for_place(database, budget, message, asker).await {
            Ok(allowance) => allowance,
            Err(decision) => return decision,
        },
    };
    let ask = || async {
        let asked_at = Instant::now();
        let claim = database.claim(message, asker.owner, asker.invocation);
        let span = tracing::info_span!("claim", otel.kind = "client", db.system = "postgresql");
        let answer = claim.instrument(span).await;
        asker.metrics.claimed(asked_at.elapsed());
        answer
    };
    match hold(asker.arrived, asker.drain, ask).await {
        Held::Answered(Answer::Claimed(claim)) => Decision::Admitted(Admitted { claim, allowance }),
        Held::Answered(Answer::Refused(refusal)) => Decision::Deferred(Deferral::Refused(refusal)),
        Held::Answered(Answer::Rejected(reason)) => Decision::Rejected(reason.to_owned()),
        Held::Refused(error) => Decision::Rejected(cause_chain(&error)),
        Held::Away => Decision::DatabaseAway,
    }
}

/// The instance is full: the chunk is made durable first, then waits for a place.
async fn wait_for_place(
    database: &Database,
    budget: &Arc<Budget>,
    message: &ChunkMessage,
    asker: Asker<'_>,
) -> Result<Allowance, Decision> {
    register(database, message, asker).await?;
    let allowance = tokio::select! {
        allowance = budget.admit(LOCAL_PATIENCE) => allowance,
        () = asker.drain.cancelled() => None,
    };
    match allowance {
        Some(allowance) => Ok(allowance),
        None => {
            let ask = || database.unwake(message.id());
            match hold(asker.arrived, asker.drain, ask).await {
                // Not told so, the waker sends the next message a minute later.
                Held::Answered(_) | Held::Refused(_) | Held::Away => {
                    Err(Decision::Deferred(Deferral::InstanceFull))
                }
            }
        }
    }
}

/// Makes the chunk durable; a chunk nobody can do is refused.
async fn register(
    database: &Database,
    message: &ChunkMessage,
    asker: Asker<'_>,
) -> Result<(), Decision> {
    match hold(asker.arrived, asker.drain, || database.register(message)).await {
        Held::Answered(registered) => registered
            .rejection()
            .map_or(Ok(()), |reason| Err(Decision::Rejected(reason.to_owned()))),
        Held::Refused(error) => Err(Decision::Rejected(cause_chain(&error))),
        Held::Away => Err(Decision::DatabaseAway),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Error {
        Error::Away { doing: "test", source: None }
    }

    /// H8: a database that stays away is asked for 180 s, then the host may deliver again.
    #[tokio::test(start_paused = true)]
    async fn a_hold_ends_after_three_minutes() {
        let drain = CancellationToken::new();
        let (since, mut asked) = (Instant::now(), 0);
        let ask = || {
            asked += 1;
            async { Err::<(), _>(away()) }
        };
        assert!(matches!(hold(since, &drain, ask).await, Held::Away));
        assert!((179..=180).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
        assert!(asked > 100, "asked {asked} times");
    }

    /// H2 H8: a drain ends a hold before its time.
    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_a_hold() {
        let drain = CancellationToken::new();
        drain.cancel();
        let since = Instant::now();
        let held = hold(since, &drain, || async { Err::<(), _>(away()) }).await;
        assert!(matches!(held, Held::Away));
        assert!(since.elapsed() < Duration::from_secs(1));
    }
}
