//! `submit --extend`: a list becomes chunks after the last one of a job that is known.
//!
//! The lists are named by what is in them, and the rows, the larger total and the note of the list come
//! in one transaction: whoever dies between any two of these has changed nothing of the job, and the
//! same command goes on from there.

use crate::{
    Session,
    failure::{Code, Coded, bail_as},
    list,
    progress::Progress,
    remarks::Remarks,
    rows::{Growth, urls_of},
    submit::{JobRequest, ReadJob, SubmitError, refuse_used_number, write_sources},
    words::count,
};
use anyhow::bail;
use chunk_handler::{
    chunk::{ChunkMessage, hex, job_folder},
    jobs,
    redact::cause_chain,
    state::{ExtendOutcome, Extension, ExtensionOptions, NewExtension, RegisteredJob},
    wake::top_up,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

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
    /// Rows that were left out, since the job or an earlier row has their URLs.
    left_out: usize,
    /// Rows of `chunkctl urls` that are about other jobs, whose URLs are new ones here.
    of_other_jobs: usize,
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
        if known.is_none() {
            refuse_used_number(&self.database, &self.storage, job_id).await?;
        }
        let known = known.ok_or_else(|| unknown(job_id))?;
        // What it has would not run either.
        if let (may @ ExtendOutcome::Cancelled, _) = self.database.next_index(job_id).await? {
            refuse(job_id, may)?;
        }
        if let Some(submitted) = &known.submitted {
            request.division.chunk_size = given.chunk_size.unwrap_or(submitted.chunk_size);
            request.priority = given.priority.unwrap_or(submitted.priority);
            request.output = submitted.output.clone();
            request.robots = submitted.robots;
        }
        let growth = Growth { job_id, had: None, lengths: None };
        request.division.growth = Some(growth);
        let read = match ReadJob::new(request.clone()) {
            // It looks the same where the command failed that was to write it.
            Err(SubmitError::List(list::Error::Empty)) => bail_as!(
                ListRefused,
                "the list has no URL, and job {job_id} is as it was; where `chunkctl urls` wrote it, no URL \
                 of job {job_id} is what it was asked for"
            ),
            read => Arc::new(read?),
        };
        let read = self.with_places(&mut request, read).await?;
        let source_sha256 = &read.judged.sha256;
        if known.source_sha256.as_ref() == Some(source_sha256) {
            return of_its_own_list(&read, &known);
        }
        for _ in 0..ROUNDS {
            if let Some(before) = self.database.extension(job_id, source_sha256).await? {
                return same_extension(&read, given, before);
            }
            let (may, next) = self.database.next_index(job_id).await?;
            refuse(job_id, may)?;
            let job = match given.new_only {
                true => self.without_had(request.clone()).await?,
                false => Arc::clone(&read),
            };
            if job.judged.sha256 != *source_sha256 {
                return Err(SubmitError::Changed("the list".to_owned()).into());
            }
            if job.judged.n == 0 {
                return Ok(nothing(job_id, job.judged.left_out));
            }
            let is_too_long =
                usize::try_from(next).is_ok_and(|next| next + job.submission.chunks > MOST);
            if is_too_long {
                refuse(job_id, ExtendOutcome::TooMany)?;
            }
            let extension = self.new_extension(&job, given.new_only.then_some(next)).await?;
            match jobs::extend(&self.database, &self.storage, &extension).await? {
                ExtendOutcome::Extended => {
                    let there = self.database.extension(job_id, source_sha256).await?;
                    let sent = top_up(&self.database, &self.storage).await;
                    return Ok(Extended {
                        job_id,
                        first_chunk: there.map(|there| there.first_chunk),
                        chunks: job.submission.chunks,
                        images: job.submission.images,
                        images_asked_again: job.judged.asked_again,
                        left_out: job.judged.left_out,
                        of_other_jobs: job.judged.of_other_jobs,
                        is_new: true,
                        remarks: job.judged.remarks.clone(),
                        unsent: sent.err().map(|error| cause_chain(&error)),
                    });
                }
                // Somebody was quicker: with this list, or with another one that may have its URLs.
                ExtendOutcome::Known | ExtendOutcome::Changed => {}
                other => refuse(job_id, other)?,
            }
        }
        bail!("job {job_id} grew {ROUNDS} times while its lists were read; submit again")
    }

    /// Reads the list without the URLs that the job has.
    async fn without_had(&self, mut request: JobRequest) -> anyhow::Result<Arc<ReadJob>> {
        let progress = Progress::of_bytes("reading its URLs", request.files.len());
        let listed = urls_of(&request.files, &progress);
        progress.end();
        let job_id = request.job_id;
        let had = Arc::new(self.had_of(job_id, &listed?).await?);
        if let Some(growth) = &mut request.division.growth {
            growth.had = Some(had);
        }
        Ok(Arc::new(ReadJob::new(request)?))
    }

    /// The list read again if its rows name places that the job does not have.
    async fn with_places(
        &self,
        request: &mut JobRequest,
        read: Arc<ReadJob>,
    ) -> anyhow::Result<Arc<ReadJob>> {
        let named = &read.judged.named;
        let lengths = self.lengths_of(request.job_id, named.keys().copied()).await?;
        let is_place = |(chunk, idx): (&u32, &u32)| lengths.get(chunk).is_some_and(|len| idx < len);
        if named.iter().all(is_place) {
            return Ok(read);
        }
        if let Some(growth) = &mut request.division.growth {
            growth.lengths = Some(Arc::new(lengths));
        }
        Ok(Arc::new(ReadJob::new(request.clone())?))
    }

    /// Writes the lists, and makes a message for each: checked, deduplicated and written out as the
    /// first chunk of the job is.
    async fn new_extension(
        &self,
        job: &Arc<ReadJob>,
        first_chunk: Option<i32>,
    ) -> anyhow::Result<NewExtension> {
        let (job_id, submission) = (job.job_id, &job.submission);
        let first = self.database.chunk_after(job_id, -1).await?;
        let first = first.map(|chunk| chunk.message).transpose().map_err(anyhow::Error::msg)?;
        let folder = folder(job_id, &job.judged.chunks);
        let mut messages = write_sources(&self.storage, job, &folder).await?;
        if let Some(ChunkMessage { validation, dedupe, output, robots, .. }) = first {
            for message in &mut messages {
                message.validation = validation.clone();
                message.dedupe = dedupe.clone();
                message.output = output.clone();
                message.robots = robots;
            }
        }
        Ok(NewExtension {
            job_id,
            source_sha256: job.judged.sha256.clone(),
            options: ExtensionOptions {
                format: submission.format.clone(),
                chunk_size: submission.chunk_size,
                priority: submission.priority,
                label: submission.label.clone(),
                new_only: first_chunk.is_some(),
            },
            images: submission.images,
            asked_again: job.judged.asked_again,
            messages,
            first_chunk,
        })
    }
}

