//! An extension that is killed at any of its calls.

use crate::jobs::control::{holds, say};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use support::{
    programs,
    proxy::{Call, Fate},
    rig::{Handler, Rig, wake_up},
    world::World,
};

/// Starts an extension of a job whose calls go through the proxies.
fn start(world: &World, job: i64, list: &Path) -> Child {
    let job = job.to_string();
    Command::new(programs::chunkctl())
        .env_clear()
        .envs(world.rig.environment())
        .envs(world.behind.iter().map(|(name, value)| (*name, value)))
        .args(["submit", "--job-id", &job, "--extend", "--chunk-size", "1", "--urls"])
        .arg(list)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn name(call: &Call) -> String {
    format!("{} {}", call.proxy, call.what)
}

/// Registers a job that has ended.
async fn ended_job(world: &World, handler: &Handler, job: i64) {
    let (world_rig, urls) = (&world.rig, world.rig.pictures(1));
    tokio::task::block_in_place(|| world_rig.submit(job, &urls, 1));
    say(handler, &wake_up(job, 0)).await;
    world.rig.until("select bool_and(ended_at is not null) from chunk_handler.job").await;
}

/// I1 I2: an extension that is killed at any of its calls, before it took effect and after, has changed
/// all of the job or nothing; the same again completes it, and further ones change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_call_leaves_an_extension_that_completes_once() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let handler = rig.handler().await;
    let list = rig.list("more.txt", &rig.pictures(3));
    ended_job(&world, &handler, 10).await;
    world.calls.restart(|_| Fate::Pass);
    assert!(start(&world, 10, &list).wait().unwrap().success());
    let calls: Vec<String> = world.calls.seen().iter().map(name).collect();
    // The effects, and the first and the last question.
    let asked = ["extension", "want_hashes", "extend", "capacity"]
        .map(|name| format!("postgres run {name}"));
    let is_point = |call: &&String| call.ends_with(".jsonl") || asked.contains(call);
    let points: BTreeSet<&String> = calls.iter().filter(is_point).collect();
    assert_eq!(points.len(), 7, "{points:?}");
    for index in 1..4 {
        say(&handler, &wake_up(10, index)).await;
    }
    let (mut job, mut left) = (10, BTreeMap::<String, usize>::new());
    for point in points {
        for fate in [Fate::HoldBefore, Fate::HoldAfter] {
            job += 1;
            ended_job(&world, &handler, job).await;
            let wanted = point.clone();
            let mut is_first = true;
            world.calls.restart(move |call| {
                let is_hit = is_first && name(call) == wanted;
                is_first &= !is_hit;
                if is_hit { fate } else { Fate::Pass }
            });
            let mut victim = start(&world, job, &list);
            let is_held = tokio::time::timeout(Duration::from_secs(20), world.calls.held());
            let is_held = is_held.await.is_ok();
            victim.kill().unwrap();
            victim.wait().unwrap();
            world.calls.restart(|_| Fate::Pass);
            assert!(is_held, "{point} {fate:?} did not come");
            *left.entry(shape(rig, job).await).or_default() += 1;
            for _ in 0..2 {
                assert!(start(&world, job, &list).wait().unwrap().success(), "{point} {fate:?}");
                assert_eq!(shape(rig, job).await, "3 lists, chunks 0 1 2 3 of 4, open", "{point}");
            }
            for index in 1..4 {
                say(&handler, &wake_up(job, index)).await;
            }
        }
    }
    println!("{left:?}");
    let is_open = "0 lists, chunks 0 of 1, ended";
    assert!(left.contains_key(is_open) && left.len() > 1, "{left:?}");
    assert!(
        left.keys().all(|left| left.ends_with("0 of 1, ended") || left.contains("0 1 2 3 of 4"))
    );
    rig.until("select bool_and(ended_at is not null) from chunk_handler.job").await;
    holds(rig).await;
}

/// What an extension of three chunks left of a job.
async fn shape(rig: &Rig, job: i64) -> String {
    let lists = rig.blobs.list("chunk-sources", &format!("job_{job}/")).await.unwrap().len() - 1;
    let sql = "select format('chunks %s of %s, %s', string_agg(chunk_index::text, ' '
            order by chunk_index), max(j.total_chunks),
            case when max(j.ended_at) is null then 'open' else 'ended' end)
        from chunk_handler.chunk join chunk_handler.job j using (job_id) where job_id = $1";
    let rows: String = sqlx::query_scalar(sql).bind(job).fetch_one(&rig.pool).await.unwrap();
    format!("{lists} lists, {rows}")
}
