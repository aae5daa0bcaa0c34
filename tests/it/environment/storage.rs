//! Storage that cannot do the work, as a whole or for one blob: nothing is charged, nothing is
//! downloaded twice for one blob, and work goes on by itself.

use functions_host::{rigged, storage::Account};
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    invariants,
    job::{self, COMPLETED, PROCESSING},
    proxy::{Answer, Call, Fate},
    rig::{DATASETS, Handler, Rig, inline, wait_for, wake_up},
    world::World,
};

const SOURCES: &str = "chunk-sources";
const SHARD: &str = "job_1/chunks/chunk_00000.tar";
const MANIFEST: &str = "job_1/chunks/chunk_00000.manifest.json";
const DATASET: &str = "job_1/dataset.json";
const A_CHUNK: &str = "insert into chunk_handler.chunk (job_id, chunk_index, priority, message)
    values (1, 0, 5, '{}')";

/// What a role says that lacks a right.
const NO_RIGHT: Answer =
    Answer { status: "403 Forbidden", code: "AuthorizationPermissionMismatch" };

/// A job in whose middle blob storage refuses everything this way, until the process shows it.
async fn refused(status: &'static str, code: &'static str) {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    job::submit(rig);
    let limit = [("PIXCRAWLER_FLEET_MAX_CHUNKS", "4")];
    let mut host = rigged::host(rig, &[&limit, &behind[..]].concat()).await;
    job::in_the_middle(rig).await;
    let blob = &world.proxies[1];
    blob.answer(Answer { status, code });
    let shown = "select exists (select from chunk_handler.process
        where degraded like 'blob storage:%')
        and not exists (select from chunk_handler.chunk_status where status = 'processing')";
    rig.until(shown).await;
    let before = rig.value::<i64>("select count(*) from chunk_handler.attempt_log").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = rig.value::<i64>("select count(*) from chunk_handler.attempt_log").await;
    assert_eq!(before, after, "a degraded process starts nothing");
    blob.resume();
    rig.until(COMPLETED).await;
    host.stop().await.unwrap();
    job::is_whole(rig).await;
}

/// I13: a key that was rotated, or a role that is not there yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_charges_nothing() {
    refused("403 Forbidden", "AuthenticationFailed").await;
}

/// I13: a container that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_container_charges_nothing() {
    refused("404 Not Found", "ContainerNotFound").await;
}

/// Delivers the chunk again and again, as its wake-ups do, until its last attempt ended so.
async fn delivered_until(rig: &Rig, handler: &Handler, code: &str) {
    for n in 0..20 {
        rig.execute("update chunk_handler.chunk set not_before = null where state = 'pending'")
            .await;
        handler.deliver(&format!("{code}-{n}"), &wake_up(1, 0)).await;
        let row = "select coalesce(error_code, status) from chunk_handler.chunk_status";
        if rig.value::<String>(row).await == code {
            return;
        }
    }
    panic!("the chunk never was {code}");
}

