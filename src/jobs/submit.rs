//! Submitting a job: lists into the source container, rows into the database, the first wake-ups.

use super::{Error, top_up};
use crate::{
    chunk::{BlobSource, ChunkId, ChunkMessage, ImageRange, Item, Level, ListFormat, Source, hex},
    state::{Database, NewJob, Submitted},
    storage::Storage,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// A job to be submitted.
#[derive(Debug)]
pub struct JobRequest {
    /// Its number.
    pub job_id: i64,
    /// The file's name: its suffix says how it is written.
    pub file_name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// URLs of a chunk.
    pub chunk_size: usize,
    /// 0 to 10, highest first.
    pub priority: i16,
    /// For URLs without a label of their own.
    pub label: Option<String>,
    /// How thoroughly images are checked.
    pub level: Level,
}

/// What a submit did.
#[derive(Debug, Clone, Serialize)]
pub struct SubmittedJob {
    /// The job.
    pub job_id: i64,
    /// How many chunks it has.
    pub chunks: usize,
    /// How many URLs.
    pub images: usize,
    /// False when the same file was submitted before: nothing changed.
    pub is_new: bool,
}

/// Why a job was not submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The file holds no URL, or more than a job can have.
    #[error("{0}")]
    File(String),
    /// The job is known with another file.
    #[error("job {0} is known with another source; choose another number, or submit the same file")]
    Different(i64),
    /// Database or storage.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<crate::state::Error> for SubmitError {
    fn from(error: crate::state::Error) -> Self {
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
pub async fn submit(
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

fn read_items(request: &JobRequest) -> Result<Vec<Item>, SubmitError> {
    let name = request.file_name.to_ascii_lowercase();
    let mut items = match name.rsplit('.').next() {
        Some("csv") => table_items(&request.bytes, b',')?,
        Some("tsv") => table_items(&request.bytes, b'\t')?,
        _ => ListFormat::of(&name).parse(&request.bytes),
    };
    if items.is_empty() {
        return Err(SubmitError::File("the file has no URL".into()));
    }
    let most = usize::try_from(ChunkId::MAX_INDEX).unwrap_or(usize::MAX) + 1;
    if items.len().div_ceil(request.chunk_size) > most {
        let problem = format!("the file has more than {most} chunks; raise --chunk-size");
        return Err(SubmitError::File(problem));
    }
    for item in &mut items {
        item.label = item.label.take().or_else(|| request.label.clone());
    }
    Ok(items)
}

/// Rows of a table with a `url` column; `label` and `meta` (JSON) are taken when there.
fn table_items(bytes: &[u8], delimiter: u8) -> Result<Vec<Item>, SubmitError> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let broken =
        |error: csv::Error| SubmitError::File(format!("the table cannot be read: {error}"));
    let headers = reader.headers().map_err(broken)?.clone();
    let column = |name: &str| {
        headers
            .iter()
            .position(|header| header.trim_matches(['\u{feff}', ' ']).eq_ignore_ascii_case(name))
    };
    let missing = || SubmitError::File("the table has no url column in its first line".into());
    let (url, label, meta) = (column("url").ok_or_else(missing)?, column("label"), column("meta"));
    reader
        .records()
        .map(|record| {
            let record = record.map_err(broken)?;
            let field = |at: Option<usize>| {
                record.get(at?).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
            };
            Ok(Item {
                url: field(Some(url)).unwrap_or_default(),
                label: field(label),
                meta: field(meta).map(|text| {
                    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
                }),
            })
        })
        .collect()
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
        let blob = format!("job_{}/{directory}/{index:05}.jsonl", request.job_id);
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

    fn request(name: &str, text: &str) -> JobRequest {
        JobRequest {
            job_id: 1,
            file_name: name.into(),
            bytes: text.into(),
            chunk_size: 2,
            priority: 5,
            label: Some("all".into()),
            level: Level::Medium,
        }
    }

    #[test]
    fn tables_need_a_url_column_and_keep_every_row() {
        let text = "id,URL,label\n1,http://a/1,cat\n2,,\n3,\"http://a/3,x\"\n";
        let items = read_items(&request("a.csv", text)).unwrap();
        let pairs: Vec<(&str, Option<&str>)> =
            items.iter().map(|i| (i.url.as_str(), i.label.as_deref())).collect();
        assert_eq!(
            pairs,
            [("http://a/1", Some("cat")), ("", Some("all")), ("http://a/3,x", Some("all"))]
        );
        let tabs = read_items(&request("a.TSV", "url\tmeta\nhttp://a\t{\"k\":1}\n")).unwrap();
        assert_eq!(tabs[0].meta, Some(serde_json::json!({"k": 1})));
        let error = read_items(&request("a.csv", "link\nhttp://a\n")).unwrap_err();
        assert!(error.to_string().contains("no url column"));
        assert!(read_items(&request("a.txt", "\n \n")).is_err());
    }
}
