//! Tables as they are after many chunks: seeded by statements, not by work.

use anyhow::Result;
use chunk_handler::{
    chunk::{ChunkId, ChunkMessage, ClaimToken, Completion, Fence, ShardRef, Totals},
    state::{Database, LeaseTerms},
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use std::time::Duration;

/// Chunks of a seeded job.
const CHUNKS_OF_A_JOB: i64 = 500;
/// The job of the chunks that are claimed; far above the seeded ones.
pub const OPEN_JOB: i64 = 1_000_000_000;
pub const LEASE: Duration = Duration::from_secs(60);

/// Brings the schema of an empty database up to date and sets the limit.
pub async fn prepare(url: &str, limit: i32) -> Result<PgPool> {
    Database::open(url, LeaseTerms::new(LEASE))?.migrate().await?;
    let pool = PgPoolOptions::new().max_connections(2).connect(url).await?;
    sqlx::query("update chunk_handler.fleet set max_chunks = $1")
        .bind(limit)
        .execute(&pool)
        .await?;
    let slots = "insert into chunk_handler.slot (slot_no) select generate_series(1, $1)
        on conflict do nothing";
    sqlx::query(slots).bind(limit).execute(&pool).await?;
    Ok(pool)
}

/// Chunks that are over, with their attempts; a multiple of 500.
pub async fn insert_finished(pool: &PgPool, n: i64) -> Result<()> {
    let mut connection = pool.acquire().await?;
    // Without the check of a million references one by one.
    sqlx::query("set session_replication_role = replica").execute(&mut *connection).await?;
    let jobs = "insert into chunk_handler.job (job_id, total_chunks, ended_at, ended_as)
        select id, $2, clock_timestamp(), 'completed' from generate_series(1, $1) id";
    sqlx::query(jobs)
        .bind(n / CHUNKS_OF_A_JOB)
        .bind(CHUNKS_OF_A_JOB as i32)
        .execute(&mut *connection)
        .await?;
    let chunks = "insert into chunk_handler.chunk (job_id, chunk_index, state, priority, message,
            attempt, fence, shard_fence, totals, shard_blob, shard_bytes, shard_sha256,
            shard_samples, manifest_blob)
        select 1 + n / $2, n % $2, 'completed', 5,
            format('{\"version\":1,\"job_id\":%s,\"chunk_index\":%s,\"total_chunks\":%s,\"source\":{\"blob\":\"job_%s/%s.txt\"}}', 1 + n / $2, n % $2, $2, 1 + n / $2, n % $2),
            1, 1, 1,
            '{\"images_total\":500,\"images_downloaded\":490,\"images_valid\":480,\"images_invalid\":10,\"images_failed\":10,\"duplicates_removed\":0,\"success_rate\":0.96,\"bytes_in\":225000000,\"bytes_out\":226000000,\"temp_peak_bytes\":0}',
            format('job_%s/chunks/chunk_%s.tar', 1 + n / $2, n % $2), 226000000,
            encode(sha256(n::text::bytea), 'hex'), 480,
            format('job_%s/chunks/chunk_%s.manifest.json', 1 + n / $2, n % $2)
        from generate_series(0, $1 - 1) n";
    sqlx::query(chunks).bind(n).bind(CHUNKS_OF_A_JOB).execute(&mut *connection).await?;
    let attempts = "insert into chunk_handler.attempt (job_id, chunk_index, fence, owner,
            invocation_id, finished_at, outcome, temp_peak_bytes)
        select 1 + n / $2, n % $2, 1, 'bench/1/00000000', gen_random_uuid()::text,
            clock_timestamp(), 'completed', 0
        from generate_series(0, $1 - 1) n";
    sqlx::query(attempts).bind(n).bind(CHUNKS_OF_A_JOB).execute(&mut *connection).await?;
    // A session with its own setting does not go back into the pool.
    drop(connection.detach());
    // What autovacuum has long done where a million chunks are over.
    sqlx::query("vacuum (analyze) chunk_handler.chunk").execute(pool).await?;
    sqlx::query("vacuum (analyze) chunk_handler.attempt").execute(pool).await?;
    // Or the writing of these rows would go on behind what is measured.
    sqlx::query("checkpoint").execute(pool).await?;
    Ok(())
}

/// Chunks of the open job that may be claimed.
pub async fn insert_pending(pool: &PgPool, n: i32) -> Result<()> {
    let job = "insert into chunk_handler.job (job_id, total_chunks) values ($1, $2)";
    sqlx::query(job).bind(OPEN_JOB).bind(n).execute(pool).await?;
    let chunks = "insert into chunk_handler.chunk (job_id, chunk_index, priority, message)
        select $1, n, 5, format('{\"version\":1,\"job_id\":%s,\"chunk_index\":%s,\"source\":{\"blob\":\"%s.txt\"}}', $1, n, n)
        from generate_series(0, $2 - 1) n";
    sqlx::query(chunks).bind(OPEN_JOB).bind(n).execute(pool).await?;
    Ok(())
}

/// The wake-up of a chunk of the open job.
pub fn wake_up(chunk_index: i32) -> ChunkMessage {
    ChunkMessage::new(ChunkId { job_id: OPEN_JOB, chunk_index })
}

/// What completes a chunk, without images.
pub fn report(id: ChunkId, fence: Fence, claim: ClaimToken) -> Completion {
    let shard =
        ShardRef { blob: id.shard_blob(), bytes: 10_240, sha256: "0".repeat(64), samples: 0 };
    Completion {
        totals: Totals::default(),
        shard,
        shard_fence: fence,
        shard_claim: claim,
        hashes: Vec::new(),
    }
}

/// Hashes of the ended chunks' images, so many in each job; a multiple of 5000.
pub async fn insert_hashes(pool: &PgPool, n: i64) -> Result<()> {
    const OF_A_JOB: i64 = 5000;
    let hashes = "insert into chunk_handler.image_hash (job_id, sha256, chunk_index, key)
        select 1 + n / $2, sha256(int8send(n)), n % $2 / 10,
            to_char(n % $2 / 10, 'fm00000_') || to_char(n % 500, 'fm00000')
        from generate_series(0, $1 - 1) n";
    sqlx::query(hashes).bind(n).bind(OF_A_JOB).execute(pool).await?;
    sqlx::query("vacuum (analyze) chunk_handler.image_hash").execute(pool).await?;
    sqlx::query("vacuum (analyze) chunk_handler.job").execute(pool).await?;
    sqlx::query("checkpoint").execute(pool).await?;
    Ok(())
}

/// Rejected messages and health rows, young enough to stay.
pub async fn insert_records(pool: &PgPool, n: i64) -> Result<()> {
    let health = "insert into chunk_handler.health_check
            (active_chunks, pending_chunks, azure_state, report)
        select 0, 0, 'not_configured', '{}' from generate_series(1, $1)";
    sqlx::query(health).bind(n).execute(pool).await?;
    let rejected = "insert into chunk_handler.rejected (source_key, queue, body, reason)
        select n, 'chunks', '{}', 'seeded' from generate_series(1, $1) n";
    sqlx::query(rejected).bind(n).execute(pool).await?;
    for analyze in ["analyze chunk_handler.health_check", "analyze chunk_handler.rejected"] {
        sqlx::query(analyze).execute(pool).await?;
    }
    Ok(())
}
