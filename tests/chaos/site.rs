//! What a round is made of: a fleet behind proxies, its work, and what was done to it.

use crate::{
    blame,
    blobs::HELD,
    environment,
    extend::Extension,
    jobs::{self, CHUNK_SIZE, Chunks},
    machine::{Machine, Parts, as_role, clock_faker, rig_with_password},
    plan::{Dice, Fault},
    rights,
    submit::Submission,
    watch::Canary,
};
use anyhow::{Context as _, Result};
use functions_host::storage::{Account, Queue};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use support::{
    ingestion::{self, Ingestion},
    pooler::{self, Mode, Pooler},
    programs::Output,
    proxy::{Call, Calls, Fate, Proxy},
    rig::Rig,
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

/// Whether a call would change a blob that must not be changed; its blocks may be staged all the same.
fn is_held(call: &Call, held: &[String]) -> bool {
    let Some((name, how)) =
        call.what.strip_prefix("PUT ").map(|what| what.split_once(' ').unwrap_or((what, "")))
    else {
        return false;
    };
    call.proxy == "blob" && how != "comp=block" && held.iter().any(|held| held == name)
}

impl Trap {
    fn fits(&self, call: &Call) -> bool {
        call.proxy == self.proxy && call.what.ends_with(self.ends_with)
    }
}

/// What was really done, and what cannot be done here.
#[derive(Debug, Default)]
pub struct Tally {
    done: Mutex<BTreeMap<Fault, u64>>,
    left_out: Mutex<BTreeMap<Fault, &'static str>>,
}

impl Tally {
    pub fn count(&self, fault: Fault) {
        *locked(&self.done).entry(fault).or_default() += 1;
    }

    /// Says why a fault is not done.
    pub fn leave_out(&self, fault: Fault, why: &'static str) {
        locked(&self.left_out).insert(fault, why);
    }

    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        locked(&self.done).clone()
    }

    pub fn left_out(&self) -> BTreeMap<Fault, &'static str> {
        locked(&self.left_out).clone()
    }

    pub fn total(&self) -> u64 {
        locked(&self.done).values().sum()
    }
}

/// What may be sent again: queue, chunk, body.
type Sent = (usize, (i64, i32), String);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Site {
    // Its processes end before what they use.
    pub machines: Vec<Machine>,
    _pooler: Option<Pooler>,
    /// Who comes to the database through it.
    pub pooled_role: Option<String>,
    pub rig: Rig,
    pub calls: Calls,
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
    /// Names of blobs that must not be changed.
    held: Arc<Mutex<Vec<String>>>,
    /// What sets the oldest handler back, where the schema has one.
    pub mend_schema: Option<String>,
    /// Held by whoever takes a service away: proxies by their place, then the server.
    pub turns: [Turn<()>; 4],
    chunks: Mutex<Chunks>,
    /// Bodies that must be recorded, with their queues.
    unreadable: Mutex<Vec<(usize, String)>>,
    sent: Mutex<Vec<Sent>>,
    submissions: Mutex<Vec<Submission>>,
    extensions: Mutex<Vec<Extension>>,
    /// What faults themselves found.
    found: Mutex<Vec<String>>,
    /// How often the database was made to forget something.
    forgot: AtomicU64,
    /// Failures that telemetry was told of and the database forgot.
    told_in_vain: AtomicI64,
    /// What chunkctl said.
    said: Mutex<Vec<String>>,
    next: AtomicU64,
}

