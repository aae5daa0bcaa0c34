//! One deed: its command, and what it will do in words.

use super::Fields;
use chunk_handler::{
    chunk::{ChunkId, ErrorCode},
    jobs::{Command, Which},
    state::JobProgress,
};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Pause { minutes: u32 },
    Resume,
    Retry { job_id: i64, which: Which },
    Cancel { job_id: i64 },
}

/// What a pause begins with in the form.
const MINUTES: u32 = 15;

impl Deed {
    /// The deed of an address with its fields.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn parse(action: &str, fields: &Fields) -> Result<Self, String> {
        let job_id = || number::<i64>(fields, "job_id")?.ok_or("job_id is missing".to_owned());
        match action {
            "pause" => {
                let minutes = number(fields, "minutes")?.unwrap_or(MINUTES);
                Command::pause(Some(minutes)).map_err(|error| error.to_string())?;
                Ok(Self::Pause { minutes })
            }
            "resume" => Ok(Self::Resume),
            "retry" => {
                let code = fields.get("error_code").map(String::as_str);
                let which = Which::of(number(fields, "chunk_index")?, code);
                Ok(Self::Retry {
                    job_id: job_id()?,
                    which: which.map_err(|error| error.to_string())?,
                })
            }
            "cancel" => Ok(Self::Cancel { job_id: job_id()? }),
            _ => Err("There is no such action; there are pause, resume, retry and cancel.".into()),
        }
    }

    pub(super) fn command(self) -> Command {
        match self {
            Self::Pause { minutes } => Command::Pause { minutes },
            Self::Resume => Command::Resume,
            Self::Retry { job_id, which } => Command::Retry { job_id, which },
            Self::Cancel { job_id } => Command::Cancel { job_id },
        }
    }

    /// Its part of the address.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
            Self::Retry { .. } => "retry",
            Self::Cancel { .. } => "cancel",
        }
    }

    pub(super) fn job_id(self) -> Option<i64> {
        match self {
            Self::Pause { .. } | Self::Resume => None,
            Self::Retry { job_id, .. } | Self::Cancel { job_id } => Some(job_id),
        }
    }

    /// The one chunk that it is about.
    pub(super) fn chunk(self) -> Option<ChunkId> {
        match self {
            Self::Retry { job_id, which: Which::Chunk(chunk_index) } => {
                Some(ChunkId { job_id, chunk_index })
            }
            Self::Pause { .. } | Self::Resume | Self::Retry { .. } | Self::Cancel { .. } => None,
        }
    }

    /// What the form asks for.
    pub(super) fn minutes(self) -> Option<u32> {
        match self {
            Self::Pause { minutes } => Some(minutes),
            Self::Resume | Self::Retry { .. } | Self::Cancel { .. } => None,
        }
    }

    /// Whether it ends something that does not go on by itself.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Cancel { .. })
    }

    pub(super) fn title(self) -> String {
        match self {
            Self::Pause { .. } => "Pause intake".into(),
            Self::Resume => "Resume intake".into(),
            Self::Retry { job_id, which: Which::All } => {
                format!("Retry job {job_id}")
            }
            Self::Retry { job_id, which: Which::Chunk(index) } => {
                format!("Retry chunk {job_id}/{index}")
            }
            Self::Retry { job_id, which: Which::FailedWith(code) } => {
                format!("Retry chunks of job {job_id} that failed with {code}")
            }
            Self::Cancel { job_id } => format!("Cancel job {job_id}"),
        }
    }

    /// What will happen, with the numbers of the job as they are now.
    pub(super) fn outcome(self, job: Option<&JobProgress>) -> String {
        let failed = job.map_or(0, |job| job.failed_chunks);
        let open = job.map_or(0, |job| job.pending_chunks + job.active_chunks);
        let has_ended = job.is_some_and(|job| job.ended_at.is_some());
        let reopened = if has_ended { " The job has ended and is opened again." } else { "" };
        match self {
            Self::Pause { .. } => {
                "No chunk starts in the whole fleet for so many minutes. Running chunks \
                go on. A longer pause that is in force stays."
                    .into()
            }
            Self::Resume => "The pause is lifted: waiting chunks start as slots are free.".into(),
            Self::Retry { which: Which::All, .. } if failed == 0 && has_ended => format!(
                "No chunk of the job has failed. What storage lost of it, chunks or documents, is made \
                 again, and nothing else.{reopened}"
            ),
            Self::Retry { which: Which::All, .. } => format!(
                "All failed chunks of the job run again, {failed} now, each with all its attempts.{reopened}"
            ),
            Self::Retry { which: Which::Chunk(_), .. } => {
                format!("This chunk, if it failed, runs again with all its attempts.{reopened}")
            }
            Self::Retry { which: Which::FailedWith(code), .. } => {
                let advice = ErrorCode::advice(code);
                format!(
                    "Chunks of the job that failed with {code} run again with all their attempts. First \
                     mend what failed: {advice}.{reopened}"
                )
            }
            Self::Cancel { .. } => format!(
                "The {open} chunks of the job that are not over fail, and running ones stop within \
                 seconds. What completed stays. A retry opens the job again."
            ),
        }
    }
}

fn number<T: std::str::FromStr>(fields: &Fields, name: &str) -> Result<Option<T>, String> {
    let Some(text) = fields.get(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{name} is not a number that is possible"))
}
