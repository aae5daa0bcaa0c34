//! Control commands: from the command line and from the control queue.

use super::{Error, end_jobs, top_up};
use crate::{
    chunk::{MessageError, decode_message},
    state::{Cancelled, Database},
    storage::Storage,
};
use serde::Deserialize;

/// A checked control command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// No chunk starts for this many minutes.
    Pause {
        /// 1 to a week.
        minutes: u32,
    },
    /// Lifts the pause.
    Resume,
    /// Every process removes what dead ones left in its temp space.
    Sweep,
    /// Fails what is not over.
    Cancel {
        /// The job.
        job_id: i64,
    },
    /// No more chunks come.
    Close {
        /// The job.
        job_id: i64,
    },
    /// Failed chunks run again.
    Retry {
        /// The job.
        job_id: i64,
        /// Only this chunk.
        chunk_index: Option<i32>,
    },
}

/// Why a control message can never work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Not JSON at all.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Another shape.
    #[error("the control message does not have the shape of version 1: {0}")]
    Shape(#[source] serde_json::Error),
    /// A value that is not allowed.
    #[error("{0}")]
    Value(String),
}

#[derive(Deserialize)]
struct Raw {
    version: u32,
    action: String,
    minutes: Option<u32>,
    job_id: Option<i64>,
    chunk_index: Option<i32>,
}

/// A pause without minutes.
pub(super) const DEFAULT_MINUTES: u32 = 15;
const WEEK_MINUTES: u32 = 7 * 24 * 60;

impl Command {
    /// A pause within its bounds.
    ///
    /// # Errors
    ///
    /// When the minutes are out of bounds.
    pub fn pause(minutes: Option<u32>) -> Result<Self, CommandError> {
        let minutes = minutes.unwrap_or(DEFAULT_MINUTES);
        if (1..=WEEK_MINUTES).contains(&minutes) {
            Ok(Self::Pause { minutes })
        } else {
            Err(CommandError::Value(format!("minutes must be 1 to {WEEK_MINUTES}")))
        }
    }

    /// Parses queue text.
    ///
    /// # Errors
    ///
    /// When the message can never work.
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        let json = decode_message(text)?;
        let raw: Raw = serde_json::from_str(&json).map_err(CommandError::Shape)?;
        if raw.version != 1 {
            let version = raw.version;
            return Err(CommandError::Value(format!("version is {version}, and only 1 is known")));
        }
        let job_id = || {
            let missing = || CommandError::Value(format!("{} needs a job_id", raw.action));
            raw.job_id.filter(|id| *id >= 0).ok_or_else(missing)
        };
        match raw.action.as_str() {
            "pause" => Self::pause(raw.minutes),
            "resume" => Ok(Self::Resume),
            "sweep" => Ok(Self::Sweep),
            "cancel" => Ok(Self::Cancel { job_id: job_id()? }),
            "close" => Ok(Self::Close { job_id: job_id()? }),
            "retry" => Ok(Self::Retry { job_id: job_id()?, chunk_index: raw.chunk_index }),
            other => Err(CommandError::Value(format!(
                "action is {other:?}, and must be pause, resume, sweep, cancel, close or retry"
            ))),
        }
    }

    /// Applies the command; returns what happened, for people.
    ///
    /// # Errors
    ///
    /// When database or storage is away: every command is safe to repeat.
    pub async fn apply(self, database: &Database, storage: &Storage) -> Result<String, Error> {
        match self {
            Self::Pause { minutes } => {
                database.pause(Some(minutes)).await?;
                Ok(format!("intake is paused for {minutes} minutes; running chunks go on"))
            }
            Self::Resume => {
                database.pause(None).await?;
                let woken = top_up(database, storage).await?;
                Ok(format!("intake is open; {woken} messages sent"))
            }
            Self::Sweep => {
                database.ask_sweep().await?;
                Ok("every process sweeps its temp space within seconds".into())
            }
            Self::Cancel { job_id } => {
                let answer = match database.cancel(job_id).await? {
                    Cancelled::Cancelled => "cancelled",
                    Cancelled::JobEnded => "was over already",
                    Cancelled::Unknown => "is unknown",
                };
                end_jobs(database, storage, Some(job_id)).await?;
                Ok(format!("job {job_id} {answer}"))
            }
            Self::Close { job_id } => {
                let known = database.close(job_id).await?;
                end_jobs(database, storage, Some(job_id)).await?;
                let answer = if known { "takes no more chunks" } else { "is unknown" };
                Ok(format!("job {job_id} {answer}"))
            }
            Self::Retry { job_id, chunk_index } => {
                let Some(n) = database.retry(job_id, chunk_index).await? else {
                    return Ok(format!("job {job_id} is unknown"));
                };
                top_up(database, storage).await?;
                Ok(format!("{n} failed chunks of job {job_id} run again"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_parses_and_bad_ones_say_why() {
        let parse = |text: &str| Command::parse(text);
        assert_eq!(
            parse(r#"{"version":1,"action":"pause"}"#).unwrap(),
            Command::Pause { minutes: 15 }
        );
        assert_eq!(
            parse(r#"{"version":1,"action":"retry","job_id":7,"chunk_index":2}"#).unwrap(),
            Command::Retry { job_id: 7, chunk_index: Some(2) }
        );
        for (text, reason) in [
            (r#"{"version":2,"action":"pause"}"#, "version is 2"),
            (r#"{"version":1,"action":"cancel"}"#, "needs a job_id"),
            (r#"{"version":1,"action":"dance"}"#, "must be pause"),
            (r#"{"version":1,"action":"pause","minutes":0}"#, "minutes must be"),
            ("hello", "neither JSON"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(reason), "{text}");
        }
    }
}
