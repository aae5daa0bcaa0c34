//! Actions, as people take them in a browser, and as other sites try to.

use super::{browser, with_jobs};
use serde_json::Value;
use support::{dashboard::Dashboard, rig::Rig};

/// The page, the link on it, the button of the form.
const ACTS: [&str; 5] = [
    "/|Pause intake…|Pause intake",
    "/|Resume intake…|Resume intake",
    "/jobs/9|Retry…|Retry chunk 9/0",
    "/jobs/9|Retry failed chunks…|Retry job 9",
    "/jobs/9|Cancel job…|Cancel job 9",
];

/// Once with JavaScript off, when every page can also be read, and once by Tab and Enter alone, with the
/// focus in sight all the way.
pub async fn everything_is_done_by_keyboard_in_a_browser() {
    for way in ["plain", "keys"] {
        let rig = Rig::new().await;
        let _handler = with_jobs(&rig).await;
        let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
        let arguments = [&[way, &*dashboard.address], &ACTS[..]].concat();
        let found = browser().run("acts.js", &arguments).await;
        let told: Vec<&str> = told(&found);
        assert!(told[0].contains("intake is paused for"), "{told:?}");
        assert!(told[1].contains("intake is open"), "{told:?}");
        for told in &told[2..4] {
            assert!(told.contains("1 failed chunk of job 9 runs again"), "{told}");
        }
        assert!(told[4].contains("cancelled"), "{told:?}");
        let ended = "select status = 'cancelled' from chunk_handler.job_progress where job_id = 9";
        rig.until(ended).await;
        let paused = "select paused_until is not null from chunk_handler.capacity";
        assert!(!rig.value::<bool>(paused).await);
        for (path, says) in [
            ("/", "Active chunks"),
            ("/jobs", "Jobs, the newest first"),
            ("/jobs/9", "cancelled"),
            ("/jobs/7/chunks/0", "http_404"),
            ("/rejected", "version"),
        ] {
            let text = found["pages"][path].as_str().unwrap();
            assert!(text.contains(says), "{way} {path}: {text}");
        }
    }
}

fn told(found: &Value) -> Vec<&str> {
    let done = found["done"].as_array().unwrap();
    done.iter().map(|one| one["told"].as_str().unwrap()).collect()
}

/// Case 445: by a form and by a fetch.
pub async fn a_post_of_another_site_is_refused_in_a_browser() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let found = browser().run("elsewhere.js", &[&dashboard.address]).await;
    assert_eq!(found["answers"], serde_json::json!([403]), "{found}");
    assert!(found["said"].as_str().unwrap().contains("Only a page of this dashboard"), "{found}");
    // What the fetch was answered is not for that page to see, either.
    assert_eq!(found["fetched"], "TypeError: Failed to fetch", "{found}");
    let paused = "select paused_until is not null from chunk_handler.capacity";
    assert!(!rig.value::<bool>(paused).await, "{found}");
}

/// Case 460: with a password, over plain HTTP, from another machine: a browser says less there of where a form
/// comes from.
pub async fn a_form_works_from_another_machine_in_a_browser() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let password = [("PIXCRAWLER_DASHBOARD_PASSWORD", "open")];
    let everywhere = ["--allow-control", "--listen", "0.0.0.0:0"];
    let dashboard = Dashboard::start_with(&rig, &password, &everywhere).await;
    let address = dashboard.address.replace("0.0.0.0", "203.0.113.7");
    let found = browser().run("distant.js", &[&address, "open"]).await;
    assert!(found["told"].as_str().unwrap().contains("intake is paused for"), "{found}");
    // Else it would be what every other test is.
    assert_eq!(found["site"], "not said", "{found}");
}
