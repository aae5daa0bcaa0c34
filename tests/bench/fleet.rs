//! The fleet on one database: handler processes, ten chunks each, on tables as they are after half a
//! billion images. What a chunk costs the database must not depend on how many handlers there are.

use crate::{
    fleet_load::{self, AT_ONCE, Load},
    fleet_server::{self, GROWING, Usage, Watch},
    measure::Measured,
    rows,
    world::{Bench, World},
};
use anyhow::Result;
use sqlx::PgPool;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const ENDED_CHUNKS: i64 = 1_000_000;
const HASHES: i64 = 10_000_000;
/// Rejected messages, and health rows: what the upkeep looks through.
const RECORDS: i64 = 100_000;
/// The fleet grows: a limit that is lowered would first have to drain.
const SIZES: [usize; 3] = [1, 7, 28];
const WARM_UP: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(60);
const KILLS: usize = 6;
const BETWEEN_KILLS: Duration = Duration::from_secs(5);
/// What 280 chunks at once of half a minute each are in an hour.
const CHUNKS_OF_AN_HOUR: usize = 33_600;
/// What is updated in place again and again.
const UPDATED: [&str; 4] = ["chunk", "slot", "fleet", "job"];

pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "fleet", 0).await?;
    let pool = rows::prepare(&world.database_url, 1).await?;
    seed(&pool).await?;
    let mut load = Load::new(&world).await?;
    let mut figures = Vec::new();
    for n in SIZES {
        load.grow_to(n).await;
        sleep(WARM_UP).await;
        figures.push(Figure::of(&load, &pool).await?);
    }
    for _ in 0..KILLS {
        load.kill_one();
        sleep(BETWEEN_KILLS).await;
        load.grow_to(SIZES[2]).await;
    }
    load.finish().await?;
    let limit = (SIZES[2] * AT_ONCE) as i64;
    let over = fleet_server::claims_over_the_limit(&pool, limit).await?;
    let bloat = an_hour(&world, &pool).await?;
    let deadlocks = fleet_server::deadlocks(&pool).await?;
    let [one, .., all] = figures.as_slice() else { unreachable!("each size has a figure") };
    let scans = figures.iter().map(|figure| figure.usage.seq_scans).sum::<i64>();
    Ok(vec![
        Measured::new("fleet_over_admission", over as f64),
        Measured::new("fleet_statements", all.statements() / one.statements()),
        Measured::new("fleet_cpu", all.cpu_ms() / one.cpu_ms()),
        Measured::new("fleet_connections", all.usage.connections as f64 / SIZES[2] as f64),
        Measured::new("fleet_deadlocks", deadlocks as f64),
        Measured::new("fleet_seq_scans", scans as f64),
        Measured::new("fleet_bloat", bloat),
    ])
}

async fn seed(pool: &PgPool) -> Result<()> {
    let since = Instant::now();
    rows::insert_finished(pool, ENDED_CHUNKS).await?;
    rows::insert_hashes(pool, HASHES).await?;
    rows::insert_records(pool, RECORDS).await?;
    let seconds = since.elapsed().as_secs_f64();
    eprintln!("  {ENDED_CHUNKS} ended chunks and {HASHES} hashes in {seconds:.0} s");
    Ok(())
}

/// What a fleet of one size did, and what it took of the server.
struct Figure {
    chunks: f64,
    usage: Usage,
}

impl Figure {
    async fn of(load: &Load<'_>, pool: &PgPool) -> Result<Self> {
        let before = load.completed();
        let watch = Watch::start(pool.clone()).await?;
        load.check_health().await?;
        sleep(MEASURED).await;
        let usage = watch.stop().await?;
        let figure = Self { chunks: (load.completed() - before) as f64, usage };
        eprintln!(
            "  {:>2} handlers: {:.1} chunks/s, {:.1} statements and {:.2} ms of database CPU a \
             chunk, {} connections, {} sequential scans",
            load.size(),
            figure.chunks / MEASURED.as_secs_f64(),
            figure.statements(),
            figure.cpu_ms(),
            figure.usage.connections,
            figure.usage.seq_scans,
        );
        Ok(figure)
    }

    fn statements(&self) -> f64 {
        self.usage.transactions as f64 / self.chunks
    }

    fn cpu_ms(&self) -> f64 {
        self.usage.cpu.as_secs_f64() * 1000.0 / self.chunks
    }
}

/// As many claims, renewals and ends as an hour has, as fast as they go; what the tables that are
/// updated in place have grown by.
async fn an_hour(world: &World, pool: &PgPool) -> Result<f64> {
    fleet_load::register_more(world, CHUNKS_OF_AN_HOUR).await?;
    let before = fleet_server::bytes(pool, &UPDATED).await?;
    let mut done = 0;
    for (processes, end) in SIZES.into_iter().zip([3000, 10_000, CHUNKS_OF_AN_HOUR]) {
        fleet_load::hurry(world, processes, done..end).await?;
        done = end;
    }
    let after = fleet_server::bytes(pool, &UPDATED).await?;
    eprintln!("  after an hour's {CHUNKS_OF_AN_HOUR} chunks with three renewals each:");
    for table in ["slot", "fleet", "waker", "removal"].iter().chain(&GROWING) {
        eprintln!("  {}", fleet_server::describe(pool, table).await?);
    }
    Ok(after as f64 / before as f64)
}
