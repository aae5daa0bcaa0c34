//! What a round is made of: a fleet behind proxies, its work, and what was done to it.

use crate::{
    jobs::{self, CHUNK_SIZE, Chunks},
    machine::{Machine, rig_with_password},
    plan::Fault,
    watch::Canary,
};
use anyhow::{Context as _, Result};
use functions_host::storage::{Account, Queue};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use support::{
    ingestion::{self, Ingestion},
    programs::Output,
    proxy::{Call, Fate},
    world::World,
};
use tokio::sync::Mutex as Turn;

/// A call that will meet a fate, the first one that fits.
#[derive(Debug)]
pub struct Trap {
    pub fault: Fault,
    pub proxy: &'static str,
    /// What the call's name ends with.
    pub ends_with: &'static str,
    pub fate: Fate,
}

impl Trap {
    fn fits(&self, call: &Call) -> bool {
        call.proxy == self.proxy && call.what.ends_with(self.ends_with)
    }
}

/// What was really done.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<Fault, u64>>);

impl Tally {
    pub fn count(&self, fault: Fault) {
        *locked(&self.0).entry(fault).or_default() += 1;
    }

    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        locked(&self.0).clone()
    }

    pub fn total(&self) -> u64 {
        locked(&self.0).values().sum()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Site {
    // Its processes end before what they use.
    pub machines: Vec<Machine>,
    pub world: World,
    /// Past the proxies, for whoever can bear that it fails.
    pub pool: PgPool,
    pub canary: Canary,
    /// Where telemetry goes.
    pub ingestion: Arc<Ingestion>,
    /// Chunks and commands, then what the host gives up of either.
    pub queues: [Queue; 4],
    /// The highest limit that is ever in force.
    pub limit: u32,
    pub tally: Arc<Tally>,
    traps: Arc<Mutex<Vec<Trap>>>,
    /// Held by whoever takes a service away: proxies by their place, then the server.
    pub turns: [Turn<()>; 4],
    chunks: Mutex<Chunks>,
    /// Bodies that must be recorded.
    unreadable: Mutex<Vec<String>>,
    /// What chunkctl said.
    said: Mutex<Vec<String>>,
    next: AtomicU64,
}

impl Site {
    /// Submits the work and starts a fleet with at most this limit; returns when it answers.
    pub async fn start(machines: usize, limit: u32) -> Result<Arc<Self>> {
        let world = World::around(rig_with_password().await).await;
        let rig = &world.rig;
        let pool = PgPoolOptions::new().max_connections(6).connect(&rig.database_url).await?;
        // A private server trades this for speed: with it a commit that was confirmed survives the
        // server's end, without it the test would lose what the product may rely on.
        let database: String =
            sqlx::query_scalar("select current_database()").fetch_one(&pool).await?;
        let durable = format!("alter database \"{database}\" set synchronous_commit = on");
        sqlx::raw_sql(AssertSqlSafe(durable)).execute(&pool).await?;
        let account = Account::parse(&rig.storage)?;
        let names = ["chunks", "chunk-control", "chunks-poison", "chunk-control-poison"];
        let queues = names.map(|name| account.queue(name));
        for queue in &queues {
            queue.create().await?;
        }
        let mut site = Self {
            machines: Vec::new(),
            pool,
            canary: Canary::listen().await?,
            ingestion: Arc::default(),
            queues,
            limit,
            tally: Arc::default(),
            traps: Arc::default(),
            turns: Default::default(),
            chunks: Mutex::default(),
            unreadable: Mutex::default(),
            said: Mutex::default(),
            next: AtomicU64::new(0),
            world,
        };
        site.submit();
        // Each start of a handler changes the limit in force: the last one wins.
        let limits = (0..machines).map(|n| limit - n as u32);
        let telemetry = ingestion::serve(&site.ingestion).await;
        let start = |limit| Machine::start(&site.world, limit, &telemetry);
        site.machines = limits.map(start).collect();
        for machine in &site.machines {
            machine.ready().await;
        }
        Ok(Arc::new(site))
    }

    fn submit(&self) {
        for (job, urls) in jobs::listed(&self.world.rig, &self.canary) {
            self.world.rig.submit(job, &urls, CHUNK_SIZE);
            self.expect(jobs::by_chunk(job, &urls));
        }
    }

    /// Lets calls meet what is planned for them.
    pub fn set_traps(&self) {
        let (traps, tally) = (Arc::clone(&self.traps), Arc::clone(&self.tally));
        self.world.calls.restart(move |call| {
            let mut traps = locked(&traps);
            let Some(sprung) = traps.iter().position(|trap| trap.fits(call)) else {
                return Fate::Pass;
            };
            let trap = traps.remove(sprung);
            tally.count(trap.fault);
            trap.fate
        });
    }

    pub fn arm(&self, trap: Trap) {
        locked(&self.traps).push(trap);
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.world.calls.restart(|_| Fate::Pass);
        self.world.proxies.iter().for_each(support::proxy::Proxy::resume);
        self.world.rig.origin.set_delay(Duration::from_millis(20));
    }

    /// A number that nothing else in this round has.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Chunks that must be there in the end.
    pub fn expect(&self, chunks: Chunks) {
        locked(&self.chunks).extend(chunks);
    }

    pub fn chunks(&self) -> Chunks {
        locked(&self.chunks).clone()
    }

    /// Puts a message on a queue that must be recorded in the end.
    pub async fn put_unreadable(&self, queue: usize, body: String) -> Result<()> {
        self.queues[queue].put(&body).await?;
        locked(&self.unreadable).push(body);
        Ok(())
    }

    pub fn unreadable(&self) -> Vec<String> {
        locked(&self.unreadable).clone()
    }

    /// Messages on all queues, the invisible ones too.
    pub async fn queued(&self) -> Result<u64> {
        let mut n = 0;
        for queue in &self.queues {
            n += queue.count().await?;
        }
        Ok(n)
    }

    /// Runs chunkctl past the proxies and keeps what it said.
    pub fn chunkctl(&self, arguments: &[&str]) -> Output {
        let output = tokio::task::block_in_place(|| self.world.rig.chunkctl(arguments));
        locked(&self.said).extend([output.stdout.clone(), output.stderr.clone()]);
        output
    }

    /// Every line that a program of the product wrote.
    pub fn lines(&self) -> Vec<String> {
        let of_machines = self.machines.iter().flat_map(Machine::lines);
        of_machines.chain(locked(&self.said).iter().cloned()).collect()
    }

    /// One value of the database, while the server may be away.
    pub async fn look<T>(&self, sql: &'static str) -> Result<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.context(sql)
    }
}
