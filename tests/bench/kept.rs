//! What a million images leave in the database, written as the product writes it, and how fast it goes
//! when it is old.

use crate::{
    measure::{Measured, mb},
    rows::{self, LEASE, OPEN_JOB},
    world::Bench,
};
use anyhow::{Context as _, Result, bail, ensure};
use chunk_handler::{
    chunk::{ChunkId, ChunkMessage, ClaimToken, Completion, Totals},
    state::{ClaimAnswer, Database, Error, Kept, LeaseTerms},
};
use sha2::{Digest as _, Sha256};
use std::time::Instant;

const CHUNKS: i32 = 2000;
const IMAGES: i32 = 500;
/// Rows that one process may remove in a day: two seconds in a minute.
const SECONDS_OF_A_DAY: f64 = 2.0 * 60.0 * 24.0;

pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let url = bench.database("bench_kept").await?;
    let pool = rows::prepare(&url, 10).await?;
    let database = Database::open(&url, LeaseTerms::new(LEASE))?;
    let before = database.table_sizes().await?;
    rows::insert_pending(&pool, CHUNKS).await?;
    for index in 0..CHUNKS {
        complete(&database, index).await?;
    }
    sqlx::query("vacuum (analyze)").execute(&pool).await?;
    let mut total = 0;
    for size in database.table_sizes().await? {
        let empty = before.iter().find(|b| b.name == size.name).context("a table")?;
        let bytes = size.bytes - empty.bytes;
        total += bytes;
        eprintln!("  {:<12} {:>8} rows {:>8.1} MB", size.name, size.rows, mb(bytes.unsigned_abs()));
    }
    let end = "update chunk_handler.job set ended_as = 'completed',
        ended_at = clock_timestamp() - interval '31 days',
        updated_at = clock_timestamp() - interval '31 days'";
    sqlx::query(end).execute(&pool).await?;
    let (since, mut n, mut slowest) = (Instant::now(), 0, 0.0_f64);
    loop {
        let batch = Instant::now();
        let Some(rows) = database.remove(Kept::Hashes, 30).await? else { break };
        slowest = slowest.max(batch.elapsed().as_secs_f64());
        n += rows;
    }
    ensure!(n == i64::from(CHUNKS * IMAGES), "{n} hashes were removed");
    let rate = n as f64 / since.elapsed().as_secs_f64();
    eprintln!(
        "  removed {rate:.0} hashes/s, {:.0} million a day; the slowest batch {:.0} ms",
        rate * SECONDS_OF_A_DAY / 1e6,
        slowest * 1000.0
    );
    Ok(vec![
        Measured::new("kept", mb(total.unsigned_abs())),
        Measured::new("kept_batch", slowest * 1000.0),
    ])
}

/// Claims a chunk and completes it with five hundred images that no other has.
async fn complete(database: &Database, index: i32) -> Result<()> {
    let id = ChunkId { job_id: OPEN_JOB, chunk_index: index };
    let (message, token) = (ChunkMessage::new(id), ClaimToken::new());
    let answer = database.claim(&message, "bench/1/00000000", "one", &token).await?;
    let ClaimAnswer::Granted(claim) = answer else { bail!("{answer:?}") };
    let hash = |n: i32| {
        let key = format!("{index:05}_{n:05}");
        (Sha256::digest(&key).to_vec(), key)
    };
    let n = IMAGES.unsigned_abs().into();
    let report = Completion {
        hashes: (0..IMAGES).map(hash).collect(),
        totals: Totals {
            images_total: n,
            images_downloaded: n,
            images_valid: n,
            ..Totals::default()
        },
        ..rows::report(id, claim.lease.fence, token)
    };
    let until = tokio::time::Instant::now() + LEASE;
    Ok(database.complete(claim.lease, &report, until, Error::is_away).await?)
}
