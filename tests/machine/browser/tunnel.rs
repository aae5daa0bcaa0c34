//! A page that is open over a tunnel.

use super::browser;
use support::{
    dashboard::Dashboard,
    proxy::{Calls, Proxy, Wire},
    rig::Rig,
};

/// The tunnel hangs, and nobody closes it: the script gives up waiting, and the page stays and says
/// that it is old. It goes on by itself.
pub async fn a_page_whose_tunnel_hangs_says_that_it_is_old_in_a_browser() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let dashboard = Dashboard::start(&rig, &[]).await;
    let server = dashboard.address.strip_prefix("http://").unwrap();
    let tunnel = Proxy::start("tunnel", Wire::Http, server, &Calls::default()).await.unwrap();
    let mut script = browser().start("tunnel.js", &[&format!("http://{}", tunnel.address())]);
    let before = script.says().await;
    assert!(!before["before"].as_str().unwrap().contains("no answer"), "{before}");

    tunnel.stall();
    script.goes_on().await;
    let during = script.says().await;
    let said = during["during"].as_str().unwrap();
    assert!(said.starts_with("As of ") && said.ends_with(" UTC, no answer since"), "{during}");
    assert!(!during["gaveUp"].as_array().unwrap().is_empty(), "{during}");
    assert!(during["shown"].as_str().unwrap().contains("Active chunks"), "{during}");

    tunnel.resume();
    script.goes_on().await;
    let after = script.says().await;
    assert!(after["after"].as_str().unwrap().starts_with("As of "), "{after}");
    assert_eq!(after["same"], true, "it was loaded again: {after}");
    script.ends().await;
}
