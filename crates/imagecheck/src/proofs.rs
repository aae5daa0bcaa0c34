//! The README's table of what each level proves, beside pictures of which one thing is wrong.

use crate::sample::{
    Entries, GRAY, animation, bmp, canvas, chunk, frame_header, gif, inspect_bytes, jpeg, jpeg_of,
    jpeg_scan, lossless, lossy, png, png_header, png_of, segment, tiff, webp,
};
use crate::{Format, Level};

/// The level that finds something wrong, the README's word for it, and a picture that has it.
type Probe = (Format, usize, &'static str, Vec<u8>);

const FAST: usize = 0;
const MEDIUM: usize = 1;
const SLOW: usize = 2;

fn without_end(mut file: Vec<u8>, bytes: usize) -> Vec<u8> {
    file.truncate(file.len() - bytes);
    file
}

fn with(mut file: Vec<u8>, from_end: usize, byte: u8) -> Vec<u8> {
    let at = file.len() - from_end;
    file[at] = byte;
    file
}

fn probes() -> Vec<Probe> {
    let eoi = || vec![0xFF, 0xD9];
    let no_tables = [vec![0xFF, 0xD8], frame_header(8, 8), jpeg_scan(), eoi()].concat();
    let bad_scan = segment(0xDA, &[1, 9, 0, 0, 63, 0]);
    let adobe = segment(0xEE, b"Adobe");
    let few_codes = jpeg_of(&[frame_header(640, 640), jpeg_scan(), eoi()]);
    let gamma = chunk(b"gAMA", &[0]);
    let no_stream = chunk(b"IDAT", b"\x78\x01no deflate stream");
    let other_chunk = webp(&[(b"VP8X", &canvas(0, 2, 2)), (b"VP8 ", &lossy(1, 1))]);
    let bad_exif: &[(&[u8; 4], &[u8])] =
        &[(b"VP8X", &canvas(8, 1, 1)), (b"VP8 ", &lossy(1, 1)), (b"EXIF", b"no directory")];
    const SIX_BITS: Entries = &[(258, 3, 1, 6), (262, 3, 1, 1), (256, 3, 1, 2), (257, 3, 1, 2)];
    const FAR: Entries =
        &[(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 9999)];
    const DEFLATED: Entries = &[
        (256, 3, 1, 2),
        (257, 3, 1, 2),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 4),
        (279, 4, 1, 4),
    ];
    vec![
        (Format::Jpeg, FAST, "frame", jpeg_of(&[frame_header(8, 0)])),
        (Format::Jpeg, MEDIUM, "end", without_end(jpeg(), 1)),
        (Format::Jpeg, MEDIUM, "tables", no_tables),
        (Format::Jpeg, MEDIUM, "scans", jpeg_of(&[frame_header(8, 8), bad_scan, eoi()])),
        (Format::Jpeg, MEDIUM, "metadata", {
            [&jpeg()[..2], &jpeg_of(&[frame_header(8, 8), adobe, jpeg_scan(), eoi()])[2..]].concat()
        }),
        (Format::Jpeg, SLOW, "codes", few_codes),
        (Format::Png, FAST, "header", png_of(&[png_header(0, 1)])),
        (Format::Png, MEDIUM, "end", without_end(png(2, 1, &[]), 1)),
        (Format::Png, MEDIUM, "sums", with(png(2, 1, &[]), 13, 9)),
        (Format::Png, MEDIUM, "metadata", png(2, 1, &[gamma])),
        (Format::Png, SLOW, "pixels", png_of(&[png_header(2, 1), no_stream, chunk(b"IEND", &[])])),
        (Format::Gif, FAST, "screen", b"GIF89a\xff\xff\xff\xff\0\0\0".to_vec()),
        (Format::Gif, FAST, "first frame", gif(&[(0, 0, 0, 1)])),
        (Format::Gif, MEDIUM, "end of a frame", without_end(gif(&[(0, 0, 1, 1)]), 3)),
        (Format::Gif, SLOW, "codes of the frames", with(gif(&[(0, 0, 1, 1); 2]), 4, 0xFF)),
        (Format::Bmp, FAST, "header", bmp(-1, 1, 24, 0, &[])),
        (Format::Bmp, MEDIUM, "pixels", bmp(2, 2, 24, 0, &[9; 15])),
        (Format::Bmp, MEDIUM, "variant", bmp(2, 2, 24, 6, &[9; 16])),
        (Format::Webp, FAST, "canvas or bitstream", webp(&[(b"VP8 ", &lossy(0, 1))])),
        (Format::Webp, MEDIUM, "end", without_end(animation(&[(0, 0)]), 1)),
        (Format::Webp, MEDIUM, "chunks", other_chunk),
        (Format::Webp, MEDIUM, "metadata", webp(bad_exif)),
        (Format::Webp, SLOW, "pixels", webp(&[(b"VP8L", &lossless(1, 1)[..5])])),
        (Format::Tiff, FAST, "first directory", tiff(false, &[&[(256, 3, 1, 2)]])),
        (Format::Tiff, MEDIUM, "variant", tiff(false, &[SIX_BITS])),
        (Format::Tiff, MEDIUM, "data", tiff(false, &[FAR])),
        (Format::Tiff, MEDIUM, "other pages", without_end(tiff(false, &[GRAY, GRAY]), 1)),
        (Format::Tiff, SLOW, "pixels of the first page", tiff(false, &[DEFLATED])),
    ]
}

/// The cells of the README's table for a format.
fn row(format: Format) -> Vec<Vec<&'static str>> {
    let readme = include_str!("../README.md");
    let table = readme.split("## What each level proves").nth(1).unwrap();
    let row = table
        .lines()
        .find(|line| line.to_lowercase().starts_with(&format!("| {} |", format.as_str())))
        .unwrap();
    let cells = row.trim_matches('|').split('|').skip(1).map(str::trim);
    cells.map(|cell| cell.split(", ").filter(|word| *word != "nothing more").collect()).collect()
}

#[test]
fn each_level_proves_what_the_readme_says() {
    for format in [Format::Jpeg, Format::Png, Format::Gif, Format::Bmp, Format::Webp, Format::Tiff]
    {
        let probes: Vec<Probe> = probes().into_iter().filter(|probe| probe.0 == format).collect();
        for (level, words) in row(format).into_iter().enumerate() {
            let probed: Vec<&str> =
                probes.iter().filter(|probe| probe.1 == level).map(|probe| probe.2).collect();
            assert_eq!(words, probed, "{format:?}");
        }
        for (_, finder, word, file) in probes {
            for (level, name) in Level::ALL.iter().enumerate() {
                let verdict = inspect_bytes(&file, *name);
                assert_eq!(verdict.is_err(), level >= finder, "{format:?} {word} {name:?}");
            }
        }
    }
}
