//! Submitting a job: lists into the source container, rows into the database, the first wake-ups.

use crate::list::{self, read_items};
use chunk_handler::{
    chunk::{BlobSource, ChunkId, ChunkMessage, ImageRange, Item, Level, Source, hex, job_folder},
    process::Error,
    state::{self, Database, NewJob, Submitted},
    storage::Storage,
    wake::top_up,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
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

/// What a submit did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SubmittedJob {
    /// The job.
    pub(crate) job_id: i64,
    /// How many chunks it has.
    pub(crate) chunks: usize,
    /// How many URLs.
    pub(crate) images: usize,
    /// False when the same file was submitted before: nothing changed.
    pub(crate) is_new: bool,
}

/// Why a job was not submitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    /// The file holds no URL, or more than a job can have.
    #[error(transparent)]
    List(#[from] list::Error),
    /// The job is known with another file.
    #[error("job {0} is known with another source; choose another number, or submit the same file")]
    Different(i64),
    /// Database or storage.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<state::Error> for SubmitError {
    fn from(error: state::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Lists that are written at once.
const WRITES_AT_ONCE: usize = 8;

/// Submits a job. The same job and the same file again change nothing.
///
/// # Errors
///
/// When the file cannot be a job, the job is known with another file, or a dependency is away.
pub(crate) async fn submit(
    database: &Database,
    storage: &Storage,
    request: JobRequest,
) -> Result<SubmittedJob, SubmitError> {
    let items = read_items(&request)?;
    let source_sha256 = hex(&Sha256::digest(&request.bytes));
    let n_chunks = items.len().div_ceil(request.chunk_size);
    let done = |is_new| SubmittedJob {
        job_id: request.job_id,
        chunks: n_chunks,
        images: items.len(),
        is_new,
    };
    match database.job_source(request.job_id).await? {
        Some(known) if known.as_ref() == Some(&source_sha256) => {
            top_up(database, storage).await?;
            return Ok(done(false));
        }
        Some(_) => return Err(SubmitError::Different(request.job_id)),
        None => {}
    }
    let messages = write_sources(database, storage, &request, &items, &source_sha256).await?;
    let job = NewJob { job_id: request.job_id, source_sha256, messages };
    let is_new = match database.submit(&job).await? {
        Submitted::New => true,
        Submitted::Same => false,
        Submitted::Different => return Err(SubmitError::Different(request.job_id)),
    };
    top_up(database, storage).await?;
    Ok(done(is_new))
}

/// Writes one list for each chunk and makes its message.
async fn write_sources(
    database: &Database,
    storage: &Storage,
    request: &JobRequest,
    items: &[Item],
    source_sha256: &str,
) -> Result<Vec<ChunkMessage>, SubmitError> {
    let directory = source_sha256.get(..16).unwrap_or(source_sha256);
    let total = items.len().div_ceil(request.chunk_size);
    let one = async |(index, part): (usize, &[Item])| -> Result<ChunkMessage, SubmitError> {
        let blob = format!("{}/{directory}/{index:05}.jsonl", job_folder(request.job_id));
        write_source(database, storage, request.job_id, &blob, json_lines(part)).await?;
        let chunk_index = i32::try_from(index).unwrap_or(i32::MAX);
        let mut message = ChunkMessage::new(ChunkId { job_id: request.job_id, chunk_index });
        let start = u64::try_from(index * request.chunk_size).unwrap_or(u64::MAX);
        let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
        message.total_chunks = i32::try_from(total).ok();
        message.priority = request.priority;
        message.source = Some(Source::Blob(BlobSource { blob }));
        message.image_range = Some(ImageRange { start, end: start + len - 1 });
        message.validation.level = request.level;
        Ok(message)
    };
    stream::iter(items.chunks(request.chunk_size).enumerate())
        .map(one)
        .buffered(WRITES_AT_ONCE)
        .try_collect()
        .await
}

/// Writes one list. One of another shape is replaced, unless its job is registered by now.
async fn write_source(
    database: &Database,
    storage: &Storage,
    job_id: i64,
    blob: &str,
    bytes: Vec<u8>,
) -> Result<(), SubmitError> {
    let there = storage.create_source(blob, bytes.clone()).await.map_err(Error::from)?;
    let Some(other) = there else { return Ok(()) };
    if database.job_source(job_id).await?.is_some() {
        return Err(SubmitError::Different(job_id));
    }
    Ok(storage.replace_source(blob, bytes, other).await.map_err(Error::from)?)
}

fn json_lines(items: &[Item]) -> Vec<u8> {
    let mut lines = Vec::new();
    for item in items {
        lines.extend(serde_json::to_vec(item).unwrap_or_default());
        lines.push(b'\n');
    }
    lines
}
