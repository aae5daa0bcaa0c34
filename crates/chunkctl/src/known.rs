//! A job as the database knows it: one notion of whether it is over, for all that read its folder.

use crate::Session;
use chunk_handler::state::JobProgress;

/// A job, and whether it has ended: its documents are written then, and nothing of it runs. One that was
/// just cancelled has not yet.
pub(crate) type Known = (JobProgress, bool);

/// Whether everything is to be there. What the database forgot was over.
pub(crate) fn is_over(job: Option<&Known>) -> bool {
    job.is_none_or(|(_, has_ended)| *has_ended)
}

impl Session {
    /// A job; none: the database does not know it.
    pub(crate) async fn known_job(&self, job_id: i64) -> anyhow::Result<Option<Known>> {
        // The end first: a job that is reopened in between is not taken for one that has ended so.
        let has_ended = self.database.has_ended(job_id).await?;
        let job = self.database.job_progress(job_id).await?;
        Ok(job.map(|job| {
            let has_ended = has_ended.unwrap_or(false) && crate::few_valid::is_over(&job);
            (job, has_ended)
        }))
    }
}
