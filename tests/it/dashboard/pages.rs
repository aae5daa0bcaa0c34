//! Pages say what the views say, at addresses that stay.

use support::{
    dashboard::Dashboard,
    rig::{Rig, wake_up},
};

/// A job of two chunks, of which one is done, with pictures that are not there; and one that waits.
async fn with_a_job(rig: &Rig) {
    let handler = rig.handler_with(&[("PIXCRAWLER_FLEET_MAX_CHUNKS", "7")]).await;
    let missing = (0..2).map(|i| rig.origin.url(&format!("/status/404?i={i}")));
    let urls: Vec<String> = missing.chain(rig.pictures(4)).collect();
    rig.submit(7, &urls, 4);
    rig.submit(8, &rig.pictures(1), 1);
    let (status, answer) = handler.deliver("one", &wake_up(7, 0)).await;
    assert_eq!(status, 200, "{answer}");
    rig.until(
        "select status = 'completed' from chunk_handler.chunk_status
        where job_id = 7 and chunk_index = 0",
    )
    .await;
}

/// The overview, the list and a job have the numbers of the views, and hosts from the manifests.
#[tokio::test(flavor = "multi_thread")]
async fn pages_have_the_numbers_of_the_views() {
    let rig = Rig::new().await;
    with_a_job(&rig).await;
    let dashboard = Dashboard::start(&rig, &[]).await;

    let overview = dashboard.page("/").await;
    assert!(overview.says("Active chunks 0 of 7"), "{}", overview.words());
    assert!(overview.says("Chunks waiting 2 Longest wait"), "{}", overview.words());
    assert!(overview.says("valid 2 50.0 % duplicate 0 0.0 % invalid 0 0.0 % failed 2 50.0 %"));
    assert!(overview.says("http_404 2 50.0 %"), "{}", overview.words());

    let jobs = dashboard.page("/jobs").await;
    assert!(jobs.says("7 ▶ running 50 % 2 0 0 4 2"), "{}", jobs.words());
    assert!(jobs.says("8 ○ pending 0 % 1 0 0 0 0"), "{}", jobs.words());

    let job = dashboard.page("/jobs/7").await;
    let chunks = "completed 1 50.0 % failed 0 0.0 % running 0 0.0 % pending 1 50.0 % never sent 0 0.0 % \
        all 2 100.0 %";
    assert!(job.says(chunks), "{}", job.words());
    let images = "valid 2 50.0 % duplicates 0 0.0 % invalid 0 0.0 % failed 2 50.0 % all 4 100.0 %";
    assert!(job.says(images), "{}", job.words());
    assert!(job.says("Images submitted 6"), "{}", job.words());
    assert!(job.says("From the manifests of 1 of 1 chunk:"), "{}", job.words());
    let host = format!("{} 2", rig.origin.address());
    assert!(job.says(&host), "no {host} in {}", job.words());
    assert!(job.text.contains("<svg role=\"img\""), "the grid");
    assert!(job.says("1 completed 1 pending"), "its legend: {}", job.words());
    assert!(job.text.contains("href=\"/jobs/7/chunks/1\""), "the open chunk is a link");
    assert!(!job.text.contains("href=\"/jobs/7/chunks/0\""), "the other is not open");
}

/// Filters are in the address, and what is not there is said with 404.
#[tokio::test(flavor = "multi_thread")]
async fn filters_are_in_the_address() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    for job in [7, 8] {
        rig.submit(job, &rig.pictures(2), 1);
    }
    rig.execute(
        "update chunk_handler.chunk set state = 'failed', error_code = 'panic'
        where job_id = 7 and chunk_index = 0",
    )
    .await;
    assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "8"]).code, Some(0));
    let dashboard = Dashboard::start(&rig, &[]).await;

    let cancelled = dashboard.page("/jobs?state=cancelled").await;
    assert!(cancelled.text.contains("href=\"/jobs/8\""), "{}", cancelled.text);
    assert!(!cancelled.text.contains("href=\"/jobs/7\""), "{}", cancelled.text);
    let all = dashboard.page("/jobs/7").await;
    let failed = dashboard.page("/jobs/7?chunks=failed").await;
    let panics = dashboard.page("/jobs/7?code=panic").await;
    let others = dashboard.page("/jobs/7?code=worker_lost").await;
    let chunks = |page: &support::dashboard::Answer| {
        [0, 1].map(|i| page.text.contains(&format!("href=\"/jobs/7/chunks/{i}\"")))
    };
    assert_eq!(chunks(&all), [true, true]);
    assert_eq!(chunks(&failed), [true, false]);
    assert_eq!(chunks(&panics), [true, false]);
    assert_eq!(chunks(&others), [false, false]);
    // The page's own word for a state, and words that are none.
    assert_eq!(chunks(&dashboard.page("/jobs/7?chunks=running").await), [false, false]);
    assert_eq!(chunks(&dashboard.page("/jobs/7?chunks=nonsense").await), [true, true]);
    for behind_the_last in ["/jobs?page=5", "/rejected?page=3"] {
        let page = dashboard.page(behind_the_last).await;
        assert!(page.says("There are no more."), "{}", page.words());
    }
    for nowhere in ["/jobs/9", "/jobs/x", "/jobs/7/chunks/2", "/jobs/7/chunks/-1", "/nowhere"] {
        assert_eq!(dashboard.get(nowhere, &[]).await.status, 404, "{nowhere}");
    }
}

