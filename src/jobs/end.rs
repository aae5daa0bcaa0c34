//! The end of a job: `stats.json` and `dataset.json`, then the row.

use super::verify;
use crate::{
    chunk::job_folder,
    process::Error,
    state::{self, Database, OverJob},
    storage::{self, Condition, Storage},
};

/// Writes `stats.json` and `dataset.json` for jobs whose chunks are all over, then ends them;
/// returns how many.
///
/// # Errors
///
/// The first one; the other jobs were ended all the same. The upkeep tries again.
pub(crate) async fn end_jobs(
    database: &Database,
    storage: &Storage,
    only: Option<i64>,
) -> Result<u64, Error> {
    let (mut ended, mut first) = (0, None);
    for job in database.over_jobs(only).await? {
        // A job whose blob cannot be written must not hold up the others.
        match end_job(database, storage, &job).await {
            Ok(is_ended) => ended += u64::from(is_ended),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(ended), Err)
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
    let seen = storage.read_dataset(name).await?;
    let bytes = serde_json::to_vec(&document.await?).unwrap_or_default();
    let condition = match seen {
        Some((_, there)) if there == bytes => return Ok(true),
        Some((etag, _)) => Condition::Unchanged(etag),
        None => Condition::Absent,
    };
    match storage.put_dataset(name, bytes, &condition).await {
        Ok(()) => Ok(true),
        Err(storage::Error::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