/// What is said of a list of which all was left out.
fn nothing(job_id: i64, left_out: usize) -> Extended {
    Extended { job_id, left_out, ..Extended::default() }
}

/// Where the lists go: by what is in them, so that neither another list nor the place of their chunks
/// in the job makes others of the same name.
fn folder(job_id: i64, chunks: &[[u8; 32]]) -> String {
    let digest = hex(&Sha256::digest(chunks.concat()));
    format!("{}/{}", job_folder(job_id), digest.get(..16).unwrap_or(&digest))
}

/// The list by which the job was submitted adds nothing to it, if it is read as it was.
fn of_its_own_list(read: &ReadJob, known: &RegisteredJob) -> anyhow::Result<Extended> {
    let (job_id, now) = (read.job_id, &read.submission);
    let Some(before) = known.submitted.as_ref() else {
        return Ok(Extended { job_id, first_chunk: Some(0), ..Extended::default() });
    };
    if before.format != now.format {
        bail_as!(
            JobDiffers,
            "job {job_id} was submitted with this list, read as {}, not {}; what is to be added must be \
             another file",
            before.format,
            now.format
        );
    }
    let all = [
        ("--chunk-size", before.chunk_size.to_string(), now.chunk_size.to_string()),
        ("--priority", before.priority.to_string(), now.priority.to_string()),
        ("--label", label(before.label.as_ref()), label(now.label.as_ref())),
    ];
    let is_said = |option: &str| option != "--label" || now.label.is_some();
    let differ = differing(all.into_iter().filter(|(option, ..)| is_said(option)));
    if !differ.is_empty() {
        bail_as!(
            JobDiffers,
            "job {job_id} was submitted with this list and {differ}; what is to be added must be another \
             file"
        );
    }
    let (chunks, images) = (before.chunks, before.images);
    Ok(Extended { job_id, first_chunk: Some(0), chunks, images, ..Extended::default() })
}

