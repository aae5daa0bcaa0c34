//! Inspection of real files: the picture corpus, and the few bad ones kept in the checkout.

use chunk_handler::chunk::{Format, ImageInfo, Level, Reason};
use chunk_handler::pipeline::inspect::inspect;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LEVELS: [Level; 3] = [Level::Fast, Level::Medium, Level::Slow];

/// The longest that medium may take for one file, with room for a busy machine.
const MEDIUM_LIMIT: Duration = Duration::from_secs(2);

/// What a line of the manifest is taken for instead of what it says, and why.
enum Exception {
    /// Pixels as the file's header says, where the manifest gives them after a rotation.
    Rotated,
    /// Good, and refused by the decoders of level slow.
    RefusedAtSlow(Reason),
}

/// Lines of the manifest that do not mean what the test checks.
const EXCEPTIONS: [(&str, Exception); 4] = [
    // Orientation 6 to 8: the manifest's width is the header's height.
    ("good/third_party/pillow_g4_orientation_6.tif", Exception::Rotated),
    ("good/third_party/pillow_g4_orientation_7.tif", Exception::Rotated),
    ("good/third_party/pillow_g4_orientation_8.tif", Exception::Rotated),
    // A later frame without any colour table: Pillow keeps the last one, `image` 0.25 refuses.
    ("good/third_party/pillow_no_palette_after_rgb.gif", Exception::RefusedAtSlow(Reason::Corrupt)),
];

/// Bad files whose container is sound, by the end of their names: level slow refuses them for
/// broken tables and codes, or for variants that nobody decodes. Medium sees all other bad files.
const SOUND_CONTAINERS: [&str; 13] = [
    "x_consecutive_idat.png",
    "lenient_badpalettesize.bmp",
    "lenient_rgb16-880.bmp",
    "lenient_rle_overflow.bmp",
    "images_rgba32abf.bmp",
    "q_pal8os2v2-16.bmp",
    "2183d39878e734cf79b62428b02fafb5.jpg",
    "4085c929e00c446d3fee18b5b20a27f9.jpg",
    "72d091e08c93c9e590360130fa35221b.jpg",
    "c52ffdd6a0346c4d09271f8ccbdfd5a3.jpg",
    "f1fad47f213bb64c99f714652f30e49e.jpg",
    "pillow_hopper_webp.tif",
    "pillow_tiff_tiled_jpeg_oob_read.tif",
];

/// A line of the manifest.
struct Entry {
    file: String,
    kind: String,
    format: String,
    width: u32,
    height: u32,
}

/// Verdicts at fast, medium and slow.
type Verdicts = [Result<ImageInfo, Reason>; 3];

