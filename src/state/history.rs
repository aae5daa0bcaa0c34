//! What the last days were like, for planning. Reads views only, so that a role that may read nothing
//! else can ask, and answers sums: two hundred thousand attempts are normal.

use super::{Database, Error, patiently};
use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The claims of some days, and what the health checks saw meanwhile.
#[derive(Debug, Clone, Default)]
pub struct FleetHistory {
    /// Hours from the first claim until now; 0: nothing was claimed.
    pub hours: f64,
    /// How long how many slots were busy, since the first claim.
    pub busy: Vec<BusySlots>,
    /// What the processes did.
    pub instances: InstanceUse,
    /// How claims ended, and how many are under way.
    pub endings: Vec<Ending>,
    /// How long chunks waited.
    pub waits: ChunkWaits,
    /// What came of it.
    pub done: DoneChunks,
    /// The runs of the timer.
    pub checks: HealthChecks,
}

/// The time in which exactly so many slots were busy.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct BusySlots {
    /// Slots of the fleet.
    pub busy: i64,
    /// In all.
    pub seconds: f64,
}

/// Processes with their claims side by side.
#[derive(Debug, Clone, Copy, Default, sqlx::FromRow)]
pub struct InstanceUse {
    /// The time in which a process had a chunk, of all processes.
    pub seconds: f64,
    /// Temp bytes of a process, half of this time at most: the sum of its chunks' peaks, which need not
    /// have been at once. None: there was no claim.
    pub temp_median_bytes: Option<i64>,
    /// The same for 95 % of it.
    pub temp_p95_bytes: Option<i64>,
}

/// Claims that ended in one way.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Ending {
    /// As in view `attempt_log`; none: under way.
    pub outcome: Option<String>,
    /// As there.
    pub error_code: Option<String>,
    /// How many.
    pub n: i64,
    /// Seconds in which they held a slot, in all.
    pub seconds: f64,
}

/// The waits of chunks whose jobs began in these days: from the job's submission to the first claim.
#[derive(Debug, Clone, Copy, Default, Serialize, sqlx::FromRow)]
pub struct ChunkWaits {
    /// Those that were claimed.
    pub chunks: i64,
    /// Of half of them at most; none: there are none.
    pub median_seconds: Option<f64>,
    /// Of 95 % of them at most.
    pub p95_seconds: Option<f64>,
}

/// Chunks that completed in these days, and are complete.
#[derive(Debug, Clone, Copy, Default, sqlx::FromRow)]
pub struct DoneChunks {
    /// How many.
    pub chunks: i64,
    /// Their URLs.
    pub images: i64,
    /// Bytes that were downloaded.
    pub bytes_in: i64,
    /// Bytes of their shards.
    pub bytes_out: i64,
}

/// Rows of view `health`. Of each percentage: the median, 95 %, and the highest; none: no row has it.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub struct HealthChecks {
    /// All rows.
    pub n: i64,
    /// Those that saw a chunk at work or waiting.
    pub working: i64,
    /// Those that saw every slot taken, by today's limit, while chunks waited.
    pub n_full: i64,
    /// CPU of the app.
    pub app_cpu: Option<Vec<f64>>,
    /// Memory of the app.
    pub app_memory: Option<Vec<f64>>,
    /// CPU of the database.
    pub postgres_cpu: Option<Vec<f64>>,
    /// Memory of the database.
    pub postgres_memory: Option<Vec<f64>>,
}

/// From when until when claims count.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
struct Window {
    since: OffsetDateTime,
    until: OffsetDateTime,
    hours: f64,
}

impl Database {
    /// The history of the last days.
    ///
    /// # Errors
    ///
    /// [`Error::Away`] when a statement takes longer than 60 s: ask for fewer days.
    pub async fn fleet_history(&self, days: u32) -> Result<FleetHistory, Error> {
        let mut connection = self.patient("history").await?;
        let connection = &mut connection;
        let window = window(connection, days).await?;
        Ok(FleetHistory {
            hours: window.hours,
            busy: busy(connection, window).await?,
            instances: instances(connection, window).await?,
            endings: endings(connection, window).await?,
            waits: waits(connection, window).await?,
            done: done(connection, window).await?,
            checks: checks(connection, window).await?,
        })
    }
}

async fn window(connection: &mut PgConnection, days: u32) -> Result<Window, Error> {
    let statement = sqlx::query_as(
        "-- history_window
        select w.since, w.until, coalesce(extract(epoch from w.until - (
            select min(a.claimed_at) from attempt_log a
            where a.claimed_at between w.since and w.until)) / 3600, 0)::double precision as hours
        from (select t - make_interval(days => $1) as since, t as until from clock_timestamp() t) w",
    )
    .bind(i32::try_from(days).unwrap_or(i32::MAX));
    patiently("history_window", statement.fetch_one(connection)).await
}

