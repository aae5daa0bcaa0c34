//! One round: a fleet at work, the faults of its plan, the way back, and the checks.

use crate::{
    birth, check, extend,
    fault::{self, CHUNKS},
    jobs::{BIG, MIXED},
    plan::{Fault, Plan},
    rights,
    site::Site,
    watch,
};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use support::env;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Faults of a round at least.
pub const ENOUGH: u64 = 25;
/// A round that cannot have that many faults by then goes on without.
const LONGEST: Duration = Duration::from_secs(40);
/// A released chunk waits up to 40 s, a lease 4 s.
const BOUND: Duration = Duration::from_secs(150);
/// A chunk is woken again a minute after its message; of that much is left out, once, when all
/// messages there are had their time.
const PATIENCE: Duration = Duration::from_secs(3);
const LEFT_OUT: &str = "update chunk_handler.chunk set woken_at = woken_at - interval '50 seconds'
    where state = 'pending'";
/// Between two looks at what is left to do.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS_TO_REPEAT: u32 = 20;
const MACHINES: usize = 3;

/// How a round ended.
#[derive(Debug)]
pub struct Outcome {
    pub round: u32,
    pub faults: BTreeMap<Fault, u64>,
    pub left_out: BTreeMap<Fault, &'static str>,
    pub violations: Vec<String>,
    /// Claims by how they ended.
    pub claims: BTreeMap<String, i64>,
    /// Since the server last started.
    pub deadlocks: i64,
    /// Seconds from the end of the last fault to the next claim, and to the end of each job that was
    /// open then.
    pub went_on: Option<f64>,
    pub ended: Vec<(i64, f64)>,
    /// The whole round, and what of it the fleet took to come to rest.
    pub took: Duration,
    pub settled: Duration,
}

/// Runs a round of a seed.
pub async fn run(seed: u64, round: u32) -> Result<Outcome> {
    let began = Instant::now();
    let mut plan = Plan::new(seed, round);
    let limit = 4 + plan.dice().below(3) as u32;
    let site = Site::start(MACHINES, limit, plan.dice()).await?;
    let stop = CancellationToken::new();
    let mut watchers = JoinSet::new();
    watchers.spawn(watch::slots(Arc::clone(&site), stop.clone()));
    watchers.spawn(watch::processes(Arc::clone(&site), stop.clone()));
    suffer(&site, plan).await?;
    site.heal().await?;
    let (since, mended_at) = (Instant::now(), mended_at(&site).await?);
    let stuck = settle(&site).await?;
    let settled = since.elapsed();
    stop.cancel();
    let mut violations: Vec<String> = watchers.join_all().await.into_iter().flatten().collect();
    violations.extend(site.violations());
    violations.extend(birth::left(&site).await);
    match stuck {
        // What is still under way would turn every check red.
        Some(stuck) => violations.push(stuck),
        None => violations.extend(check::violations(&site).await),
    }
    let faults = site.tally.faults();
    let left_out = site.tally.left_out();
    let claims = claims(&site).await?;
    let (went_on, ended) = (went_on(&site, &mended_at).await?, ended(&site, &mended_at).await?);
    keep_logs(&site, seed, round, &violations);
    let deadlocks = site.look(DEADLOCKS).await?;
    clear(site).await?;
    let took = began.elapsed();
    Ok(Outcome {
        round,
        faults,
        left_out,
        violations,
        claims,
        deadlocks,
        went_on,
        ended,
        took,
        settled,
    })
}

const DEADLOCKS: &str = "select deadlocks from pg_stat_database where datname = current_database()";

/// Ends the fleet and removes its database: a copy of the server's data must stay small.
async fn clear(site: Arc<Site>) -> Result<()> {
    let database = rights::database(&site.pool).await?;
    drop(site);
    env::postgres().await?.drop_database(&database).await
}

/// The time of the database, as it writes it.
async fn mended_at(site: &Site) -> Result<String> {
    site.look("select clock_timestamp()::text").await
}

/// Seconds until a chunk was claimed; none when there was nothing to claim.
async fn went_on(site: &Site, mended_at: &str) -> Result<Option<f64>> {
    let sql = "select extract(epoch from min(claimed_at) - $1::timestamptz)::double precision
        from chunk_handler.attempt where claimed_at > $1::timestamptz";
    Ok(sqlx::query_scalar(sql).bind(mended_at).fetch_one(&site.pool).await?)
}

/// The jobs that ended since, and after how many seconds.
async fn ended(site: &Site, mended_at: &str) -> Result<Vec<(i64, f64)>> {
    let sql = "select job_id, extract(epoch from ended_at - $1::timestamptz)::double precision
        from chunk_handler.job where ended_at > $1::timestamptz order by ended_at";
    Ok(sqlx::query_as(sql).bind(mended_at).fetch_all(&site.pool).await?)
}

/// Deals the faults of the plan, and waits until each is over.
async fn suffer(site: &Arc<Site>, mut plan: Plan) -> Result<()> {
    site.rig.origin.set_delay(Duration::from_millis(900));
    site.set_traps();
    let (began, mut faults, mut dice) = (Instant::now(), JoinSet::new(), plan.dice());
    let arrives_at = dice.below(Plan::len() / 2);
    for n in 0.. {
        let is_enough = n >= Plan::len() && site.tally.total() >= ENOUGH;
        if is_enough || began.elapsed() > LONGEST {
            break;
        }
        if n == arrives_at {
            send_inline(site).await?;
        }
        let Some(step) = plan.next() else { break };
        tokio::time::sleep(step.after).await;
        faults.spawn(fault::inject(Arc::clone(site), step));
    }
    for ended in faults.join_all().await {
        ended?;
    }
    Ok(())
}

