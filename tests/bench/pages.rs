//! What pages of the dashboard cost the fleet while somebody looks at them, and how long they take.

use crate::{
    measure::{Measured, median, ms, percentile},
    photo::{Album, Scheme, Way},
    telemetry::claim,
    throughput::MEAN_BYTES,
    world::{Bench, World},
};
use anyhow::{Result, ensure};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use support::{
    dashboard::{Dashboard, HISTORY},
    rig::Handler,
};
use tokio::task::JoinSet;

const IMAGES: u64 = 300;
/// Claims of a turn: they take longer than [`RENEWAL`].
const CLAIMS: usize = 1500;
/// As often as the script of a page asks for it again.
const RENEWAL: Duration = Duration::from_secs(2);
/// The three that are open.
const OPEN: [&str; 3] = ["/", "/jobs", "/jobs/1"];
const PAGES: [&str; 6] =
    ["/", "/jobs", "/jobs?state=failed", "/jobs/1", "/jobs/1?chunks=failed", "/rejected"];
/// What waits in the history waits for nobody here, and its jobs for a chunk that nobody sends: a handler
/// would do the chunks, and end the jobs. Sums of a job that runs cost most.
const AT_REST: &str = "set search_path = chunk_handler;
update chunk set state = 'failed', error_code = 'nothing_reachable' where state = 'pending';
update job set total_chunks = total_chunks + 1 where ended_at is null;
vacuum analyze;";

pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "pages", 0).await?;
    // It brings the schema.
    drop(world.handler(&[]).await);
    // By one connection: the path that the first statement sets is its own.
    let mut connection = world.pool.acquire().await?;
    sqlx::raw_sql(HISTORY).execute(&mut *connection).await?;
    for statement in AT_REST.split_inclusive(';') {
        sqlx::raw_sql(statement).execute(&mut *connection).await?;
    }
    drop(connection);
    world.leave_jobs(1000);
    let handler = world.handler(&[]).await;
    let options = ["--listen", "127.0.0.1:0"];
    let dashboard = Dashboard::spawn(&world.environment(), world.temp.path(), &options).await;
    let dashboard = Arc::new(dashboard);
    let slowest = slowest(&dashboard, bench.samples()).await;
    let (mut claims, mut walls) = (Vec::new(), Vec::new());
    let n = bench.samples() * 2;
    for sample in 0..=n {
        let mut pair = [(0.0, 0.0); 2];
        for turn in 0..2 {
            let with = (sample + turn) % 2;
            let watched = if with == 1 { open(&dashboard) } else { JoinSet::new() };
            let wall = chunk(&world, &handler, (2 * sample + with) as u64).await?;
            pair[with] = (tail(&handler).await?, wall);
            drop(watched);
        }
        // The first opens connections and grows the heaps.
        if sample > 0 {
            claims.push(pair[1].0 / pair[0].0);
            walls.push(pair[1].1 / pair[0].1);
        }
    }
    Ok(vec![
        Measured::median_of("pages_claim", &claims),
        Measured::median_of("pages_wall", &walls),
        slowest,
    ])
}

/// The slowest page by its median.
async fn slowest(dashboard: &Dashboard, samples: usize) -> Measured {
    let mut slowest: Vec<f64> = vec![0.0];
    for page in PAGES {
        let mut times = Vec::new();
        let more = if page.contains('?') { '&' } else { '?' };
        for n in 0..samples {
            // Another address: a reading that took long would serve for this one, too.
            let page = format!("{page}{more}look={n}");
            let begun = Instant::now();
            dashboard.page(&page).await;
            times.push(ms(begun.elapsed()));
        }
        eprintln!("  {page}: {:.0} ms", median(&times));
        if median(&times) > median(&slowest) {
            slowest = times;
        }
    }
    Measured::median_of("pages_ms", &slowest)
}

/// Pages that renew themselves until this is dropped.
fn open(dashboard: &Arc<Dashboard>) -> JoinSet<()> {
    let mut pages = JoinSet::new();
    for page in OPEN {
        let dashboard = Arc::clone(dashboard);
        pages.spawn(async move {
            loop {
                dashboard.page(page).await;
                tokio::time::sleep(RENEWAL).await;
            }
        });
    }
    pages
}

/// The 99th percentile of the time of a claim, in milliseconds.
async fn tail(handler: &Handler) -> Result<f64> {
    let mut claims = Vec::new();
    for n in 0..CLAIMS {
        claims.push(claim(handler, n).await?);
    }
    Ok(percentile(&claims, 0.99))
}

/// The wall time of a chunk, in milliseconds.
async fn chunk(world: &World, handler: &Handler, n: u64) -> Result<f64> {
    let album = world.secure_album(Scheme::Http, Way::Fast, MEAN_BYTES, IMAGES, 1);
    let run = world.chunk(handler, &Album { first: n * IMAGES, ..album }).await?;
    ensure!(run.n_valid == IMAGES, "{} of {IMAGES} images are valid", run.n_valid);
    Ok(run.wall_ms())
}
