//! Every page for everybody: contrast, names, sizes, and no scrolling sideways.

use super::{browser, with_jobs};
use serde_json::{Value, json};
use support::{dashboard::Dashboard, rig::Rig, world::World};

/// axe-core finds nothing at WCAG 2.2 AA on any page, light and dark, narrow and wide, also while the
/// database is away.
pub async fn every_page_meets_wcag_in_a_browser() {
    let world = World::around(Rig::new().await).await;
    let _handler = with_jobs(&world.rig).await;
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let dashboard = Dashboard::start_with(&world.rig, &behind, &["--allow-control"]).await;
    let paths = [
        "/",
        "/jobs",
        "/jobs/7",
        "/jobs/9",
        "/jobs/7/chunks/0?pictures=shown",
        "/jobs/9/chunks/0",
        "/rejected",
        "/control/pause?back=/",
        "/control/cancel?job_id=9",
        "/nowhere",
    ];
    let mut script = browser().start("looks.js", &[&[&*dashboard.address], &paths[..]].concat());
    judged(&script.says().await);
    world.proxies[0].refuse();
    world.proxies[0].cut();
    script.goes_on().await;
    judged(&script.says().await);
    script.ends().await;
}

fn judged(found: &Value) {
    assert_eq!(found["violations"], json!([]), "{found:#}");
    assert!(found["passes"].as_u64().unwrap() > 20, "axe judged something: {found}");
}
