//! The picture of the slots after real faults.

use std::fs;
use support::{dashboard::Dashboard, rig::Rig, round};

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
    for line in ["Processes: 1 died, 1 stopped, 1 fenced.", "2 released, 4 whose lease"] {
        assert!(page.contains(line), "no {line} in {page}");
    }
}

/// Case 472: a process is killed, one is told to end, and one stands still for longer than its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_a_stop_and_a_fence_are_told_apart() {
    let rig = Rig::new().await;
    let _alive = round::faults(&rig).await;
    let owners: Vec<String> = rig
        .value(
            "select array_agg(owner order by chunk_index) from chunk_handler.attempt_log
            where chunk_index in (0, 2, 4) and outcome in ('expired', 'released')",
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
