//! Real files: the picture corpus, and those kept in the checkout. Without a corpus its tests are
//! ignored, with the reason shown.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test code"
)]

use imagecheck::{Format, ImageInfo, Level, PerceptualHash, Refusal, inspect};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[path = "corpus/hashes.rs"]
mod hashes;

fn main() {
    let missing = (!corpus().join("MANIFEST.tsv").is_file())
        .then(|| format!("no corpus at {}", corpus().display()));
    let trial = |name: &str, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok::<(), Failed>(())
        })
    };
    let of_corpus = |name: &str, run: fn()| {
        let trial = trial(name, run).with_ignored_flag(missing.is_some());
        trial.with_kind(missing.as_deref().unwrap_or_default())
    };
    let trials = vec![
        trial("kept_bad_files_get_their_reasons", kept_bad_files_get_their_reasons),
        trial("a_photograph_is_near_its_variants", a_photograph_is_near_its_variants),
        trial("a_hash_stays_what_it_was", hashes::a_hash_stays_what_it_was),
        trial("hashes_are_those_of_all_pixels", hashes::hashes_are_those_of_all_pixels),
        of_corpus("corpus_verdicts_match_the_manifest", corpus_verdicts_match_the_manifest),
        of_corpus("a_cut_of_a_good_file_is_refused", a_cut_of_a_good_file_is_refused),
        of_corpus(
            "duplicates_of_the_corpus_are_found_and_nothing_else",
            duplicates_of_the_corpus_are_found_and_nothing_else,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

const LEVELS: [Level; 3] = [Level::Fast, Level::Medium, Level::Slow];

/// The longest that medium may take for one file, with room for a busy machine.
const MEDIUM_LIMIT: Duration = Duration::from_secs(2);

/// Called bad, and every loader reads it: a segment that nobody needs is shorter than its length field.
const READ: &str = "bad/synth/jpg_app_len0.jpg";

/// A line of the manifest.
struct Entry {
    file: String,
    kind: String,
    format: String,
    width: u32,
    height: u32,
}

/// Verdicts at fast, medium and slow.
type Verdicts = [Result<ImageInfo, Refusal>; 3];

/// Cases 78-110: `good` is accepted at every level with its size, `bad` is refused at medium, `edge`
/// gives the same verdict twice; nothing panics, and medium is quick.
fn corpus_verdicts_match_the_manifest() {
    let root = corpus();
    let manifest = fs::read_to_string(root.join("MANIFEST.tsv")).expect("the corpus");
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
fn kept_bad_files_get_their_reasons() {
    let dir = checkout().join("tests/fixtures/images-bad");
    for (file, medium, slow) in [
        ("gif_frame_outside.gif", Some(Refusal::TooLarge), Some(Refusal::TooLarge)),
        ("gzip_of_jpeg.jpg", Some(Refusal::NotImage), Some(Refusal::NotImage)),
        ("planar_16bit.tiff", None, None),
        ("prog_65535.jpg", Some(Refusal::TooLarge), Some(Refusal::TooLarge)),
        ("svg_xxe.jpg", Some(Refusal::UnsupportedFormat), Some(Refusal::UnsupportedFormat)),
        ("tiff_loop_ifd.tiff", Some(Refusal::Corrupt), Some(Refusal::Corrupt)),
        ("trunc_50pct.jpg", Some(Refusal::Truncated), Some(Refusal::Truncated)),
        ("trunc_50pct.webp", Some(Refusal::Truncated), Some(Refusal::Truncated)),
    ] {
        let bytes = fs::read(dir.join(file)).expect("a fixture");
        assert_eq!(look(&bytes, Level::Medium, file).err(), medium, "{file}");
        assert_eq!(look(&bytes, Level::Slow, file).err(), slow, "{file}");
    }
}

/// Cases 78-80: a good file that is cut is refused at medium, or what is missing changes nothing: it
/// stands behind the picture, or behind a whole frame of a GIF, whose end nobody can tell from a cut.
fn a_cut_of_a_good_file_is_refused() {
    let root = corpus();
    let manifest = fs::read_to_string(root.join("MANIFEST.tsv")).expect("the corpus");
    let mut figures = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in manifest.lines().skip(1).map(parse) {
        let Some(format) = listed(&entry.format).filter(|_| entry.kind == "good") else { continue };
        let bytes = fs::read(root.join(&entry.file)).expect("a file of the manifest");
        let verdict = |cut: usize, level| {
            inspect(&mut Cursor::new(&bytes[..cut]), cut.try_into().unwrap(), level)
        };
        let mut whole = None;
        for cut in cuts(&bytes) {
            let is_refused = verdict(cut, Level::Medium).is_err();
            let word = if is_refused { "refused" } else { "nothing missing" };
            *figures.entry(format!("{format:?} {word}")).or_insert(0) += 1;
            if is_refused {
                continue;
            }
            let whole = whole.get_or_insert_with(|| verdict(bytes.len(), Level::Slow));
            if verdict(cut, Level::Slow) != *whole {
                wrong.push(format!("{} at {cut} of {}", entry.file, bytes.len()));
            }
        }
    }
    for (group, n) in figures {
        println!("{n:5} {group}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lengths to cut a file at: all of the first and of the last ones, some between them, and those where
/// a structure of the file may begin or end.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let len = bytes.len();
    let borders =
        [&b"IDAT"[..], b"IEND", b"\xff\xda", b"\xff\xd9", b"\0!", b"\0,", b"ANMF", b"VP8"];
    let mut cuts: Vec<usize> = (0..40.min(len)).chain(len.saturating_sub(40)..len).collect();
    cuts.extend((1..100).map(|part| len * part / 100));
    for border in borders {
        let found = (0..len).filter(|at| bytes[*at..].starts_with(border));
        cuts.extend(
            found
                .take(20)
                .flat_map(|at| [at, (at + 1).min(len - 1), (at + border.len()).min(len - 1)]),
        );
    }
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A directory of pictures with a `MANIFEST.tsv`; beside the checkout unless the variable names it.
fn corpus() -> PathBuf {
    std::env::var_os("PIXCRAWLER_TEST_CORPUS")
        .map_or_else(|| checkout().join("../shared/corpus"), PathBuf::from)
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
fn look(bytes: &[u8], level: Level, file: &str) -> Result<ImageInfo, Refusal> {
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

fn listed(format: &str) -> Option<Format> {
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
    if fast.is_err() && medium != fast || medium.is_err() && slow != medium {
        return Err("a deeper level takes back a refusal");
    }
    match (entry.kind.as_str(), listed(&entry.format)) {
        ("good", Some(format)) => {
            let (width, height) = (entry.width, entry.height);
            let good = |phash| Ok(ImageInfo { format, width, height, phash });
            // Which hash it is, is not this test's question.
            let phash = slow.ok().and_then(|info| info.phash);
            let is_right = [fast, medium, slow] == [good(None), good(None), good(phash)];
            if is_right { Ok(()) } else { Err("good is refused or has another size") }
        }
        ("good", None) if fast != Err(Refusal::UnsupportedFormat) => Err("is an unlisted format"),
        ("bad", _) if medium.is_ok() != (entry.file == READ) => Err("bad is accepted"),
        _ => Ok(()),
    }
}

/// The place of the one variant of the photograph that shows it another way, mirrored. One that
/// only says it is to be rotated has the pixels of the others.
const MIRRORED: usize = 3;

/// What several files of the corpus show, as a part of their names; other pictures are not near.
const MOTIFS: [&str; 11] = [
    "ladybird",
    "seeding",
    "paris_",
    "seine_sdr",
    "apple_gainmap",
    "arctriomphe",
    "beacon",
    "s04",
    "hopper",
    "pillow_bmp_",
    "grayscale_square",
];

/// A picture of the corpus.
struct Picture {
    file: String,
    bytes: Vec<u8>,
    phash: Option<PerceptualHash>,
}

fn phash(bytes: &[u8]) -> Result<Option<PerceptualHash>, Refusal> {
    let len = bytes.len().try_into().unwrap();
    inspect(&mut Cursor::new(bytes), len, Level::Slow).map(|info| info.phash)
}

/// One photograph in thirteen encodings is near itself; mirrored it is another picture.
fn a_photograph_is_near_its_variants() {
    let dir = checkout().join("tests/fixtures/images");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|path| path.extension().is_none_or(|e| e != "md"));
    let hashes: Vec<_> =
        files.iter().map(|path| phash(&fs::read(path).unwrap()).unwrap().unwrap()).collect();
    for (n, a) in hashes.iter().enumerate() {
        for (m, b) in hashes.iter().enumerate().filter(|(m, _)| *m != n) {
            let is_same = n != MIRRORED && m != MIRRORED;
            let distance = a.distance(*b);
            assert_eq!(distance <= PerceptualHash::NEAR, is_same, "{n} {m}: {distance}");
        }
    }
}

/// The corpus's groups of duplicates are found, exact or near; no flat picture has a
/// hash, and no two different pictures are near.
fn duplicates_of_the_corpus_are_found_and_nothing_else() {
    let pictures = pictures();
    let flat = pictures.iter().find(|picture| picture.file.ends_with("flat_4000.jpg")).unwrap();
    assert_eq!(flat.phash, None);
    for group in ["ladybird", "seeding"] {
        let find = |end: &str| {
            let file = format!("good/dupes/{group}_{end}");
            pictures.iter().find(|picture| picture.file == file).unwrap()
        };
        let first = find("A.jpg");
        assert_eq!(first.bytes, find("A_copy.jpg").bytes);
        let distance = |end| first.phash.unwrap().distance(find(end).phash.unwrap());
        assert_eq!(distance("A_trailing.jpg"), 0);
        for end in ["A_q60.jpg", "A_scaled.png", "A_crop.jpg"] {
            assert!(distance(end) <= PerceptualHash::NEAR, "{group} {end}");
            println!("{:3} {group} {end}", distance(end));
        }
        assert!(distance("flip.jpg") > PerceptualHash::NEAR);
    }
    check_all_pairs(&pictures);
}

fn check_all_pairs(pictures: &[Picture]) {
    let hashed: Vec<(&str, PerceptualHash)> =
        pictures.iter().filter_map(|p| Some((p.file.as_str(), p.phash?))).collect();
    let (mut alike, mut nearest) = (0, (u32::MAX, "", ""));
    let mut wrong = Vec::new();
    for (n, (a, of_a)) in hashed.iter().enumerate() {
        for (b, of_b) in &hashed[..n] {
            let distance = of_a.distance(*of_b);
            let same = motif(a).is_some() && motif(a) == motif(b);
            alike += u32::from(distance <= PerceptualHash::NEAR);
            match same {
                false if distance <= PerceptualHash::NEAR => wrong.push((distance, a, b)),
                false => nearest = nearest.min((distance, a, b)),
                true => {}
            }
        }
    }
    println!("{} pictures, {} with a hash, {alike} pairs near", pictures.len(), hashed.len());
    println!("nearest of the others: {nearest:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn motif(file: &str) -> Option<&'static str> {
    let file = file.to_lowercase();
    MOTIFS.into_iter().find(|motif| file.contains(motif))
}

/// The good pictures of the corpus, and those with bytes behind them.
fn pictures() -> Vec<Picture> {
    let root = corpus();
    let manifest = fs::read_to_string(root.join("MANIFEST.tsv")).expect("the corpus");
    let entries = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let wanted = entries.filter(|columns| {
        (columns[3] == "good" || columns[0].contains("_A_trailing")) && listed(columns[4]).is_some()
    });
    let picture = |columns: Vec<&str>| {
        let bytes = fs::read(root.join(columns[0])).unwrap();
        let phash = phash(&bytes).ok()?;
        Some(Picture { file: columns[0].to_owned(), bytes, phash })
    };
    wanted.filter_map(picture).collect()
}
