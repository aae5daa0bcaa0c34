//! The walk over every outbound call of a chunk's run: the process is killed there, or the reply is
//! lost there. Every durable effect is such a call, so this meets every state a crash can leave.

mod completed;

use completed::violations;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use support::{
    proxy::{Call, Fate},
    rig::{Handler, all, wake_up},
    world::World,
};

/// Runs side by side, each in a rig of its own.
const LANES: usize = 4;
/// A call of a run by name, since the pool's own pings come in between as they like: `k` is its
/// place in the run that was counted, `nth` its place among calls of the same name.
#[derive(Debug, Clone)]
struct Point {
    k: usize,
    call: String,
    nth: usize,
}

impl Point {
    /// Pings of the pool may come after the answer, a connection may know a statement already, and the
    /// background asks whenever it does.
    fn may_be_absent(&self) -> bool {
        const BACKGROUND: [&str; 7] = [
            "reclaim",
            "check_in",
            "take_waker",
            "capacity",
            "take_failures",
            "judge_touched",
            // Of a connection that was opened meanwhile.
            "set_up",
        ];
        self.call == "postgres sync"
            || self.call.starts_with("postgres prepare")
            || BACKGROUND.iter().any(|what| self.call == format!("postgres run {what}"))
            // The first renewal is the question before the commit; others are the keeper's.
            || self.call == "postgres run renew" && self.nth > 0
            || self.call.starts_with("queue GET")
    }

    /// What becomes of calls when this one meets its fate: everything else passes.
    fn meets(&self, fate: Fate) -> impl FnMut(&Call) -> Fate + Send + 'static {
        let (wanted, nth, mut seen) = (self.call.clone(), self.nth, 0);
        move |call| {
            seen += usize::from(name(call) == wanted);
            if name(call) == wanted && seen == nth { fate } else { Fate::Pass }
        }
    }
}

fn is_adopted(handler: &Handler) -> bool {
    handler.lines().iter().any(|line| line.contains("adopting the shard"))
}

fn name(call: &Call) -> String {
    format!("{} {}", call.proxy, call.what)
}

/// The calls of a run without faults, from the delivery to its answer.
async fn counted() -> Vec<Point> {
    let world = World::new().await;
    world.submit(2).await;
    let handler = world.handler().await;
    world.calls.restart(|_| Fate::Pass);
    let (status, answer) = handler.deliver("count", &wake_up(2, 0)).await;
    let calls = world.calls.seen();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(violations(&world.rig, 2).await, Vec::<String>::new());
    let names: Vec<String> = calls.iter().map(name).collect();
    let point = |(n, call): (usize, &String)| Point {
        k: n + 1,
        call: call.clone(),
        nth: names[..=n].iter().filter(|other| *other == call).count(),
    };
    names.iter().enumerate().map(point).collect()
}

/// What one run of the walk showed.
struct Run {
    point: Point,
    fate: Fate,
    /// Whether the call came.
    is_hit: bool,
    /// The chunk's status after the fault.
    left: String,
    /// Whether the manifest of an earlier claim was completed instead of a new one.
    is_adopted: bool,
    /// The answers to the messages that it took until the chunk was completed.
    said: Vec<String>,
    violations: Vec<String>,
}

/// Kills the handler while a call is held; a second one takes over.
async fn killed(world: &Arc<World>, job: i64, point: Point, fate: Fate) -> Run {
    world.submit(job).await;
    let victim = world.handler().await;
    world.calls.restart(point.meets(fate));
    let message = wake_up(job, 0);
    let is_hit = tokio::select! {
        biased;
        () = world.calls.held() => true,
        _ = victim.deliver("victim", &message) => false,
    };
    victim.kill9();
    let left = world.status(job).await;
    world.expire().await;
    let heir = world.rig.handler().await;
    let said = world.completes(&heir, job).await;
    let violations = violations(&world.rig, job).await;
    Run { point, fate, is_hit, left, is_adopted: is_adopted(&heir), said, violations }
}

/// Loses the reply to a call; the same handler goes on.
async fn unanswered(world: &Arc<World>, job: i64, point: Point, fate: Fate) -> Run {
    world.submit(job).await;
    let handler = world.handler().await;
    world.calls.restart(point.meets(fate));
    let said = world.completes(&handler, job).await;
    let left = world.status(job).await;
    let came = world.calls.seen().iter().filter(|call| name(call) == point.call).count();
    let mut violations = violations(&world.rig, job).await;
    let sql = "select exists (select from chunk_handler.attempt_log
        where outcome = 'expired' and job_id = $1)";
    if sqlx::query_scalar(sql).bind(job).fetch_one(&world.rig.pool).await.unwrap() {
        violations.push("a living handler's lease ran out".into());
    }
    let (is_hit, is_adopted) = (came >= point.nth, is_adopted(&handler));
    Run { point, fate, is_hit, left, is_adopted, said, violations }
}

