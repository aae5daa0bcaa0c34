//! May a chunk start: registration and the claim.

use super::{Database, Error, Lease};
use crate::{
    chunk::{ChunkId, ChunkMessage, ClaimToken, Fence},
    redact::refusal,
    stall::{Mark, WATCH},
};
use std::time::Duration;
use tokio::time::Instant;

/// A granted claim.
#[derive(Debug)]
pub struct Claim {
    /// The right to work.
    pub lease: Lease,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// What to do, as registered; else why the registered text cannot be read.
    pub message: Result<ChunkMessage, String>,
    /// Occupied slots, this one included.
    pub active_chunks: i32,
    /// The limit in force.
    pub max_chunks: i32,
}

/// Why a claim was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The chunk is over and has its shard.
    Completed,
    /// The chunk is over and failed.
    Failed,
    /// It failed just now: the last lease in a row that may run out did (`most_expiries`).
    WorkerLost,
    /// Its job was cancelled.
    Cancelled,
    /// Somebody works on it.
    Running,
    /// Its `not_before` has not come.
    Later,
    /// Every slot is taken.
    Full,
    /// As many chunks of a higher priority wait as slots are free.
    Outranked,
    /// Intake is paused.
    Paused,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum ClaimAnswer {
    /// Granted.
    Granted(Box<Claim>),
    /// Not granted.
    Refused(Refusal),
    /// Nobody registered this chunk, and its message can never work.
    Rejected(&'static str),
}

/// What became of a registration: the words of SQL type `registration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Registration {
    /// The chunk is durable now.
    Registered,
    /// It was already.
    Known,
    /// Stored as failed: its job is cancelled.
    Cancelled,
    /// Nothing was stored: its job is over.
    JobEnded,
    /// Nothing was stored: its job takes no more chunks.
    JobClosed,
    /// Nothing was stored: the chunk is known with other URLs.
    OtherSource,
    /// Nothing was stored: the message does not say where the URLs are.
    NoSource,
}

impl Registration {
    /// Why the message can never work; none: its chunk is durable.
    pub fn rejection(self) -> Option<&'static str> {
        match self {
            Self::Registered | Self::Known | Self::Cancelled => None,
            Self::JobEnded => Some("job_ended"),
            Self::JobClosed => Some("job_closed"),
            Self::OtherSource => Some("other_source"),
            Self::NoSource => Some("the chunk is not registered and the message has no source"),
        }
    }
}

/// The words of SQL type `claim_outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
enum Outcome {
    Claimed,
    Completed,
    Failed,
    WorkerLost,
    Cancelled,
    Running,
    Later,
    Full,
    Outranked,
    Paused,
    JobEnded,
    JobClosed,
    OtherSource,
    NoSource,
    Locked,
}

#[derive(sqlx::FromRow)]
struct Row {
    answer: Outcome,
    fence: Option<i64>,
    attempt: Option<i32>,
    message: Option<String>,
    active_chunks: i32,
    max_chunks: i32,
}

/// A row that exists but is locked is asked for once more after this long.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

impl Database {
    /// Claims a slot and a lease for the chunk, which is made durable first if nobody knows it: in
    /// one statement.
    ///
    /// # Errors
    ///
    /// [`Error::Away`]: the claim may be granted all the same, and the same token gets it back when it
    /// asks again. [`Error::Unstorable`]: the message is to blame.
    pub async fn claim(
        &self,
        message: &ChunkMessage,
        owner: &str,
        invocation: &str,
        token: &ClaimToken,
    ) -> Result<ClaimAnswer, Error> {
        let id = message.id();
        let (mut sent_at, mut row) = self.ask_claim(message, owner, invocation, token).await?;
        if row.answer == Outcome::Locked {
            tokio::time::sleep(LOCKED_PAUSE).await;
            (sent_at, row) = self.ask_claim(message, owner, invocation, token).await?;
        }
        let refusal = match row.answer {
            Outcome::Claimed => {
                let claim = self.granted(id, token, sent_at, row);
                return Ok(ClaimAnswer::Granted(Box::new(claim)));
            }
            Outcome::Completed => Refusal::Completed,
            Outcome::Failed => Refusal::Failed,
            Outcome::WorkerLost => Refusal::WorkerLost,
            Outcome::Cancelled => Refusal::Cancelled,
            Outcome::Running | Outcome::Locked => Refusal::Running,
            Outcome::Later => Refusal::Later,
            Outcome::Full => Refusal::Full,
            Outcome::Outranked => Refusal::Outranked,
            Outcome::Paused => Refusal::Paused,
            Outcome::JobEnded => return Ok(rejected(Registration::JobEnded)),
            Outcome::JobClosed => return Ok(rejected(Registration::JobClosed)),
            Outcome::OtherSource => return Ok(rejected(Registration::OtherSource)),
            Outcome::NoSource => return Ok(rejected(Registration::NoSource)),
        };
        Ok(ClaimAnswer::Refused(refusal))
    }

    async fn ask_claim(
        &self,
        message: &ChunkMessage,
        owner: &str,
        invocation: &str,
        token: &ClaimToken,
    ) -> Result<((Mark, Instant), Row), Error> {
        let sent_at = (WATCH.mark(), Instant::now());
        let statement = sqlx::query_as(
            "-- claim
            select answer::text, fence, attempt, message, active_chunks, max_chunks
            from claim($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(message.job_id)
        .bind(message.chunk_index)
        .bind(message.total_chunks)
        .bind(owner)
        .bind(invocation)
        .bind(token.as_str())
        .bind(self.terms.length().as_secs_f64())
        .bind(message.priority)
        .bind(stored(message));
        let row: Result<Row, Error> = ask!(self.pool, self.cap, "claim", statement.fetch_one);
        if row.as_ref().is_err_and(Error::complains_of_values) && message.source.is_some() {
            // Only the registration alone can say that the message is to blame, and not the claim
            // of a chunk that is known.
            self.register(message).await?;
        }
        Ok((sent_at, row?))
    }

    fn granted(
        &self,
        id: ChunkId,
        token: &ClaimToken,
        sent_at: (Mark, Instant),
        row: Row,
    ) -> Claim {
        let fence = Fence(row.fence.unwrap_or_default());
        let message = row.message.unwrap_or_default();
        Claim {
            lease: Lease::granted(id, fence, token.clone(), sent_at, self.terms),
            attempt: row.attempt.unwrap_or_default(),
            message: ChunkMessage::from_json(&message).map_err(|error| refusal(&error)),
            active_chunks: row.active_chunks,
            max_chunks: row.max_chunks,
        }
    }

    /// Makes a chunk durable, if its job still takes chunks.
    ///
    /// # Errors
    ///
    /// [`Error::Unstorable`]: the message is to blame.
    pub async fn register(&self, message: &ChunkMessage) -> Result<Registration, Error> {
        let statement =
            sqlx::query_scalar("-- register\nselect register($1, $2, $3, $4, $5)::text")
                .bind(message.job_id)
                .bind(message.chunk_index)
                .bind(message.total_chunks)
                .bind(message.priority)
                .bind(stored(message));
        let answer = ask!(self.pool, self.cap, "register", statement.fetch_one);
        answer.map_err(Error::of_registration)
    }
}

fn rejected(registration: Registration) -> ClaimAnswer {
    ClaimAnswer::Rejected(registration.rejection().unwrap_or_default())
}

/// The message as its chunk's row keeps it; none: a wake-up, whose chunk must be known.
fn stored(message: &ChunkMessage) -> Option<String> {
    message.source.as_ref().and_then(|_| serde_json::to_string(message).ok())
}
