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
        assert!(page.is_of_now(), "{path}: {}", page.words());
    }
    // Many who look at the same time wait for each other, and each gets its page.
    let paths = ["/jobs/1", "/jobs/1?chunks=failed", "/jobs/1?chunks=pending", "/", "/jobs"];
    let pages = all((0..20).map(|i| dashboard.page(paths[i % paths.len()]))).await;
    for page in pages {
        assert!(page.is_of_now(), "{}", page.words());
    }
    let used = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'chunk-handler'";
    assert!(rig.value::<i64>(used).await <= 2, "two connections");
}

/// 250,000 jobs: a page of them is read where it stands, whichever status is asked for.
const MANY_JOBS: &str = "set search_path = chunk_handler;
insert into job (job_id, total_chunks, created_at, ended_at, ended_as)
    select j, 1, now() - make_interval(mins => 260000 - j), now(), case j % 5000 when 7 then 'failed'
        else 'completed' end
    from generate_series(1, 250000) j;
update job set ended_at = null, ended_as = null where job_id in (3, 100000, 249000);
update job set sums = to_jsonb(c) from job_count c where c.job_id = job.job_id and ended_at is not null;
analyze;";

/// Case 461: the newest come first, and where the last page of them ends that is said.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_however_many_there_are() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    sqlx::raw_sql(MANY_JOBS).execute(&rig.pool).await.unwrap();
    let dashboard = Dashboard::start(&rig, &[]).await;
    for (path, first, rows) in [
        ("/jobs", "250000", 50),
        ("/jobs?state=failed", "245007", 50),
        ("/jobs?state=failed&page=2", "-", 0),
        ("/jobs?state=completed&page=3", "249900", 50),
        ("/jobs?state=pending", "249000", 3),
        ("/jobs?state=cancelled", "-", 0),
        ("/jobs?page=200", "240050", 50),
    ] {
        let begun = Instant::now();
        let page = dashboard.page(path).await;
        println!("{path}: {} ms", begun.elapsed().as_millis());
        let jobs: Vec<&str> = page.text.split("<a href=\"/jobs/").skip(1).collect();
        assert_eq!(jobs.len(), rows, "{path}: {}", page.words());
        assert_eq!(jobs.first().map_or("-", |job| job.split('"').next().unwrap()), first, "{path}");
        assert_eq!(page.says("Older ones are not listed"), path.ends_with("200"), "{path}");
    }
}
