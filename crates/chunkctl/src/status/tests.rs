use super::{lines::*, *};
use chunk_handler::state::{Capacity, ChunkStatus, HostBusy};
use time::macros::datetime;

pub(crate) fn capacity() -> Capacity {
    Capacity {
        active_chunks: 3,
        max_chunks: 10,
        available: 7,
        utilization: 0.3,
        environment: "azure_functions".into(),
        chunk_size: 500,
        storage_limit_mb: 400,
        paused_until: Some(datetime!(2026-11-26 12:00 UTC)),
        paused_since: Some(datetime!(2026-11-26 10:30 UTC)),
        storage: None,
        now: datetime!(2026-11-26 11:48 UTC),
    }
}

pub(crate) fn job() -> JobProgress {
    JobProgress {
        job_id: 7,
        status: "running".into(),
        total_chunks: 4,
        pending_chunks: 1,
        active_chunks: 1,
        completed_chunks: 1,
        failed_chunks: 1,
        images_total: 500,
        images_downloaded: 480,
        images_valid: 450,
        duplicates_removed: 20,
        late_duplicates: 2,
        progress: 50.0,
        created_at: datetime!(2026-11-26 10:00 UTC),
        updated_at: datetime!(2026-11-26 11:00 UTC),
        missing_chunks: 0,
        end_error: None,
        images_asked_again: 0,
        images_failed: 20,
        images_invalid: 10,
        bytes_in: 50_000_000,
        bytes_out: 45_000_000,
        items_done: 620,
        images_submitted: Some(2000),
        ended_at: None,
        ended_as: None,
    }
}

pub(crate) fn failed(code: &str) -> ChunkStatus {
    ChunkStatus {
        job_id: 7,
        chunk_index: 3,
        status: "failed".into(),
        attempt: 5,
        expiries: 0,
        fence: 5,
        shard_fence: None,
        owner: None,
        lease_until: None,
        not_before: None,
        priority: 5,
        images_valid: None,
        duplicates_removed: None,
        late_duplicates: 0,
        shard_blob: None,
        manifest_blob: None,
        error_code: Some(code.into()),
        error_message: Some("the source blob is missing".into()),
        updated_at: datetime!(2026-11-26 11:00 UTC),
        images_total: None,
        images_failed: None,
        images_invalid: None,
        bytes_in: None,
        bytes_out: None,
        items_done: None,
        temp_bytes: None,
        lost_duplicates: 0,
        is_open: false,
        reset_fence: 0,
    }
}

/// What people read, to the letter: fleet, job, a failure with its advice.
#[test]
fn status_is_shown_in_lines() {
    let waiting = JobProgress { missing_chunks: 7, ..job() };
    let failures = |code: &str, chunks| Failures {
        job_id: 7,
        error_code: code.into(),
        chunks,
        first_chunk: 3,
        error_message: Some("it did not fit".into()),
    };
    let mut lines = vec![
        capacity_line(&capacity()),
        job_line(&job()),
        missing_line(&waiting, &[1, 4]),
        end_error_line("job_7/dataset.json cannot be overwritten"),
        lost_line(7, LostDuplicates { chunk_index: 3, n: 2 }),
        host_busy::line(HostBusy { job_id: 7, chunk_index: 3, images: 120 }),
    ];
    for (code, chunks) in [("deadline_overrun", 1), ("deadline_overrun", 14), ("gremlins", 2)] {
        lines.extend(failures::lines(&failures(code, chunks)));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

/// What programs read: the columns of the views under their own names.
#[test]
fn status_in_json_has_the_columns_of_the_views() {
    let chunk = failed("source_missing");
    insta::assert_json_snapshot!(
        json!({"capacity": capacity(), "jobs": [job()], "failed_chunks": [chunk]})
    );
}
