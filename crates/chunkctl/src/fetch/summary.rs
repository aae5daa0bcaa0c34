//! What a fetch did, for programs and people.

use super::{SHOWN, shown};
use crate::{few_valid, words::count};
use chunk_handler::state::JobProgress;
use indicatif::HumanBytes;
use serde::Serialize;
use std::path::PathBuf;

/// What a fetch did, as programs read it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) job_id: i64,
    pub(super) directory: PathBuf,
    /// As in the view; none: the database does not know the job any more.
    pub(super) status: Option<String>,
    pub(super) is_over: bool,
    /// Chunks that are here whole.
    pub(super) chunks: usize,
    /// Chunks that the job has, complete or not.
    pub(super) total_chunks: Option<i32>,
    /// Bytes of the folder.
    pub(super) bytes: u64,
    pub(super) files_fetched: u64,
    pub(super) files_kept: u64,
    pub(super) bytes_fetched: u64,
    /// Files that could not be brought, with the reason.
    pub(super) failed: Vec<String>,
    /// Chunks that are being written right now.
    pub(super) unfinished: Vec<i32>,
    /// Files here that the job does not have, those of others last.
    pub(super) leftovers: Vec<String>,
    /// Documents that were changed here, and so stay.
    pub(super) changed: Vec<String>,
    /// Names in storage that are none of a job's folder.
    pub(super) strangers: Vec<String>,
}

impl Summary {
    pub(super) fn line(&self) -> String {
        format!(
            "job {}: {}, {}, in {}; {} came ({}), {} there before",
            self.job_id,
            count(self.chunks, "chunk"),
            HumanBytes(self.bytes),
            self.directory.display(),
            count(self.files_fetched, "file"),
            HumanBytes(self.bytes_fetched),
            self.files_kept
        )
    }

    /// What a person should know besides.
    pub(super) fn warnings(&self, job: Option<&JobProgress>) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(job) = job.filter(|_| !self.is_over) {
            lines.push(format!(
                "note: the job is {}, and it has here {} of {}; the same command brings the rest when \
                 it is over",
                job.status, self.chunks, count(job.total_chunks, "chunk")
            ));
        }
        if self.is_over {
            lines.extend(job.and_then(few_valid::partial).map(|what| format!("note: {what}")));
        }
        lines.extend(self.changed.iter().map(|what| format!("note: {what}")));
        // Loaders take each tar for one of the job's.
        let (shards, others): (Vec<String>, Vec<String>) =
            self.leftovers.iter().cloned().partition(|name| name.starts_with("chunks/"));
        if !shards.is_empty() {
            lines.push(format!(
                "warning: these files are none of what the job has now, and stay: {}",
                shown(&shards)
            ));
        }
        if !others.is_empty() {
            lines
                .push(format!("note: these files are not the job's, and stay: {}", shown(&others)));
        }
        if !self.strangers.is_empty() {
            lines.push(format!(
                "warning: storage has blobs in the job's folder that are none of it, which did not come: {}",
                shown(&self.strangers)
            ));
        }
        lines.extend(self.failed.iter().take(SHOWN).map(|why| format!("error: {why}")));
        if self.failed.len() > SHOWN {
            lines.push(format!("error: ... and {} more", self.failed.len() - SHOWN));
        }
        if !self.failed.is_empty() {
            lines.push(format!(
                "`chunkctl control retry --job-id {0}` makes again what storage lost, chunks and documents; \
                 `chunkctl control retry --job-id {0} --chunk-index I --again` makes a damaged chunk again, \
                 and a lost one where that is refused; \
                 `chunkctl verify --job-id {0}` says what is damaged",
                self.job_id
            ));
        }
        lines
    }
}
