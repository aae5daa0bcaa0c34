//! What is not there any more, or never was: pages say so, and what can be done.

use crate::jobs::control::{ENDED, say, with_total};
use support::{
    dashboard::Dashboard,
    rig::{DATASETS, Handler, Rig, inline, wake_up},
};

const PAGE: &str = "/jobs/7/chunks/0";
const SHARD: &str = "job_7/chunks/chunk_00000.tar";
const VERIFY: &str = "chunkctl verify --job-id 7";

/// Job 7: one chunk with three pictures; it has ended.
async fn with_a_job(rig: &Rig) -> Handler {
    let handler = rig.handler().await;
    let said = say(&handler, &with_total(inline(7, 0, &rig.pictures(3)), 1)).await;
    assert!(said.contains("3 of 3 images valid"), "{said}");
    rig.until(ENDED).await;
    handler
}

/// Case 475: a shard that was cut, replaced by as many bytes, or removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_not_the_manifests_is_told() {
    let rig = Rig::new().await;
    let _handler = with_a_job(&rig).await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    let whole = dashboard.page(PAGE).await;
    assert!(!whole.says(VERIFY), "{}", whole.words());
    let bytes = rig.blobs.read(DATASETS, SHARD).await.unwrap().to_vec();
    let image = format!("{PAGE}/images/0");
    let retry = "chunkctl control retry --job-id 7";
    for (left, told, status) in [
        (Some(&bytes[..3]), "it has 3 bytes, and the manifest says", 404),
        (Some(&bytes), "its metadata name another claim or another hash", 200),
        (None, "Storage has lost the shard.", 404),
    ] {
        match left {
            Some(left) => rig.blobs.put(DATASETS, SHARD, left.to_vec()).await.unwrap(),
            None => rig.blobs.delete(DATASETS, SHARD).await.unwrap(),
        }
        let page = dashboard.page(PAGE).await;
        for words in [told, VERIFY, retry] {
            assert!(page.says(words), "no {words} in {}", page.words());
        }
        let answer = dashboard.get(&image, &[]).await;
        assert_eq!(answer.status, status, "{told}: {}", answer.text);
        if status == 404 {
            for words in [told, VERIFY, retry] {
                assert!(answer.text.contains(words), "no {words} in {}", answer.text);
            }
        }
    }
}

/// Case 476: a job that ended well has a button for what storage lost, which says so, and does it.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ended_has_its_lost_parts_made_again() {
    let rig = Rig::new().await;
    let handler = with_a_job(&rig).await;
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    rig.blobs.put(DATASETS, SHARD, b"cut".to_vec()).await.unwrap();
    let job = dashboard.page("/jobs/7").await;
    assert!(job.says("Make again what storage lost…"), "{}", job.words());
    assert!(!job.says("Retry failed chunks"), "{}", job.words());
    let link = "/control/retry?job_id=7&amp;back=%2Fjobs%2F7";
    assert!(job.text.contains(link), "{}", job.text);
    let form = dashboard.page(&link.replace("&amp;", "&")).await;
    let outcome = "No chunk of the job has failed. What storage lost of it, chunks or documents, is made again";
    assert!(form.says(outcome), "{}", form.words());

    let done = dashboard.submit("/control/retry", "job_id=7&back=%2Fjobs%2F7").await;
    assert_eq!((done.status, done.header("location")), (303, "/jobs/7"));
    rig.until("select status = 'pending' from chunk_handler.chunk_status").await;
    let open = dashboard.page("/jobs/7").await;
    assert!(!open.says("Make again what storage lost…"), "{}", open.words());
    let said = say(&handler, &wake_up(7, 0)).await;
    assert!(said.contains("3 of 3 images valid"), "{said}");
    rig.until(ENDED).await;
    let mended = dashboard.page(PAGE).await;
    assert!(!mended.says(VERIFY), "{}", mended.words());
    assert_eq!(dashboard.get(&format!("{PAGE}/images/0"), &[]).await.status, 200);
}

/// Case 477: no form promises anything of a job or a chunk that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_nothing_says_so_at_once() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(1), 1);
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    for (address, told) in [
        ("retry?job_id=8", "There is no job 8. It may be older than what is kept"),
        ("retry?job_id=8&chunk_index=0", "There is no job 8."),
        ("retry?job_id=8&error_code=panic", "There is no job 8."),
        ("cancel?job_id=8", "There is no job 8."),
        ("retry?job_id=7&chunk_index=99", "There is no chunk 7/99. See the page of job 7"),
        ("retry?job_id=7&chunk_index=-1", "There is no chunk 7/-1."),
    ] {
        let page = dashboard.get(&format!("/control/{address}"), &[]).await;
        assert_eq!(page.status, 404, "{address}: {}", page.text);
        assert!(page.says(told), "{address}: {}", page.words());
        assert!(!page.text.contains("<form"), "{address}: {}", page.text);
    }
    for address in ["retry?job_id=7", "retry?job_id=7&chunk_index=0", "cancel?job_id=7"] {
        assert!(dashboard.page(&format!("/control/{address}")).await.text.contains("<form"));
    }
}

/// Case 478: what somebody is to type is marked as such, on pages and in what was done.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_typed_is_marked() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(3), 1);
    rig.execute(
        "update chunk_handler.chunk set state = 'failed', error_code = 'panic',
            error_message = 'see `chunkctl doctor`' where chunk_index < 2",
    )
    .await;
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let done = dashboard.submit("/control/retry", "job_id=7&chunk_index=0&back=%2F").await;
    assert_eq!(done.status, 303, "{}", done.text);
    for (path, code) in [
        ("/", "chunkctl control retry --job-id 7"),
        ("/jobs/7", "retry"),
        ("/jobs/7", "chunkctl doctor"),
        ("/jobs/7/chunks/1", "chunkctl doctor"),
        ("/control/retry?job_id=7&error_code=panic", "retry"),
    ] {
        let page = dashboard.page(path).await;
        assert!(page.text.contains(&format!("<code>{code}</code>")), "{path}: {}", page.text);
        assert!(!page.text.contains('`'), "{path}: {}", page.text);
    }
    let page = dashboard.get("/control/retry?job_id=8", &[]).await;
    assert!(page.text.contains("<code>chunkctl status</code>"), "{}", page.text);
}
