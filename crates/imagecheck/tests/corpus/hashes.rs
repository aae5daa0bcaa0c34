//! What the hashes of JPEGs are held to.

use crate::{checkout, corpus, phash};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use zune_jpeg::JpegDecoder;

/// The hash of a JPEG at level slow, which is stored and compared: it never changes.
pub(crate) fn a_hash_stays_what_it_was() {
    let dir = checkout().join("tests/fixtures/images");
    for (file, hash) in [
        ("01-photo.jpg", "0c0676f80fe9b1bf6e06f1498496437f9b09bfb0f89b7f80013de27602662dc4"),
        ("07-gray.jpg", "0c0636f80fe9b1bf6e86f1498496437f9b09bfb0f89b7f80013de27602662dc4"),
        ("08-progressive.jpg", "0c0676f80fe9b1bf6e06f1498496437f9b09bfb0f89b7f80013de27602662dc4"),
        ("11-cmyk.jpg", "0c0636f80fe9b1bf6e86f1498496437f9b09bfb0f89b7f80013de27602662dc4"),
    ] {
        let found = phash(&fs::read(dir.join(file)).unwrap()).unwrap().unwrap();
        assert_eq!(found.to_string(), hash, "{file}");
    }
}

/// How far the hash of a JPEG's data may be from that of all its pixels; 64 is near.
const MAX_FROM_PIXELS: u32 = 16;

/// Data of JPEGs give the hashes of their pixels, as a decoder makes them, in the checkout and in the corpus.
pub(crate) fn hashes_are_those_of_all_pixels() {
    let mut files = Vec::new();
    for dir in [checkout().join("tests/fixtures/images"), corpus().join("good")] {
        collect(&dir, &mut files);
    }
    let (mut n, mut farthest) = (0, (0, PathBuf::new()));
    for path in files {
        let bytes = fs::read(&path).unwrap();
        // Larger ones take long in a debug build.
        let is_jpeg = bytes.starts_with(&[0xFF, 0xD8]) && bytes.len() < 200_000;
        let Some(bmp) = is_jpeg.then(|| all_pixels(&bytes)).flatten() else { continue };
        let (data, pixels) = (phash(&bytes).unwrap(), phash(&bmp).unwrap());
        assert_eq!(data.is_some(), pixels.is_some(), "{}", path.display());
        let distance = data.zip(pixels).map_or(0, |(data, pixels)| data.distance(pixels));
        assert!(distance <= MAX_FROM_PIXELS, "{}: {distance}", path.display());
        farthest = farthest.max((distance, path));
        n += 1;
    }
    println!(
        "{n} JPEGs, {} bits at most from the hash of all pixels: {:?}",
        farthest.0, farthest.1
    );
    assert!(n >= 8, "{n}");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// A JPEG as a BMP; none where the decoder knows too little of JPEG.
fn all_pixels(jpeg: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = JpegDecoder::new(Cursor::new(jpeg));
    let pixels = decoder.decode().ok()?;
    let (width, height) = decoder.dimensions()?;
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    // A negative height means from top to bottom.
    let sides = [i32::try_from(width).unwrap(), -i32::try_from(height).unwrap()];
    bmp.extend(sides.map(i32::to_le_bytes).as_flattened());
    bmp.extend(b"\x01\0\x18\0");
    bmp.resize(54, 0);
    for row in pixels.chunks_exact(3 * width) {
        bmp.extend(row.chunks_exact(3).flat_map(|rgb| [rgb[2], rgb[1], rgb[0]]));
        bmp.resize(bmp.len() + width % 4, 0);
    }
    Some(bmp)
}
