//! Forms do what they say, lead back to where they were asked for, and are each one line on stderr.

use support::{dashboard::Dashboard, rig::Rig};

/// The page before, the deed, and the page after: a pause and its end, on every page.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_pauses_and_another_resumes() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let paused = "select paused_until is not null from chunk_handler.capacity";
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    assert!(dashboard.page("/").await.text.contains("/control/pause?back=%2F"));
    let form = dashboard.page("/control/pause?back=%2Fjobs%3Fstate%3Dfailed").await;
    assert!(form.says("No chunk starts in the whole fleet"), "{}", form.words());
    assert!(!rig.value::<bool>(paused).await, "a form alone does nothing");

    let done = dashboard.submit("/control/pause", "minutes=30&back=%2Fjobs%3Fstate%3Dfailed").await;
    assert_eq!((done.status, done.header("location")), (303, "/jobs?state=failed"));
    assert!(rig.value::<bool>(paused).await);
    for path in ["/", "/jobs?state=failed", "/rejected"] {
        let page = dashboard.page(path).await;
        assert!(page.says("Intake is paused"), "{path}: {}", page.words());
        assert!(page.says("intake is paused for 30 minutes"), "what was done: {}", page.words());
    }
    let done = dashboard.submit("/control/resume", "back=%2F").await;
    assert_eq!((done.status, done.header("location")), (303, "/"));
    assert!(!rig.value::<bool>(paused).await);
    assert!(!dashboard.page("/").await.says("Intake is paused"));
    let lines = dashboard.errors();
    let told = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(told("Pause intake: intake is paused for 30 minutes"), 1, "{lines:#?}");
    assert_eq!(told("Resume intake: intake is open"), 1, "{lines:#?}");

    for form in ["minutes=0", "minutes=100000", "minutes=x"] {
        assert_eq!(dashboard.submit("/control/pause", form).await.status, 400, "{form}");
    }
    assert!(!rig.value::<bool>(paused).await);
}

/// One chunk, those with one error code, all; and a cancel. What changes nothing says so.
#[tokio::test(flavor = "multi_thread")]
async fn forms_retry_and_cancel_what_they_name() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(5), 1);
    rig.execute(
        "update chunk_handler.chunk set state = 'failed',
            error_code = case when chunk_index < 3 then 'panic' else 'source_missing' end
        where chunk_index < 4",
    )
    .await;
    let failed = "select string_agg(chunk_index::text, ',' order by chunk_index)
        from chunk_handler.chunk_status where status = 'failed'";
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let page = dashboard.page("/jobs/7?chunks=failed").await;
    let link = "/control/retry?job_id=7&amp;chunk_index=0&amp;back=%2Fjobs%2F7%3Fchunks%3Dfailed";
    assert!(page.text.contains(link), "{}", page.text);
    let form = dashboard.page("/control/retry?job_id=7").await;
    assert!(form.says("All failed chunks of the job run again, 4 now"), "{}", form.words());

    let back = "back=%2Fjobs%2F7%3Fchunks%3Dfailed";
    let retry = |fields: &str| format!("job_id=7&{fields}{back}");
    let done = dashboard.submit("/control/retry", &retry("chunk_index=0&")).await;
    assert_eq!((done.status, done.header("location")), (303, "/jobs/7?chunks=failed"));
    assert_eq!(rig.value::<Option<String>>(failed).await.as_deref(), Some("1,2,3"));
    let again = dashboard.submit("/control/retry", &retry("chunk_index=0&")).await;
    assert_eq!(again.status, 409, "{}", again.text);
    assert!(again.says("nothing was changed"), "{}", again.words());
    let done = dashboard.submit("/control/retry", &retry("error_code=panic&")).await;
    assert_eq!(done.status, 303);
    assert_eq!(rig.value::<Option<String>>(failed).await.as_deref(), Some("3"));
    let done = dashboard.submit("/control/retry", &retry("")).await;
    assert_eq!(done.status, 303);
    assert_eq!(rig.value::<Option<String>>(failed).await, None);
    let done = dashboard.submit("/control/cancel", "job_id=7&back=%2Fjobs%2F7").await;
    assert_eq!(done.status, 303);
    assert_eq!(rig.value::<Option<String>>(failed).await.as_deref(), Some("0,1,2,3,4"));

    let unknown = dashboard.submit("/control/retry", "job_id=8").await;
    assert_eq!(unknown.status, 409, "{}", unknown.text);
    for (action, form) in
        [("retry", ""), ("retry", "job_id=7&error_code=x"), ("sweep", ""), ("drop", "")]
    {
        let answer = dashboard.submit(&format!("/control/{action}"), form).await;
        assert_eq!(answer.status, 400, "{action} {form}");
    }
}

/// Case 443: a form that was made to lead elsewhere leads to the overview.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_leads_to_no_other_site() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    for back in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "%2Fa%0D%0Ab%3Ac",
    ] {
        let done = dashboard.submit("/control/resume", &format!("back={back}")).await;
        assert_eq!((done.status, done.header("location")), (303, "/"), "{back}");
        let form = dashboard.page(&format!("/control/resume?back={back}")).await;
        assert!(
            !form.text.contains("href=\"https") && !form.text.contains("href=\"//"),
            "{}",
            form.text
        );
    }
}

/// Case 473: a pause that somebody wrote by hand to last for good stops nobody who asks, and is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_for_good_lasts_until_it_is_resumed() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.submit(7, &rig.pictures(1), 1);
    rig.execute("update chunk_handler.fleet set paused_until = 'infinity'").await;
    rig.execute("update chunk_handler.chunk set state = 'failed', error_code = 'panic'").await;
    let dashboard = Dashboard::start(&rig, &[]).await;
    let page = dashboard.page("/").await;
    assert!(page.says("Intake is paused until somebody resumes it"), "{}", page.words());
    for (command, told) in [
        (&["status"][..], "until somebody resumes it"),
        (&["control", "retry", "--job-id", "7"], "1 failed chunk of job 7 runs again"),
        (&["control", "pause", "--minutes", "5"], "intake is paused until somebody resumes it;"),
        (&["control", "resume"], "intake is open; "),
    ] {
        let said = rig.chunkctl(command);
        assert_eq!(said.code, Some(0), "{command:?}: {said:?}");
        assert!(said.stdout.contains(told), "{command:?}: {said:?}");
    }
    assert!(!dashboard.page("/").await.says("Intake is paused"));
}
