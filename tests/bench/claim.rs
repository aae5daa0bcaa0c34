//! Admission under load: claims offered at a fixed rate, beside the least commit there is.

use crate::{
    measure::{Measured, median, ms, percentile},
    rows::{self, LEASE},
    world::Bench,
};
use anyhow::{Context as _, Result, ensure};
use chunk_handler::{
    chunk::ClaimToken,
    state::{ClaimAnswer, Database, Error, LeaseTerms, Refusal},
};
use sqlx::{PgPool, Row as _, postgres::PgPoolOptions};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const FINISHED_ROWS: i64 = 1_000_000;
const LIMIT: i32 = 10;
const RATE: u32 = 200;
/// Each has a pool of four connections: 64 in all.
const PROCESSES: usize = 16;
/// How long a granted slot is held: some claims find the fleet full, most do not.
const HELD: Duration = Duration::from_millis(25);

/// Claims and updates take turns this quickly, so that what else the machine does meets both.
const OFFERS_OF_A_TURN: usize = 200;

/// Turns of each that make a sample.
fn turns(bench: &Bench) -> usize {
    if bench.quick { 10 } else { 20 }
}

pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let url = bench.database("bench_claim").await?;
    let pool = rows::prepare(&url, LIMIT).await?;
    describe(&pool).await?;
    let since = Instant::now();
    rows::insert_finished(&pool, FINISHED_ROWS).await?;
    let n_turns = turns(bench) * bench.samples();
    rows::insert_pending(&pool, (n_turns * OFFERS_OF_A_TURN) as i32).await?;
    eprintln!("  {FINISHED_ROWS} finished rows in {:.0} s", since.elapsed().as_secs_f64());
    let claimers = Arc::new(Claimers::open(&url).await?);
    let updaters = Arc::new(Updaters::open(&url, &pool).await?);
    let done = CancellationToken::new();
    let watch = tokio::spawn(watch_limit(pool, done.clone()));
    let mut rounds = Vec::new();
    for round in 0..bench.samples() {
        let (mut claims, mut updates) = (Vec::new(), Vec::new());
        for turn in 0..turns(bench) {
            let first = (round * turns(bench) + turn) * OFFERS_OF_A_TURN;
            let claimers = Arc::clone(&claimers);
            let claim = move |i, due| Arc::clone(&claimers).claim(first + i, due);
            claims.extend(offer(OFFERS_OF_A_TURN, claim).await?);
            let updaters = Arc::clone(&updaters);
            let update = move |i, due| Arc::clone(&updaters).update(i, due);
            updates.extend(offer(OFFERS_OF_A_TURN, update).await?);
        }
        rounds.push(Round::of(&claims, &updates));
    }
    done.cancel();
    let (most, looks) = watch.await??;
    claimers.print(most, looks)?;
    Ok(summary(&rounds, most))
}

/// The tails of one round, in milliseconds.
struct Round {
    claim_p50: f64,
    claim_p99: f64,
    update_p50: f64,
    update_p99: f64,
}

impl Round {
    fn of(claims: &[f64], updates: &[f64]) -> Self {
        let round = Self {
            claim_p50: percentile(claims, 0.5),
            claim_p99: percentile(claims, 0.99),
            update_p50: percentile(updates, 0.5),
            update_p99: percentile(updates, 0.99),
        };
        eprintln!(
            "  claim p50 {:.2} p99 {:.2} ms; update p50 {:.2} p99 {:.2} ms",
            round.claim_p50, round.claim_p99, round.update_p50, round.update_p99
        );
        round
    }
}

fn summary(rounds: &[Round], most: i64) -> Vec<Measured> {
    let all = |figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
    let p50 = all(|round| round.claim_p50 / round.update_p50);
    eprintln!("  p50 / p50 {:.2}", median(&p50));
    vec![
        Measured::median_of("claim", &all(|round| round.claim_p99)),
        Measured::median_of("claim_vs_update", &all(|round| round.claim_p99 / round.update_p99)),
        Measured::new("claim_most_at_once", most as f64),
    ]
}

/// What the server was told about commits: a figure without them would be a figure of memory.
async fn describe(pool: &PgPool) -> Result<()> {
    let sql = "select version(), current_setting('fsync'), current_setting('synchronous_commit'),
        current_setting('full_page_writes')";
    let row = sqlx::query(sql).fetch_one(pool).await?;
    let (version, settings): (String, [String; 3]) = (row.get(0), [1, 2, 3].map(|i| row.get(i)));
    let [fsync, synchronous, pages] = &settings;
    let version = version.split(" on ").next().unwrap_or_default();
    eprintln!(
        "  {version}, fsync {fsync}, synchronous_commit {synchronous}, full_page_writes {pages}"
    );
    ensure!(settings.iter().all(|setting| setting == "on"), "commits are not durable");
    Ok(())
}