/// What was added before, when that is how it is added now.
fn same_extension(read: &ReadJob, given: Given, before: Extension) -> anyhow::Result<Extended> {
    let (options, now) = (&before.options, &read.submission);
    let all = [
        ("a file read as", options.format.clone(), now.format.clone()),
        ("--chunk-size", options.chunk_size.to_string(), now.chunk_size.to_string()),
        ("--priority", options.priority.to_string(), now.priority.to_string()),
        ("--label", label(options.label.as_ref()), label(now.label.as_ref())),
        ("--new-only", options.new_only.to_string(), given.new_only.to_string()),
    ];
    // What is not said is the job's, or else a setting, which may be another one by now.
    let is_said = |option: &str| match option {
        "--chunk-size" => given.chunk_size.is_some(),
        "--priority" => given.priority.is_some(),
        _ => true,
    };
    let differ = differing(all.into_iter().filter(|(option, ..)| is_said(option)));
    let job_id = read.job_id;
    if !differ.is_empty() {
        bail_as!(
            JobDiffers,
            "job {job_id} was extended by this list with {differ}; submit it as before"
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

/// The options that differ, with what they were and what they are now.
fn differing(all: impl Iterator<Item = (&'static str, String, String)>) -> String {
    let differ = all.filter(|(_, before, now)| before != now);
    let differ = differ.map(|(option, before, now)| format!("{option} {before}, not {now}"));
    differ.collect::<Vec<_>>().join(", and ")
}

fn label(label: Option<&String>) -> String {
    label.cloned().unwrap_or_else(|| "none".to_owned())
}

/// A list can be added to what is known alone.
fn unknown(job_id: i64) -> anyhow::Error {
    let text = format!("job {job_id} is unknown; leave out --extend");
    Coded { code: Code::JobUnknown, text }.into()
}

/// Refuses what no extension can be added to.
fn refuse(job_id: i64, outcome: ExtendOutcome) -> anyhow::Result<()> {
    match outcome {
        ExtendOutcome::Extended | ExtendOutcome::Known | ExtendOutcome::Changed => Ok(()),
        ExtendOutcome::Unknown => Err(unknown(job_id)),
        ExtendOutcome::Cancelled => bail_as!(
            JobRefuses,
            "job {job_id} is cancelled, and takes no more; `chunkctl control retry --job-id {job_id}` \
             opens it again"
        ),
        ExtendOutcome::Closed => {
            bail_as!(
                JobRefuses,
                "job {job_id} was closed, and takes no more; choose another number"
            )
        }
        ExtendOutcome::NoTotal => bail_as!(
            JobRefuses,
            "job {job_id} is made of messages, and none said how many chunks it has: where further ones \
             begin is not known; send messages, or choose another number"
        ),
        ExtendOutcome::TooMany => Err(SubmitError::TooManyChunks(MOST).into()),
    }
}

impl Extended {
    /// What people are told.
    pub(crate) fn line(&self) -> String {
        let Self { job_id, chunks, images, images_asked_again, left_out, of_other_jobs, .. } = self;
        let left_out = match left_out {
            0 => String::new(),
            1 => " (1 was left out: the job has it, or an earlier row)".to_owned(),
            n => format!(" ({n} were left out: the job has them, or an earlier row)"),
        };
        let Some(first) = self.first_chunk else {
            return format!("job {job_id} is as it was: the list adds nothing{left_out}");
        };
        let again = match images_asked_again {
            0 => String::new(),
            n => format!(", {n} of them asked for again"),
        };
        let of_others = match of_other_jobs {
            0 => String::new(),
            1 => "; 1 row is of another job, and its URL is a new one here".to_owned(),
            n => format!("; {n} rows are of other jobs, and their URLs are new ones here"),
        };
        let state = if self.is_new { "extended" } else { "has this list already" };
        format!(
            "job {job_id} {state}: {} in {} from chunk {first} on{again}{left_out}{of_others}",
            count(*images, "image"),
            count(*chunks, "chunk")
        )
    }
}
