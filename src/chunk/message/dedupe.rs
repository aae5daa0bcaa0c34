//! The duplicate check that a message asks for.

use super::MessageError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Where duplicates are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DedupeScope {
    /// In the chunk and in the completed chunks of its job.
    #[default]
    Job,
    /// In the chunk only.
    Chunk,
}

/// The duplicate check a message asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dedupe {
    /// Where duplicates are looked for.
    #[serde(default)]
    pub scope: DedupeScope,
    /// Other jobs, at most [`Dedupe::MOST_JOBS`]: what their completed chunks hold is a duplicate, too.
    /// With scope `job` only. A set, so that the same jobs in another order ask for the same.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub with_jobs: BTreeSet<i64>,
}

impl Dedupe {
    /// The most jobs of `with_jobs`.
    pub const MOST_JOBS: usize = 100;

    /// Whether a chunk of this job can be checked so.
    ///
    /// # Errors
    ///
    /// [`MessageError::Value`] when `with_jobs` has more than [`Dedupe::MOST_JOBS`] jobs, a negative
    /// number, or the job itself, or when the scope is not `job`.
    pub fn check(&self, job_id: i64) -> Result<(), MessageError> {
        let fail =
            |problem: String| Err(MessageError::Value { field: "dedupe.with_jobs", problem });
        let (jobs, most) = (&self.with_jobs, Self::MOST_JOBS);
        if jobs.len() > most {
            return fail(format!("has {} jobs, and may have at most {most}", jobs.len()));
        }
        if let Some(job) = jobs.first().filter(|job| **job < 0) {
            return fail(format!("has job {job}, and job numbers are 0 or more"));
        }
        if jobs.contains(&job_id) {
            return fail(format!(
                "has {job_id}, the job itself, whose pictures count anyway; leave it out"
            ));
        }
        if self.scope != DedupeScope::Job && !jobs.is_empty() {
            return fail(
                "needs the scope job: with another one no other chunk is looked at".into(),
            );
        }
        Ok(())
    }
}