/// Offers `n` calls at the fixed rate, whatever becomes of the earlier ones; the latency of each in
/// milliseconds, from the moment it was due.
async fn offer<F>(n: usize, call: impl Fn(usize, Instant) -> F + Send + 'static) -> Result<Vec<f64>>
where
    F: Future<Output = Result<Duration>> + Send + 'static,
{
    let runtime = Handle::current();
    // A thread of its own: the runtime's timer counts in whole milliseconds.
    let calls = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        let begin = |i: usize| -> JoinHandle<Result<Duration>> {
            let due = start + Duration::from_secs(1) * i as u32 / RATE;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            runtime.spawn(call(i, due))
        };
        (0..n).map(begin).collect::<Vec<_>>()
    });
    let mut latencies = Vec::with_capacity(n);
    for call in calls.await? {
        latencies.push(ms(call.await??));
    }
    Ok(latencies)
}

/// Processes that claim, each with a pool as the product opens it.
struct Claimers {
    databases: Vec<Database>,
    n_granted: AtomicUsize,
    n_full: AtomicUsize,
}

impl Claimers {
    async fn open(url: &str) -> Result<Self> {
        let open = |_| Database::open(url, LeaseTerms::new(LEASE));
        let databases = (0..PROCESSES).map(open).collect::<Result<Vec<_>, _>>()?;
        // Every connection stands and knows the statements before anything is measured.
        for _ in 0..8 {
            let unknown = rows::wake_up(99_999);
            let token = ClaimToken::new();
            let claims = (0..PROCESSES * 16)
                .map(|i| databases[i % PROCESSES].claim(&unknown, "bench", "warm-up", &token));
            futures_util::future::try_join_all(claims).await?;
        }
        let sql = "select count(*) from pg_stat_activity where datname = current_database()
            and application_name = 'chunk-handler'";
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
        let n: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await?;
        eprintln!("  {PROCESSES} processes with {n} connections");
        let (n_granted, n_full) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Self { databases, n_granted, n_full })
    }

    /// Claims a chunk and completes it; the claim's latency.
    async fn claim(self: Arc<Self>, n: usize, due: Instant) -> Result<Duration> {
        let database = &self.databases[n % PROCESSES];
        let message = rows::wake_up(n as i32);
        let (id, token) = (n.to_string(), ClaimToken::new());
        let answer = database.claim(&message, "bench/1/00000000", &id, &token).await?;
        let latency = due.elapsed();
        let claim = match answer {
            ClaimAnswer::Granted(claim) => claim,
            ClaimAnswer::Refused(Refusal::Full) => {
                self.n_full.fetch_add(1, Ordering::Relaxed);
                return Ok(latency);
            }
            other => anyhow::bail!("chunk {n}: {other:?}"),
        };
        self.n_granted.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(HELD).await;
        let report = rows::report(claim.lease.id, claim.lease.fence, token);
        let until = tokio::time::Instant::now() + LEASE;
        database.complete(claim.lease, &report, until, Error::is_away).await?;
        Ok(latency)
    }

    fn print(&self, most: i64, looks: usize) -> Result<()> {
        let granted = self.n_granted.load(Ordering::Relaxed);
        let full = self.n_full.load(Ordering::Relaxed);
        eprintln!("  {granted} granted, {full} found the fleet full");
        eprintln!("  at most {most} of {LIMIT} at once in {looks} looks");
        ensure!(granted > full, "most claims found the fleet full");
        Ok(())
    }
}

/// The same number of processes and connections, with a one-row update each.
struct Updaters {
    pools: Vec<PgPool>,
}

impl Updaters {
    async fn open(url: &str, pool: &PgPool) -> Result<Self> {
        let table = "create table counter (id integer primary key, n integer not null)
            with (fillfactor = 50)";
        sqlx::query(table).execute(pool).await?;
        let rows = "insert into counter select id, 0 from generate_series(0, 999) id";
        sqlx::query(rows).execute(pool).await?;
        let connect =
            |_| PgPoolOptions::new().max_connections(4).min_connections(4).connect_lazy(url);
        let pools = (0..PROCESSES).map(connect).collect::<Result<Vec<_>, _>>()?;
        let updaters = Arc::new(Self { pools });
        for _ in 0..8 {
            let one = |i| Arc::clone(&updaters).update(i, Instant::now());
            futures_util::future::try_join_all((0..PROCESSES * 16).map(one)).await?;
        }
        Arc::into_inner(updaters).context("the warm-up is over")
    }

    async fn update(self: Arc<Self>, n: usize, due: Instant) -> Result<Duration> {
        sqlx::query("update counter set n = n + 1 where id = $1")
            .bind((n % 1000) as i32)
            .execute(&self.pools[n % PROCESSES])
            .await?;
        Ok(due.elapsed())
    }
}

/// The most chunks that were processing at once, and how often it looked.
async fn watch_limit(pool: PgPool, done: CancellationToken) -> Result<(i64, usize)> {
    let (most, mut looks) = (AtomicI64::new(0), 0);
    let sql = "select count(*) from chunk_handler.chunk where state = 'processing'";
    while !done.is_cancelled() {
        let now: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await?;
        most.fetch_max(now, Ordering::Relaxed);
        looks += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok((most.into_inner(), looks))
}
