//! What an operator is told of the fleet and of a job: by the right clock, and all of it.

use nix::sys::signal::Signal;
use std::time::Duration;
use support::{
    dashboard::{Answer, Dashboard},
    proxy::{Call, Fate},
    rig::{Rig, inline},
    world::World,
};

async fn migrated() -> Rig {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig
}

/// Where the bars of this look begin, and how wide they are.
fn bars(page: &Answer, look: &str) -> Vec<(i64, i64)> {
    let mark = format!("fill=\"url(#p-{look})\" d=\"");
    let path = page.text.split(&mark).nth(1).map_or("", |rest| rest.split('"').next().unwrap());
    let bar = |bar: &str| {
        let (from, rest) = bar.split_once(' ').unwrap();
        let width = rest.split('h').nth(1).unwrap().split('v').next().unwrap();
        (from.parse().unwrap(), width.parse().unwrap())
    };
    path.split('M').skip(1).map(bar).collect()
}

/// Case 490: the clock of this machine is three hours behind that of the database: pages and the report go by
/// the latter, which is asked once for a page.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_is_that_of_the_database() {
    let world = World::around(migrated().await).await;
    let rig = &world.rig;
    rig.submit(7, &rig.pictures(1), 1);
    rig.execute(
        "create or replace function pg_catalog.now() returns timestamptz language sql stable
            as 'select transaction_timestamp() + interval ''3 hours'''",
    )
    .await;
    rig.execute(
        "insert into chunk_handler.attempt (job_id, chunk_index, fence, owner, invocation_id, claimed_at,
            finished_at, outcome, slot_no)
        values (7, 0, 1, 'p', 'i', now() - interval '25 minutes', now() - interval '15 minutes',
            'completed', 1)",
    )
    .await;
    let hour = "select to_char(now() at time zone 'utc', 'HH24:')";
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let dashboard = Dashboard::start_with(rig, &behind, &[]).await;
    world.calls.restart(|_| Fate::Pass);
    let before: String = rig.value(hour).await;
    let page = dashboard.page("/").await;
    let hours = [before, rig.value(hour).await];
    let asked = world.calls.seen();
    let heads = asked.iter().filter(|call| call.what == "run capacity").count();
    assert_eq!(heads, 1, "{asked:#?}");
    let is_of_hour = |text: &str| hours.iter().any(|hour| text.starts_with(hour));
    assert!(is_of_hour(page.header("x-read-at")), "{hours:?}: {:?}", page.headers);
    let words = page.words();
    assert!(is_of_hour(words.split("As of ").nth(1).unwrap()), "{hours:?}: {words}");
    let bars = bars(&page, "completed");
    // Ten minutes of thirty, of 900 units, five minutes after the beginning.
    assert!(matches!(bars[..], [(180..205, 295..=305)]), "{bars:?}");

    let path = rig.temp.path().join("report.html");
    let said = rig.chunkctl(&["dashboard", "--write", path.to_str().unwrap(), "--job-id", "7"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let report = std::fs::read_to_string(path).unwrap();
    let written = report.split("wrote this at ").nth(1).unwrap().split('T').nth(1).unwrap();
    assert!(is_of_hour(written), "{hours:?}: {written}");
}

/// Case 491: chunks that count on samples that are gone are named, a few of them, with the command.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_says_which_duplicates_are_of_samples_that_are_gone() {
    let rig = migrated().await;
    rig.submit(7, &rig.pictures(8), 1);
    let dashboard = Dashboard::start(&rig, &[]).await;
    let said = "Chunks that dropped duplicates of samples that are gone";
    assert!(!dashboard.page("/jobs/7").await.says(said));
    rig.execute("update chunk_handler.chunk set lost_duplicates = 2 where chunk_index = 3").await;
    let page = dashboard.page("/jobs/7").await;
    let wanted =
        format!("{said}: 7/3 dropped 2. chunkctl control retry --job-id 7 --chunk-index 3 --again");
    assert!(page.says(&wanted), "{}", page.words());
    assert!(page.text.contains("<a href=\"/jobs/7/chunks/3\">7/3</a>"), "{}", page.text);
    rig.execute("update chunk_handler.chunk set lost_duplicates = 1").await;
    let page = dashboard.page("/jobs/7").await;
    assert!(page.says("7/3 dropped 1. 7/4 dropped 1. There are more."), "{}", page.words());
}

