//! Work for a fleet: chunks of a few pictures that take seconds, delivered to handler processes, ten at
//! once to each; and clients that claim and complete as fast as the database lets them.

use crate::{
    measure::{ms, percentile},
    rows::{self, LEASE, OPEN_JOB},
    world::World,
};
use anyhow::{Context as _, Result, bail, ensure};
use chunk_handler::{
    chunk::{ChunkId, ChunkMessage, ClaimToken},
    state::{ClaimAnswer, Database, Error, LeaseTerms},
};
use sqlx::PgPool;
use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use support::{
    origin::{Origin, OriginOptions},
    rig::{Handler, wait_for, wake_up},
};
use tokio::{task::JoinSet, time::sleep};

/// Chunks at once of a handler.
pub const AT_ONCE: usize = 10;
const PICTURES: i32 = 8;
/// One after the other, so that a chunk takes six seconds and next to no processor time.
const DELAY: Duration = Duration::from_millis(700);
const CHUNKS_OF_A_JOB: usize = 50;
/// Registered before the first is delivered.
const CHUNKS: usize = 15_000;
/// Short, so that the chunks of a process that was killed are soon done by another.
const LEASE_SECONDS: &str = "8";

/// A running fleet and what it has to do.
pub struct Load<'a> {
    world: &'a World,
    origin: Origin,
    handlers: Vec<Arc<Handler>>,
    chunks: Arc<Chunks>,
    deliveries: JoinSet<()>,
}

/// Chunks in their order; those that did not complete come again.
#[derive(Default)]
struct Chunks {
    next: AtomicUsize,
    again: Mutex<Vec<usize>>,
    under_way: AtomicUsize,
    completed: AtomicUsize,
    is_over: AtomicBool,
}

impl<'a> Load<'a> {
    pub async fn new(world: &'a World) -> Result<Self> {
        let origin = Origin::start(OriginOptions { delay: DELAY, ..OriginOptions::default() })?;
        register(&world.pool, 0, CHUNKS, Some(&origin.url("/img/"))).await?;
        let (chunks, deliveries) = (Arc::default(), JoinSet::new());
        Ok(Self { world, origin, handlers: Vec::new(), chunks, deliveries })
    }

    pub fn size(&self) -> usize {
        self.handlers.len()
    }

    /// How many chunks completed since the beginning.
    pub fn completed(&self) -> usize {
        self.chunks.completed.load(Ordering::Relaxed)
    }

    /// Starts handlers until there are so many; the last one to start sets the fleet's limit.
    pub async fn grow_to(&mut self, n: usize) {
        let limit = (n * AT_ONCE).to_string();
        let origin = self.origin.address().to_string();
        let extra = [
            ("PIXCRAWLER_FLEET_MAX_CHUNKS", limit.as_str()),
            ("PIXCRAWLER_ALLOWED_ORIGINS", origin.as_str()),
            ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "1"),
            ("PIXCRAWLER_PER_HOST_CONCURRENCY", "100"),
            ("PIXCRAWLER_LEASE_SECONDS", LEASE_SECONDS),
        ];
        while self.handlers.len() < n {
            let handler = Arc::new(self.world.handler(&extra).await);
            for _ in 0..AT_ONCE {
                let (chunks, handler) = (Arc::clone(&self.chunks), Arc::clone(&handler));
                self.deliveries.spawn(chunks.deliver(handler));
            }
            self.handlers.push(handler);
        }
    }

    /// Has one handler do what the timer does.
    pub async fn check_health(&self) -> Result<()> {
        let handler = self.handlers.first().context("a handler")?;
        let (status, answer) = handler.post("/health_check", "timer", "{}".to_owned()).await;
        ensure!(status == 200, "{status} {answer}");
        Ok(())
    }

    /// Kills the oldest handler, with ten chunks in work.
    pub fn kill_one(&mut self) {
        self.handlers.remove(0).kill9();
    }

    /// Starts no further chunk and waits until every one that was started is completed.
    pub async fn finish(mut self) -> Result<()> {
        self.chunks.is_over.store(true, Ordering::Relaxed);
        wait_for("every chunk of the fleet completes", async || {
            self.chunks.under_way.load(Ordering::Relaxed) == 0
                && self.chunks.again.lock().unwrap().is_empty()
        })
        .await;
        while let Some(ended) = self.deliveries.join_next().await {
            ended?;
        }
        let n = self.chunks.next.load(Ordering::Relaxed);
        ensure!(n < CHUNKS, "the fleet ran out of chunks");
        Ok(())
    }
}

