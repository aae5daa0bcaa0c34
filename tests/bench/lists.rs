//! A list of ten million URLs: the memory and the time of reading it, and of a submit that writes it.

use crate::{
    measure::{Measured, mb},
    part,
    world::{Bench, World},
};
use anyhow::{Context as _, Result, ensure};
use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::programs;

const ROWS: u64 = 10_000_000;
/// Of a submit with all that it writes.
const WRITTEN_ROWS: u64 = 1_000_000;
/// Nothing listens there: a submit reads and judges its list, then ends.
const NOBODY: &str = "postgres://nobody:x@127.0.0.1:1/nothing";

pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "lists", 0).await?;
    let path = world.temp.path().join("list.csv");
    write(&path, ROWS)?;
    let bytes = std::fs::metadata(&path)?.len();
    let read = submit(&world, &path, NOBODY).await?;
    ensure!(read.said.contains("no login"), "{}", read.said);
    tell("read", ROWS, bytes, &read);
    write(&path, WRITTEN_ROWS)?;
    let bytes = std::fs::metadata(&path)?.len();
    let written = submit(&world, &path, &world.database_url).await?;
    ensure!(written.said.contains("1000000 images in"), "{}", written.said);
    tell("read twice and written", WRITTEN_ROWS, bytes, &written);
    let us = read.wall.as_secs_f64() * 1e6 / ROWS as f64;
    Ok(vec![
        Measured::new("lists_row", us),
        Measured::new("lists_rss", mb(read.peak)),
        Measured::new("lists_written_rss", mb(written.peak)),
    ])
}

/// How a submit went.
struct Submitted {
    wall: Duration,
    /// The most memory that it had, in bytes.
    peak: u64,
    said: String,
}

fn tell(what: &str, rows: u64, bytes: u64, run: &Submitted) {
    let rate = rows as f64 / run.wall.as_secs_f64();
    eprintln!(
        "  {what}: {rows} rows, {:.0} MB, {rate:.0} rows/s, {:.0} MB at most",
        mb(bytes),
        mb(run.peak)
    );
}

/// A table as datasets have them.
fn write(path: &Path, rows: u64) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "URL,TEXT,WIDTH,HEIGHT,similarity")?;
    for n in 0..rows {
        let host = n % 5000;
        writeln!(
            file,
            "https://images{host}.example.com/{n:012}/a.jpg,\"a chair, red\",640,480,0.31"
        )?;
    }
    Ok(file.flush()?)
}

async fn submit(world: &World, path: &Path, database: &str) -> Result<Submitted> {
    let since = Instant::now();
    let mut child = Command::new(programs::chunkctl())
        .env_clear()
        .env("DATABASE_URL", database)
        .env("ChunkStorage", World::storage(world.sink))
        .current_dir(world.temp.path())
        .args(["submit", "--job-id", "1", "--urls"])
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let peak = peak(&mut child).await?;
    let wall = since.elapsed();
    let output = child.wait_with_output()?;
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap_or_default());
    Ok(Submitted { wall, peak, said: stdout + &stderr })
}

async fn peak(child: &mut Child) -> Result<u64> {
    let pid = i32::try_from(child.id())?;
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        // It is gone when the process ends meanwhile.
        peak = part::memory(pid, "VmHWM").unwrap_or(peak);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Some(peak).filter(|peak| *peak > 0).context("it ended at once")
}
