//! What telemetry costs when its endpoint takes every connection and never answers: claims, chunks and
//! memory beside those of a handler without any.

use crate::{
    measure::{Measured, ms, percentile},
    part,
    photo::{Album, Scheme, Way},
    throughput::MEAN_BYTES,
    world::{Bench, World},
};
use anyhow::{Result, ensure};
use std::time::Instant;
use support::rig::{Handler, wake_up};

const IMAGES: u64 = 300;
/// Messages for a chunk that is over: each is one claim.
const CLAIMS: usize = 300;

pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "telemetry", 0).await?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    // The backlog takes the connections; nobody ever reads from them.
    let connection = format!("InstrumentationKey=k;IngestionEndpoint=http://{address}/");
    let hanging = [
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", connection.as_str()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ];
    let handlers = [world.handler(&[]).await, world.handler(&hanging).await];
    let mut walls = Vec::new();
    let n = bench.samples() * 2;
    for sample in 0..=n {
        let mut pair = [0.0; 2];
        for turn in 0..2 {
            let which = (sample + turn) % 2;
            pair[which] = chunk(&world, &handlers[which], (2 * sample + which) as u64).await?;
        }
        // The first opens connections and grows the heaps.
        if sample > 0 {
            walls.push(pair[1] / pair[0]);
        }
    }
    let mut tails = Vec::new();
    for _ in 0..n {
        tails.push(tail(&handlers).await?);
    }
    let [less, more] = [peak(&handlers[0])?, peak(&handlers[1])?];
    drop(listener);
    Ok(vec![
        Measured::median_of("telemetry_claim", &tails),
        Measured::median_of("telemetry_wall", &walls),
        Measured::new("telemetry_rss", more as f64 / less as f64),
    ])
}

/// The 99th percentile of claims with telemetry, over that without.
async fn tail(handlers: &[Handler; 2]) -> Result<f64> {
    let mut claims = [Vec::new(), Vec::new()];
    for n in 0..CLAIMS {
        for (handler, claims) in handlers.iter().zip(&mut claims) {
            claims.push(claim(handler, n).await?);
        }
    }
    let [without, with] = claims.map(|samples| percentile(&samples, 0.99));
    eprintln!("  claim p99 {without:.2} ms without, {with:.2} ms with");
    Ok(with / without)
}

/// The wall time of a chunk, in milliseconds.
async fn chunk(world: &World, handler: &Handler, n: u64) -> Result<f64> {
    let album = world.secure_album(Scheme::Http, Way::Fast, MEAN_BYTES, IMAGES, 1);
    let album = Album { first: n * IMAGES, ..album };
    let run = world.chunk(handler, &album).await?;
    ensure!(run.n_valid == IMAGES, "{} of {IMAGES} images are valid", run.n_valid);
    Ok(run.wall_ms())
}

/// The time of an invocation that asks for a chunk that is over, in milliseconds.
pub async fn claim(handler: &Handler, n: usize) -> Result<f64> {
    let since = Instant::now();
    let (status, answer) = handler.deliver(&format!("claim-{n}"), &wake_up(1, 0)).await;
    let said = answer["Logs"][0].as_str().unwrap_or_default();
    ensure!(status == 200 && said.contains("completed already"), "{status} {answer}");
    Ok(ms(since.elapsed()))
}

fn peak(handler: &Handler) -> Result<u64> {
    part::memory(handler.pid, "VmHWM")
}
