//! The work of a round: jobs of small chunks, good pictures and bad URLs among them.

use crate::watch::Canary;
use std::collections::BTreeMap;
use support::rig::Rig;

/// URLs by chunk.
pub type Chunks = BTreeMap<(i64, i32), Vec<String>>;

/// Submitted as a list, before anything runs.
pub const LISTED: i64 = 1;
/// Made of messages with their URLs in them, in the middle of the round.
pub const INLINE: i64 = 2;
/// Chunks that do not fit into memory, one for each full disk.
pub const BIG: i64 = 3;
/// Cancelled and retried.
pub const CANCELLED: i64 = 4;
/// Of hosts that nobody knows: each chunk fails for good.
pub const FAILING: i64 = 5;
/// Made of messages that arrive between commands.
pub const MIXED: i64 = 6;

pub const CHUNK_SIZE: usize = 4;
const BIG_PICTURES: usize = 6;

/// The token that all these URLs carry and no log may show.
pub const TOKEN: &str = "CANARYTOKEN7f3b";

/// What is submitted before the round: job and URLs.
pub fn listed(rig: &Rig, canary: &Canary) -> [(i64, Vec<String>); 3] {
    let unknown = |n| format!("http://host-{n}.invalid/?sig={TOKEN}");
    [
        (LISTED, urls(rig, canary, LISTED, 20)),
        (CANCELLED, urls(rig, canary, CANCELLED, 8)),
        (FAILING, (0..6 * CHUNK_SIZE).map(unknown).collect()),
    ]
}

/// The chunks that arrive as messages.
pub fn inline(rig: &Rig, canary: &Canary) -> Chunks {
    by_chunk(INLINE, &urls(rig, canary, INLINE, 8), CHUNK_SIZE)
}

/// A list, cut into chunks.
pub fn by_chunk(job: i64, urls: &[String], size: usize) -> Chunks {
    let chunks = urls.chunks(size).map(<[String]>::to_vec);
    (0..).zip(chunks).map(|(index, urls)| ((job, index), urls)).collect()
}

/// Pictures that fill memory, so that the rest goes to files.
pub fn big(rig: &Rig, index: i32) -> Vec<String> {
    let first = 1000 + index as usize * BIG_PICTURES;
    let url = |n| rig.origin.url(&format!("/big/{n}?mb=2&sig={TOKEN}"));
    (first..first + BIG_PICTURES).map(url).collect()
}

/// Of every four URLs two are pictures of their own, one is repeated in the whole job, one is bad.
fn urls(rig: &Rig, canary: &Canary, job: i64, chunks: usize) -> Vec<String> {
    let url = |n: usize| {
        let path = match n % CHUNK_SIZE {
            0 | 2 => format!("/img/{job}{n:03}"),
            1 => format!("/same/{}/{n}", n % 5),
            _ => return bad(rig, canary, n / CHUNK_SIZE),
        };
        rig.origin.url(&format!("{path}?sig={TOKEN}"))
    };
    (0..chunks * CHUNK_SIZE).map(url).collect()
}

/// URLs that must not be followed, and pictures that are none.
fn bad(rig: &Rig, canary: &Canary, n: usize) -> String {
    let port = canary.port();
    let path = match n % 7 {
        0 => format!("/404/{n}"),
        1 => return format!("http://127.0.0.1:{port}/{n}?sig={TOKEN}"),
        2 => format!("/to/{n}?url=http://127.0.0.1:{port}/?sig={TOKEN}"),
        3 => return format!("http://someone:{TOKEN}@127.0.0.1:{port}/{n}"),
        4 => format!("/html/{n}?sig={TOKEN}"),
        5 => format!("/to/{n}?url=http://localhost:{port}/?sig={TOKEN}"),
        _ => format!("/noai/{n}?sig={TOKEN}"),
    };
    rig.origin.url(&path)
}

/// Whether a URL must end as a picture, kept or dropped as a duplicate: nothing is wrong with it,
/// and no fault is the origin's.
pub fn is_good(url: &str) -> bool {
    ["/img/", "/same/", "/big/"].iter().any(|path| url.contains(path))
}

/// What tells the pictures of good URLs apart.
pub fn picture(url: &str) -> String {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    path.split('/').take(2).collect::<Vec<_>>().join("/")
}
