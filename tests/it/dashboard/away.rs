//! A database that goes away and comes back.

use support::{
    dashboard::Dashboard,
    rig::{Rig, wait_for},
    world::World,
};

/// Pages that were read stay, and say since when nothing was heard; others say so; all come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_stays_while_the_database_is_away() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(1), 1);
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let dashboard = Dashboard::start_with(rig, &behind, &[]).await;
    let before = dashboard.page("/jobs/7").await;
    assert!(before.is_of_now(), "{}", before.words());

    world.proxies[0].refuse();
    world.proxies[0].cut();
    let during = dashboard.page("/jobs/7").await;
    assert!(during.says("No answer from the database since"), "{}", during.words());
    assert!(during.says("Shown is what it said at"), "{}", during.words());
    assert!(during.text.contains("href=\"/jobs/7/chunks/0\""), "what it said: {}", during.text);
    assert_eq!(during.header("x-read-at"), before.header("x-read-at"));
    let never_read = dashboard.get("/rejected", &[]).await;
    assert_eq!(never_read.status, 503);
    assert!(never_read.says("This page has not been read before"), "{}", never_read.words());
    assert!(never_read.text.contains("data-live"), "it is fetched again");

    world.proxies[0].resume();
    for path in ["/jobs/7", "/rejected"] {
        wait_for("the page is read again", async || {
            let page = dashboard.get(path, &[]).await;
            page.status == 200 && page.is_of_now()
        })
        .await;
    }
}

/// It starts while the database is away, and says so on its pages.
#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_the_database() {
    let world = World::around(Rig::new().await).await;
    assert_eq!(world.rig.chunkctl(&["migrate"]).code, Some(0));
    world.proxies[0].refuse();
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let dashboard = Dashboard::start_with(&world.rig, &behind, &[]).await;
    let page = dashboard.get("/", &[]).await;
    assert_eq!(page.status, 503, "{}", page.words());
    world.proxies[0].resume();
    wait_for("the page is read", async || dashboard.get("/", &[]).await.status == 200).await;
}

/// Case 493: while somebody holds a lock on the chunks pages say that the database is slow, not that it is
/// away, and a page that was read stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_is_not_called_away() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(1), 1);
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let before = dashboard.page("/jobs/7").await;
    let mut lock = rig.pool.begin().await.unwrap();
    let statement = "lock table chunk_handler.chunk in access exclusive mode";
    sqlx::query(statement).execute(&mut *lock).await.unwrap();
    let slow = "The database is slow: this page was not said within 2 s.";
    let during = dashboard.page("/jobs/7").await;
    assert!(during.says(&format!("{slow} Shown is what it said at")), "{}", during.words());
    assert!(during.says("pg_stat_activity"), "{}", during.words());
    assert_eq!(during.header("x-read-at"), before.header("x-read-at"));
    let never_read = dashboard.get("/jobs?state=failed", &[]).await;
    assert_eq!(never_read.status, 503);
    let wanted = format!("{slow} This page has not been read before");
    assert!(never_read.says(&wanted), "{}", never_read.words());
    let form = dashboard.get("/control/cancel?job_id=7", &[]).await;
    assert_eq!(form.status, 503);
    assert!(form.says("The database is slow"), "{}", form.words());
    for page in [during, never_read, form] {
        assert!(!page.says("No answer from the database"), "{}", page.words());
    }
    lock.rollback().await.unwrap();
    assert!(!dashboard.page("/jobs/7").await.says(slow));
}

/// A statement that the server ends after its two seconds costs its own table: the rest is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_statement_costs_its_own_table() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(1), 1);
    rig.execute(
        "create or replace view chunk_handler.job_reasons as
        select 7::bigint as job_id, 'late'::text as reason, 1::bigint as images from pg_sleep(60)",
    )
    .await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    let page = dashboard.page("/jobs/7").await;
    let reasons = "Why images are not in the dataset not said within 2 s";
    assert!(page.says(reasons), "{}", page.words());
    assert!(page.says("pending 1 100.0 %"), "{}", page.words());
    assert!(page.is_of_now(), "{}", page.words());
}
