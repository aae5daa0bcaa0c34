//! Two hosts on the same queues and the same database keep the limits of the fleet and of each process.

use functions_host::{client::HostProcess, rigged};
use nix::{sys::signal::kill, unistd::Pid};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use support::{
    invariants,
    job::COMPLETED,
    rig::{Rig, all, wait_for},
};

/// Of both processes together.
const FLEET: i64 = 5;
/// Of each process. Less than the fleet's and more than half of it: full only when both work.
const EACH: i64 = 3;
const CHUNKS: i64 = 40;

/// Two hosts with the same limits; the last of them to start writes the fleet's.
async fn two_hosts(rig: &Rig) -> [HostProcess; 2] {
    let handler = support::programs::handler();
    let handler = Path::new(&handler);
    let (fleet, each) = (FLEET.to_string(), EACH.to_string());
    let limits =
        [("PIXCRAWLER_FLEET_MAX_CHUNKS", &*fleet), ("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", &*each)];
    let hosts =
        all(["first", "second"].map(|name| rigged::host_of(rig, name, handler, &limits))).await;
    hosts.try_into().unwrap()
}

/// The most at once that were seen, of all and of each process, and what was wrong.
#[derive(Debug, Default)]
struct Seen {
    most: i64,
    of_each: BTreeMap<String, i64>,
    wrong: BTreeSet<String>,
}

/// Looks at who works until told to stop.
async fn watch_owners(rig: &Rig, stop: &AtomicBool) -> Seen {
    let sql = "select owner, count(*) from chunk_handler.chunk_status
        where status = 'processing' group by owner";
    let mut seen = Seen::default();
    while !stop.load(Ordering::SeqCst) {
        let owners: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&rig.pool).await.unwrap();
        seen.most = seen.most.max(owners.iter().map(|(_, n)| n).sum());
        for (owner, n) in owners {
            if n > EACH {
                seen.wrong.insert(format!("I4: {owner} has {n} chunks at once"));
            }
            let most = seen.of_each.entry(owner).or_default();
            *most = (*most).max(n);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen
}

/// Runs a job on two hosts, with something that happens meanwhile, and asks every invariant.
async fn run_job(
    rig: &Rig,
    hosts: &mut [HostProcess; 2],
    meanwhile: impl AsyncFnOnce(&HostProcess),
) -> Seen {
    let done = AtomicBool::new(false);
    let work = async {
        meanwhile(&hosts[0]).await;
        rig.until(COMPLETED).await;
        done.store(true, Ordering::SeqCst);
    };
    let samplers = async {
        tokio::join!(invariants::sample_slots(rig, FLEET, &done), watch_owners(rig, &done))
    };
    let ((), ((most, found), seen)) = tokio::join!(work, samplers);
    for host in hosts {
        // One of them may be gone.
        let _ = host.stop().await;
    }
    println!("{most} at once, {seen:?}");
    assert_eq!(found, Vec::<String>::new());
    assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
    assert!(seen.most <= FLEET, "{seen:?}");
    assert_eq!(invariants::violations(rig).await, Vec::<String>::new());
    let completed = "select count(*) from chunk_handler.chunk_status where status = 'completed'";
    assert_eq!(rig.value::<i64>(completed).await, CHUNKS);
    let charged = "select sum(attempt)::bigint from chunk_handler.chunk_status";
    assert_eq!(rig.value::<i64>(charged).await, CHUNKS, "each chunk is charged once");
    seen
}

/// How many attempts of each process ended how.
async fn outcomes(rig: &Rig) -> Vec<(String, String, i64)> {
    let sql = "select split_part(owner, '/', 2), outcome, count(*) from chunk_handler.attempt_log
        group by 1, 2 order by 1, 2";
    sqlx::query_as(sql).fetch_all(&rig.pool).await.unwrap()
}

/// The process ids that have a temp directory, from the names of the directories.
fn owners_of_temp(rig: &Rig) -> BTreeSet<String> {
    let entries = std::fs::read_dir(rig.temp.path().join("pixcrawler-chunks")).unwrap().flatten();
    let directories = entries.filter(|entry| entry.path().is_dir());
    let names = directories.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| Some(name.split_once('-')?.0.to_owned())).collect()
}

/// I4 S2 F8 X3 X5 H9: two hosts share a job: the fleet's limit and each process's own hold at every
/// moment, and both work, each in a temp directory of its own.
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_share_a_job_within_both_limits() {
    let rig = Rig::new().await;
    rig.origin.set_delay(Duration::from_millis(1500));
    let mut hosts = two_hosts(&rig).await;
    let pids = hosts.each_ref().map(|host| host.handler_pid().unwrap().to_string());
    rig.submit(1, &rig.pictures(2 * CHUNKS as u64), 2);
    let seen = run_job(&rig, &mut hosts, async |_| {
        assert_eq!(owners_of_temp(&rig), BTreeSet::from(pids.clone()));
    })
    .await;
    assert!(seen.most > EACH, "both never worked at once: {seen:?}");
    let outcomes = outcomes(&rig).await;
    println!("{outcomes:?}");
    for pid in pids {
        let of_it =
            outcomes.iter().find(|(owner, outcome, _)| *owner == pid && outcome == "completed");
        assert!(of_it.is_some_and(|(_, _, n)| *n > 1), "{pid} did not work: {outcomes:?}");
    }
}

/// I4 I8 H3 S2: one of two hosts is killed: its handler ends by itself, and the other one finishes the
/// job within the same limits, with nothing charged for what the first had to leave.
#[tokio::test(flavor = "multi_thread")]
async fn the_limits_hold_when_one_of_two_hosts_is_killed() {
    let rig = Rig::new().await;
    rig.origin.set_delay(Duration::from_millis(1500));
    let mut hosts = two_hosts(&rig).await;
    let pid = hosts[0].handler_pid().unwrap();
    rig.submit(1, &rig.pictures(2 * CHUNKS as u64), 2);
    run_job(&rig, &mut hosts, async |first| {
        let works = format!("%/{pid}/%");
        wait_for("the first works in the middle of the job", async || {
            let sql = "select count(*) filter (where status = 'completed') > 5
                and count(*) filter (where owner like $1) > 1 from chunk_handler.chunk_status";
            sqlx::query_scalar(sql).bind(&works).fetch_one(&rig.pool).await.unwrap()
        })
        .await;
        first.kill9().unwrap();
        let is_gone = async || kill(Pid::from_raw(pid.cast_signed()), None).is_err();
        wait_for("the orphan ends", is_gone).await;
        let left = "select count(*) from chunk_handler.chunk_status
            where status = 'processing' and owner like $1";
        let left: i64 = sqlx::query_scalar(left).bind(&works).fetch_one(&rig.pool).await.unwrap();
        assert_eq!(left, 0, "leases of the orphan");
        let over: bool = rig.value(COMPLETED).await;
        assert!(!over, "the job was over before the kill mattered");
        // What the killed host had fetched and not handed on.
        rig.a_minute_passes().await;
    })
    .await;
    println!("{:?} ({pid} was killed)", outcomes(&rig).await);
}
