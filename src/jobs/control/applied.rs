//! What control commands did, in words.

use crate::{
    chunk::{ChunkId, ErrorCode},
    words::count,
};
use std::fmt;

/// What a command did; its text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the command, or counts")]
pub enum Applied {
    /// Intake is paused, for this many minutes from now.
    Paused { minutes: i32 },
    /// Intake is open; so many messages were sent. None: they could not be, and handlers do it.
    Resumed { sent: Option<usize> },
    /// Every process sweeps soon.
    SweepAsked,
    /// Nothing of the job runs any more.
    Cancelled { job_id: i64 },
    /// The job was over before.
    WasOver { job_id: i64 },
    /// The job takes no more chunks.
    Closed { job_id: i64 },
    /// So many failed chunks run again, and so many stay failed.
    Retried { job_id: i64, chunks: i32, failed: i32 },
    /// No chunk of it failed. What storage lost of it is made again, documents or chunks.
    EndsAnew { job_id: i64 },
    /// The chunk runs again, and with it those whose manifests are gone; so many stay failed.
    RunsAgain { id: ChunkId, others: Vec<i32>, failed: i32 },
    /// The chunk is unknown or did not fail; nothing was done.
    NotFailed { id: ChunkId },
    /// No chunk of the job failed with this; nothing was done.
    NoneFailedWith { job_id: i64, code: ErrorCode },
    /// The chunk is unknown or will run anyway; nothing was done.
    NotOver { id: ChunkId },
    /// The job stays as it ended: hashes of its images are gone and cannot be had again.
    NotReopened { job_id: i64, reason: String },
    /// There is no such job; nothing was done.
    UnknownJob { job_id: i64 },
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused { minutes } => {
                write!(
                    f,
                    "intake is paused for {}; running chunks go on",
                    count(*minutes, "minute")
                )
            }
            Self::Resumed { sent: Some(sent) } => {
                write!(f, "intake is open; {} sent", count(*sent, "message"))
            }
            Self::Resumed { sent: None } => f.write_str(
                "intake is open; messages could not be sent now; handlers send them by themselves once \
                 storage answers (`chunkctl doctor` says what is missing)",
            ),
            Self::SweepAsked => f.write_str("every process sweeps its temp space within seconds"),
            Self::Cancelled { job_id } => write!(f, "job {job_id} cancelled"),
            Self::WasOver { job_id } => write!(f, "job {job_id} was over already"),
            Self::Closed { job_id } => write!(f, "job {job_id} takes no more chunks"),
            Self::Retried { job_id, chunks, failed } => {
                let run = if *chunks == 1 { "runs" } else { "run" };
                write!(f, "{} of job {job_id} {run} again", count(*chunks, "failed chunk"))?;
                stay_failed(f, *job_id, *failed)
            }
            Self::EndsAnew { job_id } => write!(
                f,
                "no chunk of job {job_id} has failed; what storage lost of it, chunks or documents, is made again"
            ),
            Self::RunsAgain { id, others, failed } => {
                write!(f, "chunk {id} runs again")?;
                if !others.is_empty() {
                    write!(f, ", and with it chunks {others:?}, whose manifests are gone")?;
                }
                stay_failed(f, id.job_id, *failed)
            }
            Self::NotFailed { id } => write!(
                f,
                "chunk {id} is unknown or did not fail; with --again one that completed runs again"
            ),
            Self::NoneFailedWith { job_id, code } => {
                write!(f, "no chunk of job {job_id} has failed with {code}")
            }
            Self::NotOver { id } => write!(f, "chunk {id} is unknown or not over"),
            Self::NotReopened { job_id, reason } => {
                write!(f, "job {job_id} cannot be reopened: {reason}")
            }
            Self::UnknownJob { job_id } => write!(f, "job {job_id} is unknown"),
        }
    }
}

/// A job ends as completed with them, also one that was cancelled and is not any more.
fn stay_failed(f: &mut fmt::Formatter<'_>, job_id: i64, failed: i32) -> fmt::Result {
    if failed == 0 {
        return Ok(());
    }
    write!(
        f,
        "; failed chunks of the job that do not: {failed} (`chunkctl control retry --job-id {job_id}` \
         runs them too)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        let said = |applied: Applied| applied.to_string();
        assert_eq!(said(Applied::Resumed { sent: Some(1) }), "intake is open; 1 message sent");
        assert_eq!(said(Applied::Resumed { sent: Some(2) }), "intake is open; 2 messages sent");
        let retried = |chunks| said(Applied::Retried { job_id: 7, chunks, failed: 0 });
        assert_eq!(retried(1), "1 failed chunk of job 7 runs again");
        assert_eq!(retried(3), "3 failed chunks of job 7 run again");
    }
}
