//! Submitting a job: lists into the source container, rows into the database, the first wake-ups.

mod command;

pub(crate) use command::Submit;

use crate::{
    list::{self, List, Row},
    remarks::Remarks,
    rows::{ChunkRows, Rows},
};
use chunk_handler::{
    chunk::{BlobSource, ChunkId, ChunkMessage, ImageRange, Source, hex, job_folder},
    process::Error,
    redact::cause_chain,
    state::{self, Database, NewJob, RegisteredJob, Submission},
    storage::Storage,
    wake::top_up,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use imagecheck::Level;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// A job to be submitted.
#[derive(Debug)]
pub(crate) struct JobRequest {
    /// Its number.
    pub(crate) job_id: i64,
    /// The file's name: its suffix, but for `.gz`, says how it is written.
    pub(crate) file_name: String,
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// URLs of a chunk.
    pub(crate) chunk_size: usize,
    /// 0 to 10, highest first.
    pub(crate) priority: i16,
    /// For URLs without a label of their own.
    pub(crate) label: Option<String>,
    /// How thoroughly images are checked.
    pub(crate) level: Level,
}

/// What a submit did: the numbers are those of the job as it is registered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SubmittedJob {
    /// The job.
    pub(crate) job_id: i64,
    /// How many chunks it has.
    pub(crate) chunks: usize,
    /// How many URLs.
    pub(crate) images: usize,
    /// False when the same was submitted before: nothing changed.
    pub(crate) is_new: bool,
    /// What is to be said of its rows.
    #[serde(flatten)]
    pub(crate) remarks: Remarks,
    /// Why no message could be sent for it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsent: Option<String>,
}

/// Why a job was not submitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    /// The file is no list of URLs.
    #[error(transparent)]
    List(#[from] list::Error),
    /// The file has more URLs than a job can have.
    #[error("the job would have more than {0} chunks; raise --chunk-size")]
    TooManyChunks(usize),
    /// The rows of a chunk are more than a handler reads.
    #[error(
        "the {n} rows of chunk {chunk} are more than 32 MiB, which no handler reads; lower --chunk-size, \
         or leave out what is not needed of its rows"
    )]
    LongChunk {
        /// Which.
        chunk: usize,
        /// Its rows.
        n: usize,
    },
    /// The job is known with another file, or is made of messages.
    #[error(
        "job {0} is known with another source; choose another number, submit the same file, or add this \
         one to the job with --extend"
    )]
    OtherFile(i64),
    /// The job is known with the same file and other options.
    #[error("job {0} was submitted with {1}; choose another number, or submit it as before")]
    OtherOptions(i64, String),
    /// Database or storage.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<state::Error> for SubmitError {
    fn from(error: state::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A job whose list is read: nothing of it is written yet, and the file is not kept.
#[derive(Debug)]
pub(crate) struct ReadJob {
    /// Its number.
    pub(crate) job_id: i64,
    /// Of the file, in hex.
    pub(crate) source_sha256: String,
    /// How it is submitted.
    pub(crate) submission: Submission,
    /// The lists of its chunks.
    pub(crate) chunks: Vec<ChunkRows>,
    /// What people should know of its rows.
    pub(crate) remarks: Remarks,
}

impl ReadJob {
    /// Reads the list of a request.
    ///
    /// # Errors
    ///
    /// [`SubmitError::List`] or [`SubmitError::TooManyChunks`].
    pub(crate) fn new(request: JobRequest) -> Result<Self, SubmitError> {
        Self::read(&request, |row| {
            // A new job has asked for nothing before.
            row.item.retry_of = None;
            true
        })
    }

    /// The same of the rows that are taken.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub(crate) fn read(
        request: &JobRequest,
        take: impl FnMut(&mut Row) -> bool,
    ) -> Result<Self, SubmitError> {
        let list = List::open(&request.file_name, &request.bytes)?;
        let rows = Rows::read(&list, request.chunk_size, request.label.as_deref(), take)?;
        let submission = Submission {
            chunks: rows.chunks.len(),
            images: rows.n,
            format: list.format.word().to_owned(),
            chunk_size: request.chunk_size,
            priority: request.priority,
            label: request.label.clone(),
            level: request.level,
        };
        Ok(Self {
            job_id: request.job_id,
            source_sha256: hex(&Sha256::digest(&request.bytes)),
            submission,
            chunks: rows.chunks,
            remarks: rows.remarks,
        })
    }
}

/// Lists that are written at once.
const WRITES_AT_ONCE: usize = 8;

