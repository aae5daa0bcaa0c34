//! A fuzzer for `imagecheck`: changes pictures at random and inspects them, down to a level.
//!
//! `cargo run -p fuzz -- --level medium --seconds 60` runs on stable Rust, in one process. It ends with
//! exit code 1 at the first input that makes `inspect` panic, contradict itself or take too long, and
//! writes that input below `target/fuzz`. Given files instead, it inspects just those, at every level:
//! that is how an input is run again.
//!
//! The same seed and the same files give the same inputs in the same order. What ends in an abort (a stack
//! overflow, more memory than there may be) leaves its input as `target/fuzz/current-LEVEL`.

mod judge;
mod seeds;

use anyhow::{Context as _, Result};
use clap::Parser;
use fuzz::{
    mutate, root,
    target::{MAX_INPUT_TIME, Watch},
};
use imagecheck::Level;
use judge::{Fault, inspect_bytes, judge};
use std::{
    fs, panic,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Panics so far. The crate catches those of its decoders: they are counted, and end nothing.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Changes pictures at random and inspects them at every level.
#[derive(Parser)]
struct Args {
    /// How long to run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The deepest level; those above it are run, too, and must agree with it.
    #[arg(long, value_enum, default_value_t = Deepest::Slow)]
    level: Deepest,
    /// Where the random numbers begin; another place at each run unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Inspect these files once, and change nothing.
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Deepest {
    Fast,
    Medium,
    Slow,
}

impl Deepest {
    fn level(self) -> Level {
        match self {
            Self::Fast => Level::Fast,
            Self::Medium => Level::Medium,
            Self::Slow => Level::Slow,
        }
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if !args.files.is_empty() {
        return replay(&args.files);
    }
    panic::set_hook(Box::new(|_| {
        PANICS.fetch_add(1, Ordering::Relaxed);
    }));
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    run(args.level.level(), seed, Duration::from_secs(args.seconds))
}

/// Inspects files, and says what each level makes of them.
fn replay(files: &[PathBuf]) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        match judge(&bytes, Level::Slow, inspect_bytes) {
            Ok(verdicts) => {
                for (level, verdict) in verdicts {
                    println!("{}: {level:?}: {verdict:?}", file.display());
                }
            }
            Err(fault) => {
                println!("{}: {fault}", file.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Inspects the seeds, and then changed ones until the time is over.
fn run(deepest: Level, seed: u64, limit: Duration) -> Result<ExitCode> {
    let seeds = seeds::load(&root())?;
    let watch = Watch::start(&format!("{deepest:?}").to_lowercase())?;
    println!("{} seeds, random numbers from --seed {seed}", seeds.len());
    let mut rng = fastrand::Rng::with_seed(seed);
    let start = Instant::now();
    let (mut executions, mut accepted, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    let mut unchanged = seeds.iter();
    while start.elapsed() < limit {
        let input = unchanged.next().cloned().unwrap_or_else(|| mutate::change(&mut rng, &seeds));
        watch.begin(&input)?;
        match judge(&input, deepest, inspect_bytes) {
            Ok(verdicts) => accepted += u64::from(verdicts.iter().any(|(_, it)| it.is_ok())),
            Err(fault) => return keep(&input, &fault),
        }
        let took = watch.end();
        if took > MAX_INPUT_TIME {
            return keep(&input, &Fault::Slow(took));
        }
        slowest = slowest.max(took);
        executions += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{deepest:?}: {executions} executions in {seconds:.1} s, {:.0} executions/s; {accepted} inputs accepted \
         at some level; {} panics of decoders, all caught; slowest input {} ms",
        executions as f64 / seconds,
        PANICS.load(Ordering::Relaxed),
        slowest.as_millis()
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes the input that shows a fault, and says how to run it again.
fn keep(input: &[u8], fault: &Fault) -> Result<ExitCode> {
    let directory = root().join("target/fuzz");
    fs::create_dir_all(&directory)?;
    let file = directory.join(format!("crash-{:08x}", crc32fast::hash(input)));
    fs::write(&file, input)?;
    println!("{fault}");
    println!("run it again: cargo run -p fuzz -- {}", file.display());
    Ok(ExitCode::FAILURE)
}
