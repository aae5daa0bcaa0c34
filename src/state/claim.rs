//! May a chunk start: registration and the claim.

use super::{Database, Error, Lease};
use crate::chunk::{ChunkId, ChunkMessage, Fence};
use std::time::Duration;
use tokio::time::Instant;

/// A granted claim.
#[derive(Debug)]
pub struct Claim {
    /// The right to work.
    pub lease: Lease,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// What to do, as registered.
    pub message: String,
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
    /// It failed just now: its twentieth lease in a row had run out.
    WorkerLost,
    /// Its job was cancelled.
    Cancelled,
    /// Somebody works on it.
    Running,
    /// Its `not_before` has not come.
    Later,
    /// Every slot is taken.
    Full,
    /// Intake is paused.
    Paused,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Answer {
    /// Granted.
    Claimed(Claim),
    /// Not granted.
    Refused(Refusal),
    /// Nobody registered this chunk, and its message can never work.
    Rejected(&'static str),
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The chunk is durable now.
    New,
    /// It was already.
    Known,
    /// Stored as failed: its job is cancelled.
    Cancelled,
    /// Nothing was stored: its job is over.
    JobEnded,
    /// Nothing was stored: the message does not say where the URLs are.
    NoSource,
}

impl Registered {
    fn from_answer(answer: &str) -> Self {
        match answer {
            "registered" => Self::New,
            "cancelled" => Self::Cancelled,
            "job_ended" => Self::JobEnded,
            "no_source" => Self::NoSource,
            _ => Self::Known,
        }
    }

    /// Why the message can never work; none: its chunk is durable.
    pub fn rejection(self) -> Option<&'static str> {
        match self {
            Self::New | Self::Known | Self::Cancelled => None,
            Self::JobEnded => Some("job_ended"),
            Self::NoSource => Some("the chunk is not registered and the message has no source"),
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    answer: String,
    fence: Option<i64>,
    attempt: Option<i32>,
    message: Option<String>,
    active_chunks: i32,
    max_chunks: i32,
}

/// A row that exists but is locked is asked for once more after this long.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

impl Database {
    /// Claims a slot and a lease for the chunk, which is made durable first if nobody knows it: in one
    /// statement.
    ///
    /// # Errors
    ///
    /// When the database is away; the claim may then be granted, and the same invocation gets it
    /// back when it asks again.
    pub async fn claim(
        &self,
        message: &ChunkMessage,
        owner: &str,
        invocation: &str,
    ) -> Result<Answer, Error> {
        let id = message.id();
        let (sent_at, row) = self.ask_claim(message, owner, invocation).await?;
        if row.answer != "locked" {
            return self.answer(id, sent_at, row);
        }
        tokio::time::sleep(LOCKED_PAUSE).await;
        let (sent_at, row) = self.ask_claim(message, owner, invocation).await?;
        self.answer(id, sent_at, row)
    }

    async fn ask_claim(
        &self,
        message: &ChunkMessage,
        owner: &str,
        invocation: &str,
    ) -> Result<(Instant, Row), Error> {
        let sent_at = Instant::now();
        let statement =
            sqlx::query_as("-- claim\nselect * from claim($1, $2, $3, $4, $5, $6, $7, $8)")
                .bind(message.job_id)
                .bind(message.chunk_index)
                .bind(message.total_chunks)
                .bind(owner)
                .bind(invocation)
                .bind(self.lease.as_secs_f64())
                .bind(message.priority)
                .bind(stored(message));
        let row = ask!(self.pool, self.cap, "claim", statement.fetch_one)?;
        Ok((sent_at, row))
    }

    fn answer(&self, id: ChunkId, sent_at: Instant, row: Row) -> Result<Answer, Error> {
        let refusal = match row.answer.as_str() {
            "claimed" => {
                let fence = Fence(row.fence.unwrap_or_default());
                return Ok(Answer::Claimed(Claim {
                    lease: Lease::granted(id, fence, sent_at, self.lease),
                    attempt: row.attempt.unwrap_or_default(),
                    message: row.message.unwrap_or_default(),
                    active_chunks: row.active_chunks,
                    max_chunks: row.max_chunks,
                }));
            }
            "completed" => Refusal::Completed,
            "failed" => Refusal::Failed,
            "worker_lost" => Refusal::WorkerLost,
            "cancelled" => Refusal::Cancelled,
            "running" | "locked" => Refusal::Running,
            "later" => Refusal::Later,
            "full" => Refusal::Full,
            "paused" => Refusal::Paused,
            other => {
                let rejection = Registered::from_answer(other).rejection();
                let unknown =
                    || Error::Refused { doing: "claim", source: sqlx::Error::RowNotFound };
                return rejection.map(Answer::Rejected).ok_or_else(unknown);
            }
        };
        Ok(Answer::Refused(refusal))
    }

    /// Makes a chunk durable, if its job still takes chunks.
    ///
    /// # Errors
    ///
    /// When the database is away or the message cannot be stored.
    pub async fn register(&self, message: &ChunkMessage) -> Result<Registered, Error> {
        let statement = sqlx::query_scalar("-- register\nselect register($1, $2, $3, $4, $5)")
            .bind(message.job_id)
            .bind(message.chunk_index)
            .bind(message.total_chunks)
            .bind(message.priority)
            .bind(stored(message));
        let answer: String = ask!(self.pool, self.cap, "register", statement.fetch_one)?;
        Ok(Registered::from_answer(&answer))
    }
}

/// The message as its chunk's row keeps it; none: a wake-up, whose chunk must be known.
fn stored(message: &ChunkMessage) -> Option<String> {
    message.source.as_ref().and_then(|_| serde_json::to_string(message).ok())
}