/// A role that may read the views and nothing else is enough for every page.
#[tokio::test(flavor = "multi_thread")]
async fn every_page_works_for_a_role_that_may_read_views_only() {
    let rig = Rig::new().await;
    with_a_job(&rig).await;
    let database = rig.database_url.rsplit('/').next().unwrap();
    let role = format!("looks_on_{database}");
    let make = format!(
        "create role {role} login password 'looks'; grant usage on schema chunk_handler to {role};
        do $$ declare v text; begin for v in select viewname from pg_views
            where schemaname = 'chunk_handler' loop
            execute format('grant select on chunk_handler.%I to {role}', v); end loop; end $$"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&rig.pool).await.unwrap();
    let (_, server) = rig.database_url.rsplit_once('@').unwrap();
    let url = format!("postgres://{role}:looks@{server}");
    let dashboard = Dashboard::start_with(&rig, &[("DATABASE_URL", &url)], &[]).await;
    for path in ["/", "/jobs", "/jobs?state=failed", "/jobs/7", "/jobs/7/chunks/0", "/rejected"] {
        let page = dashboard.page(path).await;
        assert!(page.is_of_now(), "{path}: {}", page.words());
    }
}

/// Who has a reading gets it again only when it changed, and the script learns of when it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_did_not_change_is_not_sent_again() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let dashboard = Dashboard::start(&rig, &[]).await;
    let first = dashboard.page("/jobs").await;
    let tag = first.header("etag").to_owned();
    assert!(first.text.contains(&format!("As of {} UTC", first.header("x-read-at"))));
    let same = dashboard.get("/jobs", &[("If-None-Match", &tag)]).await;
    assert_eq!((same.status, same.text.as_str()), (304, ""));
    assert!(same.headers.contains_key("x-read-at"));
    rig.submit(7, &rig.pictures(1), 1);
    let other = dashboard.get("/jobs", &[("If-None-Match", &tag)]).await;
    assert_eq!(other.status, 200);
    assert_ne!(other.header("etag"), tag);
}

/// Processes that died, stopped and were fenced are told apart, and are in the table as in the picture.
#[tokio::test(flavor = "multi_thread")]
async fn ends_of_processes_are_told_apart() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.execute(
        "insert into chunk_handler.attempt (job_id, chunk_index, fence, owner, invocation_id, claimed_at,
            finished_at, outcome, error_code, slot_no)
        select 7, i, 1, o, 'i', now() - interval '9 minutes', now() - interval '8 minutes',
            w::chunk_handler.attempt_outcome, c, i + 1
        from (values (0, 'killed', 'expired', 'lease_expired'), (1, 'killed', 'expired', 'lease_expired'),
            (2, 'drained', 'released', 'drained'), (3, 'frozen', 'expired', 'lease_expired')) v(i, o, w, c)",
    )
    .await;
    rig.execute(
        "insert into chunk_handler.live_process (owner, since, release)
        values ('frozen', now() - interval '1 hour', '0')",
    )
    .await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    let page = dashboard.page("/").await;
    for told in [
        "process died killed lease_expired 7/",
        "process stopped drained drained 7/2",
        "process fenced frozen lease_expired 7/3",
        "Processes: 1 died, 1 stopped, 1 fenced.",
    ] {
        assert!(page.says(told), "no {told} in {}", page.words());
    }
    let lines = page.text.matches("<path class=\"death\" d=\"M").count();
    assert_eq!(lines, 2, "one in the picture, and one in the legend");
}