/// A blob of this name that somebody has a lease on keeps only its own chunk waiting, and is not
/// downloaded for.
async fn leased_before(name: &str) {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.blobs.create(DATASETS, name).await.unwrap();
    rig.blobs.lease(DATASETS, name).await.unwrap();
    let (status, answer) = handler.deliver("one", &inline(1, 0, &rig.pictures(2))).await;
    assert_eq!(status, 200, "{answer}");
    let said = answer["Logs"][0].as_str().unwrap();
    assert!(said.contains("storage_blocked") && said.contains(name), "{said}");
    assert_eq!(rig.origin.total(), 0, "what cannot be committed is not downloaded");
    let status = rig.chunkctl(&["status", "--job-id", "1"]).stdout;
    let doctor = rig.chunkctl(&["doctor"]).stdout;
    for said in [status, doctor] {
        let waits = format!("chunk 1/0 waits: blob {name} cannot be overwritten");
        assert!(said.contains(&waits) && said.contains("LeaseIdMissing"), "{said}");
    }
    let (_, other) = handler.deliver("two", &inline(2, 0, &rig.pictures(1))).await;
    assert!(other["Logs"][0].as_str().unwrap().contains("completed"), "{other}");
    rig.execute("delete from chunk_handler.image_hash").await;
    rig.blobs.break_lease(DATASETS, name).await.unwrap();
    rig.execute("update chunk_handler.chunk set not_before = null where state = 'pending'").await;
    let (_, answer) = handler.deliver("again", &wake_up(1, 0)).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
    let attempt = "select attempt from chunk_handler.chunk_status where job_id = 1";
    assert_eq!(rig.value::<i32>(attempt).await, 1);
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// I13: somebody has a lease on the blob of the shard.
#[tokio::test(flavor = "multi_thread")]
async fn a_leased_shard_keeps_its_chunk_waiting() {
    leased_before(SHARD).await;
}

/// I13: somebody has a lease on the blob of the manifest.
#[tokio::test(flavor = "multi_thread")]
async fn a_leased_manifest_keeps_its_chunk_waiting() {
    leased_before(MANIFEST).await;
}

/// Case 485: a list that the account moved to the archive tier, and a shard of which a retry would write
/// another: named, with what frees it, and not charged.
#[tokio::test(flavor = "multi_thread")]
async fn an_archived_blob_is_named_with_its_tier() {
    const LIST: &str = "own/list.txt";
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.blobs.put(SOURCES, LIST, rig.pictures(2).join("\n").into()).await.unwrap();
    rig.blobs.create(DATASETS, SHARD).await.unwrap();
    rig.blobs.set_tier(SOURCES, LIST, "Archive").await.unwrap();
    rig.blobs.set_tier(DATASETS, SHARD, "Archive").await.unwrap();
    let message = json!({"version": 1, "job_id": 1, "chunk_index": 0, "source": {"blob": LIST}});
    for (container, name) in [(SOURCES, LIST), (DATASETS, SHARD)] {
        handler.deliver(name, &message).await;
        let status = rig.chunkctl(&["status", "--job-id", "1"]).stdout;
        let doctor = rig.chunkctl(&["doctor"]).stdout;
        for said in [status, doctor] {
            assert!(said.contains(&format!("chunk 1/0 waits: blob {name} is archived")), "{said}");
            assert!(said.contains("move it to the tier Hot or Cool"), "{said}");
            assert!(!said.contains("lease"), "{said}");
        }
        assert_eq!(rig.origin.total(), 0, "what cannot be committed is not downloaded");
        rig.blobs.set_tier(container, name, "Hot").await.unwrap();
        rig.execute("update chunk_handler.chunk set not_before = null").await;
    }
    let (_, answer) = handler.deliver("again", &wake_up(1, 0)).await;
    assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
    assert_eq!(rig.value::<i32>("select attempt from chunk_handler.chunk_status").await, 1);
}

/// I13: a lease that comes during the download: the finished shard waits for its blob.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_finished_waits_for_its_blob() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.origin.set_delay(Duration::from_secs(1));
    let message = inline(1, 0, &rig.pictures(2));
    let (answer, ()) = tokio::join!(handler.deliver("one", &message), async {
        rig.until(PROCESSING).await;
        wait_for("it downloads", async || rig.origin.total() > 0).await;
        rig.blobs.create(DATASETS, SHARD).await.unwrap();
        rig.blobs.lease(DATASETS, SHARD).await.unwrap();
        handler.line("a blob is in the way, trying again").await;
        rig.blobs.break_lease(DATASETS, SHARD).await.unwrap();
    });
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("completed"), "{}", answer.1);
    assert_eq!(rig.origin.total(), 2, "nothing is downloaded again");
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// I13: a job whose document cannot be written says which blob is in the way, and ends when it is free.
#[tokio::test(flavor = "multi_thread")]
async fn a_leased_document_is_named_and_the_job_ends_later() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.blobs.create(DATASETS, DATASET).await.unwrap();
    rig.blobs.lease(DATASETS, DATASET).await.unwrap();
    let mut message = inline(1, 0, &rig.pictures(2));
    message["total_chunks"] = 1.into();
    handler.deliver("one", &message).await;
    handler.line("blob job_1/dataset.json cannot be overwritten").await;
    rig.until("select end_error is not null from chunk_handler.job_progress").await;
    let status = rig.chunkctl(&["status", "--job-id", "1"]).stdout;
    assert!(status.contains("cannot end: storage failed: blob job_1/dataset.json"), "{status}");
    let doctor = rig.chunkctl(&["doctor"]);
    assert!(doctor.stdout.contains("FAILED  jobs: job 1 cannot end: storage"), "{}", doctor.stdout);
    assert_eq!(doctor.code, Some(1));
    rig.blobs.break_lease(DATASETS, DATASET).await.unwrap();
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    let dataset: Value =
        serde_json::from_slice(&rig.blobs.read(DATASETS, DATASET).await.unwrap()).unwrap();
    assert_eq!(dataset["totals"]["images_valid"], 2);
    let status = rig.chunkctl(&["status", "--job-id", "1"]).stdout;
    assert!(!status.contains("cannot end"), "{status}");
}

