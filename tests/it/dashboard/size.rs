//! How long pages take and how large they are, with a large fleet's history.

use std::time::Instant;
use support::{
    dashboard::{Dashboard, HISTORY},
    rig::{Rig, all},
};

/// Bytes of a page with its style and script.
const LARGEST: usize = 80 * 1024;

/// The times are printed and not judged: they are those of the machine.
#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_small_with_a_long_history() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    sqlx::raw_sql(HISTORY).execute(&rig.pool).await.unwrap();
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let mut shared = 0;
    for file in ["/style.css", "/script.js"] {
        shared += dashboard.page(file).await.text.len();
    }
    assert!(dashboard.page("/script.js").await.text.len() < 2048);
    for path in [
        "/",
        "/jobs",
        "/jobs?state=failed",
        "/jobs/1",
        "/jobs/1?chunks=failed",
        "/jobs/999",
        "/rejected",
    ] {
        let begun = Instant::now();
        let page = dashboard.page(path).await;
        let size = shared + page.text.len();
        println!("{path}: {} ms, {size} bytes with style and script", begun.elapsed().as_millis());
        assert!(size < LARGEST, "{path}: {size}");
        assert!(!page.says("No answer from the database"), "{path}: {}", page.words());
    }
    // Many who look at the same time wait for each other, and each gets its page.
    let paths = ["/jobs/1", "/jobs/1?chunks=failed", "/jobs/1?chunks=pending", "/", "/jobs"];
    let pages = all((0..20).map(|i| dashboard.page(paths[i % paths.len()]))).await;
    for page in pages {
        assert!(!page.says("No answer from the database"), "{}", page.words());
    }
    let used = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'chunk-handler'";
    assert!(rig.value::<i64>(used).await <= 2, "two connections");
}
