//! `chunkctl verify`: whether a job's folder is whole, in storage or in a directory.
//!
//! One chunk after the other, its manifest first, then its shard as it streams by; the documents and the
//! database at the end, against the sums of the manifests.

mod archive;
mod card;
mod chunks;
mod documents;
mod faults;
mod manifest;
mod place;
mod shard;
mod sidecar;

use crate::{
    Session,
    failure::bail_as,
    fetch::{mark::Mark, shown},
    few_valid,
    folder::Member,
    known, out,
    progress::Progress,
    words::count,
};
use anyhow::bail;
use chunk_handler::state::DatasetRows;
use clap::Args;
use documents::Documents;
use faults::{Faults, Kind};
use indicatif::HumanBytes;
use place::{Folder, Place};
use serde_json::json;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What stands behind the options.
const HELP: &str = "Examples:
  chunkctl verify --job-id 7
  chunkctl verify --from cats
  chunkctl verify --job-id 7 --json | jq '.faults[].file'

Checked are each shard's length and hash, its members and its end; one verdict for each URL; each
image at its place, with its hash, and the json beside it; that documents, the head of the card and,
in storage, metadata and database say what the manifests say; and that nothing else is there. --from reads a directory that `chunkctl fetch`
brought, needs no settings, and asks nobody; files of others are named there, and no fault, but for
a .tar in chunks/, which loaders read. Exit code 0: it is whole; 1: a line for each fault,
ten of a kind.";

/// Its options.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
#[group(required = true, multiple = false)]
pub(crate) struct Verify {
    /// The job's number, 0 to 2^63 - 1: read in storage.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    job_id: Option<i64>,
    /// A directory that a job was fetched to.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) from: Option<PathBuf>,
}

/// What is verified, and what is found.
struct Run<'a> {
    place: Place<'a>,
    /// None: the first manifest says it.
    job_id: Option<i64>,
    /// Whether everything is to be there.
    is_over: bool,
    /// Chunks that are being written while they are read.
    left_out: BTreeSet<i32>,
    /// Whether it has all chunks of the job.
    is_all: bool,
    /// What a fetch noted in the directory.
    mark: Option<Mark>,
    sums: chunks::Sums,
    faults: Faults,
    notes: Vec<String>,
}

impl Session {
    pub(crate) async fn verify(&self, verify: Verify) -> anyhow::Result<ExitCode> {
        let Some(job_id) = verify.job_id else { bail!("give --job-id or --from") };
        self.refuse_another_place().await?;
        let job = self.known_job(job_id).await?;
        // Rows first: blobs are written before the row that names them.
        let rows = match &job {
            Some(_) => Some(self.database.dataset_rows(job_id).await?),
            None => None,
        };
        let place = Place::Storage { storage: &self.storage, job_id };
        let folder = place.list().await?;
        if job.is_none() && folder.members.is_empty() {
            bail_as!(
                JobUnknown,
                "job {job_id} is unknown and has nothing in storage; see `chunkctl status`"
            );
        }
        let mut run = Run::new(place, Some(job_id));
        run.is_over = known::is_over(job.as_ref());
        match &job {
            Some((job, _)) if !run.is_over => {
                run.is_all = false;
                run.notes.push(format!("the job is {}: what is complete was verified", job.status));
            }
            Some((job, _)) => {
                let partial = few_valid::partial(job);
                run.is_all = partial.is_none();
                run.notes.extend(partial);
            }
            None => run.notes.push("the database does not know the job (any more)".to_owned()),
        }
        run.verify(folder, rows, self.json).await?;
        run.say(self.json)
    }
}

/// Verifies a directory.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn directory(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let place = Place::Directory(path.to_owned());
    let folder = place.list().await?;
    if folder.members.is_empty() {
        bail_as!(DirectoryRefused, "{} has nothing of a job", path.display());
    }
    let mut run = Run::new(place, None);
    run.mark = Mark::read(path);
    let has_documents = folder.members.keys().any(|member| matches!(member, Member::Document(_)));
    // A fetch leaves all documents out of a job that is not over, and those of before where they are.
    let said = run.mark.as_ref().and_then(|mark| mark.is_over);
    run.is_over = said.unwrap_or(has_documents);
    let note = match (said, has_documents) {
        (Some(false), true) => {
            "the job was open again when it was last fetched: its documents here are of before, and were \
             not compared; fetch it when it is over"
        }
        (Some(false), false) => "the job was not over when it was fetched: it has no documents yet",
        (Some(true), false) => {
            "the job was over, and its fetch did not end: the same command goes on"
        }
        (None, false) => "there are no documents: nothing says which shards the job has",
        (_, true) => "",
    };
    run.notes.extend((!note.is_empty()).then(|| note.to_owned()));
    run.verify(folder, None, json).await?;
    run.say(json)
}

