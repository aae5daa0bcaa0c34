//! Parts of a page that cannot be read, and what else hides trouble: the rest of it stays, and says so.

use support::{
    dashboard::Dashboard,
    rig::{DATASETS, Rig, inline},
    world::World,
};

/// Job 7: two chunks, each with a picture and a URL that leads to no picture.
async fn with_a_job(rig: &Rig) {
    let handler = rig.handler().await;
    for index in 0..2 {
        let urls = [rig.pictures(2).remove(index), rig.origin.url(&format!("/404/{index}"))];
        let index = index.try_into().unwrap();
        let (status, answer) = handler.deliver("one", &inline(7, index, &urls)).await;
        assert_eq!(status, 200, "{answer}");
    }
}

/// Case 465: while storage hangs, pages that need none of it are answered, and those that do say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_waits_for_no_other_ones_storage() {
    let world = World::around(Rig::new().await).await;
    with_a_job(&world.rig).await;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let dashboard = Dashboard::start_with(&world.rig, &behind, &[]).await;
    world.proxies[1].stall();
    let chunks = async {
        let pages = ["/jobs/7/chunks/0", "/jobs/7/chunks/1"].map(|path| dashboard.page(path));
        futures_util::future::join_all(pages).await
    };
    tokio::pin!(chunks);
    tokio::select! {
        biased;
        pages = &mut chunks => panic!("they came first: {}", pages[0].words()),
        page = dashboard.page("/jobs") => assert!(page.text.contains("href=\"/jobs/7\"")),
    }
    for page in chunks.await {
        assert!(page.says("Storage does not answer, or is slow."), "{}", page.words());
        assert!(page.says("Attempts, the newest first"), "{}", page.words());
    }
}

/// Case 466: a login that is to read no URL and no process has an overview without them, and is told.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_login_may_not_read_is_left_out() {
    let rig = Rig::new().await;
    with_a_job(&rig).await;
    let views = ["process", "rejected_message", "chunk_message"];
    let revoke = views.map(|view| format!("revoke all on chunk_handler.{view} from ROLE"));
    let url = rig.limited_role(&revoke.each_ref().map(String::as_str)).await;
    let dashboard = Dashboard::start_with(&rig, &[("DATABASE_URL", &url)], &[]).await;
    let overview = dashboard.page("/").await;
    assert!(overview.says("Processes this login may not read it"), "{}", overview.words());
    assert!(overview.says("Active chunks 0 of"), "{}", overview.words());
    let rejected = dashboard.get("/rejected", &[]).await;
    assert_eq!(rejected.status, 503);
    assert!(rejected.says("This login may not read"), "{}", rejected.words());
    assert!(!rejected.says("No answer from the database"), "{}", rejected.words());
}

/// Case 467: a manifest that is damaged hides no other one, and storage is not blamed.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_hides_no_other_one() {
    let rig = Rig::new().await;
    with_a_job(&rig).await;
    let name = "job_7/chunks/chunk_00000.manifest.json";
    rig.blobs.put(DATASETS, name, "{\"broken".into()).await.unwrap();
    let dashboard = Dashboard::start(&rig, &[]).await;
    let page = dashboard.page("/jobs/7").await;
    assert!(page.says("From the manifests of 1 of 2 chunks"), "{}", page.words());
    assert!(page.says("Lost or damaged, as chunkctl verify says: 1."), "{}", page.words());
    assert!(!page.says("Storage does not answer"), "{}", page.words());
    let chunk = dashboard.page("/jobs/7/chunks/0").await;
    assert!(chunk.says("The manifest is damaged"), "{}", chunk.words());
}

/// Case 468: of a half hour with thousands of claims those that ended badly are shown first of all, and that
/// not all others are is said.
#[tokio::test(flavor = "multi_thread")]
async fn many_good_claims_hide_no_bad_one() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.execute(
        "insert into chunk_handler.attempt (job_id, chunk_index, fence, owner, invocation_id, claimed_at,
            finished_at, outcome, error_code, slot_no)
        select 7, i, 1, case i when 0 then 'gone' else 'good' end, 'i',
            now() - make_interval(secs => 1400 - i * 0.3), now() - make_interval(secs => 1380 - i * 0.3),
            case i when 0 then 'expired' else 'completed' end::chunk_handler.attempt_outcome,
            case i when 0 then 'lease_expired' end, 1 + i % 7
        from generate_series(0, 3500) i",
    )
    .await;
    let page = Dashboard::start(&rig, &[]).await.page("/").await;
    assert!(page.says("process died gone lease_expired 7/0"), "{}", page.words());
    assert!(page.says("the newest 3000 are shown, from"), "{}", page.words());
}

/// Case 469: what is in another container is not taken for lost.
#[tokio::test(flavor = "multi_thread")]
async fn another_container_is_refused() {
    let rig = Rig::new().await;
    with_a_job(&rig).await;
    let other = [("PIXCRAWLER_DATASET_CONTAINER", "chunk-sources")];
    let output = rig.chunkctl_with(&other, &["dashboard", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("the database belongs to account"), "{output:?}");
}
