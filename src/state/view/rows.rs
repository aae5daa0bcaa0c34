//! Rows of the views, column by column.

use serde::Serialize;
use time::OffsetDateTime;

/// A row of view `capacity`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "doc/formats.md describes the columns")]
pub struct Capacity {
    pub active_chunks: i32,
    pub max_chunks: i32,
    pub available: i32,
    pub utilization: f64,
    pub environment: String,
    pub chunk_size: i32,
    pub storage_limit_mb: i32,
    #[serde(with = "time::serde::rfc3339::option")]
    pub paused_until: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub paused_since: Option<OffsetDateTime>,
    pub storage: Option<String>,
    /// The time of the database as it said this.
    #[serde(skip)]
    pub now: OffsetDateTime,
}

impl Capacity {
    /// Whether intake is paused until somebody resumes it.
    pub fn is_paused_for_good(&self) -> bool {
        self.paused_until.is_some_and(|until| until >= super::FOR_GOOD)
    }
}

/// A row of view `chunk_status`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "doc/formats.md describes the columns")]
pub struct ChunkStatus {
    pub job_id: i64,
    pub chunk_index: i32,
    pub status: String,
    pub attempt: i32,
    pub expiries: i32,
    pub fence: i64,
    pub shard_fence: Option<i64>,
    pub owner: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub lease_until: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    pub priority: i16,
    pub images_valid: Option<i64>,
    pub duplicates_removed: Option<i64>,
    pub late_duplicates: i32,
    pub shard_blob: Option<String>,
    pub manifest_blob: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    pub images_total: Option<i64>,
    pub images_failed: Option<i64>,
    pub images_invalid: Option<i64>,
    pub bytes_in: Option<i64>,
    pub bytes_out: Option<i64>,
    pub items_done: Option<i64>,
    pub temp_bytes: Option<i64>,
    pub lost_duplicates: i32,
    pub is_open: bool,
    pub reset_fence: i64,
}

/// A row of view `job_progress`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "doc/formats.md describes the columns")]
pub struct JobProgress {
    pub job_id: i64,
    pub status: String,
    pub total_chunks: i32,
    pub pending_chunks: i32,
    pub active_chunks: i32,
    pub completed_chunks: i32,
    pub failed_chunks: i32,
    pub images_total: i64,
    pub images_downloaded: i64,
    pub images_valid: i64,
    pub duplicates_removed: i64,
    pub late_duplicates: i64,
    pub progress: f64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    pub missing_chunks: i32,
    pub end_error: Option<String>,
    pub images_asked_again: i64,
    pub images_failed: i64,
    pub images_invalid: i64,
    pub bytes_in: i64,
    pub bytes_out: i64,
    pub items_done: i64,
    pub images_submitted: Option<i64>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    pub ended_as: Option<String>,
}

/// A row of view `process`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "doc/formats.md describes the columns")]
pub struct LiveProcess {
    pub owner: String,
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub seen_at: OffsetDateTime,
    pub release: String,
    pub degraded: Option<String>,
}

/// A row of view `job_reasons`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "doc/formats.md describes the columns")]
pub struct JobReason {
    pub job_id: i64,
    pub reason: String,
    pub images: i64,
}

/// A row of view `attempt_log`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "doc/formats.md describes the columns")]
pub struct AttemptRow {
    pub job_id: i64,
    pub chunk_index: i32,
    pub fence: i64,
    pub owner: String,
    pub invocation_id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub claimed_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    pub outcome: Option<String>,
    pub error_code: Option<String>,
    pub temp_peak_bytes: Option<i64>,
    pub slot_no: Option<i32>,
}

/// A row of view `rejected_message`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "doc/formats.md describes the columns")]
pub struct RejectedMessage {
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
    pub queue: String,
    pub body: String,
    pub reason: String,
}
