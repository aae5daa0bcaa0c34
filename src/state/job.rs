//! Jobs: submitted, cancelled, closed, retried, ended.

use super::{Database, Error, patiently};
use crate::chunk::{ChunkMessage, Dedupe, ErrorCode, Output, RobotsTxt, Validation};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

/// A job to be registered with all its chunks.
#[derive(Debug)]
pub struct NewJob {
    /// Its number.
    pub job_id: i64,
    /// Of the submitted file, in hex.
    pub source_sha256: String,
    /// How it was submitted.
    pub submission: Submission,
    /// One for each chunk.
    pub messages: Vec<ChunkMessage>,
}

/// How a job was submitted. Kept with the job: the same again changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// How many chunks it has.
    pub chunks: usize,
    /// How many URLs.
    pub images: usize,
    /// How the file was read.
    pub format: String,
    /// URLs of a chunk.
    pub chunk_size: usize,
    /// 0 to 10.
    pub priority: i16,
    /// Of URLs that have none of their own.
    pub label: Option<String>,
    /// The checks of its images. A row of an earlier release has their `level` alone: the others are the
    /// defaults.
    #[serde(flatten)]
    pub validation: Validation,
    /// Where duplicates are looked for; in a row of an earlier release in the job alone.
    #[serde(default)]
    pub dedupe: Dedupe,
    /// How its shards are written; in a row of an earlier release as by default.
    #[serde(flatten)]
    pub output: Output,
    /// What robots.txt is to it; none: the list was submitted without saying, also by an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robots: Option<RobotsTxt>,
}

/// What is known of a job that somebody registered.
#[derive(Debug, sqlx::FromRow)]
pub struct RegisteredJob {
    /// Of the submitted file, in hex; none: the job is made of messages.
    pub source_sha256: Option<String>,
    /// None also when an earlier release registered it.
    pub submitted: Option<Json<Submission>>,
    /// The largest number of chunks that it was told to have before it was extended; none: it was told
    /// none.
    pub total_chunks: Option<i32>,
}

/// What became of a cancel: the words of SQL type `cancellation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Cancellation {
    /// Nothing of it runs any more.
    Cancelled,
    /// It was over already.
    JobEnded,
    /// No such job.
    Unknown,
}

/// A job whose chunks are all over, and whose `dataset.json` is not written yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, sqlx::FromRow)]
pub struct OverJob {
    /// Its number.
    pub job_id: i64,
    /// Rises when the job changes: guards the end.
    pub generation: i32,
    /// `completed`, `failed` or `cancelled`.
    pub ends_as: String,
}

/// What the documents of a job's folder are made of.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct DatasetRows {
    /// Sums over the completed chunks.
    pub totals: Json<serde_json::Value>,
    /// The shards, by chunk, empty ones last.
    pub shards: Json<serde_json::Value>,
    /// Late duplicates, by chunk.
    pub late_duplicates: Json<serde_json::Value>,
    /// How often each reason occurred.
    pub reasons: Json<serde_json::Value>,
    /// `validation`, `dedupe`, `output` and `robots` as the first chunk's message has them.
    pub asked: Json<serde_json::Value>,
}

/// What one look at touched jobs takes at most.
pub(crate) const TOUCHES_AT_ONCE: i64 = 20;

