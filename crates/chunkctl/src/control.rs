//! `chunkctl control`: its options, and what it says.

use crate::{
    Session, applied,
    failure::tell_wrong,
    next,
    words::{count, pause_end},
};
use chunk_handler::{
    chunk::ChunkId,
    jobs::{Applied, Command, Which},
    state::Capacity,
};
use clap::Subcommand;
use std::process::ExitCode;

/// What operators may do.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  chunkctl control pause --minutes 30
  chunkctl control retry --job-id 7
  chunkctl control cancel --job-id 7 --json")]
pub(crate) enum Control {
    /// Start no chunk for a while; running ones go on. A longer pause stays.
    #[command(after_help = "Examples:
  chunkctl control pause
  chunkctl control pause --minutes 30")]
    Pause {
        /// How long, 1 to 10080.
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=10_080))]
        minutes: u32,
    },
    /// Lift a pause.
    #[command(after_help = "Examples:
  chunkctl control resume")]
    Resume,
    /// Have every process remove what dead ones left in its temp space.
    #[command(after_help = "Examples:
  chunkctl control sweep")]
    Sweep,
    /// Fail what is not over of a job.
    #[command(after_help = "Examples:
  chunkctl control cancel --job-id 7")]
    Cancel {
        /// The job, 0 to 2^63 - 1.
        #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
        job_id: i64,
    },
    /// Say that no more chunks of a job come.
    #[command(after_help = "Examples:
  chunkctl control close --job-id 7")]
    Close {
        /// The job, 0 to 2^63 - 1.
        #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
        job_id: i64,
    },
    /// Run failed chunks of a job again; if none failed, make again what storage lost of it.
    #[command(after_help = "Examples:
  chunkctl control retry --job-id 7
  chunkctl control retry --job-id 7 --chunk-index 4
  chunkctl control retry --job-id 7 --error-code storage_missing
  chunkctl control retry --job-id 7 --chunk-index 4 --again")]
    Retry {
        /// The job, 0 to 2^63 - 1.
        #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
        job_id: i64,
        /// Only this chunk, 0 to 99999.
        #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..=99_999))]
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
            Control::Pause { minutes } => Command::Pause { minutes },
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
                        let hint = format!("`chunkctl status {job_id}` shows them");
                        return Ok(tell_wrong(format!("--error-code: {error}"), hint, self.json));
                    }
                }
            }
        };
        self.refuse_another_place().await?;
        let applied = command.apply(&self.database, &self.storage).await?;
        let paused = match applied {
            Applied::Paused { .. } => Some(self.database.capacity().await?),
            _ => None,
        };
        let paused_until = paused.as_ref().and_then(|capacity| capacity.paused_until);
        let document = applied::as_json(&applied, paused_until);
        // What was not done has no document: the error is the answer.
        if !(self.json && document.is_null()) {
            let further = self.not_retried(command).await?;
            let text = [Some(text(&applied, paused.as_ref())), further];
            let text: Vec<String> = text.into_iter().flatten().collect();
            self.say(&document, &text.join("\n"));
        }
        applied::refuse(&applied)?;
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

fn text(applied: &Applied, paused: Option<&Capacity>) -> String {
    match paused.and_then(pause_end) {
        Some(until) => format!("intake is paused {until}; running chunks go on"),
        None => applied.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        control: Control,
    }

    /// The bounds of the option are those of the message.
    #[test]
    fn a_pause_takes_what_a_message_may_say() {
        for minutes in [0, 1, 10_080, 10_081] {
            let text = minutes.to_string();
            let taken = Line::try_parse_from(["control", "pause", "--minutes", &text]);
            assert_eq!(taken.is_ok(), Command::pause(Some(minutes)).is_ok(), "{minutes}");
        }
        let Control::Pause { minutes } =
            Line::try_parse_from(["control", "pause"]).unwrap().control
        else {
            panic!("another command");
        };
        assert_eq!(Command::pause(None).unwrap(), Command::Pause { minutes });
    }
}
