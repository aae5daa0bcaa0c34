//! Whose a chunk is, when the database is away, forgets, or a process dies beside its sibling.

use functions_host::rigged;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::time::Duration;
use support::{
    gate::Gate,
    invariants,
    job::{self, COMPLETED, PROCESSING},
    raw::{Act, Raw, answer},
    rig::{DATASETS, Rig, inline, wake_up},
    verdict,
    world::World,
};

/// I5 I13: a database that is away for longer than a lease: the chunk stands still, and goes on with
/// all it has, since nobody else had it.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_stands_still_while_the_database_is_away() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let handler = rig.handler_with(&behind).await;
    rig.origin.set_delay(Duration::from_secs(2));
    let message = inline(1, 0, &rig.pictures(4));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        rig.until(PROCESSING).await;
        world.proxies[0].refuse();
        world.proxies[0].cut();
        handler.line("the lease is not renewed: the chunk stands still").await;
        rig.until("select lease_until < clock_timestamp() from chunk_handler.chunk").await;
        world.proxies[0].resume();
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("completed"), "{}", answer.1);
    assert_eq!(rig.origin.total(), 4, "nothing is downloaded again");
    let row = "select format('%s %s', attempt, fence) from chunk_handler.chunk_status";
    assert_eq!(rig.value::<String>(row).await, "1 1");
    assert_eq!(invariants::violations(rig).await, Vec::<String>::new());
}

/// I5: the same, but another process took the chunk meanwhile: this one commits nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_stood_still_and_was_taken_over_changes_nothing() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let cut_off = rig.handler_with(&behind).await;
    rig.origin.set_delay(Duration::from_secs(2));
    let message = inline(1, 0, &rig.pictures(4));
    let (answer, before) = tokio::join!(cut_off.deliver("one", &message), async {
        rig.until(PROCESSING).await;
        world.proxies[0].refuse();
        world.proxies[0].cut();
        cut_off.line("the chunk stands still").await;
        rig.until("select lease_until < clock_timestamp() from chunk_handler.chunk").await;
        rig.origin.set_delay(Duration::ZERO);
        let other = rig.handler().await;
        let (_, answer) = other.deliver("two", &wake_up(1, 0)).await;
        assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
        let before = rig.shard(1, 0).await;
        world.proxies[0].resume();
        before
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("lease_lost"), "{}", answer.1);
    assert_eq!(rig.shard(1, 0).await, before);
    assert_eq!(invariants::violations(rig).await, Vec::<String>::new());
}

/// I13: what does not fit the deadline any more since the database was away is not the chunk's fault:
/// no picture is lost, and nothing is charged.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_had_to_wait_loses_no_picture_to_its_deadline() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let [database, storage] = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let slow = [
        database,
        storage,
        ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "40"),
        ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "1"),
    ];
    let handler = rig.handler_with(&slow).await;
    // The fourth comes after 80 % of the deadline.
    rig.origin.set_delay(Duration::from_secs(9));
    let message = inline(1, 0, &rig.pictures(4));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        rig.until(PROCESSING).await;
        world.proxies[0].refuse();
        world.proxies[0].cut();
        handler.line("the chunk stands still").await;
        tokio::time::sleep(Duration::from_secs(14)).await;
        world.proxies[0].resume();
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("deadline_hindered"), "{}", answer.1);
    rig.origin.set_delay(Duration::ZERO);
    rig.execute("update chunk_handler.chunk set not_before = null").await;
    let (_, answer) = handler.deliver("two", &wake_up(1, 0)).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("4 of 4 images valid"), "{answer}");
    assert_eq!(rig.value::<i32>("select attempt from chunk_handler.chunk_status").await, 1);
}

/// I13: a URL that its host told to wait, and whose next try does not fit the deadline any more since the
/// database was away, is not judged by its last answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_had_to_wait_judges_no_url_by_its_last_try() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let raw = Raw::start(|_, _| Act::Send(answer(503, "Retry-After: 40\r\n", b"")));
    let [database, storage] = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let settings = [database, storage, ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "40")];
    let handler = verdict::handler(rig, &[&raw], &settings).await;
    rig.origin.set_delay(Duration::from_secs(3));
    let message = inline(1, 0, &[rig.pictures(1), vec![raw.url("/busy")]].concat());
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        rig.until(PROCESSING).await;
        world.proxies[0].refuse();
        world.proxies[0].cut();
        handler.line("the chunk stands still").await;
        tokio::time::sleep(Duration::from_secs(14)).await;
        world.proxies[0].resume();
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("deadline_hindered"), "{}", answer.1);
    assert_eq!(rig.value::<i32>("select attempt from chunk_handler.chunk_status").await, 0);
}

/// The database forgets the claim of chunk 0, as one does that was restored to an earlier point.
const FORGET: [&str; 3] = [
    "update chunk_handler.chunk set state = 'pending', fence = 0, attempt = 0, token = null,
        slot_no = null, owner = null, invocation_id = null, lease_until = null, woken_at = null",
    "delete from chunk_handler.attempt",
    "update chunk_handler.slot set job_id = null, chunk_index = null",
];