/// Walks over every call of a run, several at once.
async fn walk(fates: &[Fate], run: impl AsyncFn(&Arc<World>, i64, Point, Fate) -> Run) -> Vec<Run> {
    let began = Instant::now();
    let points = counted().await;
    let next = AtomicUsize::new(0);
    let lane = async || {
        let world = World::new().await;
        let mut runs = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::SeqCst);
            let Some(point) = points.get(n / fates.len()) else { return runs };
            runs.push(run(&world, 100 + n as i64, point.clone(), fates[n % fates.len()]).await);
        }
    };
    let lanes = all((0..LANES).map(|_| lane())).await;
    let runs: Vec<Run> = lanes.into_iter().flatten().collect();
    report(&points, &runs, began.elapsed());
    runs
}

fn report(points: &[Point], runs: &[Run], took: Duration) {
    for point in points {
        println!("{:3} {} {}", point.k, point.call, point.nth);
    }
    let (mut missed, mut broken) = (Vec::new(), Vec::new());
    for run in runs {
        let what = format!("k = {} {:?} {}", run.point.k, run.fate, run.point.call);
        if run.said.len() > 1 {
            println!("{what}: {:#?}", run.said);
        }
        broken.extend(run.violations.iter().map(|violation| format!("{what}: {violation}")));
        if !run.is_hit {
            println!("{what}: over before");
            missed.extend((!run.point.may_be_absent()).then_some(what));
        }
    }
    let hit = runs.iter().filter(|run| run.is_hit).count();
    println!("k = 1..={}: {} runs, {hit} hit, in {took:.0?}", points.len(), runs.len());
    let mut left = BTreeMap::<&str, usize>::new();
    runs.iter().for_each(|run| *left.entry(&run.left).or_default() += 1);
    let adopted = runs.iter().filter(|run| run.is_adopted).count();
    println!("the fault left the chunk: {left:?}; {adopted} shards were adopted");
    assert!(broken.is_empty(), "{broken:#?}");
    // A walk that misses the effects proves nothing.
    assert!(missed.is_empty(), "{missed:#?}");
    for effect in
        ["claim", "comp=block", "comp=blocklist", "manifest.json", "complete"].into_iter().chain([
            "queue POST messages",
            "blob PUT stats.json",
            "blob PUT README.md",
            "blob PUT sizes.json",
            "blob PUT dataset.json",
            "run end_job",
        ])
    {
        assert!(points.iter().any(|point| point.call.ends_with(effect)), "{effect} is missing");
    }
}

/// I1-I5 I8, X4: kill -9 at the k-th outbound call, before it took effect and after, for every k:
/// each run ends with the chunk completed once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_call_leaves_a_chunk_that_completes_once() {
    let runs = walk(&[Fate::HoldBefore, Fate::HoldAfter], killed).await;
    assert!(runs.iter().any(|run| run.is_adopted), "no crash came between manifest and row");
}

/// I1-I5 I8: the reply to the k-th outbound call is lost after its effect, for every k: the same
/// handler completes the chunk once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reply_lost_at_any_call_leaves_a_chunk_that_completes_once() {
    walk(&[Fate::DropReply], unanswered).await;
}

/// The checks above see what is wrong: a doctored row, slot or claim turns them red.
#[tokio::test(flavor = "multi_thread")]
async fn the_checks_of_the_walk_turn_red() {
    let world = World::new().await;
    world.submit(2).await;
    let handler = world.handler().await;
    world.completes(&handler, 2).await;
    handler.kill9();
    let rig = &world.rig;
    assert_eq!(violations(rig, 2).await, Vec::<String>::new());
    for (id, sql) in [
        ("I2", "update chunk_handler.chunk set shard_sha256 = 'ab' where job_id = 2"),
        ("I3", "update chunk_handler.chunk set shard_samples = 2 where job_id = 2"),
        ("I5", "update chunk_handler.chunk set shard_fence = 7 where job_id = 2"),
        ("I4", "update chunk_handler.slot set job_id = 2, chunk_index = 0 where slot_no = 1"),
        ("I8", "update chunk_handler.chunk set attempt = 2 where job_id = 2"),
        ("I8", "update chunk_handler.attempt set outcome = 'released' where job_id = 2"),
    ] {
        rig.execute(sql).await;
        let found = violations(rig, 2).await;
        assert!(found.iter().any(|violation| violation.starts_with(id)), "{sql}: {found:?}");
    }
}
