//! The picture of the slots after real faults.

use nix::sys::signal::Signal;
use std::{fs, time::Duration};
use support::{
    dashboard::Dashboard,
    rig::{Rig, inline},
};

/// The names of what a page's pictures show.
fn titles(page: &str) -> Vec<&str> {
    page.split("<title>").skip(1).map(|part| part.split("</title>").next().unwrap()).collect()
}

/// What must be told of a process that was killed with two chunks, one that was stopped and one that was
/// fenced.
fn assert_told(page: &str, [killed, stopped, fenced]: [&str; 3]) {
    let titles = titles(page);
    let n = |wanted: &str, owner: &str| {
        titles.iter().filter(|title| title.starts_with(wanted) && title.ends_with(owner)).count()
    };
    let told = [killed, stopped, fenced].map(|owner| {
        ["reclaimed: ", "released: ", "fenced: ", "process died ", "process stopped "]
            .map(|words| n(words, owner))
    });
    assert_eq!(told, [[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]], "{titles:#?}");
    for bars in ["released", "lease ran out, or cancelled"] {
        assert!(titles.contains(&bars), "no bar {bars}: {titles:#?}");
    }
    for line in ["Processes: 1 died, 1 stopped, 1 fenced.", "1 released, 3 whose lease"] {
        assert!(page.contains(line), "no {line} in {page}");
    }
}

/// Case 472: a process is killed, one is told to end, and one stands still for longer than its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_a_stop_and_a_fence_are_told_apart() {
    let rig = Rig::new().await;
    let (killed, frozen) = (rig.handler().await, rig.handler().await);
    let drained = rig.handler_with(&[("PIXCRAWLER_DRAIN_SECONDS", "1")]).await;
    rig.origin.set_delay(Duration::from_secs(60));
    let messages = [0, 1, 2, 3].map(|index| inline(7, index, &rig.pictures(1)));
    tokio::join!(
        killed.deliver("a", &messages[0]),
        killed.deliver("b", &messages[1]),
        drained.deliver("c", &messages[2]),
        frozen.deliver("d", &messages[3]),
        async {
            rig.until("select active_chunks = 4 from chunk_handler.capacity").await;
            killed.kill9();
            frozen.signal(Signal::SIGSTOP);
            drained.signal(Signal::SIGTERM);
            drained.ended().await;
            // Somebody has to be there who reclaims.
            let _heir = rig.handler().await;
            rig.until(
                "select count(*) = 3 from chunk_handler.attempt_log where outcome = 'expired'",
            )
            .await;
            frozen.signal(Signal::SIGCONT);
            rig.until(
                "select exists (select from chunk_handler.attempt_log a join chunk_handler.process p
                    on p.owner = a.owner where a.chunk_index = 3 and p.seen_at > a.finished_at)",
            )
            .await;
        }
    );
    let owners: Vec<String> = rig
        .value(
            "select array_agg(owner order by chunk_index) from chunk_handler.attempt_log
            where chunk_index > 0",
        )
        .await;
    let owners = [0, 1, 2].map(|n| owners[n].as_str());
    let page = Dashboard::start(&rig, &[]).await.page("/").await;
    assert_told(&page.text, owners);
    let path = rig.temp.path().join("report.html");
    let file = path.to_str().unwrap();
    let said = rig.chunkctl(&["dashboard", "--write", file, "--job-id", "7"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_told(&fs::read_to_string(&path).unwrap(), owners);
}
