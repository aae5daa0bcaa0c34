//! What the database server says of itself: transactions, processor time, connections, scans, sizes.

use crate::part;
use anyhow::{Context as _, Result};
use sqlx::PgPool;
use std::{collections::BTreeMap, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Tables that grow with the work: a statement that reads one from end to end is slower every day.
pub const GROWING: [&str; 6] =
    ["chunk", "attempt", "image_hash", "job", "rejected", "health_check"];

/// What was used between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Each statement of the product is one.
    pub transactions: i64,
    /// Of the processes that serve connections of the product.
    pub cpu: Duration,
    /// The most at once.
    pub connections: usize,
    /// Of tables that grow.
    pub seq_scans: i64,
}

/// Looks at the server until it is stopped.
pub struct Watch {
    pool: PgPool,
    transactions: i64,
    seq_scans: i64,
    done: CancellationToken,
    looks: JoinHandle<Result<Looks>>,
}

/// Processor time of each server process, when it was first and last seen.
#[derive(Default)]
struct Looks {
    n: i64,
    most: usize,
    cpu: BTreeMap<i32, [Duration; 2]>,
}

impl Watch {
    pub async fn start(pool: PgPool) -> Result<Self> {
        let transactions = transactions(&pool).await?;
        let seq_scans = seq_scans(&pool).await?;
        let done = CancellationToken::new();
        let looks = tokio::spawn(look(pool.clone(), done.clone()));
        Ok(Self { pool, transactions, seq_scans, done, looks })
    }

    pub async fn stop(self) -> Result<Usage> {
        self.done.cancel();
        let looks = self.looks.await??;
        // Our own: the looks, and what was asked before them and after.
        let own = looks.n + 2;
        let spent = looks.cpu.values().map(|[first, last]| last.saturating_sub(*first));
        Ok(Usage {
            transactions: transactions(&self.pool).await? - self.transactions - own,
            cpu: spent.sum(),
            connections: looks.most,
            seq_scans: seq_scans(&self.pool).await? - self.seq_scans,
        })
    }
}

async fn look(pool: PgPool, done: CancellationToken) -> Result<Looks> {
    let sql = "select pid from pg_stat_activity where datname = current_database()
        and application_name = 'chunk-handler'";
    let mut looks = Looks::default();
    while !done.is_cancelled() {
        let pids: Vec<i32> = sqlx::query_scalar(sql).fetch_all(&pool).await?;
        looks.most = looks.most.max(pids.len());
        for pid in pids {
            // It may have ended since.
            let Ok(cpu) = part::cpu_time(pid) else { continue };
            // One that comes later has spent all of it meanwhile.
            let first = if looks.n == 0 { cpu } else { Duration::ZERO };
            looks.cpu.entry(pid).or_insert([first, cpu])[1] = cpu;
        }
        looks.n += 1;
        tokio::select! {
            () = done.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    Ok(looks)
}

async fn transactions(pool: &PgPool) -> Result<i64> {
    let sql = "select xact_commit + xact_rollback from pg_stat_database
        where datname = current_database()";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}

pub async fn deadlocks(pool: &PgPool) -> Result<i64> {
    let sql = "select deadlocks from pg_stat_database where datname = current_database()";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}

async fn seq_scans(pool: &PgPool) -> Result<i64> {
    let sql = "select sum(seq_scan)::bigint from pg_stat_user_tables
        where schemaname = 'chunk_handler' and relname = any ($1)";
    Ok(sqlx::query_scalar(sql).bind(&GROWING[..]).fetch_one(pool).await?)
}

/// Of these tables with their indexes.
pub async fn bytes(pool: &PgPool, tables: &[&str]) -> Result<i64> {
    let sql = "select sum(pg_total_relation_size(('chunk_handler.' || t)::regclass))::bigint
        from unnest($1::text[]) t";
    Ok(sqlx::query_scalar(sql).bind(tables).fetch_one(pool).await?)
}

/// Size, dead rows and kinds of updates and scans of a table, for people.
pub async fn describe(pool: &PgPool, table: &str) -> Result<String> {
    let sql = "select format('%s: %s, %s rows, %s dead, %s updates of which %s in place, \
            %s sequential scans, %s autovacuums', relname,
            pg_size_pretty(pg_total_relation_size(relid)), n_live_tup, n_dead_tup, n_tup_upd,
            n_tup_hot_upd, seq_scan, autovacuum_count)
        from pg_stat_user_tables where schemaname = 'chunk_handler' and relname = $1";
    sqlx::query_scalar(sql).bind(table).fetch_one(pool).await.context("a table")
}

/// How many claims were granted while as many chunks as the limit were in work, from the attempts: a
/// slot is free before it is taken, so that no two of its attempts overlap.
pub async fn claims_over_the_limit(pool: &PgPool, limit: i64) -> Result<i64> {
    let sql = "with event as (
            select claimed_at as at, 1 as n from chunk_handler.attempt where job_id >= $2
            union all
            select finished_at, -1 from chunk_handler.attempt
            where job_id >= $2 and finished_at is not null
        )
        select count(*) filter (where n = 1 and at_once > $1) from (
            select n, sum(n) over (order by at, n rows unbounded preceding) as at_once from event
        ) course";
    let sql = sqlx::query_scalar(sql).bind(limit).bind(crate::rows::OPEN_JOB);
    Ok(sql.fetch_one(pool).await?)
}
