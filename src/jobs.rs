//! What the command line, the control queue and the end of a chunk share: submit, control,
//! wake-ups, job ends, poison.

mod control;
mod list;
mod poison;
mod submit;

pub use control::{Command, CommandError};
pub use poison::drain_poison;
pub use submit::{JobRequest, SubmitError, SubmittedJob, submit};

use crate::{
    chunk::{ChunkId, ChunkMessage},
    state::{self, Database, OverJob},
    storage::{self, BATCH, CHUNKS, Condition, Storage},
};

/// Why a wake-up or a job end did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("the database did not do it")]
    State(#[from] state::Error),
    /// Blob or queue.
    #[error("storage did not do it")]
    Storage(#[from] storage::Error),
}

/// Sends messages for up to `n` chunks that could start; returns how many.
///
/// # Errors
///
/// When database or queue is away; a chunk whose message could not be sent may be woken again.
pub async fn wake(database: &Database, storage: &Storage, n: usize) -> Result<usize, Error> {
    let picked = database.pick_to_wake(n).await?;
    let mut sent = 0;
    let mut failure = None;
    for id in picked {
        match storage.send(CHUNKS, wake_up(id)).await {
            Ok(()) => sent += 1,
            Err(error) => {
                // Not told so, the waker sends its next message a minute later.
                database.unwake(id).await.unwrap_or_default();
                failure = Some(error);
            }
        }
    }
    failure.map_or(Ok(sent), |error| Err(error.into()))
}

fn wake_up(id: ChunkId) -> String {
    serde_json::to_string(&ChunkMessage::new(id)).unwrap_or_default()
}

/// Tops the queue up to as many visible messages as there may be chunks at once, at most 32; one
/// process at a time. Returns how many messages were sent.
///
/// # Errors
///
/// When database or queue is away.
pub async fn wake_pass(
    database: &Database,
    storage: &Storage,
    owner: &str,
) -> Result<usize, Error> {
    if !database.begin_pass(owner).await? {
        return Ok(0);
    }
    top_up(database, storage).await
}

/// Tops the queue up now: for whoever just made chunks ready, and would else wait for a pass.
///
/// # Errors
///
/// When database or queue is away.
pub async fn top_up(database: &Database, storage: &Storage) -> Result<usize, Error> {
    let limit = usize::try_from(database.capacity().await?.max_chunks).unwrap_or(0).min(BATCH);
    // A peek: the approximate count has messages that a dead host left invisible.
    let visible = storage.visible_messages(CHUNKS).await?;
    if visible >= limit {
        return Ok(0);
    }
    wake(database, storage, limit - visible).await
}

/// Writes `stats.json` and `dataset.json` for jobs whose chunks are all over, then ends them.
///
/// # Errors
///
/// When database or storage is away: the jobs are ended by the next one who looks.
pub async fn end_jobs(
    database: &Database,
    storage: &Storage,
    only: Option<i64>,
) -> Result<(), Error> {
    let mut first = None;
    for job in database.over_jobs(only).await? {
        // A job whose blob cannot be written must not hold up the others.
        if let Err(error) = end_job(database, storage, &job).await {
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(()), Err)
}

/// Rounds against other processes that end the same job.
const ROUNDS: usize = 3;

async fn end_job(database: &Database, storage: &Storage, job: &OverJob) -> Result<(), Error> {
    let id = job.job_id;
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
            ["stats", "dataset"].map(|name| format!("job_{id}/{name}.json"));
        // Boxed: the SDK's futures are large.
        if !Box::pin(write(storage, &stats_name, database.stats(id))).await?
            || !Box::pin(write(storage, &dataset_name, dataset)).await?
        {
            continue;
        }
        if database.end_job(job).await? {
            tracing::info!(job_id = id, status = %job.ends_as, "Job ended");
        }
        return Ok(());
    }
    Ok(())
}

/// Writes what the rows say, which are read in here; false when another process wrote meanwhile.
async fn write(
    storage: &Storage,
    name: &str,
    document: impl Future<Output = Result<serde_json::Value, state::Error>>,
) -> Result<bool, Error> {
    // The version is looked at before the rows: a writer with newer rows wins.
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
