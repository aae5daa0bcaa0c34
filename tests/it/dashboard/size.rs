//! How long pages take and how large they are, with a large fleet's history.

use std::time::Instant;
use support::{
    dashboard::Dashboard,
    rig::{Rig, all},
};

/// Bytes of a page with its style and script.
const LARGEST: usize = 80 * 1024;

/// A thousand jobs, one of a hundred thousand chunks, two hundred thousand attempts.
const HISTORY: &str = "set search_path = chunk_handler;
insert into job (job_id, total_chunks, created_at)
    select j, case j when 1 then 100000 else 20 end, now() - make_interval(mins => 1001 - j)
    from generate_series(1, 1000) j;
insert into chunk (job_id, chunk_index, state, priority, message, fence, attempt, shard_fence, shard_claim,
    totals, shard_blob, manifest_blob, error_code, error_message)
    select j, i, case k when 3 then 'failed' when 5 then 'pending' else 'completed' end::chunk_state, 5, '{}',
        1, 1, d.f, d.f::text, case when d.f = 1 then jsonb_build_object('images_total', 500,
            'images_downloaded', 480, 'images_valid', 450, 'images_invalid', 20, 'images_failed', 20,
            'duplicates_removed', 10, 'bytes_in', 50000000, 'bytes_out', 48000000,
            'errors', jsonb_build_object('http_404', 12, 'http_503', 8, 'too_small', 20, 'duplicate', 10)) end,
        d.f::text, d.f::text, case k when 3 then 'nothing_reachable' end,
        case k when 3 then 'no URL of the chunk could be reached' end
    from generate_series(1, 1000) j
    cross join lateral generate_series(0, case j when 1 then 99999 else 19 end) i
    cross join lateral (select i * 7 % 97 as k) k
    cross join lateral (select case when k not in (3, 5) then 1 end as f) d;
update job set ended_at = now(), ended_as = 'completed' where job_id between 2 and 990;
insert into attempt (job_id, chunk_index, fence, owner, invocation_id, claimed_at, finished_at, outcome,
    error_code, temp_peak_bytes, slot_no)
    select case when n < 100000 then 1 else 2 + (n - 100000) / 200 end, n % 100000, 1, 'p' || n % 3, n::text,
        now() - make_interval(secs => 9 * (200000 - n) + 90), now() - make_interval(secs => 9 * (200000 - n)),
        case n % 37 when 3 then 'failed' when 5 then 'released' else 'completed' end::attempt_outcome,
        case n % 37 when 3 then 'panic' when 5 then 'host_busy' end, 20000000, 1 + n % 10
    from generate_series(0, 199999) n;
select keep_sums(null) from generate_series(1, 989);
analyze;";

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
