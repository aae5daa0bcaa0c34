//! The jobs that a chunk is deduplicated with: it runs only when their hashes are there. Those that
//! retention took are read back from manifests, which may take minutes: by a task of the process, while the
//! chunk waits in the queue and holds neither slot nor deadline.

use super::hashes;
use crate::{
    process::Error,
    redact::cause_chain,
    state::{self, Database, Hashes},
    storage::Storage,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};

/// Why a chunk cannot run now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    /// The hashes of this job are being read back.
    #[error("hashes of job {0} are read back")]
    Away(i64),
    /// They cannot be read back: why.
    #[error("hashes of job {0} are lost: {1}")]
    Lost(i64, String),
    /// The database.
    #[error(transparent)]
    State(#[from] state::Error),
}

/// How far this process is with a job.
#[derive(Debug)]
enum Progress {
    UnderWay,
    /// It cannot be done, as was found then.
    Lost(String, Instant),
}

/// What was found is told to the next chunk that asks, unless it is older: somebody may have mended it.
const FRESH: Duration = Duration::from_secs(600);

/// Jobs whose hashes this process reads back.
#[derive(Debug, Default)]
pub(crate) struct Returning {
    found: Arc<Found>,
    /// They end with it.
    tasks: Mutex<JoinSet<()>>,
}

/// What the tasks have found so far.
#[derive(Debug, Default)]
struct Found {
    jobs: Mutex<BTreeMap<i64, Progress>>,
    /// One job at a time: manifests are large.
    turn: tokio::sync::Mutex<()>,
}

impl Returning {
    /// Makes sure that the hashes of these jobs are there, and stay as long as a chunk may take. A job
    /// that is not known, or that is being removed, holds nothing.
    ///
    /// # Errors
    ///
    /// [`NotReady`]: the chunk must not run; for one that is [`NotReady::Away`] it is asked again.
    pub(crate) async fn ready(
        &self,
        database: &Database,
        storage: &Storage,
        others: &BTreeSet<i64>,
    ) -> Result<(), NotReady> {
        if others.is_empty() {
            return Ok(());
        }
        let there = database.use_hashes(others).await?;
        let mut away = None;
        for job_id in others {
            match there.get(job_id) {
                Some(Hashes::Kept) => {
                    self.found.jobs.lock().remove(job_id);
                }
                Some(Hashes::Going) => {
                    self.begin(database, storage, *job_id)?;
                    away = away.or(Some(*job_id));
                }
                Some(Hashes::JobGoing) | None => {
                    tracing::warn!(
                        job_id,
                        "a job of with_jobs is unknown or being removed: it holds nothing"
                    );
                }
            }
        }
        away.map_or(Ok(()), |job_id| Err(NotReady::Away(job_id)))
    }

    /// Begins to read a job's hashes back, unless that is under way or was found to be in vain.
    fn begin(&self, database: &Database, storage: &Storage, job_id: i64) -> Result<(), NotReady> {
        let mut jobs = self.found.jobs.lock();
        match jobs.get(&job_id) {
            Some(Progress::Lost(why, at)) if at.elapsed() < FRESH => {
                return Err(NotReady::Lost(job_id, why.clone()));
            }
            Some(Progress::UnderWay) => return Ok(()),
            Some(Progress::Lost(..)) | None => {}
        }
        jobs.insert(job_id, Progress::UnderWay);
        drop(jobs);
        let (found, database, storage) =
            (Arc::clone(&self.found), database.clone(), storage.clone());
        let mut tasks = self.tasks.lock();
        // A panic is in the log by now.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move { found.bring_back(&database, &storage, job_id).await });
        Ok(())
    }
}

impl Found {
    async fn bring_back(&self, database: &Database, storage: &Storage, job_id: i64) {
        // A panic must not leave the job under way for ever.
        let _done = Done { jobs: &self.jobs, job_id };
        let _turn = self.turn.lock().await;
        let why = match Box::pin(hashes::bring_back(database, storage, job_id, false)).await {
            Ok(_) | Err(hashes::Error::JobGoing) => return,
            Err(error @ (hashes::Error::Missing(_) | hashes::Error::Other(_))) => error.to_string(),
            // The next chunk that asks begins anew.
            Err(error @ (hashes::Error::Unread(..) | hashes::Error::State(_))) => {
                tracing::warn!(job_id, cause = cause_chain(&error), "hashes are not back yet");
                return;
            }
        };
        tracing::warn!(job_id, cause = why, "hashes cannot be read back");
        self.jobs.lock().insert(job_id, Progress::Lost(why, Instant::now()));
    }
}

/// The end of a task: what is still under way then is not any more.
struct Done<'a> {
    jobs: &'a Mutex<BTreeMap<i64, Progress>>,
    job_id: i64,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let mut jobs = self.jobs.lock();
        if matches!(jobs.get(&self.job_id), Some(Progress::UnderWay)) {
            jobs.remove(&self.job_id);
        }
    }
}

/// Why a job cannot be deduplicated with others.
#[derive(Debug, thiserror::Error)]
pub enum OtherJobError {
    /// Nobody knows it.
    #[error(
        "job {0} of --dedupe-with is unknown; leave it out, or see `chunkctl status` for the jobs there are"
    )]
    Unknown(i64),
    /// It will be unknown soon.
    #[error(
        "job {0} of --dedupe-with is being removed, and its images are forgotten; leave it out"
    )]
    Going(i64),
    /// Its hashes are gone.
    #[error("job {0} cannot be deduplicated with: {1}, or leave the job out")]
    Lost(i64, String),
    /// Database or storage.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl OtherJobError {
    fn of(job_id: i64, error: hashes::Error) -> Self {
        match error {
            hashes::Error::JobGoing => Self::Going(job_id),
            error @ (hashes::Error::Missing(_) | hashes::Error::Other(_)) => {
                Self::Lost(job_id, error.to_string())
            }
            // Storage that is away says nothing about the job.
            hashes::Error::Unread(_, error) => Self::Failed(error.into()),
            hashes::Error::State(error) => Self::Failed(error.into()),
        }
    }
}

/// Makes sure that jobs are known and have the hashes of their images, before another one is submitted
/// that is deduplicated with them.
///
/// # Errors
///
/// [`OtherJobError`].
pub async fn prepare_other_jobs(
    database: &Database,
    storage: &Storage,
    others: &BTreeSet<i64>,
) -> Result<(), OtherJobError> {
    let there = database.use_hashes(others).await.map_err(Error::from)?;
    for job_id in others {
        match there.get(job_id) {
            None => return Err(OtherJobError::Unknown(*job_id)),
            Some(Hashes::Kept) => {}
            Some(Hashes::JobGoing) => return Err(OtherJobError::Going(*job_id)),
            Some(Hashes::Going) => {
                let back = Box::pin(hashes::bring_back(database, storage, *job_id, false)).await;
                back.map_err(|error| OtherJobError::of(*job_id, error))?;
            }
        }
    }
    Ok(())
}
