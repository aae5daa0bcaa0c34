//! Submitting a job: lists into the source container, rows into the database, the first wake-ups.

use crate::list::{self, read_items};
use chunk_handler::{
    chunk::{BlobSource, ChunkId, ChunkMessage, ImageRange, Item, Source, hex, job_folder},
    process::Error,
    state::{self, Database, NewJob, Submitted},
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
    /// The file is no list of URLs.
    #[error(transparent)]
    List(#[from] list::Error),
    /// The file has more URLs than a job can have.
    #[error("the file has more than {0} chunks; raise --chunk-size")]
    TooManyChunks(usize),
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
    let items = items(&request)?;
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

/// The URLs of the request's file, with its label where they have none of their own.
fn items(request: &JobRequest) -> Result<Vec<Item>, SubmitError> {
    let mut items = read_items(&request.file_name, &request.bytes)?;
    let most = usize::try_from(ChunkId::MAX_INDEX).unwrap_or(usize::MAX) + 1;
    if items.len().div_ceil(request.chunk_size) > most {
        return Err(SubmitError::TooManyChunks(most));
    }
    for item in &mut items {
        item.label = item.label.take().or_else(|| request.label.clone());
    }
    Ok(items)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: String, chunk_size: usize) -> JobRequest {
        JobRequest {
            job_id: 1,
            file_name: "a.csv".into(),
            bytes: text.into_bytes(),
            chunk_size,
            priority: 5,
            label: Some("all".into()),
            level: Level::Medium,
        }
    }

    #[test]
    fn the_label_of_the_job_is_for_urls_without_one() {
        let items = items(&request("url,label\nhttp://a/1,cat\n,\n".into(), 2)).unwrap();
        let pairs: Vec<(&str, Option<&str>)> =
            items.iter().map(|i| (i.url.as_str(), i.label.as_deref())).collect();
        assert_eq!(pairs, [("http://a/1", Some("cat")), ("", Some("all"))]);
    }

    #[test]
    fn a_job_has_at_most_as_many_chunks_as_there_are_indices() {
        let rows = |n: usize| format!("url\n{}", "http://a\n".repeat(n));
        assert!(items(&request(rows(100_000), 1)).is_ok());
        let error = items(&request(rows(100_001), 1)).unwrap_err().to_string();
        assert_eq!(error, "the file has more than 100000 chunks; raise --chunk-size");
        assert!(items(&request(rows(100_001), 2)).is_ok());
    }
}