/// Cases 78-110: `good` is accepted at every level with its size, `bad` is refused at medium or,
/// with a sound container, at slow, `edge` gives the same verdict twice; nothing panics, and medium is quick.
#[test]
fn corpus_verdicts_match_the_manifest() {
    let root = corpus();
    let Ok(manifest) = fs::read_to_string(root.join("MANIFEST.tsv")) else {
        println!("skipped: no corpus at {}", root.display());
        return;
    };
    let mut wrong = Vec::new();
    let mut figures = BTreeMap::new();
    for entry in manifest.lines().skip(1).map(parse) {
        let bytes = fs::read(root.join(&entry.file)).expect("a file of the manifest");
        let verdicts = LEVELS.map(|level| look(&bytes, level, &entry.file));
        for (level, verdict) in LEVELS.iter().zip(&verdicts) {
            let word = if verdict.is_ok() { "accepted" } else { "refused" };
            *figures.entry(format!("{} {level:?} {word}", group(&entry))).or_insert(0) += 1;
        }
        if let Err(what) = check(&entry, verdicts) {
            wrong.push(format!("{}: {what}: {verdicts:?}", entry.file));
        }
    }
    for (group, n) in figures {
        println!("{n:4} {group}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Cases 80, 91, 92, 94, 100, 103: the verdicts that hold on a machine without the corpus.
#[test]
fn kept_bad_files_get_their_reasons() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images-bad");
    for (file, medium, slow) in [
        ("gif_frame_outside.gif", Some(Reason::Corrupt), Some(Reason::Corrupt)),
        ("gzip_of_jpeg.jpg", Some(Reason::NotImage), Some(Reason::NotImage)),
        ("planar_16bit.tiff", None, Some(Reason::Corrupt)),
        ("prog_65535.jpg", Some(Reason::TooLarge), Some(Reason::TooLarge)),
        ("svg_xxe.jpg", Some(Reason::UnsupportedFormat), Some(Reason::UnsupportedFormat)),
        ("tiff_loop_ifd.tiff", Some(Reason::Corrupt), Some(Reason::Corrupt)),
        ("trunc_50pct.jpg", Some(Reason::Truncated), Some(Reason::Truncated)),
        ("trunc_50pct.webp", Some(Reason::Truncated), Some(Reason::Truncated)),
    ] {
        let bytes = fs::read(dir.join(file)).expect("a fixture");
        assert_eq!(look(&bytes, Level::Medium, file).err(), medium, "{file}");
        assert_eq!(look(&bytes, Level::Slow, file).err(), slow, "{file}");
    }
}

pub fn corpus() -> PathBuf {
    std::env::var_os("PIXCRAWLER_TEST_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
        PathBuf::from,
    )
}

fn parse(line: &str) -> Entry {
    let columns: Vec<&str> = line.split('\t').collect();
    let [file, _, _, kind, format, width, height, ..] = columns[..] else {
        panic!("a line of the manifest has ten columns: {line}");
    };
    Entry {
        file: file.to_owned(),
        kind: kind.to_owned(),
        format: format.to_owned(),
        width: width.parse().expect("a width"),
        height: height.parse().expect("a height"),
    }
}

/// Inspects twice, from memory and as a spooled body would be, which must come to the same.
fn look(bytes: &[u8], level: Level, file: &str) -> Result<ImageInfo, Reason> {
    let len = bytes.len().try_into().expect("a length");
    let start = Instant::now();
    let verdict = inspect(&mut Cursor::new(bytes), len, level);
    let took = start.elapsed();
    assert!(level == Level::Slow || took < MEDIUM_LIMIT, "{file} took {took:?} at {level:?}");
    // Slow is slow: one decode is enough where the walk is what is compared.
    if level != Level::Slow || bytes.len() < 16_384 {
        let again = inspect(&mut BufReader::new(Cursor::new(bytes)), len, level);
        assert_eq!(again, verdict, "{file} at {level:?}");
    }
    verdict
}

fn group(entry: &Entry) -> String {
    match (entry.kind.as_str(), listed(&entry.format)) {
        ("good", None) => "good, format not listed:".to_owned(),
        (kind, _) => format!("{kind}:"),
    }
}

pub fn listed(format: &str) -> Option<Format> {
    match format {
        // Several JPEGs in one file, of which the first is the picture.
        "JPEG" | "MPO" => Some(Format::Jpeg),
        "PNG" => Some(Format::Png),
        "GIF" => Some(Format::Gif),
        "BMP" => Some(Format::Bmp),
        "WEBP" => Some(Format::Webp),
        "TIFF" => Some(Format::Tiff),
        _ => None,
    }
}

fn check(entry: &Entry, [fast, medium, slow]: Verdicts) -> Result<(), &'static str> {
    let exception = EXCEPTIONS.iter().find(|(file, _)| *file == entry.file).map(|(_, what)| what);
    if fast.is_err() && medium != fast || medium.is_err() && slow != medium {
        return Err("a deeper level takes back a refusal");
    }
    match (entry.kind.as_str(), listed(&entry.format)) {
        ("good", Some(format)) => {
            let (width, height) = match exception {
                Some(Exception::Rotated) => (entry.height, entry.width),
                _ => (entry.width, entry.height),
            };
            let info = ImageInfo { format, width, height, phash: None };
            let good = Ok(info);
            let at_slow = match exception {
                Some(Exception::RefusedAtSlow(reason)) => Err(*reason),
                // Which hash it is, is not this test's question.
                _ => Ok(ImageInfo { phash: slow.ok().and_then(|info| info.phash), ..info }),
            };
            let is_right = [fast, medium, slow] == [good, good, at_slow];
            if is_right { Ok(()) } else { Err("good is refused or has another size") }
        }
        ("good", None) if fast != Err(Reason::UnsupportedFormat) => Err("is an unlisted format"),
        ("bad", _) if slow.is_ok() => Err("bad is accepted"),
        ("bad", _) => {
            let is_sound = SOUND_CONTAINERS.iter().any(|name| entry.file.ends_with(name));
            if medium.is_ok() == is_sound { Ok(()) } else { Err("bad at another level") }
        }
        _ => Ok(()),
    }
}
