//! A page that stays open: a job runs, the reader reads, the database goes away and comes back.

use super::browser;
use support::{
    dashboard::Dashboard,
    rig::{Rig, inline},
    world::World,
};

/// The overview moves inside a chunk without a reload; ten updates take neither place nor focus nor a
/// chosen text; while the database is away it says so and stays, and then goes on by itself. Nothing moves
/// for who asked for less motion.
pub async fn a_page_moves_with_its_job_in_a_browser() {
    let world = World::around(Rig::new().await).await;
    let rig = &world.rig;
    let handler = rig.handler_with(&[("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "1")]).await;
    rig.origin.set_delay(std::time::Duration::from_millis(400));
    let behind = world.behind.each_ref().map(|(name, value)| (*name, value.as_str()));
    let dashboard = Dashboard::start_with(rig, &behind, &[]).await;
    let mut script = browser().start("live.js", &[&dashboard.address]);
    let idle = script.says().await;
    assert!(idle["active"].as_str().unwrap().starts_with("0 of"), "{idle}");

    let message = inline(7, 0, &rig.pictures(400));
    let run = handler.deliver("one", &message);
    let look = async {
        script.goes_on().await;
        let moved = script.says().await;
        let over = "select count(*) from chunk_handler.chunk_status where status = 'completed'";
        assert_eq!(rig.value::<i64>(over).await, 0, "the chunk still runs: {moved}");
        assert!(moved["active"].as_str().unwrap().starts_with("1 of"), "{moved}");
        assert_eq!(moved["moving"], 0, "animations: {moved}");

        script.goes_on().await;
        let used = &script.says().await["used"];
        assert!(used["at"].as_f64().unwrap() > 100.0, "the page is long enough: {used}");
        assert_eq!(used["scrolled"], used["at"], "{used}");
        assert!(!used["text"].as_str().unwrap().is_empty(), "{used}");
        assert_eq!(used["chosen"], used["text"], "{used}");
        assert_eq!(used["focus"], "Processes", "{used}");
        assert!(used["waits"].as_str().unwrap().contains("waits while"), "{used}");

        world.proxies[0].refuse();
        world.proxies[0].cut();
        script.goes_on().await;
        let away = script.says().await;
        assert!(away["away"].as_str().unwrap().contains("Shown is what it said at"), "{away}");
        assert!(away["still"].as_str().unwrap().starts_with("1 of"), "{away}");
        world.proxies[0].resume();
        script.goes_on().await;
        let back = script.says().await;
        assert_eq!(back["same"], true, "it was loaded again: {back}");
        script.ends().await;
    };
    tokio::select! { _ = run => panic!("the chunk ended first"), () = look => {} }
}