/// Submits a job. The same again, also at the same time, changes nothing.
///
/// # Errors
///
/// When the job is known with another file or other options, or a dependency is away.
pub(crate) async fn submit(
    database: &Database,
    storage: &Storage,
    job: ReadJob,
) -> Result<SubmittedJob, SubmitError> {
    let ReadJob { job_id, source_sha256, submission, chunks, remarks } = job;
    let known = database.registered_job(job_id).await?;
    let mut is_new = false;
    if known.is_none() {
        let folder = lists_folder(job_id, &source_sha256, &submission);
        let messages = write_sources(storage, job_id, &submission, chunks, &folder).await?;
        let source_sha256 = source_sha256.clone();
        let job = NewJob { job_id, source_sha256, submission: submission.clone(), messages };
        is_new = database.submit(&job).await?;
    }
    // Somebody else may have been quicker.
    let known = match known {
        None if !is_new => database.registered_job(job_id).await?,
        known => known,
    };
    let registered = match known {
        Some(known) => same_submission(job_id, known, &source_sha256, submission)?,
        None => submission,
    };
    // The job is registered: handlers send what could not be sent here.
    let unsent = top_up(database, storage).await.err().map(|error| cause_chain(&error));
    let Submission { chunks, images, .. } = registered;
    Ok(SubmittedJob { job_id, chunks, images, is_new, remarks, unsent })
}

/// How the known job was submitted, when that is how it is submitted now.
fn same_submission(
    job_id: i64,
    known: RegisteredJob,
    source_sha256: &str,
    now: Submission,
) -> Result<Submission, SubmitError> {
    if known.source_sha256.as_deref() != Some(source_sha256) {
        return Err(SubmitError::OtherFile(job_id));
    }
    let differences = match &known.submitted {
        Some(before) => differences(before, &now),
        // An earlier release kept no options: only their number of chunks is known.
        None => match known.total_chunks.and_then(|n| usize::try_from(n).ok()) {
            Some(chunks) if chunks != now.chunks => {
                vec![format!("{chunks} chunks, not {}", now.chunks)]
            }
            _ => Vec::new(),
        },
    };
    if differences.is_empty() {
        return Ok(known.submitted.map_or(now, |before| before.0));
    }
    Err(SubmitError::OtherOptions(job_id, differences.join(", and ")))
}

/// The options that differ, with what they were and what they are now.
fn differences(before: &Submission, now: &Submission) -> Vec<String> {
    let label = |job: &Submission| job.label.clone().unwrap_or_else(|| "none".to_owned());
    let level = |job: &Submission| format!("{:?}", job.level).to_lowercase();
    let all = [
        ("a file read as", before.format.clone(), now.format.clone()),
        ("--chunk-size", before.chunk_size.to_string(), now.chunk_size.to_string()),
        ("--priority", before.priority.to_string(), now.priority.to_string()),
        ("--label", label(before), label(now)),
        ("--level", level(before), level(now)),
    ];
    let differ = all.into_iter().filter(|(_, before, now)| before != now);
    differ.map(|(option, before, now)| format!("{option} {before}, not {now}")).collect()
}

/// Rises when a file is read otherwise than before: what an earlier release left half done is not
/// gone on with.
const READING: u32 = 3;

/// Where the lists go. The name says what is in them: the file, and every option that shapes them.
fn lists_folder(job_id: i64, source_sha256: &str, submission: &Submission) -> String {
    let Submission { format, chunk_size, label, .. } = submission;
    let shape = serde_json::json!([READING, source_sha256, format, chunk_size, label]).to_string();
    let digest = hex(&Sha256::digest(shape));
    format!("{}/{}", job_folder(job_id), digest.get(..16).unwrap_or(&digest))
}

/// Writes one list for each chunk and makes its message.
pub(crate) async fn write_sources(
    storage: &Storage,
    job_id: i64,
    submission: &Submission,
    chunks: Vec<ChunkRows>,
    folder: &str,
) -> Result<Vec<ChunkMessage>, SubmitError> {
    let total = chunks.len();
    let one = async |(index, part): (usize, ChunkRows)| -> Result<ChunkMessage, SubmitError> {
        let blob = format!("{folder}/{index:05}.jsonl");
        storage.create_source(&blob, part.lines).await.map_err(Error::from)?;
        let chunk_index = i32::try_from(index).unwrap_or(i32::MAX);
        let mut message = ChunkMessage::new(ChunkId { job_id, chunk_index });
        let start = u64::try_from(index * submission.chunk_size).unwrap_or(u64::MAX);
        let len = u64::try_from(part.n).unwrap_or(u64::MAX);
        message.total_chunks = i32::try_from(total).ok();
        message.priority = submission.priority;
        message.source = Some(Source::Blob(BlobSource { blob }));
        message.image_range = Some(ImageRange { start, end: start + len - 1 });
        message.validation.level = submission.level;
        Ok(message)
    };
    stream::iter(chunks.into_iter().enumerate())
        .map(one)
        .buffered(WRITES_AT_ONCE)
        .try_collect()
        .await
}
