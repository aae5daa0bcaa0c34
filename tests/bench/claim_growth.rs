//! What a claim costs in a large table, beside the same claim in a small one.

use crate::{
    measure::{Measured, median, ms},
    rows::{self, LEASE},
    world::Bench,
};
use anyhow::{Result, bail};
use chunk_handler::{
    chunk::ClaimToken,
    state::{ClaimAnswer, Database, Error, LeaseTerms},
};
use std::time::Instant;

const SMALL: i64 = 10_000;
const CLAIMS_OF_A_SAMPLE: usize = 500;
const WARM_UP: usize = 200;

/// A database with so many finished rows.
struct Table {
    database: Database,
    n_claimed: i32,
}

pub async fn run(bench: &Bench, n_rows: i64) -> Result<Vec<Measured>> {
    let since = Instant::now();
    let n = (WARM_UP + CLAIMS_OF_A_SAMPLE * bench.samples()) as i32;
    let mut small = Table::make(bench, SMALL, n).await?;
    let mut large = Table::make(bench, n_rows, n).await?;
    eprintln!("  {n_rows} finished rows in {:.0} s", since.elapsed().as_secs_f64());
    for _ in 0..WARM_UP {
        small.claim().await?;
        large.claim().await?;
    }
    let mut ratios = Vec::new();
    for _ in 0..bench.samples() {
        let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
        for _ in 0..CLAIMS_OF_A_SAMPLE {
            of_small.push(small.claim().await?);
            of_large.push(large.claim().await?);
        }
        let (of_small, of_large) = (median(&of_small), median(&of_large));
        eprintln!("  {SMALL} rows {of_small:.3} ms, {n_rows} rows {of_large:.3} ms");
        ratios.push(of_large / of_small);
    }
    for rows in [SMALL, n_rows] {
        bench.drop_database(&name(rows)).await?;
    }
    let case = if n_rows == 1_000_000 { "claim_1m" } else { "claim_10m" };
    Ok(vec![Measured::median_of(case, &ratios)])
}

fn name(n_rows: i64) -> String {
    format!("bench_claim_{n_rows}")
}

impl Table {
    async fn make(bench: &Bench, n_rows: i64, n_pending: i32) -> Result<Self> {
        let url = bench.database(&name(n_rows)).await?;
        let pool = rows::prepare(&url, 10).await?;
        rows::insert_finished(&pool, n_rows).await?;
        rows::insert_pending(&pool, n_pending).await?;
        // The wait for the disk is the same for both and would hide what grows.
        let sql = format!("alter database {} set synchronous_commit = off", name(n_rows));
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await?;
        pool.close().await;
        Ok(Self { database: Database::open(&url, LeaseTerms::new(LEASE))?, n_claimed: 0 })
    }

    /// Claims a chunk and completes it; how long the claim took, in milliseconds.
    async fn claim(&mut self) -> Result<f64> {
        let message = rows::wake_up(self.n_claimed);
        self.n_claimed += 1;
        let since = Instant::now();
        let token = ClaimToken::new();
        let answer = self.database.claim(&message, "bench/1/00000000", "one", &token).await?;
        let took = ms(since.elapsed());
        let ClaimAnswer::Granted(claim) = answer else { bail!("{answer:?}") };
        let report = rows::report(claim.lease.id, claim.lease.fence, token);
        let until = tokio::time::Instant::now() + LEASE;
        self.database.complete(claim.lease, &report, until, Error::is_away).await?;
        Ok(took)
    }
}