/// Case 492: a pause is lifted while storage hangs: the form and the command say so, and that handlers send.
#[tokio::test(flavor = "multi_thread")]
async fn intake_is_resumed_while_storage_hangs() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let _handler = rig.handler().await;
    assert_eq!(rig.chunkctl(&["control", "pause"]).code, Some(0));
    rig.submit(7, &rig.pictures(1), 1);
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let dashboard = Dashboard::start_with(rig, &behind, &["--allow-control"]).await;
    world.proxies[2].stall();
    let told = "intake is open; messages could not be sent now; handlers send them by themselves";
    let done = dashboard.submit("/control/resume", "back=%2F").await;
    assert_eq!(done.status, 303, "{}", done.text);
    let page = dashboard.page("/").await;
    assert!(page.says(told), "{}", page.words());
    let said = rig.chunkctl_with(&behind, &["control", "resume"]);
    assert!(said.stdout.contains(told), "{said:?}");
    let said = rig.chunkctl_with(&behind, &["control", "resume", "--json"]);
    assert_eq!(said.json()["messages_sent"], serde_json::Value::Null, "{said:?}");
}

/// Case 497: a command that gives up on slow storage leaves no chunk as one whose message is under way.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_could_not_send_is_sent_by_others_at_once() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let handler = rig.handler().await;
    assert_eq!(rig.chunkctl(&["control", "pause"]).code, Some(0));
    rig.submit(7, &rig.pictures(3), 1);
    handler.kill9();
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let is_send = |call: &Call| call.proxy == "queue" && call.what.starts_with("POST");
    world.calls.restart(move |call| if is_send(call) { Fate::HoldBefore } else { Fate::Pass });
    let said = rig.chunkctl_with(&behind, &["control", "resume"]);
    assert!(said.stdout.contains("messages could not be sent now"), "{said:?}");
    assert!(world.calls.seen().iter().any(is_send), "{:#?}", world.calls.seen());
    let under_way = "select count(*) from chunk_handler.chunk where woken_at is not null";
    assert_eq!(rig.value::<i64>(under_way).await, 0);
}

/// Case 495: a process that was killed is called dead in the list and in the events while it still counts as
/// one that is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_called_dead() {
    let rig = Rig::new().await;
    let killed = rig.handler().await;
    rig.origin.set_delay(Duration::from_secs(60));
    let message = inline(7, 0, &rig.pictures(1));
    let dashboard = Dashboard::start(&rig, &[]).await;
    tokio::join!(killed.deliver("a", &message), async {
        rig.until("select active_chunks = 1 from chunk_handler.capacity").await;
        assert!(!dashboard.page("/").await.says("✕ died"));
        killed.signal(Signal::SIGKILL);
    });
    let _heir = rig.handler().await;
    rig.until("select count(*) = 1 from chunk_handler.attempt_log where outcome = 'expired'").await;
    let owner: String =
        rig.value("select owner from chunk_handler.attempt_log where outcome = 'expired'").await;
    let page = dashboard.page("/").await;
    for told in [
        format!("{owner} ✕ died"),
        format!("process died {owner} lease_expired 7/0"),
        "✓ starts chunks".to_owned(),
    ] {
        assert!(page.says(&told), "no {told} in {}", page.words());
    }
}

/// Case 496: a chunk that is given back over and over waits since its first claim of this run.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_goes_to_and_fro_waits_all_the_time() {
    let rig = migrated().await;
    rig.submit(7, &rig.pictures(1), 1);
    rig.execute(
        "insert into chunk_handler.attempt (job_id, chunk_index, fence, owner, invocation_id, claimed_at,
            finished_at, outcome)
        select 7, 0, n, 'p', 'i', now() - make_interval(mins => 600 - 50 * n), now()
            - make_interval(mins => 599 - 50 * n),
            case n when 2 then 'completed' else 'released' end::chunk_handler.attempt_outcome
        from generate_series(1, 10) n",
    )
    .await;
    rig.execute("update chunk_handler.chunk set fence = 10, reset_fence = 2, updated_at = now()")
        .await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    // However the earlier run ended: completed, all its workers lost, or cancelled while it waited.
    for ended in ["completed", "expired", "released"] {
        let outcome =
            format!("update chunk_handler.attempt set outcome = '{ended}' where fence = 2");
        sqlx::query(sqlx::AssertSqlSafe(outcome)).execute(&rig.pool).await.unwrap();
        let page = dashboard.page("/").await;
        assert!(page.says("Chunks waiting 1 Longest wait 7 h 30 min"), "{ended}: {}", page.words());
    }
}