impl Chunks {
    /// Delivers one chunk after the other to a handler, until it is killed or the work is over.
    async fn deliver(self: Arc<Self>, handler: Arc<Handler>) {
        while let Some(n) = self.take() {
            let ChunkId { job_id, chunk_index } = chunk(n);
            let invocation = uuid::Uuid::new_v4().to_string();
            let (status, answer) =
                handler.deliver(&invocation, &wake_up(job_id, chunk_index)).await;
            let said = answer["Logs"][0].as_str().unwrap_or_default();
            let is_completed = said.contains("completed, ") || said.contains("completed already");
            if is_completed {
                self.completed.fetch_add(1, Ordering::Relaxed);
            } else {
                self.again.lock().unwrap().push(n);
            }
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            if status == 0 {
                return;
            } else if !is_completed {
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    fn take(&self) -> Option<usize> {
        // Counted first: nobody may see neither the chunk nor that it is under way.
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let again = self.again.lock().unwrap().pop();
        let is_over = self.is_over.load(Ordering::Relaxed);
        let taken = again
            .or_else(|| (!is_over).then(|| self.next.fetch_add(1, Ordering::Relaxed)))
            .filter(|n| *n < CHUNKS);
        if taken.is_none() {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }
}

/// The chunk of this number.
fn chunk(n: usize) -> ChunkId {
    let job_id = OPEN_JOB + (n / CHUNKS_OF_A_JOB) as i64;
    ChunkId { job_id, chunk_index: (n % CHUNKS_OF_A_JOB) as i32 }
}

/// Registers jobs of chunks, from a number on, each of pictures that no other has; without an origin of
/// lists that nobody reads.
async fn register(pool: &PgPool, first: usize, n: usize, origin: Option<&str>) -> Result<()> {
    let of_a_job = CHUNKS_OF_A_JOB as i64;
    let job = OPEN_JOB + (first / CHUNKS_OF_A_JOB) as i64;
    let jobs = "insert into chunk_handler.job (job_id, total_chunks)
        select $1 + n, $3 from generate_series(0, $2 / $3 - 1) n";
    sqlx::query(jobs).bind(job).bind(n as i64).bind(of_a_job).execute(pool).await?;
    let chunks = "insert into chunk_handler.chunk (job_id, chunk_index, priority, message)
        select $1 + n / $3, n % $3, 5, jsonb_build_object(
            'version', 1, 'job_id', $1 + n / $3, 'chunk_index', n % $3, 'total_chunks', $3,
            'source', coalesce(
                (select jsonb_build_object('urls', jsonb_agg($5 || (n * $4 + i)))
                    from generate_series(0, $4 - 1) i where $5 is not null having $5 is not null),
                jsonb_build_object('blob', format('%s.txt', n))))
        from generate_series(0, $2 - 1) n";
    sqlx::query(chunks)
        .bind(job)
        .bind(n as i64)
        .bind(of_a_job)
        .bind(i64::from(PICTURES))
        .bind(origin)
        .execute(pool)
        .await?;
    // As autovacuum does within a minute, by the settings of these tables.
    for table in ["chunk", "job"] {
        let vacuum = format!("vacuum (analyze) chunk_handler.{table}");
        sqlx::query(sqlx::AssertSqlSafe(vacuum)).execute(pool).await?;
    }
    Ok(())
}

/// Registers so many chunks behind those of a fleet; none has pictures.
pub async fn register_more(world: &World, n: usize) -> Result<()> {
    register(&world.pool, CHUNKS, n, None).await
}

/// Claims, renews three times and completes chunks that were registered behind the fleet's, as the
/// product does it, from so many processes' pools with ten chunks at once each.
pub async fn hurry(world: &World, processes: usize, chunks: Range<usize>) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(CHUNKS + chunks.start));
    let mut clients = JoinSet::new();
    let since = Instant::now();
    for _ in 0..processes {
        let database = Database::open(&world.database_url, LeaseTerms::new(LEASE))?;
        for _ in 0..AT_ONCE {
            clients.spawn(client(database.clone(), Arc::clone(&next), CHUNKS + chunks.end));
        }
    }
    let mut claims = Vec::with_capacity(chunks.len());
    while let Some(client) = clients.join_next().await {
        claims.extend(client??);
    }
    eprintln!(
        "  {processes:>2} processes as fast as they go: {:.0} chunks/s, claim p50 {:.1} p99 {:.1} ms",
        chunks.len() as f64 / since.elapsed().as_secs_f64(),
        percentile(&claims, 0.5),
        percentile(&claims, 0.99)
    );
    Ok(())
}

/// One client; how long each of its claims took.
async fn client(database: Database, next: Arc<AtomicUsize>, end: usize) -> Result<Vec<f64>> {
    let mut claims = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= end {
            return Ok(claims);
        }
        let (message, id, token) = (ChunkMessage::new(chunk(n)), n.to_string(), ClaimToken::new());
        let claim = || database.claim(&message, "bench/1/00000000", &id, &token);
        let since = Instant::now();
        let mut answer = claim().await?;
        claims.push(ms(since.elapsed()));
        for _ in 0..3 {
            // The same claim gets its lease again: the same write as a renewal.
            answer = claim().await?;
        }
        let ClaimAnswer::Granted(claim) = answer else { bail!("{answer:?}") };
        let report = rows::report(claim.lease.id, claim.lease.fence, token);
        let until = tokio::time::Instant::now() + LEASE;
        database.complete(claim.lease, &report, until, Error::is_away).await?;
    }
}
