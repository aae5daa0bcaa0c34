//! `chunkctl control`: its options, and what it says.

use crate::{Session, USAGE, next, words::count};
use anyhow::bail;
use chunk_handler::{
    chunk::ChunkId,
    jobs::{Applied, Command, Which},
};
use clap::Subcommand;
use serde_json::json;
use std::process::ExitCode;

/// What operators may do.
#[derive(Debug, Subcommand)]
pub(crate) enum Control {
    /// Start no chunk for a while; running ones go on. A longer pause stays.
    Pause {
        /// How long.
        #[arg(long)]
        minutes: Option<u32>,
    },
    /// Lift a pause.
    Resume,
    /// Have every process remove what dead ones left in its temp space.
    Sweep,
    /// Fail what is not over of a job.
    Cancel {
        /// The job.
        #[arg(long)]
        job_id: i64,
    },
    /// Say that no more chunks of a job come.
    Close {
        /// The job.
        #[arg(long)]
        job_id: i64,
    },
    /// Run failed chunks of a job again; if none failed, make again what storage lost of it.
    Retry {
        /// The job.
        #[arg(long)]
        job_id: i64,
        /// Only this chunk.
        #[arg(long)]
        chunk_index: Option<i32>,
        /// Only chunks that failed with this code, as `chunkctl status` shows it.
        #[arg(long, conflicts_with = "chunk_index")]
        error_code: Option<String>,
        /// Although it completed: its shard is damaged or gone, or what it dropped duplicates for.
        #[arg(long, requires = "chunk_index")]
        again: bool,
    },
}

impl Session {
    pub(crate) async fn control(&self, control: Control) -> anyhow::Result<ExitCode> {
        let command = match control {
            Control::Pause { minutes } => match Command::pause(minutes) {
                Ok(command) => command,
                Err(error) => {
                    eprintln!("error: --minutes: {error}");
                    return Ok(ExitCode::from(USAGE));
                }
            },
            Control::Resume => Command::Resume,
            Control::Sweep => Command::Sweep,
            Control::Cancel { job_id } => Command::Cancel { job_id },
            Control::Close { job_id } => Command::Close { job_id },
            Control::Retry { job_id, chunk_index: Some(chunk_index), again: true, .. } => {
                Command::RunAgain { id: ChunkId { job_id, chunk_index } }
            }
            Control::Retry { job_id, chunk_index, error_code, .. } => {
                match Which::of(chunk_index, error_code.as_deref()) {
                    Ok(which) => Command::Retry { job_id, which },
                    Err(error) => {
                        eprintln!(
                            "error: --error-code: {error}; `chunkctl status {job_id}` shows them"
                        );
                        return Ok(ExitCode::from(USAGE));
                    }
                }
            }
        };
        self.refuse_another_place().await?;
        let applied = command.apply(&self.database, &self.storage).await?;
        let summary = applied.to_string();
        let further = self.not_retried(command).await?;
        let text = [Some(summary.as_str()), further.as_deref()];
        let text: Vec<&str> = text.into_iter().flatten().collect();
        self.say(&json!({"result": summary, "further": further}), &text.join("\n"));
        if matches!(applied, Applied::UnknownJob { .. }) {
            bail!("no such job; `chunkctl status` lists the jobs");
        }
        if matches!(applied, Applied::NotReopened { .. }) {
            bail!(
                "nothing was changed; put the blob back, run its chunk again (--chunk-index N --again), or \
                 submit the list under a new number"
            );
        }
        if matches!(
            applied,
            Applied::NotOver { .. } | Applied::NotFailed { .. } | Applied::NoneFailedWith { .. }
        ) {
            bail!("nothing was changed; `chunkctl status` shows what is known");
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Of a whole job that is retried and has no failed chunk: how its failed URLs are asked for again,
    /// which no retry does. None: there are none.
    async fn not_retried(&self, command: Command) -> anyhow::Result<Option<String>> {
        let Command::Retry { job_id, which: Which::All } = command else { return Ok(None) };
        let Some(job) = self.database.job_progress(job_id).await? else { return Ok(None) };
        if job.images_failed == 0 || job.completed_chunks < job.total_chunks {
            return Ok(None);
        }
        let reasons = self.database.job_reasons(job_id).await?;
        let failed = count(job.images_failed, "URL");
        Ok(Some(match next::transient(&reasons) {
            0 => format!(
                "{failed} of it failed for reasons that last; `chunkctl urls --job-id {job_id} --status \
                 failed` lists them"
            ),
            n => format!(
                "{failed} of it failed in chunks that completed, which no retry asks for again; {n} of \
                 them may work now: `{}`",
                next::ask_again(job_id)
            ),
        }))
    }
}
