//! How long an inspection takes, for a picture of each format at each level.
//!
//! The throughput is that of the file's length, also at fast, which reads only its beginning.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at what it cannot read")]

use divan::{Bencher, counter::BytesCount};
use imagecheck::{Level, inspect};
use std::{fs, io::Cursor, path::Path};

const FILES: [&str; 8] = [
    "01-photo.jpg",
    "08-progressive.jpg",
    "03-gray-16-bit.png",
    "09-animated.gif",
    "14-photo.bmp",
    "06-photo.webp",
    "13-animated.webp",
    "12-jpeg-in.tiff",
];

fn main() {
    divan::main();
}

#[divan::bench(args = FILES)]
fn fast(bencher: Bencher<'_, '_>, file: &str) {
    measure(bencher, file, Level::Fast);
}

#[divan::bench(args = FILES)]
fn medium(bencher: Bencher<'_, '_>, file: &str) {
    measure(bencher, file, Level::Medium);
}

#[cfg(feature = "decode")]
#[divan::bench(args = FILES, sample_count = 10)]
fn slow(bencher: Bencher<'_, '_>, file: &str) {
    measure(bencher, file, Level::Slow);
}

fn measure(bencher: Bencher<'_, '_>, file: &str, level: Level) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/images");
    let bytes = fs::read(fixtures.join(file)).unwrap();
    let len = u64::try_from(bytes.len()).unwrap();
    bencher
        .counter(BytesCount::new(len))
        .bench(|| inspect(&mut Cursor::new(divan::black_box(&bytes)), len, level));
}
