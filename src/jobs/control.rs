//! Control commands: from the command line and from the control queue.

mod applied;

pub use applied::Applied;

use super::{end_if_over, hashes};
use crate::{
    chunk::{ChunkId, ErrorCode, MessageError, decode_message},
    process::Error,
    state::{Cancellation, Database},
    storage::Storage,
    wake::top_up_soon,
};
use serde::Deserialize;

/// A checked control command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// No chunk starts for this many minutes; a longer pause stays.
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
        /// Only this chunk, or only those that failed so.
        which: Which,
    },
    /// A chunk that is over runs again, although it completed.
    RunAgain {
        /// The chunk.
        id: ChunkId,
    },
}

/// Which failed chunks of a job run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// The one of this index.
    Chunk(i32),
    /// Those that failed with this.
    FailedWith(ErrorCode),
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
    error_code: Option<String>,
    #[serde(default)]
    again: bool,
}

/// A pause without minutes.
const DEFAULT_MINUTES: u32 = 15;
const WEEK_MINUTES: u32 = 7 * 24 * 60;

impl Which {
    /// Those of an index, or of a word of `error_code`, or all.
    ///
    /// # Errors
    ///
    /// When both are given, or the word is none.
    pub fn of(chunk_index: Option<i32>, error_code: Option<&str>) -> Result<Self, CommandError> {
        match (chunk_index, error_code) {
            (None, None) => Ok(Self::All),
            (Some(index), None) => Ok(Self::Chunk(index)),
            (None, Some(word)) => ErrorCode::parse(word).map(Self::FailedWith).ok_or_else(|| {
                CommandError::Value(format!("error_code is {word:?}, which is no error code"))
            }),
            (Some(_), Some(_)) => {
                Err(CommandError::Value("a chunk_index or an error_code, not both".into()))
            }
        }
    }
}

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
            "retry" if raw.again => {
                let missing = || CommandError::Value("again needs a chunk_index".into());
                let chunk_index = raw.chunk_index.ok_or_else(missing)?;
                Ok(Self::RunAgain { id: ChunkId { job_id: job_id()?, chunk_index } })
            }
            "retry" => {
                let which = Which::of(raw.chunk_index, raw.error_code.as_deref())?;
                Ok(Self::Retry { job_id: job_id()?, which })
            }
            other => Err(CommandError::Value(format!(
                "action is {other:?}, and must be pause, resume, sweep, cancel, close or retry"
            ))),
        }
    }

    /// Applies the command. What follows from it (a message for a chunk, the end of a job) is tried; if
    /// that fails, the upkeep does it within seconds.
    ///
    /// # Errors
    ///
    /// When database or storage is away or refuses: nothing was done.
    pub async fn apply(self, database: &Database, storage: &Storage) -> Result<Applied, Error> {
        Ok(match self {
            Self::Pause { minutes } => Applied::Paused { minutes: database.pause(minutes).await? },
            Self::Resume => {
                database.resume().await?;
                Applied::Resumed { sent: top_up_soon(database, storage).await }
            }
            Self::Sweep => {
                database.ask_sweep().await?;
                Applied::SweepAsked
            }
            Self::Cancel { job_id } => {
                let cancellation = database.cancel(job_id).await?;
                end_if_over(database, storage, job_id).await.unwrap_or_default();
                match cancellation {
                    Cancellation::Cancelled => Applied::Cancelled { job_id },
                    Cancellation::JobEnded => Applied::WasOver { job_id },
                    Cancellation::Unknown => Applied::UnknownJob { job_id },
                }
            }
            Self::Close { job_id } => {
                let is_known = database.close(job_id).await?;
                end_if_over(database, storage, job_id).await.unwrap_or_default();
                if is_known { Applied::Closed { job_id } } else { Applied::UnknownJob { job_id } }
            }
            Self::Retry { job_id, which } => {
                if let Err(reason) = reopened(database, storage, job_id, false).await? {
                    return Ok(Applied::NotReopened { job_id, reason });
                }
                let (index, code) = match which {
                    Which::All => (None, None),
                    Which::Chunk(index) => (Some(index), None),
                    Which::FailedWith(code) => (None, Some(code)),
                };
                match (database.retry(job_id, index, code).await?, which) {
                    (None, _) => Applied::UnknownJob { job_id },
                    (Some(0), Which::Chunk(chunk_index)) => {
                        Applied::NotFailed { id: ChunkId { job_id, chunk_index } }
                    }
                    (Some(0), Which::FailedWith(code)) => Applied::NoneFailedWith { job_id, code },
                    (Some(0), Which::All) if database.end_anew(job_id).await? => {
                        end_if_over(database, storage, job_id).await.unwrap_or_default();
                        Applied::EndsAnew { job_id }
                    }
                    (Some(chunks), _) => {
                        top_up_soon(database, storage).await;
                        let failed = failed_chunks(database, job_id).await;
                        Applied::Retried { job_id, chunks, failed }
                    }
                }
            }
            Self::RunAgain { id } => {
                let ChunkId { job_id, chunk_index } = id;
                match database.is_over(id).await? {
                    None => return Ok(Applied::UnknownJob { job_id }),
                    Some(false) => return Ok(Applied::NotOver { id }),
                    Some(true) => {}
                }
                let mut others = match reopened(database, storage, job_id, true).await? {
                    Ok(lost) => lost,
                    Err(reason) => return Ok(Applied::NotReopened { job_id, reason }),
                };
                others.retain(|index| *index != chunk_index);
                // Those whose manifests are gone have no hashes for it: they run again with it.
                let all = [&others[..], &[chunk_index]].concat();
                match database.run_again(job_id, &all).await? {
                    None => Applied::UnknownJob { job_id },
                    Some(0) => Applied::NotOver { id },
                    Some(_) => {
                        top_up_soon(database, storage).await;
                        let failed = failed_chunks(database, job_id).await;
                        Applied::RunsAgain { id, others, failed }
                    }
                }
            }
        })
    }
}