impl Database {
    /// Registers a job and its chunks in one transaction; false when the job is known.
    pub async fn submit(&self, job: &NewJob) -> Result<bool, Error> {
        let messages: Vec<String> =
            job.messages.iter().map(|m| serde_json::to_string(m).unwrap_or_default()).collect();
        let mut connection = self.patient("submit").await?;
        // Another submit of the job, however large, is waited for: it decides.
        let wait = sqlx::query("-- submit_waits\nselect set_config('lock_timeout', '0', false)");
        patiently("submit", wait.execute(&mut connection)).await?;
        let statement = sqlx::query_scalar(
            "-- submit
                    with new as (
                        insert into job (job_id, total_chunks, source_sha256, submitted)
                        values ($1, cardinality($3::text[]), $2, $4) on conflict do nothing
                        returning job_id
                    ), chunks as (
                        insert into chunk (job_id, chunk_index, priority, message)
                        select new.job_id, (m.text::jsonb ->> 'chunk_index')::integer,
                            (m.text::jsonb ->> 'priority')::smallint, m.text
                        from new, unnest($3::text[]) as m (text)
                    )
                    select exists (select from new)",
        )
        .bind(job.job_id)
        .bind(&job.source_sha256)
        .bind(&messages)
        .bind(Json(&job.submission));
        patiently("submit", statement.fetch_one(&mut connection)).await
    }

