//! What fuzz targets share: inputs, and limits of time and memory for each of them.
//!
//! A target is a test beside the code that it tries. Of itself it tries some hundred inputs, the same ones
//! each time; `cargo xtask fuzz` gives it seconds and a seed. What it found and was mended lies in
//! `tests/fixtures/fuzz/TARGET`, and is tried first.

use std::{
    fs::{self, File},
    io::{self, Seek as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use nix::sys::resource::{Resource, setrlimit};

use crate::{mutate, root};

/// How long a target runs.
pub const SECONDS: &str = "FUZZ_SECONDS";
/// Where its random numbers begin.
pub const SEED: &str = "FUZZ_SEED";
/// The longest that one input may take, on a machine that is shared.
pub const MAX_INPUT_TIME: Duration = Duration::from_secs(10);
/// What the whole process may map, so that no input can take more than about that: twice what a picture may
/// take at level slow.
const MEMORY_BYTES: u64 = 1 << 30;
/// Inputs of a target that nobody gave any seconds.
const FEW: u64 = 500;

/// The input under way, and since when.
#[derive(Debug)]
pub struct Watch {
    since: Arc<Mutex<Option<Instant>>>,
    current: Mutex<File>,
}

impl Watch {
    /// Limits the memory of this process, and ends it when an input takes too long and does not come back.
    /// An input that ends the process is in `target/fuzz/current-TARGET`.
    pub fn start(target: &str) -> io::Result<Self> {
        setrlimit(Resource::RLIMIT_AS, MEMORY_BYTES, MEMORY_BYTES)?;
        let path = directory()?.join(format!("current-{target}"));
        let current = Mutex::new(File::create(&path)?);
        let since: Arc<Mutex<Option<Instant>>> = Arc::default();
        let watched = Arc::clone(&since);
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(500));
                let since = *watched.lock().unwrap();
                if since.is_some_and(|since| since.elapsed() > 2 * MAX_INPUT_TIME) {
                    println!("it does not come to an end: {}", path.display());
                    std::process::abort();
                }
            }
        });
        Ok(Self { since, current })
    }

    /// An input begins.
    pub fn begin(&self, input: &[u8]) -> io::Result<()> {
        let mut current = self.current.lock().unwrap();
        current.set_len(0)?;
        current.rewind()?;
        current.write_all(input)?;
        *self.since.lock().unwrap() = Some(Instant::now());
        Ok(())
    }

    /// It ended: how long it took.
    pub fn end(&self) -> Duration {
        let since = self.since.lock().unwrap().take();
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Tries what was found before, the seeds, and changed ones.
///
/// # Panics
///
/// When the check does, or an input takes too long; the input is then in `target/fuzz`.
pub fn run(target: &str, seeds: &[Vec<u8>], check: impl Fn(&[u8])) {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let seconds = number(SECONDS);
    let seed =
        number(SEED).unwrap_or_else(|| if seconds.is_some() { fastrand::u64(..) } else { 1 });
    let watch = seconds.map(|_| Watch::start(target).expect("limits"));
    let mut rng = Rng::with_seed(seed);
    let seeds = [&kept(target), seeds].concat();
    let mut first = seeds.clone().into_iter();
    let (start, mut executions, mut slowest) = (Instant::now(), 0_u64, Duration::ZERO);
    loop {
        let next = first.next();
        let is_over = match seconds {
            Some(seconds) => start.elapsed().as_secs() >= seconds,
            None => executions >= FEW,
        };
        if next.is_none() && is_over {
            break;
        }
        let input = next.unwrap_or_else(|| mutate::change(&mut rng, &seeds));
        let since = Instant::now();
        if let Some(watch) = &watch {
            watch.begin(&input).expect("the input is written");
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
            println!("{target}: found {}, seed {seed}", keep(target, &input).display());
            resume_unwind(panic);
        }
        if let Some(watch) = &watch {
            watch.end();
        }
        slowest = slowest.max(since.elapsed());
        if slowest > MAX_INPUT_TIME {
            panic!("{target}: {} took {slowest:?}", keep(target, &input).display());
        }
        executions += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{target}: {executions} executions in {seconds:.1} s, seed {seed}, slowest input {} ms",
        slowest.as_millis()
    );
}

fn directory() -> io::Result<PathBuf> {
    let directory = root().join("target/fuzz");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Writes an input, and says where.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let name = format!("crash-{target}-{:08x}", crc32fast::hash(input));
    let path = directory().expect("a directory").join(name);
    fs::write(&path, input).expect("the input is written");
    path
}

/// What was found before.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(root().join("tests/fixtures/fuzz").join(target));
    let mut paths: Vec<PathBuf> =
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a kept input")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// The control: a check that fails for some inputs is found out, and its input is kept.
    #[test]
    fn an_input_that_fails_is_kept() {
        let seeds = [b"0123456789".to_vec()];
        let tried = RefCell::new(Vec::new());
        let fails = |input: &[u8]| {
            tried.borrow_mut().push(input.to_vec());
            assert!(!input.is_empty() && input.contains(&b'5'), "found");
        };
        let found = catch_unwind(AssertUnwindSafe(|| run("control", &seeds, fails)));
        assert!(found.is_err());
        let tried = tried.into_inner();
        assert!(tried.len() > 1, "the seeds, and changes of them");
        let kept = keep("control", tried.last().unwrap());
        assert_eq!(&fs::read(&kept).unwrap(), tried.last().unwrap());
        fs::remove_file(kept).unwrap();
    }

    #[test]
    fn inputs_repeat_themselves() {
        let inputs = || {
            let inputs = RefCell::new(Vec::new());
            run("repeats", &[b"seed".to_vec()], |input| inputs.borrow_mut().push(input.to_vec()));
            inputs.into_inner()
        };
        let first = inputs();
        assert_eq!(first.len(), 500);
        assert_eq!(first, inputs());
    }
}
