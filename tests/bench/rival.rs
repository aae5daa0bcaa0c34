//! The same URLs for img2dataset: a process for each chunk, as people start it, without resizing, into a
//! WebDataset shard on disk.

use crate::{
    measure::{Measured, median, ms},
    part,
    photo::{Album, Scheme, Way},
    throughput::MEAN_BYTES,
    world::{Bench, World},
};
use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use support::{python, rig::Handler};

const IMAGES: u64 = 500;
const DOWNLOAD: &str = "
import sys, img2dataset
if __name__ == '__main__':
    img2dataset.download(
        url_list=sys.argv[1], output_folder=sys.argv[2], input_format='txt', output_format='webdataset',
        resize_mode='no', disable_all_reencoding=True, compute_hash='sha256', processes_count=1,
        thread_count=8, number_sample_per_shard=500)
";

/// What a chunk cost: CPU milliseconds an image, wall milliseconds.
type Cost = [f64; 2];

pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let python = match python::img2dataset().await {
        Ok(python) => python,
        Err(error) => {
            eprintln!("  img2dataset is not here: {error:#}");
            return Ok(Vec::new());
        }
    };
    let world = World::new(bench, "rival", 0).await?;
    let handler = world.handler(&[]).await;
    let mut costs: [Vec<Cost>; 2] = Default::default();
    for sample in 0..=bench.samples() as u64 {
        let album = world.secure_album(Scheme::Http, Way::Fast, MEAN_BYTES, IMAGES, 1);
        let album = Album { first: sample * IMAGES, ..album };
        let both = [ours(&world, &handler, &album).await?, theirs(&python, &album)?];
        // The first opens connections and reads what Python imports from the disk.
        if sample > 0 {
            costs.iter_mut().zip(both).for_each(|(costs, cost)| costs.push(cost));
        }
    }
    let figure =
        |of: usize, what: usize| -> Vec<f64> { costs[of].iter().map(|cost| cost[what]).collect() };
    for (of, name) in ["ours", "img2dataset"].iter().enumerate() {
        let [cpu, wall] = [0, 1].map(|what| median(&figure(of, what)));
        eprintln!("  {name}: {cpu:.2} ms CPU an image, {wall:.0} ms wall a chunk");
    }
    let ratios = |what| -> Vec<f64> {
        figure(0, what).iter().zip(figure(1, what)).map(|(ours, theirs)| ours / theirs).collect()
    };
    Ok(vec![
        Measured::median_of("img2dataset_cpu", &ratios(0)),
        Measured::median_of("img2dataset_wall", &ratios(1)),
    ])
}

async fn ours(world: &World, handler: &Handler, album: &Album) -> Result<Cost> {
    let before = part::cpu_time(handler.pid)?;
    let run = world.chunk(handler, album).await?;
    let cpu = part::cpu_time(handler.pid)? - before;
    ensure!(run.n_valid == album.n, "{} of {} images are valid", run.n_valid, album.n);
    Ok([ms(cpu) / album.n as f64, run.wall_ms()])
}

fn theirs(python: &Path, album: &Album) -> Result<Cost> {
    let place = tempfile::tempdir()?;
    let (list, output) = (place.path().join("urls.txt"), place.path().join("out"));
    fs::write(&list, album.urls().join("\n"))?;
    let script = place.path().join("download.py");
    fs::write(&script, DOWNLOAD)?;
    let mut command = Command::new(python);
    // One of its packages asks the network for news of itself.
    command.arg(script).arg(list).arg(&output).env("NO_ALBUMENTATIONS_UPDATE", "1");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (before, since) = (cpu_of_the_ended()?, Instant::now());
    let status = tokio::task::block_in_place(|| command.status())?;
    let wall = ms(since.elapsed());
    let cpu = cpu_of_the_ended()? - before;
    ensure!(status.success(), "img2dataset ended with {status}");
    let stats: Value = serde_json::from_slice(&fs::read(output.join("00000_stats.json"))?)?;
    let n_valid = stats["successes"].as_u64().context("successes")?;
    ensure!(n_valid == album.n, "img2dataset kept {n_valid} of {} images", album.n);
    Ok([ms(cpu) / album.n as f64, wall])
}

/// CPU time of all child processes that have ended, and of their own.
fn cpu_of_the_ended() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let (user, system) = (usage.user_time(), usage.system_time());
    let micros = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    Ok(micros(user) + micros(system))
}
