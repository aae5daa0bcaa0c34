//! What is written down and looked at: fleet, rejected messages, health, chunk rows, known hashes.

use super::{Database, Error};
use crate::settings::Settings;
use serde::Serialize;
use std::collections::HashMap;
use time::OffsetDateTime;

/// A row of view `capacity`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are documented in the interface")]
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
}

/// A row of view `chunk_status`.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are documented in the interface")]
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
}

/// What the health check reads in one statement.
#[derive(Debug, Clone, Copy, Serialize, sqlx::FromRow)]
pub struct Gauges {
    /// Occupied slots.
    pub active_chunks: i32,
    /// The limit in force.
    pub max_chunks: i32,
    /// Chunks that wait.
    pub pending_chunks: i64,
    /// Seconds since the oldest waiting chunk was registered; null: none waits.
    pub oldest_pending_seconds: Option<f64>,
}

/// A health check's result.
#[derive(Debug)]
pub struct HealthRow {
    /// What the database said.
    pub gauges: Gauges,
    /// Messages in the chunk queue, roughly; none: the queue did not answer.
    pub queue_depth: Option<i32>,
    /// How far Azure Monitor can be believed.
    pub azure_state: &'static str,
    /// Percent; none: not known.
    pub azure_cpu: Option<f64>,
    /// Percent; none: not known.
    pub azure_memory: Option<f64>,
    /// Everything else, for people.
    pub report: serde_json::Value,
}

/// The database as `doctor` shows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Description {
    /// Of the server.
    pub version: String,
    /// Of the whole database.
    pub bytes: i64,
    /// Its clock when it was asked.
    pub clock: OffsetDateTime,
}

impl Database {
    /// Writes this process's limits into the fleet row and creates missing slots.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn announce(&self, settings: &Settings) -> Result<(), Error> {
        let statement = sqlx::query(
            "-- announce
            select announce($1, $2, $3, $4)",
        )
        .bind(settings.fleet_max_chunks)
        .bind(settings.profile.to_string())
        .bind(i32::try_from(settings.limits.chunk_size_images).unwrap_or(i32::MAX))
        .bind(i32::try_from(settings.limits.temp_storage_mb).unwrap_or(i32::MAX));
        ask!(self.pool, self.cap, "announce", statement.execute).map(drop)
    }

    /// Records a message that can never work; a second record of the same source is ignored.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn reject(
        &self,
        source_key: &str,
        queue: &str,
        body: &str,
        reason: &str,
    ) -> Result<(), Error> {
        // Postgres text holds no NUL.
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        let statement = sqlx::query(
            "-- reject
            insert into rejected (source_key, queue, body, reason) values ($1, $2, $3, $4)
            on conflict do nothing",
        )
        .bind(clean(source_key))
        .bind(queue)
        .bind(clean(body))
        .bind(clean(reason));
        ask!(self.pool, self.cap, "reject", statement.execute).map(drop)
    }

    /// Which of the hashes completed chunks of the job hold, with the kept sample's key.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn known_hashes(
        &self,
        job_id: i64,
        hashes: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, String>, Error> {
        let statement = sqlx::query_as(
            "-- known_hashes
            select sha256, key from image_hash where job_id = $1 and sha256 = any($2)",
        )
        .bind(job_id)
        .bind(hashes);
        let rows: Vec<(Vec<u8>, String)> =
            ask!(self.pool, self.cap, "known_hashes", statement.fetch_all)?;
        Ok(rows.into_iter().collect())
    }

    /// Capacity of the fleet.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn capacity(&self) -> Result<Capacity, Error> {
        let statement = sqlx::query_as("-- capacity\nselect * from capacity");
        ask!(self.pool, self.cap, "capacity", statement.fetch_one)
    }

    /// Failed chunks of a job, the first `limit`.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn failed_chunks(&self, job_id: i64, limit: i64) -> Result<Vec<ChunkStatus>, Error> {
        let statement = sqlx::query_as(
            "-- failed_chunks
            select * from chunk_status where job_id = $1 and status = 'failed'
            order by chunk_index limit $2",
        )
        .bind(job_id)
        .bind(limit);
        ask!(self.pool, self.cap, "failed_chunks", statement.fetch_all)
    }

    /// Bytes in and out of a job's completed chunks.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn job_bytes(&self, job_id: i64) -> Result<(i64, i64), Error> {
        let statement = sqlx::query_as(
            "-- job_bytes
            select coalesce(sum((totals ->> 'bytes_in')::bigint), 0)::bigint,
                coalesce(sum((totals ->> 'bytes_out')::bigint), 0)::bigint
            from chunk where job_id = $1",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "job_bytes", statement.fetch_one)
    }

    /// The gauges of the health check.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn gauges(&self) -> Result<Gauges, Error> {
        let statement = sqlx::query_as(
            "-- gauges
            select (select count(job_id)::integer from slot) as active_chunks,
                (select max_chunks from fleet) as max_chunks,
                count(*) as pending_chunks,
                extract(epoch from clock_timestamp() - min(created_at))::double precision
                    as oldest_pending_seconds
            from chunk where state = 'pending'",
        );
        ask!(self.pool, self.cap, "gauges", statement.fetch_one)
    }

    /// Writes a health row. Old rows go: a month of them is kept.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn record_health(&self, row: &HealthRow) -> Result<(), Error> {
        let statement = sqlx::query(
            "-- record_health
            with old as (
                delete from health_check where checked_at < clock_timestamp() - interval '30 days'
            )
            insert into health_check (active_chunks, pending_chunks, queue_depth, azure_state,
                azure_cpu, azure_memory, report)
            values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(row.gauges.active_chunks)
        .bind(row.gauges.pending_chunks)
        .bind(row.queue_depth)
        .bind(row.azure_state)
        .bind(row.azure_cpu)
        .bind(row.azure_memory)
        .bind(sqlx::types::Json(&row.report));
        ask!(self.pool, self.cap, "record_health", statement.execute).map(drop)
    }

    /// What `doctor` tells of the database.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn describe(&self) -> Result<Description, Error> {
        let statement = sqlx::query_as(
            "-- describe
            select current_setting('server_version') as version,
                pg_database_size(current_database()) as bytes, clock_timestamp() as clock",
        );
        ask!(self.pool, self.cap, "describe", statement.fetch_one)
    }

    /// The newest migration that was applied; none: there is no schema yet.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn schema_version(&self) -> Result<Option<i64>, Error> {
        let statement = sqlx::query_scalar(
            "-- schema_version
            select max(version) from _sqlx_migrations where success",
        );
        ask!(self.pool, self.cap, "schema_version", statement.fetch_one)
    }
}
