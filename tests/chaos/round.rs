//! One round: a fleet at work, the faults of its plan, the way back, and the checks.

use crate::{
    check, fault,
    jobs::BIG,
    plan::{Fault, Plan},
    site::Site,
    watch,
};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
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
const MACHINES: usize = 3;

/// How a round ended.
#[derive(Debug)]
pub struct Outcome {
    pub round: u32,
    pub faults: BTreeMap<Fault, u64>,
    pub violations: Vec<String>,
    /// Claims by how they ended.
    pub claims: BTreeMap<String, i64>,
    /// The whole round, and what of it the fleet took to come to rest.
    pub took: Duration,
    pub settled: Duration,
}

/// Runs a round of a seed.
pub async fn run(seed: u64, round: u32) -> Result<Outcome> {
    let began = Instant::now();
    let mut plan = Plan::new(seed, round);
    let limit = 4 + plan.dice().below(3) as u32;
    let site = Site::start(MACHINES, limit).await?;
    let stop = CancellationToken::new();
    let mut watchers = JoinSet::new();
    watchers.spawn(watch::slots(Arc::clone(&site), stop.clone()));
    watchers.spawn(watch::processes(Arc::clone(&site), stop.clone()));
    suffer(&site, plan).await?;
    site.heal();
    let since = Instant::now();
    let stuck = settle(&site).await?;
    let settled = since.elapsed();
    stop.cancel();
    let mut violations: Vec<String> = watchers.join_all().await.into_iter().flatten().collect();
    match stuck {
        // What is still under way would turn every check red.
        Some(stuck) => violations.push(stuck),
        None => violations.extend(check::violations(&site).await),
    }
    let faults = site.tally.faults();
    let claims = claims(&site).await?;
    keep_logs(&site, seed, round, &violations);
    Ok(Outcome { round, faults, violations, claims, took: began.elapsed(), settled })
}

/// Deals the faults of the plan, and waits until each is over.
async fn suffer(site: &Arc<Site>, mut plan: Plan) -> Result<()> {
    site.world.rig.origin.set_delay(Duration::from_millis(900));
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
    let chunks = crate::jobs::inline(&site.world.rig, &site.canary);
    site.expect(chunks.clone());
    for ((_, index), urls) in &chunks {
        site.queues[0].put(&fault::of_inline(*index, urls).to_string()).await?;
    }
    Ok(())
}

/// Waits until nothing is left to do; what is stuck when that takes too long.
async fn settle(site: &Site) -> Result<Option<String>> {
    let began = Instant::now();
    // Nobody knows the job when none of its messages was sent.
    let mut is_closed = !site.chunks().keys().any(|(job, _)| *job == BIG);
    let mut is_left_out = false;
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let is_paused = "select paused_until is not null from chunk_handler.capacity";
        if site.look(is_paused).await? {
            site.chunkctl(&["control", "resume"]);
        }
        if !is_closed && check::lost(&site.world.rig, &site.chunks()).await.is_empty() {
            // Not before all its messages arrived: a closed job takes no more.
            is_closed =
                site.chunkctl(&["control", "close", "--job-id", &BIG.to_string()]).code == Some(0);
        }
        if is_closed && is_at_rest(site).await? {
            return Ok(None);
        }
        if began.elapsed() > PATIENCE && !std::mem::replace(&mut is_left_out, true) {
            site.world.rig.execute(LEFT_OUT).await;
        }
        if began.elapsed() > BOUND {
            return Ok(Some(describe(site).await?));
        }
    }
}

async fn is_at_rest(site: &Site) -> Result<bool> {
    let rows = "select not exists (select from chunk_handler.job where ended_at is null)
        and not exists (select from chunk_handler.chunk where state in ('pending', 'processing'))";
    Ok(site.look(rows).await? && site.queued().await? == 0)
}

/// I1 I9: what did not come to an end.
async fn describe(site: &Site) -> Result<String> {
    let chunks = "select coalesce(string_agg(format('chunk %s/%s %s, %s expiries, %s releases, not before %s, woken %s, %s',
            job_id, chunk_index, state, expiries, releases, not_before - clock_timestamp(),
            clock_timestamp() - woken_at, error_message), '; '), '')
        from chunk_handler.chunk where state in ('pending', 'processing')";
    let jobs = "select coalesce(string_agg(format('job %s', job_id), '; '), '')
        from chunk_handler.job where ended_at is null";
    let lost = check::lost(&site.world.rig, &site.chunks()).await;
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
