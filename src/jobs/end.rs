//! The end of a job: the documents of its folder, then the row.

use super::{
    card,
    verify::{self, Whole},
};
use crate::{
    chunk::{hex, job_folder},
    process::Error,
    redact::cause_chain,
    state::{Database, OverJob, TOUCHES_AT_ONCE},
    storage::{self, BlobHead, Condition, Storage},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// How often one duty looks at touched jobs, and after how many ends it stops: the other duties wait
/// meanwhile.
const LOOKS: usize = 100;
const ENDS: usize = 20;

/// Ends the jobs that something happened to and that are over now; returns how many. What it costs
/// goes by what happened, not by how many jobs are open.
///
/// # Errors
///
/// The first one; the other jobs were ended all the same. The upkeep tries again.
pub(crate) async fn end_touched_jobs(database: &Database, storage: &Storage) -> Result<u64, Error> {
    let (mut ended, mut tried, mut first) = (0, 0, None);
    for _ in 0..LOOKS {
        let (touches, over) = database.judge_touched().await?;
        tried += over.len();
        for job in over {
            // A job whose blob cannot be written must not hold up the others.
            match end_job(database, storage, &job).await {
                Ok(is_ended) => ended += u64::from(is_ended),
                Err(error) => {
                    database.note_end_error(job.job_id, &cause_chain(&error)).await?;
                    first.get_or_insert(error);
                }
            }
        }
        if touches < TOUCHES_AT_ONCE || tried >= ENDS {
            break;
        }
    }
    first.map_or(Ok(ended), Err)
}

/// Writes the documents of a job whose chunks are all over, then ends it. Of any other job it does
/// nothing.
///
/// # Errors
///
/// When a document cannot be written. The upkeep tries again.
pub(crate) async fn end_if_over(
    database: &Database,
    storage: &Storage,
    job_id: i64,
) -> Result<(), Error> {
    match database.over_job(job_id).await? {
        Some(job) => end_job(database, storage, &job).await.map(drop),
        None => Ok(()),
    }
}

/// How often a job's documents are written again because another process wrote them meanwhile.
const ROUNDS: usize = 3;

async fn end_job(database: &Database, storage: &Storage, job: &OverJob) -> Result<bool, Error> {
    let id = job.job_id;
    let Some(whole) = Box::pin(verify::whole(database, storage, job)).await? else {
        return Ok(false);
    };
    for _ in 0..ROUNDS {
        // Boxed: the SDK's futures are large.
        if !Box::pin(write_documents(database, storage, id, whole)).await? {
            continue;
        }
        let is_ended = database.end_job(job).await?;
        if is_ended {
            tracing::info!(job_id = id, status = %job.ends_as, "Job ended");
            if let Err(error) = database.keep_sums(Some(id)).await {
                tracing::debug!(cause = cause_chain(&error), "left to the upkeep");
            }
        }
        return Ok(is_ended);
    }
    Ok(false)
}

/// The documents of a job's folder. The last one says that the others are there.
pub const DOCUMENTS: [&str; 4] = ["stats.json", "README.md", "chunks/sizes.json", "dataset.json"];

/// Writes what the rows say; false when another process wrote meanwhile.
async fn write_documents(
    database: &Database,
    storage: &Storage,
    job_id: i64,
    whole: Whole,
) -> Result<bool, Error> {
    let names = DOCUMENTS.map(|name| format!("{}/{name}", job_folder(job_id)));
    // The versions are read before the rows. A writer with newer rows then changes a version, our
    // write fails, and the next round reads the rows again; the other way round old rows could win.
    let mut seen = Vec::new();
    for name in &names {
        seen.push(storage.head_dataset(name).await?);
    }
    let stats = database.stats(job_id).await?;
    let rows = database.dataset_rows(job_id).await?;
    let dataset = json!({
        "totals": rows.totals.0,
        "shards": rows.shards.0,
        "late_duplicates": rows.late_duplicates.0,
    });
    let json = |value| serde_json::to_vec(&value).unwrap_or_default();
    let card = card::text(job_id, &rows, whole.has_stray_tars).into_bytes();
    let documents = [json(stats), card, json(card::sizes(&rows)), json(dataset)];
    for ((name, seen), bytes) in names.iter().zip(seen).zip(documents) {
        if !write(storage, name, seen, bytes).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a document over the version that was seen; false when that one is gone.
async fn write(
    storage: &Storage,
    name: &str,
    seen: Option<BlobHead>,
    bytes: Vec<u8>,
) -> Result<bool, Error> {
    let sha256 = hex(&Sha256::digest(&bytes));
    let condition = match seen {
        Some(head) if head.metadata.get("sha256") == Some(&sha256) => return Ok(true),
        Some(head) => Condition::Unchanged(head.etag),
        None => Condition::Absent,
    };
    match storage.put_dataset(name, bytes.into(), ("sha256", sha256), &condition).await {
        Ok(()) => Ok(true),
        Err(storage::Error::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
