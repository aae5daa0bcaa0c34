//! Many chunks: ten at once, and hundreds one after the other.

use crate::{
    measure::{Measured, mb, median},
    part,
    photo::{Album, Way},
    world::{Bench, World},
};
use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};
use support::rig::{Handler, all};
use tokio_util::sync::CancellationToken;

const CHUNKS: u64 = 10;
const IMAGES: u64 = 500;
/// 250 MB a chunk.
const MEAN_BYTES: u64 = 500_000;
/// Each upload gets 8 MB/s: bodies arrive sooner than they leave, which is when they pile up.
const SINK_RATE: u64 = 8_000_000;

/// Ten chunks of 250 MB at once, over ten hosts: temp space by ledger and by directory, peak RSS.
pub async fn ten_chunks(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "ten_chunks", SINK_RATE).await?;
    let handler = world.handler(&[]).await;
    let done = CancellationToken::new();
    let watch = watch_directory(world.temp.path().to_owned(), done.clone());
    let album = |n: u64| Album {
        first: n * IMAGES,
        ..world.album(Way::Fast, MEAN_BYTES, IMAGES, crate::origin::HOSTS)
    };
    let albums: Vec<Album> = (0..CHUNKS).map(album).collect();
    let runs = all(albums.iter().map(|album| world.chunk(&handler, album))).await;
    done.cancel();
    let walked = watch.join().unwrap_or(0);
    let mut walls = Vec::new();
    for run in runs {
        walls.push(run?.wall.as_secs_f64());
    }
    let sql = "select sum(temp_peak_bytes)::bigint from chunk_handler.attempt_log";
    // The sum of the peaks of all chunks: never less than the peak of the sum.
    let ledger: i64 = sqlx::query_scalar(sql).fetch_one(&world.pool).await?;
    let rss = part::memory(handler.pid, "VmHWM")?;
    eprintln!("  {CHUNKS} chunks in {:.0} s each", median(&walls));
    Ok(vec![
        Measured::new("ten_chunks_ledger", mb(ledger.unsigned_abs())),
        Measured::new("ten_chunks_walk", mb(walked)),
        Measured::new("ten_chunks_rss", mb(rss)),
    ])
}

/// Looks at a directory again and again; the most bytes its files had at once.
fn watch_directory(root: PathBuf, done: CancellationToken) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let most = AtomicU64::new(0);
        while !done.is_cancelled() {
            most.fetch_max(bytes_below(&root), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(10));
        }
        most.into_inner()
    })
}

/// Files may vanish while they are looked at.
fn bytes_below(root: &Path) -> u64 {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(it) if it.is_dir() => bytes_below(&entry.path()),
        Ok(it) => it.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

const EARLY: u64 = 20;
const LATE: u64 = 200;
/// RSS wavers: around each of the two chunks so many are looked at.
const AROUND: u64 = 5;

/// Memory after two hundred small chunks beside that after twenty, each sample a new process.
pub async fn rss_growth(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "rss_growth", 0).await?;
    let mut ratios = Vec::new();
    for _ in 0..bench.samples() {
        let (early, late) = grow(&world).await?;
        eprintln!("  {early:.1} MB at chunk {EARLY}, {late:.1} MB at chunk {LATE}");
        ratios.push(late / early);
    }
    Ok(vec![Measured::median_of("rss_growth", &ratios)])
}

async fn grow(world: &World) -> Result<(f64, f64)> {
    let handler = world.handler(&[]).await;
    let mut samples = Vec::new();
    for n in 1..=LATE {
        let album = world.album(Way::Fast, 100_000, 50, 1);
        world.chunk(&handler, &Album { first: n * 50, ..album }).await?;
        samples.push(rss(&handler)?);
    }
    // A leak climbs all the way; an allocator that keeps a freed block, or does not, goes up and down.
    let course: Vec<String> =
        samples.chunks(20).map(|part| format!("{:.0}", median(part))).collect();
    eprintln!("  MB, 20 chunks each: {}", course.join(" "));
    let around = |n: u64| {
        let end = n as usize;
        median(&samples[end - AROUND as usize..end])
    };
    Ok((around(EARLY), around(LATE)))
}

fn rss(handler: &Handler) -> Result<f64> {
    Ok(mb(part::memory(handler.pid, "VmRSS")?))
}
