//! `submit --extend`: a list becomes chunks after the last one of a job that is known.
//!
//! The lists are named by what is in them, and the rows, the larger total and the note of the list come
//! in one transaction: whoever dies between any two of these has changed nothing of the job, and the
//! same command goes on from there.

use crate::{
    Session,
    list::{self, Row},
    remarks::Remarks,
    rows::ChunkRows,
    submit::{JobRequest, ReadJob, SubmitError, write_sources},
};
use anyhow::{Context as _, bail};
use chunk_handler::{
    chunk::{ChunkMessage, hex, job_folder},
    jobs::{self, list_of},
    redact::cause_chain,
    state::{ExtendOutcome, Extension, ExtensionOptions, NewExtension, RegisteredJob},
    wake::top_up,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

/// What an extension did: the numbers are those of the chunks that the list became.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Extended {
    job_id: i64,
    /// The index of the first of its chunks; none: the list added nothing.
    first_chunk: Option<i32>,
    chunks: usize,
    /// URLs.
    pub(crate) images: usize,
    /// Those of them that an earlier chunk of the job has, too.
    images_asked_again: usize,
    /// Rows that were left out, since the job has their URLs.
    left_out: usize,
    /// False when the same was added before: nothing changed.
    is_new: bool,
    #[serde(flatten)]
    pub(crate) remarks: Remarks,
    /// Why no message could be sent for it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsent: Option<String>,
}

/// Options that were given; the others are those of the job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) chunk_size: Option<usize>,
    pub(crate) priority: Option<i16>,
    /// Leave out URLs that the job has.
    pub(crate) new_only: bool,
}

/// The most chunks of a job.
const MOST: usize = 100_000;
/// How often a list is read again because the job grew meanwhile.
const ROUNDS: usize = 5;

impl Session {
    /// Adds a list to a job. The same again, also at the same time, changes nothing.
    pub(crate) async fn extend(
        &self,
        mut request: JobRequest,
        given: Given,
    ) -> anyhow::Result<Extended> {
        let job_id = request.job_id;
        let known = self.database.registered_job(job_id).await?;
        let known =
            known.with_context(|| format!("job {job_id} is unknown; leave out --extend"))?;
        if let Some(submitted) = &known.submitted {
            request.chunk_size = given.chunk_size.unwrap_or(submitted.chunk_size);
            request.priority = given.priority.unwrap_or(submitted.priority);
        }
        let source_sha256 = hex(&Sha256::digest(&request.bytes));
        if known.source_sha256.as_deref() == Some(&source_sha256) {
            return Ok(of_its_own_list(job_id, &known));
        }
        for _ in 0..ROUNDS {
            if let Some(before) = self.database.extension(job_id, &source_sha256).await? {
                return same_extension(&request, given, before);
            }
            let (may, next) = self.database.next_index(job_id).await?;
            refuse(job_id, may)?;
            let (job, found) = self.read_extension(&request, given.new_only).await?;
            let Some(job) = job else {
                return Ok(Extended { job_id, left_out: found.left_out, ..Extended::default() });
            };
            let is_too_long =
                usize::try_from(next).is_ok_and(|next| next + job.chunks.len() > MOST);
            if is_too_long {
                refuse(job_id, ExtendOutcome::TooMany)?;
            }
            let mut added = Extended {
                job_id,
                first_chunk: Some(next),
                chunks: job.submission.chunks,
                images: job.submission.images,
                images_asked_again: found.asked_again,
                left_out: found.left_out,
                is_new: true,
                remarks: job.remarks.clone(),
                unsent: None,
            };
            let extension = self.new_extension(job, &found, given.new_only.then_some(next)).await?;
            match jobs::extend(&self.database, &self.storage, &extension).await? {
                ExtendOutcome::Extended => {
                    let there = self.database.extension(job_id, &source_sha256).await?;
                    added.first_chunk = there.map(|there| there.first_chunk);
                    let sent = top_up(&self.database, &self.storage).await;
                    added.unsent = sent.err().map(|error| cause_chain(&error));
                    return Ok(added);
                }
                // Somebody was quicker: with this list, or with another one that may have its URLs.
                ExtendOutcome::Known | ExtendOutcome::Changed => {}
                other => refuse(job_id, other)?,
            }
        }
        bail!("job {job_id} grew {ROUNDS} times while its lists were read; submit again")
    }