/// How many chunks of a reopened job stay failed; unknown counts as none, for the command is done.
async fn failed_chunks(database: &Database, job_id: i64) -> i32 {
    let job = database.job_progress(job_id).await.unwrap_or_default();
    job.map_or(0, |job| job.failed_chunks)
}

/// The chunks of a reopened job whose manifests are gone, or why it cannot be reopened: nothing of it
/// runs before it has the hashes of its images.
async fn reopened(
    database: &Database,
    storage: &Storage,
    job_id: i64,
    may_miss: bool,
) -> Result<Result<Vec<i32>, String>, Error> {
    match hashes::bring_back(database, storage, job_id, may_miss).await {
        Ok(lost) => Ok(Ok(lost)),
        Err(hashes::Error::State(error)) => Err(error.into()),
        // Storage that is away says nothing about the job.
        Err(hashes::Error::Unread(_, error)) => Err(error.into()),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// The command line that runs a completed chunk again.
pub fn again_command(id: ChunkId) -> String {
    let ChunkId { job_id, chunk_index } = id;
    format!("chunkctl control retry --job-id {job_id} --chunk-index {chunk_index} --again")
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
            Command::Retry { job_id: 7, which: Which::Chunk(2) }
        );
        assert_eq!(
            parse(r#"{"version":1,"action":"retry","job_id":7,"error_code":"panic"}"#).unwrap(),
            Command::Retry { job_id: 7, which: Which::FailedWith(ErrorCode::Panic) }
        );
        assert_eq!(
            parse(r#"{"version":1,"action":"retry","job_id":7,"chunk_index":2,"again":true}"#)
                .unwrap(),
            Command::RunAgain { id: ChunkId { job_id: 7, chunk_index: 2 } }
        );
        for (text, reason) in [
            (r#"{"version":2,"action":"pause"}"#, "version is 2"),
            (r#"{"version":1,"action":"cancel"}"#, "needs a job_id"),
            (r#"{"version":1,"action":"retry","job_id":7,"again":true}"#, "needs a chunk_index"),
            (r#"{"version":1,"action":"retry","job_id":7,"error_code":"x"}"#, "is no error code"),
            (
                r#"{"version":1,"action":"retry","job_id":7,"chunk_index":1,"error_code":"panic"}"#,
                "not both",
            ),
            (r#"{"version":1,"action":"dance"}"#, "must be pause"),
            (r#"{"version":1,"action":"pause","minutes":0}"#, "minutes must be"),
            ("hello", "neither JSON"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(reason), "{text}");
        }
    }
}