/// I16: a restored database gives the same fence to a second claim while the first one still works.
/// What is committed is of the claim that the row names, whoever wrote last.
#[tokio::test(flavor = "multi_thread")]
async fn two_claims_of_one_fence_do_not_mix() {
    let rig = Rig::new().await;
    let gate = Gate::new(&rig, ".manifest.json").await;
    let first = rig.handler_with(&[("ChunkStorage", &gate.storage)]).await;
    let message = inline(1, 0, &rig.pictures(2));
    let (answer, ()) = tokio::join!(first.deliver("one", &message), async {
        gate.met().await;
        for statement in FORGET {
            rig.execute(statement).await;
        }
        let second = rig.handler().await;
        let (_, answer) = second.deliver("two", &wake_up(1, 0)).await;
        assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
        gate.open();
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("lease_lost"), "{}", answer.1);
    let fence = "select fence from chunk_handler.chunk_status";
    assert_eq!(rig.value::<i64>(fence).await, 1, "the fence was given twice");
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// I16: a shard of a fence that the database has forgotten does not stop the claim that it confirms.
#[tokio::test(flavor = "multi_thread")]
async fn a_higher_fence_in_storage_is_stepped_over() {
    let rig = Rig::new().await;
    let gate = Gate::new(&rig, "comp=blocklist").await;
    let second = rig.handler_with(&[("ChunkStorage", &gate.storage)]).await;
    let message = inline(1, 0, &rig.pictures(2));
    let (answer, ()) = tokio::join!(second.deliver("two", &message), async {
        gate.met().await;
        // A worker that the database has forgotten commits just now, under a higher fence.
        rig.blobs
            .create_with(
                DATASETS,
                "job_1/chunks/chunk_00000.tar",
                &[("fence", "99"), ("sha256", "x")],
            )
            .await
            .unwrap();
        gate.open();
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("completed"), "{}", answer.1);
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// A lease that nobody waits for in a test.
const LONG: (&str, &str) = ("PIXCRAWLER_LEASE_SECONDS", "600");

/// I5: the next process on a machine knows that its sibling is dead, and takes over at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_leases_of_a_dead_sibling_are_reclaimed_at_once() {
    let rig = Rig::new().await;
    job::submit(&rig);
    let mut host = rigged::host(&rig, &[LONG, ("PIXCRAWLER_FLEET_MAX_CHUNKS", "4")]).await;
    job::in_the_middle(&rig).await;
    let pid = Pid::from_raw(host.handler_pid().unwrap().cast_signed());
    kill(pid, Signal::SIGKILL).unwrap();
    rig.until("select count(*) > 0 from chunk_handler.attempt_log where outcome = 'expired'").await;
    // The kill may have lost a message that was about to be sent.
    rig.a_minute_passes().await;
    rig.until(COMPLETED).await;
    host.stop().await.unwrap();
    job::is_whole(&rig).await;
}

/// I5: what a dead sibling's last statement still holds is reclaimed as soon as that is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_siblings_last_statement_keeps_no_chunk() {
    let rig = Rig::new().await;
    rig.origin.set_delay(Duration::from_secs(600));
    let dead = rig.handler_with(&[LONG]).await;
    let message = inline(1, 0, &rig.pictures(1));
    let mut statement = rig.pool.begin().await.unwrap();
    tokio::select! {
        answer = dead.deliver("one", &message) => panic!("{answer:?}"),
        () = rig.until(PROCESSING) => {}
    }
    let held = "select from chunk_handler.chunk for update";
    sqlx::query(held).execute(&mut *statement).await.unwrap();
    dead.signal(Signal::SIGKILL);
    let sibling = rig.handler_with(&[LONG]).await;
    sibling.line("ready").await;
    assert!(rig.value::<bool>(PROCESSING).await, "the row is held");
    statement.rollback().await.unwrap();
    rig.until("select status = 'pending' from chunk_handler.chunk_status").await;
}

/// I5: a sibling that is only stopped keeps everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_that_is_stopped_keeps_its_leases() {
    let rig = Rig::new().await;
    let stopped = rig.handler_with(&[LONG]).await;
    rig.origin.set_delay(Duration::from_secs(2));
    let message = inline(1, 0, &rig.pictures(2));
    let (answer, ()) = tokio::join!(stopped.deliver("one", &message), async {
        rig.until(PROCESSING).await;
        stopped.signal(Signal::SIGSTOP);
        let sibling = rig.handler_with(&[LONG]).await;
        // A second round of its upkeep.
        rig.until("select count(*) = 2 from chunk_handler.process").await;
        rig.execute("update chunk_handler.fleet set sweep_asked_at = clock_timestamp()").await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(rig.value::<bool>(PROCESSING).await, "{:#?}", sibling.lines());
        stopped.signal(Signal::SIGCONT);
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("completed"), "{}", answer.1);
}