async fn busy(connection: &mut PgConnection, window: Window) -> Result<Vec<BusySlots>, Error> {
    let statement = sqlx::query_as(
        "-- history_busy
        with work as (
            select claimed_at as began, greatest(claimed_at, coalesce(finished_at, $2)) as ended
            from attempt_log where claimed_at between $1 and $2),
        event as (
            select began as at, 1 as n from work
            union all select ended, -1 from work
            union all select $2, 0),
        step as (
            select sum(n) over w as busy, extract(epoch from lead(at) over w - at) as seconds
            from event window w as (order by at, n rows unbounded preceding))
        select busy, sum(seconds)::double precision as seconds
        from step where seconds > 0 group by busy order by busy",
    )
    .bind(window.since)
    .bind(window.until);
    patiently("history_busy", statement.fetch_all(connection)).await
}

async fn instances(connection: &mut PgConnection, window: Window) -> Result<InstanceUse, Error> {
    let statement = sqlx::query_as(
        "-- history_instances
        with work as (
            select owner, claimed_at as began,
                greatest(claimed_at, coalesce(finished_at, $2)) as ended,
                coalesce(temp_peak_bytes, 0) as temp
            from attempt_log where claimed_at between $1 and $2),
        event as (
            select owner, began as at, 1 as n, temp from work
            union all select owner, ended, -1, -temp from work),
        step as (
            select sum(n) over w as chunks, sum(temp) over w as temp,
                extract(epoch from lead(at) over w - at) as seconds
            from event
            window w as (partition by owner order by at, n rows unbounded preceding)),
        -- By time, for many steps are of one moment.
        shared as (
            select temp, seconds,
                sum(seconds) over (order by temp) / nullif(sum(seconds) over (), 0) as share
            from step where chunks > 0)
        select coalesce(sum(seconds), 0)::double precision as seconds,
            (min(temp) filter (where share >= 0.5))::bigint as temp_median_bytes,
            (min(temp) filter (where share >= 0.95))::bigint as temp_p95_bytes
        from shared",
    )
    .bind(window.since)
    .bind(window.until);
    patiently("history_instances", statement.fetch_one(connection)).await
}

async fn endings(connection: &mut PgConnection, window: Window) -> Result<Vec<Ending>, Error> {
    let statement = sqlx::query_as(
        "-- history_endings
        select outcome, error_code, count(*) as n,
            sum(extract(epoch from greatest(claimed_at, coalesce(finished_at, $2)) - claimed_at))
                ::double precision as seconds
        from attempt_log where claimed_at between $1 and $2
        group by outcome, error_code order by n desc, outcome, error_code",
    )
    .bind(window.since)
    .bind(window.until);
    patiently("history_endings", statement.fetch_all(connection)).await
}

async fn waits(connection: &mut PgConnection, window: Window) -> Result<ChunkWaits, Error> {
    let statement = sqlx::query_as(
        "-- history_waits
        select count(*) as chunks,
            percentile_disc(0.5) within group (order by seconds) as median_seconds,
            percentile_disc(0.95) within group (order by seconds) as p95_seconds
        from (
            select greatest(extract(epoch from min(a.claimed_at) - j.created_at), 0)
                ::double precision as seconds
            from job_progress j join attempt_log a on a.job_id = j.job_id
            where j.created_at between $1 and $2 and a.claimed_at between $1 and $2
            group by a.job_id, a.chunk_index, j.created_at) first",
    )
    .bind(window.since)
    .bind(window.until);
    patiently("history_waits", statement.fetch_one(connection)).await
}

async fn done(connection: &mut PgConnection, window: Window) -> Result<DoneChunks, Error> {
    let statement = sqlx::query_as(
        "-- history_done
        select count(*) as chunks, coalesce(sum(c.images_total), 0)::bigint as images,
            coalesce(sum(c.bytes_in), 0)::bigint as bytes_in,
            coalesce(sum(c.bytes_out), 0)::bigint as bytes_out
        from (select distinct job_id, chunk_index from attempt_log
            where outcome = 'completed' and claimed_at between $1 and $2) a
        join chunk_status c on c.job_id = a.job_id and c.chunk_index = a.chunk_index
        where c.status = 'completed'",
    )
    .bind(window.since)
    .bind(window.until);
    patiently("history_done", statement.fetch_one(connection)).await
}

async fn checks(connection: &mut PgConnection, window: Window) -> Result<HealthChecks, Error> {
    let statement = sqlx::query_as(
        "-- history_checks
        with checked as (
            select active_chunks, pending_chunks, azure_cpu, azure_memory,
                (report #>> '{azure,postgres,cpu_percent,value}')::double precision as postgres_cpu,
                (report #>> '{azure,postgres,memory_percent,value}')::double precision
                    as postgres_memory
            from health where checked_at between $1 and $2)
        select count(*) as n,
            count(*) filter (where active_chunks > 0 or pending_chunks > 0) as working,
            count(*) filter (where pending_chunks > 0
                and active_chunks >= (select max_chunks from capacity)) as n_full,
            percentile_disc(array[0.5, 0.95, 1]) within group (order by azure_cpu) as app_cpu,
            percentile_disc(array[0.5, 0.95, 1]) within group (order by azure_memory) as app_memory,
            percentile_disc(array[0.5, 0.95, 1]) within group (order by postgres_cpu)
                as postgres_cpu,
            percentile_disc(array[0.5, 0.95, 1]) within group (order by postgres_memory)
                as postgres_memory
        from checked",
    )
    .bind(window.since)
    .bind(window.until);
    patiently("history_checks", statement.fetch_one(connection)).await
}
