//! What the worst file of each format costs: `cargo bench -p imagecheck --features decode --bench worst`.
//!
//! Each file is as bad as one of 10 MB can be made within the crate's limits, or just beyond one of
//! them. A process of its own reads it and says how much CPU it took, and how much memory the process
//! had at its peak, the file included. Linux tells both.
#![allow(
    missing_docs,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a benchmark"
)]

mod bits;
mod bmp;
mod gif;
mod jpeg;
mod png;
mod tiff;
mod webp;

use imagecheck::{Level, inspect};
use std::{env, fs, io::Cursor, path::Path, process::Command};

/// The usual limit of a picture's bytes.
const MAX_BYTES: usize = 10_000_000;

type Make = fn() -> Vec<u8>;

const FILES: [(&str, Make); 53] = [
    ("jpeg, 50 scans", jpeg::scans),
    ("jpeg, 51 scans", jpeg::scans_beyond),
    ("jpeg, bits of means", jpeg::means),
    ("jpeg, bits of all", jpeg::refined),
    ("jpeg, dense codes", jpeg::dense),
    ("png, rgba", png::rgba),
    ("png, interlaced 16 bit", png::interlaced_16),
    ("png, interlaced 16 bit, beyond", png::interlaced_16_beyond),
    ("png, interlaced palette", png::palette),
    ("png, interlaced bits", png::bits),
    ("png, animated", png::animation),
    ("png, empty blocks", png::blocks),
    ("gif, runs", gif::runs),
    ("gif, noise", gif::noisy),
    ("gif, frames", gif::frames),
    ("gif, dots", gif::dots),
    ("bmp, runs of 8 bit", bmp::runs_8),
    ("bmp, runs of 4 bit", bmp::runs_4),
    ("bmp, short runs", bmp::short_runs),
    ("bmp, steps", bmp::steps),
    ("bmp, bits", bmp::bits),
    ("webp, 30 bytes", webp::thirty_bytes),
    ("webp, lossless transforms", webp::lossless_transforms),
    ("webp, lossless pairs", webp::lossless_pairs),
    ("webp, lossless noise", webp::lossless_noise),
    ("webp, lossless groups", webp::lossless_groups),
    ("webp, lossy", webp::lossy_full),
    ("webp, lossy, beyond", webp::lossy_beyond),
    ("webp, lossy, empty", webp::lossy_empty),
    ("webp, lossy and alpha", webp::lossy_alpha),
    ("webp, animated", webp::animation),
    ("webp, animated, large", webp::animation_large),
    ("webp, animated, dots", webp::animation_dots),
    ("tiff, strips", tiff::strips),
    ("tiff, strips, beyond", tiff::strips_beyond),
    ("tiff, strips of lzw", tiff::strips_lzw),
    ("tiff, strips of packed bits", tiff::strips_pack_bits),
    ("tiff, wide tiles", tiff::tiles_wide),
    ("tiff, exceeding tiles", tiff::tiles_exceed),
    ("tiff, dots", tiff::tiles_dots),
    ("tiff, dots of lzw", tiff::tiles_dots_lzw),
    ("tiff, dots of jpeg", tiff::tiles_dots_jpeg),
    ("tiff, strips of jpeg", tiff::strips_jpeg),
    ("tiff, large jpegs in strips", tiff::jpeg_in_strips),
    ("tiff, a jpeg of 99 scans", tiff::jpeg_scans),
    ("tiff, 16 bit", tiff::deep),
    ("tiff, inks", tiff::inks),
    ("tiff, floats", tiff::floats),
    ("tiff, bits", tiff::bits),
    ("tiff, samples", tiff::samples),
    ("tiff, empty blocks", tiff::blocks),
    ("tiff, empty blocks again", tiff::blocks_again),
    ("tiff, pages", tiff::pages),
];

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, path, level] = &args[..]
        && flag == "--inspect"
    {
        return measure(path, level);
    }
    let wanted = args.join(" ");
    let name = format!("imagecheck-worst-{}", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    println!("{:32} {:>10} {:6} {:>7} {:>7}  verdict", "file", "bytes", "level", "CPU s", "MiB");
    for (name, make) in FILES.iter().filter(|(name, _)| name.contains(&wanted)) {
        let file = make();
        fs::write(&path, &file).unwrap();
        for level in ["medium", "slow"] {
            let mut child = Command::new(env::current_exe().unwrap());
            let child = child.arg("--inspect").arg(&path).arg(level).output().unwrap();
            let said = String::from_utf8_lossy(&child.stdout).trim_end().to_owned();
            let said = if child.status.success() { said } else { child.status.to_string() };
            println!("{name:32} {:>10} {level:6} {said}", file.len());
            print!("{}", String::from_utf8_lossy(&child.stderr));
        }
    }
    fs::remove_file(&path).unwrap();
}

/// Inspects a file, and says what it cost this process.
fn measure(path: &str, level: &str) {
    let level = if level == "slow" { Level::Slow } else { Level::Medium };
    let bytes = fs::read(path).unwrap();
    let before = cpu_seconds();
    let verdict = inspect(&mut Cursor::new(&bytes), bytes.len() as u64, level);
    let cpu = cpu_seconds() - before;
    let verdict = verdict.map(|info| if info.phash.is_some() { "hash" } else { "no hash" });
    println!("{cpu:7.2} {:7.0}  {verdict:?}", peak_mib());
}

fn cpu_seconds() -> f64 {
    let said = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    said.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn peak_mib() -> f64 {
    let said = fs::read_to_string("/proc/self/status").unwrap();
    let line = said.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
