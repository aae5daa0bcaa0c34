//! Bytes a second of each fixture at each level: `cargo bench -p imagecheck`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use divan::{Bencher, counter::BytesCount};
use imagecheck::{Level, inspect};
use std::{fs, io::Cursor, path::Path};

const FILES: [&str; 7] = [
    "01-photo.jpg",
    "08-progressive.jpg",
    "03-gray-16-bit.png",
    "06-photo.webp",
    "09-animated.gif",
    "12-jpeg-in.tiff",
    "14-photo.bmp",
];

fn main() {
    divan::main();
}

fn at(level: Level, bencher: Bencher<'_, '_>, file: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/images");
    let bytes = fs::read(directory.join(file)).expect("a fixture");
    let len = u64::try_from(bytes.len()).unwrap();
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench(|| inspect(&mut Cursor::new(&bytes), len, level));
}

#[divan::bench(args = FILES)]
fn fast(bencher: Bencher<'_, '_>, file: &str) {
    at(Level::Fast, bencher, file);
}

#[divan::bench(args = FILES)]
fn medium(bencher: Bencher<'_, '_>, file: &str) {
    at(Level::Medium, bencher, file);
}

#[divan::bench(args = FILES)]
fn slow(bencher: Bencher<'_, '_>, file: &str) {
    at(Level::Slow, bencher, file);
}