impl Site {
    /// Submits the work and starts a fleet with at most this limit; returns when it answers.
    pub async fn start(machines: usize, limit: u32, mut dice: Dice) -> Result<Arc<Self>> {
        let mut site = Self::without_machines(rig_with_password().await, limit).await?;
        site.submit();
        site.mend_schema = environment::mend_schema(&site.pool).await?;
        let telemetry = ingestion::serve(&site.ingestion).await;
        let pooled = site.first_of(Fault::Pooler, pooler::is_installed(), machines, &mut dice);
        let skewed = site.first_of(Fault::Clock, clock_faker().is_some(), machines, &mut dice);
        for n in 0..machines {
            let role = rights::role(&site.pool, n).await?;
            let mut url = as_role(&site.rig.database_url, &role);
            if pooled == Some(n) {
                let pooler = Pooler::start(&url, Mode::Session).await?;
                pooler.url().clone_into(&mut url);
                site._pooler = Some(pooler);
                site.pooled_role = Some(role.clone());
            }
            let parts = Parts {
                // Each start of a handler changes the limit in force: the last one wins.
                limit: limit - n as u32,
                database_url: &url,
                role,
                clock: (skewed == Some(n)).then(|| dice.pick(&[-30, 30])),
                telemetry: &telemetry,
            };
            let machine = Machine::start(&site.rig, &site.calls, parts).await;
            site.machines.push(machine);
        }
        for machine in &site.machines {
            machine.ready().await;
        }
        Ok(Arc::new(site))
    }

