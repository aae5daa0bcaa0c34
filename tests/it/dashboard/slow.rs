//! Who asks for much and takes none of it.

use crate::chunk::budget::peak_memory_mb;
use sha2::{Digest as _, Sha256};
use std::{fs, time::Duration};
use support::{
    checkout::hex,
    dashboard::Dashboard,
    rig::{Rig, inline, wait_for},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

const PICTURE: &str = "/jobs/7/chunks/0/images/0";
/// Who takes nothing, of 10 MB each.
const SLOW: u64 = 36;

/// Connections to a port of loopback that are open at its end.
fn connections(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let (place, open) = (format!("0100007F:{port:04X}"), "01");
    let has = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(&place) && words.nth(1) == Some(open)
    };
    table.lines().filter(|line| has(line)).count()
}

/// Case 474: all of them together hold a part of what they asked for, somebody who takes his picture gets
/// it, and in the end nobody waits for them.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_nobody_takes_hold_little() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let url = rig.origin.url("/big/0?kb=9766&cl=0");
    let (status, answer) = handler.deliver("one", &inline(7, 0, &[url])).await;
    assert_eq!(status, 200, "{answer}");
    let item = rig.manifest(7, 0).await["items"][0].clone();
    let dashboard = Dashboard::start(&rig, &[]).await;
    dashboard.page("/jobs/7/chunks/0").await;
    let memory = peak_memory_mb(dashboard.pid());

    let address = dashboard.address.strip_prefix("http://").unwrap();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {PICTURE} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    assert!(connections(port) > 5, "{} of them are counted", connections(port));
    let address = format!("{}{PICTURE}", dashboard.address);
    let asking = async {
        loop {
            let taken = reqwest::get(&address).await.unwrap();
            // Who finds no room for half a minute is told to ask again.
            if taken.status() != 503 {
                return taken;
            }
        }
    };
    let taken = timeout(Duration::from_secs(120), asking).await.expect("others keep it");
    assert_eq!(taken.status(), 200);
    let bytes = taken.bytes().await.unwrap();
    assert_eq!(hex(&Sha256::digest(&bytes)), item["sha256"].as_str().unwrap());
    let asked = SLOW * item["length"].as_u64().unwrap() / 1_000_000;
    let held = peak_memory_mb(dashboard.pid()) - memory;
    println!("{held} MB more, of {asked} MB");
    assert!(held < 160 && asked > 300, "{held} MB of {asked} MB");
    wait_for("the slow ones are let go", async || connections(port) == 0).await;
    drop(slow);
}