    /// Reads the list; none: it has no row, or none that is taken.
    async fn read_extension(
        &self,
        request: &JobRequest,
        new_only: bool,
    ) -> anyhow::Result<(Option<ReadJob>, Found)> {
        let mut had = HashSet::new();
        if new_only {
            let mut listed = HashSet::new();
            let read = ReadJob::read(request, |row| {
                listed.insert(digest(&row.item.url));
                false
            });
            match read {
                Err(SubmitError::List(list::Error::Empty)) | Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            had = self.had_of(request.job_id, &listed).await?;
        }
        let mut found = Found::default();
        let read = ReadJob::read(request, |row| found.takes(row, request.job_id, &had));
        match read {
            Ok(job) => Ok((Some(job), found)),
            // Also of who found nothing to ask for again.
            Err(SubmitError::List(list::Error::Empty)) => Ok((None, found)),
            Err(error) => Err(error.into()),
        }
    }

    /// Those of some URLs that the job has in the lists of its chunks.
    async fn had_of(
        &self,
        job_id: i64,
        listed: &HashSet<UrlDigest>,
    ) -> anyhow::Result<HashSet<UrlDigest>> {
        let (mut had, mut index) = (HashSet::new(), -1);
        while let Some(chunk) = self.database.chunk_after(job_id, index).await? {
            index = chunk.id.chunk_index;
            let Some(items) = list_of(&self.storage, &chunk).await? else {
                bail!("the list of chunk {} is gone: its URLs are not known", chunk.id);
            };
            let urls = items.iter().map(|item| digest(&item.url));
            had.extend(urls.filter(|url| listed.contains(url)));
        }
        Ok(had)
    }

    /// Writes the lists, and makes a message for each: checked, deduplicated and written out as the
    /// first chunk of the job is.
    async fn new_extension(
        &self,
        job: ReadJob,
        found: &Found,
        first_chunk: Option<i32>,
    ) -> anyhow::Result<NewExtension> {
        let ReadJob { job_id, source_sha256, submission, chunks, .. } = job;
        let first = self.database.chunk_after(job_id, -1).await?;
        let first = first.map(|chunk| chunk.message).transpose().map_err(anyhow::Error::msg)?;
        let folder = folder(job_id, &chunks);
        let mut messages =
            write_sources(&self.storage, job_id, &submission, chunks, &folder).await?;
        if let Some(ChunkMessage { validation, dedupe, output, .. }) = first {
            for message in &mut messages {
                message.validation = validation.clone();
                message.dedupe = dedupe;
                message.output = output.clone();
            }
        }
        Ok(NewExtension {
            job_id,
            source_sha256,
            options: ExtensionOptions {
                format: submission.format,
                chunk_size: submission.chunk_size,
                priority: submission.priority,
                label: submission.label,
                new_only: first_chunk.is_some(),
            },
            images: submission.images,
            asked_again: found.asked_again,
            messages,
            first_chunk,
        })
    }
}

/// A URL, as far as it must be known again.
type UrlDigest = [u8; 16];

fn digest(url: &str) -> UrlDigest {
    let mut digest = UrlDigest::default();
    digest.iter_mut().zip(Sha256::digest(url)).for_each(|(to, byte)| *to = byte);
    digest
}

/// What was seen of the rows of a list.
#[derive(Debug, Default)]
struct Found {
    asked_again: usize,
    left_out: usize,
}

impl Found {
    /// Whether a row is one of the new chunks; it says which earlier URL of the job it is.
    fn takes(&mut self, row: &mut Row, job_id: i64, had: &HashSet<UrlDigest>) -> bool {
        if !had.is_empty() && had.contains(&digest(&row.item.url)) {
            self.left_out += 1;
            return false;
        }
        row.item.retry_of = row.told.filter(|told| told.job_id == job_id).map(|told| told.first);
        self.asked_again += usize::from(row.item.retry_of.is_some());
        true
    }
}

/// Where the lists go: by what is in them, so that neither another list nor the place of their chunks
/// in the job makes others of the same name.
fn folder(job_id: i64, chunks: &[ChunkRows]) -> String {
    let mut hasher = Sha256::new();
    for chunk in chunks {
        hasher.update(Sha256::digest(&chunk.lines));
    }
    let digest = hex(&hasher.finalize());
    format!("{}/{}", job_folder(job_id), digest.get(..16).unwrap_or(&digest))
}

/// The list by which the job was submitted adds nothing to it.
fn of_its_own_list(job_id: i64, known: &RegisteredJob) -> Extended {
    let before = known.submitted.as_ref().map(|submitted| (submitted.chunks, submitted.images));
    let (chunks, images) = before.unwrap_or_default();
    Extended { job_id, first_chunk: Some(0), chunks, images, ..Extended::default() }
}

/// What was added before, when that is how it is added now.
fn same_extension(
    request: &JobRequest,
    given: Given,
    before: Extension,
) -> anyhow::Result<Extended> {
    let options = &before.options;
    let label = |label: &Option<String>| label.clone().unwrap_or_else(|| "none".to_owned());
    let all = [
        ("--chunk-size", options.chunk_size.to_string(), request.chunk_size.to_string()),
        ("--priority", options.priority.to_string(), request.priority.to_string()),
        ("--label", label(&options.label), label(&request.label)),
        ("--new-only", options.new_only.to_string(), given.new_only.to_string()),
    ];
    let differ = all.into_iter().filter(|(_, before, now)| before != now);
    let differ: Vec<String> =
        differ.map(|(option, before, now)| format!("{option} {before}, not {now}")).collect();
    let job_id = request.job_id;
    if !differ.is_empty() {
        bail!(
            "job {job_id} was extended by this list with {}; submit it as before",
            differ.join(", and ")
        );
    }
    Ok(Extended {
        job_id,
        first_chunk: Some(before.first_chunk),
        chunks: usize::try_from(before.chunks)?,
        images: usize::try_from(before.images)?,
        images_asked_again: usize::try_from(before.images_asked_again)?,
        ..Extended::default()
    })
}

/// Refuses what no extension can be added to.
fn refuse(job_id: i64, outcome: ExtendOutcome) -> anyhow::Result<()> {
    match outcome {
        ExtendOutcome::Extended | ExtendOutcome::Known | ExtendOutcome::Changed => Ok(()),
        ExtendOutcome::Unknown => bail!("job {job_id} is unknown; leave out --extend"),
        ExtendOutcome::Cancelled => bail!(
            "job {job_id} is cancelled, and takes no more; `chunkctl control retry --job-id {job_id}` \
             opens it again"
        ),
        ExtendOutcome::Closed => {
            bail!("job {job_id} was closed, and takes no more; choose another number")
        }
        ExtendOutcome::NoTotal => bail!(
            "job {job_id} is made of messages, and none said how many chunks it has: where further ones \
             begin is not known; send messages, or choose another number"
        ),
        ExtendOutcome::TooMany => Err(SubmitError::TooManyChunks(MOST).into()),
    }
}

impl Extended {
    /// What people are told.
    pub(crate) fn line(&self) -> String {
        let Self { job_id, chunks, images, images_asked_again, left_out, .. } = self;
        let left_out = match left_out {
            0 => String::new(),
            n => format!(" ({n} were left out: the job has them)"),
        };
        let Some(first) = self.first_chunk else {
            return format!("job {job_id} is as it was: the list adds nothing{left_out}");
        };
        let again = match images_asked_again {
            0 => String::new(),
            n => format!(", {n} of them asked for again"),
        };
        let state = if self.is_new { "extended" } else { "has this list already" };
        format!(
            "job {job_id} {state}: {images} images in {chunks} chunks from chunk {first} on{again}{left_out}"
        )
    }
}