impl<'a> Run<'a> {
    fn new(place: Place<'a>, job_id: Option<i64>) -> Self {
        let (sums, faults, notes) = (chunks::Sums::default(), Faults::default(), Vec::new());
        let left_out = BTreeSet::new();
        let (is_over, is_all, mark) = (true, true, None);
        Self { place, job_id, is_over, left_out, is_all, mark, sums, faults, notes }
    }

    async fn verify(
        &mut self,
        folder: Folder,
        rows: Option<DatasetRows>,
        is_quiet: bool,
    ) -> anyhow::Result<()> {
        let total = folder.members.values().map(|found| found.bytes).sum();
        let progress = match is_quiet {
            true => Progress::hidden(),
            false => Progress::of_bytes("verifying", total),
        };
        let shards_alone = self.verify_chunks(&folder, &progress).await?;
        self.judge_others(&folder.others);
        for name in &folder.begun {
            self.faults.note(Kind::Stray, name, "a fetch did not end: the same command goes on");
        }
        for name in &folder.newer {
            self.notes.push(format!("{name} is newer than the one that was changed here"));
        }
        let documents = match self.is_over {
            true => Documents::read(self, &folder).await?,
            false => Documents::default(),
        };
        progress.end();
        documents.compare(self);
        self.note_partial(&documents);
        self.judge_shards_alone(&shards_alone, documents.dataset.as_ref());
        if let Some(rows) = rows {
            documents.compare_rows(self, rows);
        }
        Ok(())
    }

    /// In storage nobody else puts anything; in a directory only what loaders take for a shard is wrong.
    fn judge_others(&mut self, others: &[String]) {
        let is_in_storage = matches!(self.place, Place::Storage { .. });
        let is_fault =
            |name: &String| is_in_storage || name.starts_with("chunks/") && name.ends_with(".tar");
        let (faults, others): (Vec<String>, Vec<String>) =
            others.iter().cloned().partition(is_fault);
        for name in &faults {
            self.faults.note(Kind::Stray, name, "nobody names it");
        }
        if !others.is_empty() {
            self.notes.push(format!("files of others are here: {}", shown(&others)));
        }
    }

    /// A directory says itself whether chunks of its job are missing.
    fn note_partial(&mut self, documents: &Documents) {
        // Without `dataset.json` the mark says how many there are, and nothing says which are complete.
        if matches!(self.place, Place::Directory(_)) && documents.dataset.is_none() {
            self.is_all = false;
            let chunks = self.mark.as_ref().and_then(|mark| mark.chunks);
            let here = self.sums.shards.len();
            self.notes.extend(
                chunks.map(|chunks| format!("here are {here} of {}", count(chunks, "chunk"))),
            );
        }
        let chunks = documents.chunks().filter(|(chunks, completed)| completed < chunks);
        if let (Place::Directory(_), Some((chunks, completed))) = (&self.place, chunks) {
            self.is_all = false;
            self.notes.push(format!(
                "{completed} of {chunks} chunks are complete: the others failed or were cancelled"
            ));
        }
    }

    /// What is found, as people or programs read it.
    fn say(&self, json: bool) -> anyhow::Result<ExitCode> {
        let (sums, n) = (&self.sums, self.faults.count());
        if json {
            out(format_args!(
                "{}",
                json!({"job_id": self.job_id, "is_over": self.is_over, "chunks": sums.shards.len(),
                    "images": sums.of("images_valid"), "bytes": sums.of("bytes_out"), "notes": self.notes,
                    "n_faults": n, "fault_counts": self.faults.counts(), "faults": self.faults.kept()})
            ));
        } else {
            self.faults.lines().iter().for_each(|line| out(format_args!("{line}")));
            self.notes.iter().for_each(|note| out(format_args!("note: {note}")));
            let job = self.job_id.map_or_else(|| "this".to_owned(), |id| format!("job {id}"));
            let what = format!(
                "{} with {} in {}",
                count(sums.shards.len(), "chunk"),
                count(sums.of("images_valid"), "image"),
                HumanBytes(sums.of("bytes_out"))
            );
            if let (Place::Storage { job_id, .. }, true) =
                (&self.place, self.faults.has(Kind::Missing))
            {
                out(format_args!(
                    "note: `chunkctl control retry --job-id {job_id}` makes again what storage lost of it; \
                     where that is refused, `chunkctl control retry --job-id {job_id} --chunk-index I \
                     --again` does, a chunk at a time"
                ));
            }
            match n {
                0 if !self.is_all => out(format_args!("what {job} has is whole: {what}")),
                0 => out(format_args!("{job} is whole: {what}")),
                n => out(format_args!("{job} has {}: {what}", count(n, "fault"))),
            }
        }
        Ok(ExitCode::from(u8::from(n > 0)))
    }
}
