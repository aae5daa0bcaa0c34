//! CPU of level slow beside what loaders take for the same JPEGs: `load` of Pillow, `imdecode` of `OpenCV`.
//!
//! The photographs are those of the checkout and, where it is there, of the picture corpus. The pictures
//! of the other cases are noise behind a header, which nobody can decode.

use crate::{
    measure::{Measured, median, ms},
    world::Bench,
};
use anyhow::{Context as _, Result, ensure};
use imagecheck::{Level, inspect};
use nix::time::{ClockId, clock_gettime};
use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use support::python;

/// Seconds of CPU for each photograph, by who took them.
type Sample = BTreeMap<String, Vec<f64>>;

struct Photo {
    path: PathBuf,
    bytes: Vec<u8>,
}

pub async fn run(bench: &Bench) -> Result<Vec<Measured>> {
    let python = match python::decoders().await {
        Ok(python) => python,
        Err(error) => {
            eprintln!("  Pillow and OpenCV are not here: {error:#}");
            return Ok(Vec::new());
        }
    };
    let photos = photos()?;
    let bytes: usize = photos.iter().map(|photo| photo.bytes.len()).sum();
    eprintln!("  {} photographs of {} bytes in the mean", photos.len(), bytes / photos.len());
    let mut samples = Vec::new();
    for _ in 0..bench.samples() {
        let mut sample = theirs(&python, &photos)?;
        sample.insert("ours".to_owned(), ours(&photos)?);
        samples.push(sample);
    }
    print(&photos, &samples);
    let ratios = |of: &str| -> Vec<f64> {
        samples.iter().map(|sample| total(&sample["ours"]) / total(&sample[of])).collect()
    };
    Ok(vec![
        Measured::median_of("slow_opencv", &ratios("opencv")),
        Measured::median_of("slow_pillow", &ratios("pillow")),
    ])
}

fn total(seconds: &[f64]) -> f64 {
    seconds.iter().sum()
}

/// Milliseconds an image: all, the sequential ones, the progressive ones.
fn print(photos: &[Photo], samples: &[Sample]) {
    let is_progressive: Vec<bool> =
        photos.iter().map(|photo| photo.bytes.windows(2).any(|two| two == [0xFF, 0xC2])).collect();
    for of in ["ours", "opencv", "pillow"] {
        let mean = |kinds: &[bool]| {
            let of_sample = |sample: &Sample| {
                let all = sample[of].iter().zip(&is_progressive);
                let seconds: Vec<f64> =
                    all.filter(|(_, kind)| kinds.contains(kind)).map(|(it, _)| *it).collect();
                1000.0 * total(&seconds) / seconds.len() as f64
            };
            median(&samples.iter().map(of_sample).collect::<Vec<_>>())
        };
        let [all, sequential, progressive] = [&[true, false][..], &[false], &[true]].map(mean);
        eprintln!(
            "  {of}: {all:.2} ms CPU an image; sequential {sequential:.2}, progressive {progressive:.2}"
        );
    }
}

fn ours(photos: &[Photo]) -> Result<Vec<f64>> {
    let clock = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let one = |photo: &Photo| {
        let start = clock()?;
        let verdict =
            inspect(&mut Cursor::new(&photo.bytes), photo.bytes.len() as u64, Level::Slow);
        let cpu = clock()? - start;
        ensure!(verdict.is_ok(), "{} is {verdict:?}", photo.path.display());
        Ok(ms(cpu) / 1000.0)
    };
    photos.iter().map(one).collect()
}

fn theirs(python: &Path, photos: &[Photo]) -> Result<Sample> {
    let mut command = Command::new(python);
    command.arg(root().join("tests/bench/decode/decode.py"));
    command.args(photos.iter().map(|photo| &photo.path));
    let output = tokio::task::block_in_place(|| command.output())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what decode.py says")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The JPEGs among the pictures of the checkout and the photographs of the corpus.
fn photos() -> Result<Vec<Photo>> {
    let corpus = std::env::var_os("PIXCRAWLER_TEST_CORPUS")
        .map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    let mut paths = Vec::new();
    for dir in [root().join("tests/fixtures/images"), corpus.join("good/photos")] {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            paths.push(entry?.path());
        }
    }
    paths.retain(|path| path.extension().is_some_and(|end| end == "jpg"));
    paths.sort();
    ensure!(!paths.is_empty(), "there are no photographs");
    paths.into_iter().map(|path| Ok(Photo { bytes: fs::read(&path)?, path })).collect()
}