/// A submit of somebody who may not send registers the job all the same, and says so; a handler that
/// may send starts it.
#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_may_not_send_registers_the_job() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    world.calls.restart(|call| {
        let is_send = call.proxy == "queue" && call.what.starts_with("POST");
        if is_send { Fate::Answer(NO_RIGHT) } else { Fate::Pass }
    });
    let list = rig.list("a.txt", &rig.pictures(3)).display().to_string();
    let submitted = rig.chunkctl_with(&behind, &["submit", "--job-id", "1", "--urls", &list]);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    assert!(submitted.stdout.contains("job 1 submitted: 3 images in 1 chunk"), "{submitted:?}");
    assert!(submitted.stderr.contains("the job is registered"), "{submitted:?}");
    let _handler = rig.handler().await;
    rig.until("select woken_at is not null from chunk_handler.chunk").await;
}

/// I13: who may not send leaves the waker's turn to a process that may.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_queues_leaves_waking_to_others() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let first = rig.handler_with(&behind).await;
    rig.until("select holder <> '' from chunk_handler.waker").await;
    world.proxies[2].answer(NO_RIGHT);
    let _second = rig.handler().await;
    rig.execute("insert into chunk_handler.job (job_id) values (1)").await;
    rig.execute(A_CHUNK).await;
    rig.until("select woken_at is not null from chunk_handler.chunk").await;
    let shown = "select exists (select from chunk_handler.process where degraded like 'queues:%')";
    rig.until(shown).await;
    drop(first);
}

/// I13: who may read queues, but not send: the process stays degraded, and does not take chunks in
/// between; `doctor` says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_may_not_send_stays_degraded() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let handler = rig.handler_with(&behind).await;
    world.calls.restart(|call| {
        let is_send = call.proxy == "queue" && call.what.starts_with("POST");
        if is_send { Fate::Answer(NO_RIGHT) } else { Fate::Pass }
    });
    rig.execute("insert into chunk_handler.job (job_id) values (1)").await;
    rig.execute(A_CHUNK).await;
    let is_degraded =
        "select exists (select from chunk_handler.process where degraded like 'queues:%')";
    rig.until(is_degraded).await;
    let probed = world.calls.seen().len();
    wait_for("three probes", async || {
        let sent = |call: &&Call| call.proxy == "queue" && call.what.starts_with("POST");
        world.calls.seen()[probed..].iter().filter(sent).count() >= 3
    })
    .await;
    assert!(!handler.lines().iter().any(|line| line.contains("works again")), "it flaps");
    let doctor = rig.chunkctl_with(&behind, &["doctor"]);
    let text = doctor.stdout;
    assert!(text.contains("FAILED  queue storage: storage refused send message"), "{text}");
    assert_eq!(doctor.code, Some(1), "{text}");
    world.calls.restart(|_| Fate::Pass);
    rig.until("select woken_at is not null from chunk_handler.chunk").await;
    let queue = Account::parse(&rig.storage).unwrap().queue("chunks");
    assert_eq!(queue.count().await.unwrap(), 1, "no probe is left in the queue");
}

/// I13: no job ends where blobs cannot be listed: `doctor` says so.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_a_missing_right_to_list() {
    let world = World::around(Rig::new().await).await;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let _handler = world.rig.handler_with(&behind).await;
    world.calls.restart(|call| {
        let is_listing = call.proxy == "blob" && call.what.contains("comp=list");
        if is_listing { Fate::Answer(NO_RIGHT) } else { Fate::Pass }
    });
    let doctor = world.rig.chunkctl_with(&behind, &["doctor"]);
    let text = doctor.stdout;
    assert!(text.contains("FAILED  blob storage: storage refused list blobs"), "{text}");
}

/// I13: a chunk that waited for its environment is not charged for the tries before.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_refused_is_not_missing() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    rig.submit(1, &rig.pictures(2), 2);
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let handler = rig.handler_with(&behind).await;
    let blob = &world.proxies[1];
    blob.answer(Answer { status: "403 Forbidden", code: "AuthorizationFailure" });
    delivered_until(rig, &handler, "storage_refused").await;
    blob.resume();
    rig.until("select not exists (select from chunk_handler.process where degraded is not null)")
        .await;
    delivered_until(rig, &handler, "completed").await;
    assert_eq!(rig.value::<i32>("select attempt from chunk_handler.chunk_status").await, 1);
}

/// I13: a list in a container that somebody removed is not missing: the container is not made again
/// empty, and the chunks wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_lists_that_is_removed_charges_nothing() {
    let rig = Rig::new().await;
    rig.submit(1, &rig.pictures(2), 2);
    let handler = rig.handler().await;
    rig.blobs.delete_container("chunk-sources").await.unwrap();
    delivered_until(&rig, &handler, "storage_missing").await;
    let shown =
        "select exists (select from chunk_handler.process where degraded like 'blob storage:%')";
    rig.until(shown).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(rig.value::<bool>(shown).await, "a probe made the container again");
    assert_eq!(rig.value::<i32>("select attempt from chunk_handler.chunk_status").await, 0);
}
