//! A job that is over and has little to show: whoever submitted it should know without looking.

use chunk_handler::state::JobProgress;
use serde_json::{Value, json};

/// What to say of a job of which nothing, or less than half, is valid. None: it is not over, has no
/// images, or enough of them are valid.
pub(crate) fn line(job: &JobProgress) -> Option<String> {
    let JobProgress { job_id, images_valid, duplicates_removed, .. } = job;
    let images_total = urls(job);
    if !is_poor(job) {
        return None;
    }
    let what = match images_valid {
        0 => format!("none of its {images_total} images is valid"),
        _ => format!("only {images_valid} of its {images_total} images are valid, less than half"),
    };
    let duplicates = match duplicates_removed {
        0 => String::new(),
        n => format!(" ({n} are duplicates)"),
    };
    Some(format!("job {job_id}: {what}{duplicates}; its manifests say why, URL by URL"))
}

/// The same for programs, of all such jobs.
pub(crate) fn as_json(jobs: &[JobProgress]) -> Vec<Value> {
    let row = |job: &JobProgress| {
        json!({
            "job_id": job.job_id, "images_total": job.images_total,
            "images_asked_again": job.images_asked_again,
            "images_valid": job.images_valid, "duplicates_removed": job.duplicates_removed,
        })
    };
    jobs.iter().filter(|job| is_poor(job)).map(row).collect()
}

fn is_poor(job: &JobProgress) -> bool {
    is_over(job) && urls(job) > 0 && 2 * job.images_valid < urls(job)
}

/// Its URLs, each counted once, however often it was asked for.
fn urls(job: &JobProgress) -> i64 {
    job.images_total - job.images_asked_again
}

/// Whether a job has ended, in whatever way.
pub(crate) fn is_over(job: &JobProgress) -> bool {
    matches!(job.status.as_str(), "completed" | "failed" | "cancelled")
}

/// What to say of a job that is over and has chunks that did not complete; none: all did.
pub(crate) fn partial(job: &JobProgress) -> Option<String> {
    let JobProgress { status, completed_chunks, total_chunks, .. } = job;
    let why = match status.as_str() {
        "completed" => "the others failed".to_owned(),
        status => format!("the job is {status}"),
    };
    (is_over(job) && (completed_chunks < total_chunks || status != "completed"))
        .then(|| format!("{completed_chunks} of {total_chunks} chunks are complete: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::job;

    fn line_of(status: &str, valid: i64, total: i64, duplicates: i64) -> Option<String> {
        line(&JobProgress {
            status: status.into(),
            images_valid: valid,
            images_total: total,
            duplicates_removed: duplicates,
            ..job()
        })
    }

    /// Who has a part of a job knows it, whatever ended it.
    #[test]
    fn a_job_that_ended_in_part_says_so() {
        let of = |status: &str, completed_chunks, total_chunks| {
            let status = status.into();
            partial(&JobProgress { status, completed_chunks, total_chunks, ..job() })
        };
        let said = of("cancelled", 1, 3);
        assert_eq!(said.as_deref(), Some("1 of 3 chunks are complete: the job is cancelled"));
        let said = of("completed", 2, 3);
        assert_eq!(said.as_deref(), Some("2 of 3 chunks are complete: the others failed"));
        assert!(of("failed", 0, 1).is_some());
        assert_eq!(of("completed", 3, 3), None);
        assert_eq!(of("running", 1, 3), None);
    }

    #[test]
    fn a_job_with_less_than_half_valid_is_named_when_it_is_over() {
        let none = "job 7: none of its 9 images is valid; its manifests say why, URL by URL";
        assert_eq!(line_of("completed", 0, 9, 0).as_deref(), Some(none));
        let few = "job 7: only 4 of its 9 images are valid, less than half (3 are duplicates); its \
                   manifests say why, URL by URL";
        assert_eq!(line_of("cancelled", 4, 9, 3).as_deref(), Some(few));
        assert_eq!(line_of("completed", 5, 10, 0), None);
        let again =
            JobProgress { images_total: 12, images_valid: 5, images_asked_again: 3, ..job() };
        assert_eq!(line(&JobProgress { status: "completed".into(), ..again }), None, "5 of 9 URLs");
        assert_eq!(line_of("running", 0, 9, 0), None);
        assert_eq!(line_of("completed", 0, 0, 0), None);
        let over = JobProgress { status: "failed".into(), images_valid: 1, ..job() };
        let row = json!({"job_id": 7, "images_total": 500, "images_asked_again": 0, "images_valid": 1, "duplicates_removed": 20});
        assert_eq!(as_json(&[over, job()]), [row]);
    }
}