    async fn without_machines(rig: Rig, limit: u32) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(6).connect(&rig.database_url).await?;
        let database = rights::database(&pool).await?;
        // A private server trades this for speed: with it a commit that was confirmed survives the
        // server's end, without it the test would lose what the product may rely on.
        let durable = format!("alter database \"{database}\" set synchronous_commit = on");
        // Whoever mends a server that takes no writes must be able to.
        let mending = format!(
            "alter role current_user in database \"{database}\" set default_transaction_read_only = off"
        );
        sqlx::raw_sql(AssertSqlSafe(format!("{durable}; {mending}"))).execute(&pool).await?;
        let account = Account::parse(&rig.storage)?;
        let names = ["chunks", "chunk-control", "chunks-poison", "chunk-control-poison"];
        let queues = names.map(|name| account.queue(name));
        for queue in &queues {
            queue.create().await?;
        }
        Ok(Self {
            machines: Vec::new(),
            _pooler: None,
            pooled_role: None,
            calls: Calls::default(),
            pool,
            canary: Canary::listen().await?,
            ingestion: Arc::default(),
            queues,
            limit,
            tally: Arc::default(),
            traps: Arc::default(),
            held: Arc::default(),
            mend_schema: None,
            turns: Default::default(),
            chunks: Mutex::default(),
            unreadable: Mutex::default(),
            sent: Mutex::default(),
            submissions: Mutex::default(),
            extensions: Mutex::default(),
            found: Mutex::default(),
            forgot: AtomicU64::new(0),
            told_in_vain: AtomicI64::new(0),
            said: Mutex::default(),
            next: AtomicU64::new(0),
            rig,
        })
    }

    /// The machine that is set up in this way, in every other round.
    fn first_of(
        &self,
        fault: Fault,
        can_be: bool,
        machines: usize,
        dice: &mut Dice,
    ) -> Option<usize> {
        let n = dice.below(2 * machines);
        if !can_be {
            self.tally.leave_out(fault, "its program is not installed");
            return None;
        }
        let is_done = n < machines;
        if is_done {
            self.tally.count(fault);
        }
        is_done.then_some(n)
    }

    fn submit(&self) {
        for (job, urls) in jobs::listed(&self.rig, &self.canary) {
            self.rig.submit(job, &urls, CHUNK_SIZE);
            self.expect(jobs::by_chunk(job, &urls, CHUNK_SIZE));
        }
    }

    /// Lets calls meet what is planned for them.
    pub fn set_traps(&self) {
        let (traps, tally) = (Arc::clone(&self.traps), Arc::clone(&self.tally));
        let held = Arc::clone(&self.held);
        self.calls.restart(move |call| {
            if is_held(call, &locked(&held)) {
                return Fate::Answer(HELD);
            }
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

    /// Blobs of this name must not be changed.
    pub fn hold(&self, name: &str) {
        locked(&self.held).push(name.to_owned());
    }

    /// The opposite.
    pub fn let_go(&self, name: &str) {
        locked(&self.held).retain(|held| held != name);
    }

    /// Everything works again, also what was mended and then forgotten.
    pub async fn heal(&self) -> Result<()> {
        self.calls.restart(|_| Fate::Pass);
        let lanes = self.machines.iter().map(|machine| &machine.lane);
        lanes.flat_map(|lane| &lane.proxies).for_each(Proxy::resume);
        self.rig.origin.set_delay(Duration::from_millis(20));
        environment::set_read_only(self, false).await?;
        for machine in &self.machines {
            rights::grant_all(&self.pool, &machine.role).await?;
        }
        if let Some(mend) = &self.mend_schema {
            sqlx::raw_sql(AssertSqlSafe(mend.clone())).execute(&self.pool).await?;
        }
        Ok(())
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

    /// Puts a message on a queue, twice rather than not at all: the emulator may close a connection that
    /// was idle in the moment that it is used again.
    pub async fn put(&self, queue: usize, body: &str) -> Result<()> {
        let queue = &self.queues[queue];
        if queue.put(body).await.is_ok() {
            return Ok(());
        }
        queue.put(body).await
    }

    /// Puts a message on a queue that must be recorded in the end.
    pub async fn put_unreadable(&self, queue: usize, body: String) -> Result<()> {
        self.put(queue, &body).await?;
        locked(&self.unreadable).push((queue, body));
        Ok(())
    }

    pub fn unreadable(&self) -> Vec<String> {
        locked(&self.unreadable).iter().map(|(_, body)| body.clone()).collect()
    }

    /// Puts a message of a chunk on a queue that its sender keeps.
    pub async fn send(&self, queue: usize, chunk: (i64, i32), body: String) -> Result<()> {
        self.put(queue, &body).await?;
        locked(&self.sent).push((queue, chunk, body));
        Ok(())
    }

    /// What was sent for a chunk, if it was not submitted.
    pub fn sent(&self, chunk: (i64, i32)) -> Option<String> {
        let sent = locked(&self.sent);
        sent.iter().find(|(_, of, _)| *of == chunk).map(|(_, _, body)| body.clone())
    }

    /// Sends what was sent for these chunks once more: any message may come twice.
    pub async fn send_again(&self, chunks: &[(i64, i32)]) {
        let sent = locked(&self.sent).clone();
        for (queue, _, body) in sent.iter().filter(|(_, chunk, _)| chunks.contains(chunk)) {
            let _ = self.put(*queue, body).await;
        }
    }

    /// What an operator does whose database forgot something, as the README has it: migrates, asks the
    /// doctor, submits again, and has sent again what must be recorded. What commands of that time did
    /// is as right as what it was before.
    pub async fn repeat(&self, recorded: &[String]) {
        if self.chunkctl(&["migrate"]).code != Some(0) {
            self.found("I13: migrate fails although all is mended".to_owned());
        }
        if let Some(ill) = blame::ill(self).await {
            self.found(ill);
        }
        let submissions = locked(&self.submissions).clone();
        for submission in submissions {
            if !submission.submit(self) {
                self.found(format!("I13: job {} is refused when it is repeated", submission.job));
            }
        }
        let unreadable = locked(&self.unreadable).clone();
        for (queue, body) in unreadable.iter().filter(|(_, body)| !recorded.contains(body)) {
            let _ = self.put(*queue, body).await;
        }
    }

    /// A submission that was taken.
    pub fn submitted(&self, submission: Submission) {
        locked(&self.submissions).push(submission);
    }

    /// A list by which a job grew.
    pub fn extended(&self, extension: Extension) {
        locked(&self.extensions).push(extension);
    }

    pub fn extensions(&self) -> Vec<Extension> {
        locked(&self.extensions).clone()
    }

    pub fn found(&self, violation: String) {
        locked(&self.found).push(violation);
    }

    pub fn violations(&self) -> Vec<String> {
        locked(&self.found).clone()
    }

    /// Notes that rows are made to disappear.
    pub fn forget(&self) {
        self.forgot.fetch_add(1, Ordering::SeqCst);
    }

    /// How often rows disappeared.
    pub fn forgot(&self) -> u64 {
        self.forgot.load(Ordering::SeqCst)
    }

    /// Notes failures that telemetry was told of and that are told of again.
    pub fn told_in_vain(&self, n: i64) {
        self.told_in_vain.fetch_add(n.max(0), Ordering::SeqCst);
    }

    pub fn n_told_in_vain(&self) -> f64 {
        self.told_in_vain.load(Ordering::SeqCst) as f64
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
        let output = tokio::task::block_in_place(|| self.rig.chunkctl(arguments));
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
