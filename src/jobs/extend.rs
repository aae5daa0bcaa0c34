//! A job grows by another list of URLs.

use super::hashes;
use crate::{
    process::Error,
    state::{Database, ExtendOutcome, NewExtension},
    storage::Storage,
};

/// Why a job did not grow.
#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    /// Hashes of its images are gone and cannot be had again.
    #[error("it cannot be reopened: {0}")]
    NotReopened(String),
    /// Database or storage.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Adds chunks to a job; one that has ended gets the hashes of its images back first, since the new
/// chunks are under the same dedupe.
///
/// # Errors
///
/// [`ExtendError`]; nothing of the extension is there then.
pub async fn extend(
    database: &Database,
    storage: &Storage,
    extension: &NewExtension,
) -> Result<ExtendOutcome, ExtendError> {
    match hashes::bring_back(database, storage, extension.job_id, false).await {
        Ok(_) => {}
        Err(hashes::Error::State(error)) => return Err(Error::from(error).into()),
        // Storage that is away says nothing about the job.
        Err(hashes::Error::Unread(_, error)) => return Err(Error::from(error).into()),
        Err(error) => return Err(ExtendError::NotReopened(error.to_string())),
    }
    Ok(database.extend(extension).await.map_err(Error::from)?)
}