/// A job that nobody submitted: its messages are all there is of it.
async fn send_inline(site: &Site) -> Result<()> {
    for (id, urls) in crate::jobs::inline(&site.rig, &site.canary) {
        site.send(CHUNKS, id, fault::of_inline(id.1, &urls).to_string()).await?;
        site.expect([(id, urls)].into());
    }
    Ok(())
}

/// Waits until nothing is left to do; what is stuck when that takes too long.
async fn settle(site: &Site) -> Result<Option<String>> {
    let began = Instant::now();
    // Nobody knows the job when none of its messages was sent.
    let mut is_closed = !site.chunks().keys().any(|(job, _)| *job == BIG);
    let mut is_left_out = false;
    if site.forgot() > 0 {
        site.repeat(&recorded(site).await?).await;
    }
    extend::confirm(site);
    for look in 0.. {
        tokio::time::sleep(LOOK).await;
        let is_paused = "select paused_until is not null from chunk_handler.capacity";
        if site.look(is_paused).await? {
            site.chunkctl(&["control", "resume"]);
        }
        let lost = check::lost(&site.rig, &site.chunks()).await;
        if look % LOOKS_TO_REPEAT == 0 {
            send_again(site, &lost).await?;
        }
        if !is_closed && !lost.iter().any(|(job, _)| *job == BIG) {
            // Not before all its messages arrived: a closed job takes no more.
            is_closed =
                site.chunkctl(&["control", "close", "--job-id", &BIG.to_string()]).code == Some(0);
        }
        if is_closed && is_at_rest(site).await? {
            break;
        }
        if began.elapsed() > PATIENCE && !std::mem::replace(&mut is_left_out, true) {
            site.rig.execute(LEFT_OUT).await;
        }
        if began.elapsed() > BOUND {
            return Ok(Some(describe(site).await?));
        }
    }
    Ok(None)
}

async fn recorded(site: &Site) -> Result<Vec<String>> {
    let sql = "select body from chunk_handler.rejected_message";
    Ok(sqlx::query_scalar(sql).fetch_all(&site.pool).await?)
}

/// What senders do whose rows are gone, or whose messages came after the end of a job that was opened
/// again.
async fn send_again(site: &Site, lost: &[(i64, i32)]) -> Result<()> {
    // None: nobody knows the job.
    let has_ended = "select ended_at is not null from chunk_handler.job where job_id = $1";
    let has_ended: Option<bool> =
        sqlx::query_scalar(has_ended).bind(MIXED).fetch_optional(&site.pool).await?;
    let has_forgotten = site.forgot() > 0;
    let must_come = |(job, _): &(i64, i32)| match has_ended {
        Some(has_ended) if *job == MIXED => !has_ended,
        _ => has_forgotten,
    };
    let lost: Vec<_> = lost.iter().copied().filter(must_come).collect();
    site.send_again(&lost).await;
    Ok(())
}

async fn is_at_rest(site: &Site) -> Result<bool> {
    let rows = "select not exists (select from chunk_handler.job where ended_at is null)
        and not exists (select from chunk_handler.chunk where state in ('pending', 'processing'))";
    Ok(site.look(rows).await? && site.queued().await.is_ok_and(|n| n == 0))
}

/// I1 I9: what did not come to an end.
async fn describe(site: &Site) -> Result<String> {
    let chunks = "select coalesce(string_agg(format('chunk %s/%s %s, %s expiries, %s releases, not before %s, woken %s, %s',
            job_id, chunk_index, state, expiries, releases, not_before - clock_timestamp(),
            clock_timestamp() - woken_at, error_message), '; '), '')
        from chunk_handler.chunk where state in ('pending', 'processing')";
    let jobs = "select coalesce(string_agg(format('job %s', job_id), '; '), '')
        from chunk_handler.job where ended_at is null";
    let lost = check::lost(&site.rig, &site.chunks()).await;
    let queued = site.queued().await?;
    let (chunks, jobs): (String, String) = (site.look(chunks).await?, site.look(jobs).await?);
    Ok(format!(
        "I1: after {BOUND:?} {queued} messages, jobs [{jobs}], lost {lost:?}, chunks [{chunks}]"
    ))
}

async fn claims(site: &Site) -> Result<BTreeMap<String, i64>> {
    let sql = "select coalesce(outcome::text, 'open') || coalesce(' ' || error_code, ''), count(*)
        from chunk_handler.attempt group by 1";
    let claims: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&site.pool).await?;
    Ok(claims.into_iter().collect())
}

/// Keeps what the fleet of a violated round wrote, beside the build.
fn keep_logs(site: &Site, seed: u64, round: u32, violations: &[String]) {
    if violations.is_empty() {
        return;
    }
    let place =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos_{seed}_{round}"));
    let _ = std::fs::create_dir_all(&place);
    for (n, machine) in site.machines.iter().enumerate() {
        let _ = std::fs::write(place.join(format!("machine_{n}.log")), machine.lines().join("\n"));
    }
    eprintln!("its logs are in {}", place.display());
}
