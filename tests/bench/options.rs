//! What a chunk costs more with captions as members, a filter and a list of blocked hashes.

use crate::{
    measure::{Measured, median, ms},
    part,
    photo::{Album, Scheme, Way},
    throughput::MEAN_BYTES,
    world::{Bench, World},
};
use anyhow::{Result, ensure};
use serde_json::json;
use support::rig::Handler;

const IMAGES: u64 = 500;
/// As many as a list of known pictures has that somebody keeps.
const BLOCKED: usize = 100_000;

/// CPU and wall time of chunks with all three, beside those of chunks with none.
pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "options", 0).await?;
    let hashes: String = (0..BLOCKED).map(|n| format!("{n:064x}\n")).collect();
    world.put_list("hashes.txt", hashes).await?;
    let plain = world.handler(&[]).await;
    let blocking = world.handler(&[("PIXCRAWLER_BLOCKED_HASHES", "hashes.txt")]).await;
    let mut ratios = (Vec::new(), Vec::new());
    for sample in 0..=bench.samples() * 3 {
        let album = world.secure_album(Scheme::Http, Way::Fast, MEAN_BYTES, IMAGES, 1);
        let albums = [0, 1]
            .map(|side| Album { first: (2 * sample as u64 + side) * IMAGES, ..album.clone() });
        let mut costs = [(0.0, 0.0); 2];
        for side in if sample % 2 == 0 { [0, 1] } else { [1, 0] } {
            let handler = if side == 0 { &plain } else { &blocking };
            costs[side] = cost(&world, handler, &albums[side], side == 1).await?;
        }
        // The first opens connections and grows the heaps.
        if sample > 0 {
            ratios.0.push(costs[1].0 / costs[0].0);
            ratios.1.push(costs[1].1 / costs[0].1);
        }
    }
    eprintln!("  CPU {:.3}, wall {:.3}", median(&ratios.0), median(&ratios.1));
    Ok(vec![
        Measured::median_of("options_cpu", &ratios.0),
        Measured::median_of("options_wall", &ratios.1),
    ])
}

/// Milliseconds of CPU and of wall time.
async fn cost(world: &World, handler: &Handler, album: &Album, with: bool) -> Result<(f64, f64)> {
    let mut message = world.message(album).await?;
    if with {
        message["output"] = json!({"text": "caption"});
        message["validation"] = json!({"formats": ["jpeg", "png", "webp"]});
    }
    let before = part::cpu_time(handler.pid)?;
    let run = world.deliver(handler, &message).await?;
    let cpu = part::cpu_time(handler.pid)? - before;
    ensure!(run.n_valid == album.n, "{} of {} images are valid", run.n_valid, album.n);
    Ok((ms(cpu), run.wall_ms()))
}
