//! `chunkctl control`: its options, and what it says.

use crate::{Session, USAGE};
use anyhow::bail;
use chunk_handler::{
    chunk::ChunkId,
    jobs::{Applied, Command},
};
use clap::Subcommand;
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
            Control::Retry { job_id, chunk_index: Some(chunk_index), again: true } => {
                Command::RunAgain { id: ChunkId { job_id, chunk_index } }
            }
            Control::Retry { job_id, chunk_index, .. } => Command::Retry { job_id, chunk_index },
        };
        self.refuse_another_place().await?;
        let applied = command.apply(&self.database, &self.storage).await?;
        let summary = applied.to_string();
        self.say(&serde_json::json!({"result": summary}), &summary);
        if matches!(applied, Applied::UnknownJob { .. }) {
            bail!("no such job; `chunkctl status` lists the jobs");
        }
        if matches!(applied, Applied::NotReopened { .. }) {
            bail!(
                "nothing was changed; run the chunk again as it says, put the blob back, or submit the list \
                 under a new number"
            );
        }
        if matches!(applied, Applied::NotOver { .. } | Applied::NotFailed { .. }) {
            bail!("nothing was changed; `chunkctl status` shows what is known");
        }
        Ok(ExitCode::SUCCESS)
    }
}
