//! The end of a job: `stats.json` and `dataset.json`, then the row.

use super::verify;
use crate::{
    chunk::{hex, job_folder},
    process::Error,
    redact::cause_chain,
    state::{self, Database, OverJob, TOUCHES_AT_ONCE},
    storage::{self, Condition, Storage},
};
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

/// Writes `stats.json` and `dataset.json` of a job whose chunks are all over, then ends it. Of any
/// other job it does nothing.
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
    if !Box::pin(verify::is_whole(database, storage, job)).await? {
        return Ok(false);
    }
    for _ in 0..ROUNDS {
        let dataset = async {
            let rows = database.dataset_rows(id).await?;
            Ok(serde_json::json!({
                "totals": rows.totals.0,
                "shards": rows.shards.0,
                "late_duplicates": rows.late_duplicates.0,
            }))
        };
        let [stats_name, dataset_name] =
            ["stats", "dataset"].map(|name| format!("{}/{name}.json", job_folder(id)));
        // Boxed: the SDK's futures are large.
        if !Box::pin(write(storage, &stats_name, database.stats(id))).await?
            || !Box::pin(write(storage, &dataset_name, dataset)).await?
        {
            continue;
        }
        let is_ended = database.end_job(job).await?;
        if is_ended {
            tracing::info!(job_id = id, status = %job.ends_as, "Job ended");
        }
        return Ok(is_ended);
    }
    Ok(false)
}

/// Writes what the rows say, which are read in here; false when another process wrote meanwhile.
async fn write(
    storage: &Storage,
    name: &str,
    document: impl Future<Output = Result<serde_json::Value, state::Error>>,
) -> Result<bool, Error> {
    // The version is read before the rows. A writer with newer rows then changes the version, our
    // write fails, and the next round reads the rows again; the other way round old rows could win.
    let seen = storage.head_dataset(name).await?;
    let bytes = serde_json::to_vec(&document.await?).unwrap_or_default();
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
