//! One chunk of 500 photos from a local origin: CPU and wall time beside the floor's.

use crate::{
    floor::Order,
    measure::{Measured, mb, median, ms},
    part::{self, Part},
    photo::{Album, Scheme, Way},
    world::{Bench, World},
};
use anyhow::{Result, ensure};
use std::time::Instant;
use support::rig::Handler;

const IMAGES: u64 = 500;
pub const MEAN_BYTES: u64 = 450_000;

/// What a chunk cost whoever did it.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Milliseconds of CPU for each image.
    cpu: f64,
    /// Milliseconds.
    wall: f64,
}

pub async fn run(bench: &Bench, scheme: Scheme) -> Result<Vec<Measured>> {
    let world = World::new(bench, "throughput", 0).await?;
    let handler = world.handler(&[]).await;
    let mut floor = Part::start(&["floor"])?;
    let mut ratios = (Vec::new(), Vec::new());
    let mut costs: [Vec<Cost>; 3] = Default::default();
    let before = [part::cpu_split(handler.pid)?, part::cpu_split(floor.pid())?];
    // A short chunk costs little and one more sample makes the figure steadier.
    let n = bench.samples() * 3;
    for sample in 0..=n {
        let album = world.secure_album(scheme, Way::Fast, MEAN_BYTES, IMAGES, 1);
        let album = Album { first: sample as u64 * IMAGES, ..album };
        let ours_first = sample % 2 == 0;
        let first = if ours_first { Some(ours(&world, &handler, &album).await?) } else { None };
        let of_floor = theirs(&mut floor, &album, Some(&world)).await?;
        let ours = match first {
            Some(cost) => cost,
            None => ours(&world, &handler, &album).await?,
        };
        let of_discard = theirs(&mut floor, &album, None).await?;
        // The first opens connections and grows the heaps.
        if sample > 0 {
            ratios.0.push(ours.cpu / of_floor.cpu);
            ratios.1.push(ours.wall / of_floor.wall);
            for (all, cost) in costs.iter_mut().zip([ours, of_floor, of_discard]) {
                all.push(cost);
            }
        }
    }
    let after = [part::cpu_split(handler.pid)?, part::cpu_split(floor.pid())?];
    let sql = "select max(temp_peak_bytes) from chunk_handler.attempt_log";
    let temp: i64 = sqlx::query_scalar(sql).fetch_one(&world.pool).await?;
    eprintln!("  at most {:.0} MB of temp space a chunk", mb(temp.unsigned_abs()));
    print(&costs, before, after);
    let (cpu, wall) = match scheme {
        Scheme::Http => ("cpu_http", "wall"),
        Scheme::Https => ("cpu_https", "wall_https"),
    };
    Ok(vec![Measured::median_of(cpu, &ratios.0), Measured::median_of(wall, &ratios.1)])
}

fn print(costs: &[Vec<Cost>; 3], before: [[f64; 2]; 2], after: [[f64; 2]; 2]) {
    for (name, costs) in ["ours", "F", "D"].iter().zip(costs) {
        let cpu: Vec<f64> = costs.iter().map(|cost| cost.cpu).collect();
        let wall: Vec<f64> = costs.iter().map(|cost| cost.wall).collect();
        eprintln!(
            "  {name}: {:.2} ms CPU an image, {:.0} ms wall a chunk",
            median(&cpu),
            median(&wall)
        );
    }
    for (name, (before, after)) in ["ours", "F and D"].iter().zip(before.iter().zip(after)) {
        let (user, system) = (after[0] - before[0], after[1] - before[1]);
        let share = 100.0 * system / (user + system);
        eprintln!(
            "  {name}: {user:.1} s in the program, {system:.1} s in the kernel ({share:.0} %)"
        );
    }
}

async fn ours(world: &World, handler: &Handler, album: &Album) -> Result<Cost> {
    let before = part::cpu_time(handler.pid)?;
    let run = world.chunk(handler, album).await?;
    let cpu = part::cpu_time(handler.pid)? - before;
    ensure!(run.n_valid == album.n, "{} of {} images are valid", run.n_valid, album.n);
    Ok(Cost { cpu: ms(cpu) / album.n as f64, wall: run.wall_ms() })
}

/// The floor, or without a world to write to, fetch and discard.
async fn theirs(floor: &mut Part, album: &Album, world: Option<&World>) -> Result<Cost> {
    let name = format!("pixcrawler-datasets/floor/{}.tar", album.first);
    let order = Order { urls: album.urls(), blob: world.map(|world| world.blob(&name)) };
    let before = part::cpu_time(floor.pid())?;
    let since = Instant::now();
    let order = serde_json::to_string(&order)?;
    tokio::task::block_in_place(|| floor.ask(&order))?;
    let wall = ms(since.elapsed());
    let cpu = part::cpu_time(floor.pid())? - before;
    Ok(Cost { cpu: ms(cpu) / album.n as f64, wall })
}