    /// How a job was registered; none: nobody knows it.
    pub async fn registered_job(&self, job_id: i64) -> Result<Option<RegisteredJob>, Error> {
        let statement = sqlx::query_as(
            "-- registered_job
            select source_sha256, submitted, coalesce((select min(e.first_chunk) from extension e
                    where e.job_id = job.job_id), total_chunks) as total_chunks
            from job where job_id = $1",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "registered_job", statement.fetch_optional)
    }

    /// Cancels a job: what is pending or processing fails with `cancelled`.
    pub async fn cancel(&self, job_id: i64) -> Result<Cancellation, Error> {
        let mut connection = self.patient("cancel").await?;
        let statement = sqlx::query_scalar("-- cancel\nselect cancel($1)::text").bind(job_id);
        patiently("cancel", statement.fetch_one(&mut connection)).await
    }

    /// Says that no more chunks come; false when there is no such job.
    pub async fn close(&self, job_id: i64) -> Result<bool, Error> {
        let statement = sqlx::query(
            "-- close
            update job set closed_at = coalesce(closed_at, clock_timestamp()),
                updated_at = clock_timestamp() where job_id = $1",
        )
        .bind(job_id);
        let done = ask!(self.pool, self.cap, "close", statement.execute)?;
        Ok(done.rows_affected() == 1)
    }

    /// Sets failed chunks back to pending, all, one, or those with one code, and reopens the job; none
    /// when there is no such job.
    pub async fn retry(
        &self,
        job_id: i64,
        index: Option<i32>,
        code: Option<ErrorCode>,
    ) -> Result<Option<i32>, Error> {
        let mut connection = self.patient("retry").await?;
        let statement = sqlx::query_scalar("-- retry\nselect retry($1, $2, $3)")
            .bind(job_id)
            .bind(index)
            .bind(code.map(|code| code.to_string()));
        patiently("retry", statement.fetch_one(&mut connection)).await
    }

    /// Whether a job has ended, and so has its documents; none when there is no such job.
    pub async fn has_ended(&self, job_id: i64) -> Result<Option<bool>, Error> {
        let statement = sqlx::query_scalar(
            "-- has_ended
            select ended_at is not null from job_progress where job_id = $1",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "has_ended", statement.fetch_optional)
    }

    /// Has a job that ended end once more, with what it has: its documents are written where they are
    /// missing. False: it has not ended, or there is no such job.
    pub(crate) async fn end_anew(&self, job_id: i64) -> Result<bool, Error> {
        let statement = sqlx::query(
            "-- end_anew
            with open as (
                update job j set ended_at = null, ended_as = null, generation = generation + 1,
                    -- Nothing of it was cancelled that is not there, and it may go on.
                    cancelled_at = case when (select count(*) from chunk c
                        where c.job_id = j.job_id and c.chunk_index < j.total_chunks)
                        >= j.total_chunks then null else cancelled_at end,
                    updated_at = clock_timestamp()
                where job_id = $1 and ended_at is not null returning job_id
            )
            insert into job_touched (job_id) select job_id from open",
        )
        .bind(job_id);
        let done = ask!(self.pool, self.cap, "end_anew", statement.execute)?;
        Ok(done.rows_affected() == 1)
    }

    /// The job, when it is over but for its documents.
    pub(crate) async fn over_job(&self, job_id: i64) -> Result<Option<OverJob>, Error> {
        let statement = sqlx::query_as(
            "-- over_job
            select job_id, generation, ends_as from job_over where job_id = $1",
        )
        .bind(job_id);
        ask!(self.pool, self.cap, "over_job", statement.fetch_optional)
    }

    /// Looks at jobs to which something happened, at most `TOUCHES_AT_ONCE` times: those that are
    /// over, and how many touches are gone.
    ///
    /// One statement, and so one snapshot: a touch that it takes is of a change that it sees. A job
    /// that is over is touched again for later, in case this process does not come to end it.
    pub(crate) async fn judge_touched(&self) -> Result<(i64, Vec<OverJob>), Error> {
        let statement = sqlx::query_as(
            "-- judge_touched
            with taken as (
                delete from job_touched where ctid = any (array(
                    select ctid from job_touched where at <= clock_timestamp()
                    limit $1 for update skip locked))
                returning job_id
            ), over as materialized (
                select o.job_id, o.generation, o.ends_as
                from (select distinct job_id from taken) t
                -- One job at a time: else the view would be made of every open job.
                cross join lateral (
                    select * from job_over where job_id = t.job_id offset 0) o
            ), later as (
                insert into job_touched (job_id, at)
                select job_id, clock_timestamp() + interval '20 s' from over
            )
            select (select count(*) from taken),
                (select coalesce(jsonb_agg(to_jsonb(over)), '[]') from over)",
        )
        .bind(TOUCHES_AT_ONCE);
        let row: (i64, Json<Vec<OverJob>>) =
            ask!(self.pool, self.cap, "judge_touched", statement.fetch_one)?;
        Ok((row.0, row.1.0))
    }

    /// What `dataset.json` and the card say of a job.
    pub async fn dataset_rows(&self, job_id: i64) -> Result<DatasetRows, Error> {
        let mut connection = self.patient("dataset_rows").await?;
        let statement = sqlx::query_as(
                "-- dataset_rows
                with t as (
                    select t.key, sum(t.value::bigint) as value
                    from chunk_result c cross join lateral jsonb_each_text(c.totals) t
                    where c.job_id = $1
                        and t.key not in ('success_rate', 'temp_peak_bytes', 'errors')
                    group by t.key
                ), e as (
                    select reason as key, images as value from job_reasons where job_id = $1
                ), first as (
                    select message::jsonb as message from chunk_message where job_id = $1
                    order by chunk_index limit 1
                )
                select
                    jsonb_build_object('images_total', 0, 'images_downloaded', 0,
                            'images_valid', 0, 'images_invalid', 0, 'images_failed', 0,
                            'duplicates_removed', 0, 'images_asked_again', 0,
                            'bytes_in', 0, 'bytes_out', 0)
                        || (select coalesce(jsonb_object_agg(key, value), '{}') from t)
                        || jsonb_build_object(
                            'chunks', count(*),
                            'chunks_completed', count(shard_blob),
                            'late_duplicates', coalesce(sum(jsonb_array_length(late_duplicates)), 0)
                        ) as totals,
                    coalesce(jsonb_agg(jsonb_build_object('blob', shard_blob,
                            'file', regexp_replace(shard_blob, '^job_[0-9]+/', ''),
                            'bytes', shard_bytes,
                            'sha256', shard_sha256, 'samples', shard_samples)
                        -- Empty ones last: loaders learn the columns from the first.
                        order by shard_samples = 0, chunk_index) filter (where shard_blob is not null), '[]') as shards,
                    coalesce((select jsonb_agg(l order by c.chunk_index)
                        from chunk_result c
                        cross join lateral jsonb_array_elements(c.late_duplicates) l
                        where c.job_id = $1), '[]') as late_duplicates,
                    (select coalesce(jsonb_object_agg(key, value), '{}') from e) as reasons,
                    (select jsonb_build_object('validation', message -> 'validation',
                        'dedupe', message -> 'dedupe', 'output', message -> 'output',
                        'robots', message -> 'robots')
                        from first) as asked
                from chunk_result where job_id = $1",
            )
            .bind(job_id);
        patiently("dataset_rows", statement.fetch_one(&mut connection)).await
    }

    /// What `stats.json` says of a job: the keys and units of img2dataset, over its completed chunks.
    pub async fn stats(&self, job_id: i64) -> Result<serde_json::Value, Error> {
        let mut connection = self.patient("stats").await?;
        let statement = sqlx::query_scalar(
            "-- stats
            with n as (
                select coalesce(sum((totals ->> 'images_total')::bigint), 0) as total,
                    coalesce(sum((totals ->> 'images_valid')::bigint), 0) as valid,
                    coalesce(sum((totals ->> 'images_failed')::bigint), 0) as failed,
                    coalesce(sum((totals ->> 'images_asked_again')::bigint), 0) as again
                from chunk where job_id = $1
            ), t as (
                select extract(epoch from min(claimed_at)) as started,
                    extract(epoch from max(finished_at)) as ended
                from attempt where job_id = $1 and outcome = 'completed'
            ), e as (
                select e.key, sum(e.value::bigint) as value
                from chunk c cross join lateral jsonb_each_text(c.totals -> 'errors') e
                where c.job_id = $1 group by e.key
            )
            select jsonb_build_object('count', total, 'successes', valid,
                'failed_to_download', failed, 'failed_to_resize', total - valid - failed,
                'images_asked_again', again,
                'duration', coalesce(ended - started, 0), 'start_time', coalesce(started, 0),
                'end_time', coalesce(ended, 0),
                'status_dict', (select coalesce(jsonb_object_agg(key, value), '{}') from e)
                    || jsonb_build_object('success', valid))
            from n cross join t",
        )
        .bind(job_id);
        patiently("stats", statement.fetch_one(&mut connection)).await
    }

    /// Notes why a job that is over cannot be ended.
    pub(crate) async fn note_end_error(&self, job_id: i64, why: &str) -> Result<(), Error> {
        let statement = sqlx::query(
            "-- note_end_error
            update job set end_error = $2
            where job_id = $1 and ended_at is null and end_error is distinct from $2",
        )
        .bind(job_id)
        .bind(why);
        ask!(self.pool, self.cap, "note_end_error", statement.execute).map(drop)
    }

    /// Jobs that are over and cannot be ended, each with the reason; five at most.
    pub async fn stuck_ends(&self) -> Result<Vec<(i64, String)>, Error> {
        let statement = sqlx::query_as(
            "-- stuck_ends
            select job_id, end_error from job
            where ended_at is null and end_error is not null order by job_id limit 5",
        );
        ask!(self.pool, self.cap, "stuck_ends", statement.fetch_all)
    }

    /// Ends a job whose `dataset.json` is written; false when the job changed meanwhile.
    pub async fn end_job(&self, job: &OverJob) -> Result<bool, Error> {
        // The row lock comes first: a retry or a new chunk either is seen by the view or waits.
        let statement = sqlx::query(
            "-- end_job
            with locked as materialized (
                select job_id from job where job_id = $1 and ended_at is null for no key update
            )
            update job set ended_at = clock_timestamp(), ended_as = $3, end_error = null,
                updated_at = clock_timestamp()
            where job_id = (select job_id from locked) and generation = $2
                and ended_at is null",
        )
        .bind(job.job_id)
        .bind(job.generation)
        .bind(&job.ends_as);
        let done = ask!(self.pool, self.cap, "end_job", statement.execute)?;
        Ok(done.rows_affected() == 1)
    }
}
