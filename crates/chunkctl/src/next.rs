//! What to type next about a job.

use crate::few_valid::is_over;
use chunk_handler::{
    chunk::{Reason, Status},
    state::{JobProgress, JobReason},
};

/// The command that asks again for the URLs of a job that may work now.
pub(crate) fn ask_again(job_id: i64) -> String {
    format!(
        "chunkctl urls --job-id {job_id} --transient | chunkctl submit --job-id {job_id} --extend --urls \
         - --format jsonl"
    )
}

/// URLs that failed for a reason that may be gone.
pub(crate) fn transient(reasons: &[JobReason]) -> i64 {
    let is_transient = |row: &&JobReason| {
        row.reason.parse::<Reason>().is_ok_and(|reason| reason.is_transient(None, Status::Failed))
    };
    reasons.iter().filter(is_transient).map(|row| row.images).sum()
}

/// Nothing of it is left to be done but what nobody sent.
pub(crate) fn is_waiting(job: &JobProgress) -> bool {
    job.missing_chunks > 0 && job.pending_chunks + job.active_chunks == 0
}

/// Commands, each with what it is for, the most useful first.
pub(crate) fn commands(job: &JobProgress, reasons: &[JobReason]) -> Vec<(String, &'static str)> {
    let id = job.job_id;
    let mut commands = Vec::new();
    if !is_over(job) {
        if is_waiting(job) {
            commands.push((
                format!("chunkctl control close --job-id {id}"),
                "ends it without the chunks that nobody sent",
            ));
        }
        commands.push((format!("chunkctl status {id} --watch"), "shows it to its end"));
        return commands;
    }
    if job.failed_chunks > 0 {
        let what = match job.status.as_str() {
            "cancelled" => "runs what was cancelled",
            _ => "runs the failed chunks again",
        };
        commands.push((format!("chunkctl control retry --job-id {id}"), what));
    }
    if job.status == "completed" {
        if transient(reasons) > 0 {
            commands.push((ask_again(id), "asks again for the URLs that may work now"));
        } else if job.images_failed + job.images_invalid > 0 {
            commands.push((
                format!("chunkctl urls --job-id {id} --status failed,invalid"),
                "lists the URLs that are not in it",
            ));
        }
    }
    if job.images_valid > 0 {
        commands.push((format!("chunkctl fetch --job-id {id} --to job_{id}"), "brings its files"));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::job;

    fn first(job: &JobProgress, reasons: &[(&str, i64)]) -> String {
        let reason = |(reason, images): &(&str, i64)| JobReason {
            job_id: 7,
            reason: (*reason).into(),
            images: *images,
        };
        let reasons: Vec<_> = reasons.iter().map(reason).collect();
        commands(job, &reasons).remove(0).0
    }

    #[test]
    fn what_to_type_next_goes_by_what_became_of_the_job() {
        let over = |failed_chunks| JobProgress {
            status: "completed".into(),
            failed_chunks,
            pending_chunks: 0,
            active_chunks: 0,
            ..job()
        };
        assert_eq!(first(&job(), &[]), "chunkctl status 7 --watch");
        assert_eq!(first(&over(1), &[]), "chunkctl control retry --job-id 7");
        assert_eq!(first(&over(0), &[("http_503", 2), ("http_404", 9)]), ask_again(7));
        let lasting = first(&over(0), &[("http_404", 9)]);
        assert_eq!(lasting, "chunkctl urls --job-id 7 --status failed,invalid");
        let clean = JobProgress { images_failed: 0, images_invalid: 0, ..over(0) };
        assert_eq!(first(&clean, &[]), "chunkctl fetch --job-id 7 --to job_7");
        let waiting =
            JobProgress { missing_chunks: 2, pending_chunks: 0, active_chunks: 0, ..job() };
        assert_eq!(first(&waiting, &[]), "chunkctl control close --job-id 7");
    }
}
