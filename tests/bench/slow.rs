//! Origins as the web has them: slow, and some of them rude.

use crate::{
    measure::Measured,
    photo::{Album, BYTES_PER_SECOND, Way},
    throughput::MEAN_BYTES,
    world::{Bench, World},
};
use anyhow::Result;

const IMAGES: u64 = 500;
/// As many hosts as the downloads of a chunk can be spread over.
const HOSTS: usize = 4;
/// Downloads at once of a chunk over these hosts, by default.
const CONNECTIONS: usize = 32;

/// Wall time against Little's law: no program can be quicker with as many connections.
pub async fn bound(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "bound", 0).await?;
    let handler = world.handler(&[]).await;
    let mut ratios = Vec::new();
    for sample in 0..bench.samples() {
        let album = world.album(Way::Slow, MEAN_BYTES, IMAGES, HOSTS);
        let album = Album { first: sample as u64 * IMAGES, ..album };
        let run = world.chunk(&handler, &album).await?;
        let bound = album.bound_seconds(CONNECTIONS);
        eprintln!("  wall {:.2} s, bound {bound:.2} s", run.wall.as_secs_f64());
        ratios.push(run.wall.as_secs_f64() / bound);
    }
    Ok(vec![Measured::median_of("bound", &ratios)])
}

/// One host, slow, with and without images that never end, never come, or are refused.
pub async fn rude(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "rude", 0).await?;
    let handler = world.handler(&[]).await;
    let mut ratios = Vec::new();
    for sample in 0..bench.samples() {
        let first = sample as u64 * IMAGES;
        let album = |way| Album { first, ..world.album(way, MEAN_BYTES, IMAGES, 1) };
        let clean = world.chunk(&handler, &album(Way::Slow)).await?;
        let rude = world.chunk(&handler, &album(Way::Rude)).await?;
        eprintln!(
            "  clean {:.1} s, rude {:.1} s with {} of {IMAGES} valid; in the order of the list {:.1} s",
            clean.wall.as_secs_f64(),
            rude.wall.as_secs_f64(),
            rude.n_valid,
            in_order(&album(Way::Rude))
        );
        ratios.push(rude.wall.as_secs_f64() / clean.wall.as_secs_f64());
    }
    Ok(vec![Measured::median_of("rude", &ratios)])
}

/// The time of a fetcher that costs nothing itself, takes the list in its order, and has the product's
/// limits: 8 connections to the host, 10 s for what drips, 10 MiB for what has no end.
fn in_order(album: &Album) -> f64 {
    let mut free_at = [0.0_f64; 8];
    for (n, seconds) in (album.first..).zip(album.seconds()) {
        let seconds = match n % 100 {
            33 => 10.0,
            66 => f64::from(10 << 20) / BYTES_PER_SECOND,
            99 => 0.0,
            _ => seconds,
        };
        free_at.sort_by(f64::total_cmp);
        free_at[0] += seconds;
    }
    free_at.into_iter().fold(0.0, f64::max)
}
