//! Verdicts on pictures beside what Pillow makes of them, which is what loaders open a shard with.

use crate::condition::python_with_loaders;
use imagecheck::{Level, Refusal, inspect};
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::checkout::root;

/// Why a verdict may differ from Pillow's.
#[derive(Debug)]
enum Reason {
    /// The container is cut or damaged behind what Pillow reads, and the walk goes to its end.
    Damaged,
    /// Medium does not read the codes: they are broken, which slow finds.
    Codes,
}

/// Files whose verdict differs from Pillow's, by the end of their names.
const DIFFERENT: [(&str, Reason); 7] = [
    // A length beyond the file.
    ("synth/idat_len_2g.png", Reason::Damaged),
    // Wrong checksums of data chunks.
    ("bugfixes_x_interlaced_chck.png", Reason::Damaged),
    ("pngsuite_xcsn0g01.png", Reason::Damaged),
    // Markers inside of codes that no picture has there.
    ("5482a54657765056f1a94116a8dbffe7.jpg", Reason::Damaged),
    ("b55977028a3a574336966b6536640fc9.jpg", Reason::Damaged),
    // Flipped bits.
    ("synth/bitflip.gif", Reason::Codes),
    ("synth/bitflip.webp", Reason::Codes),
];

/// Case 110: a picture is valid where the loaders open and load it, at every level but fast; what they open
/// and we do not keep is `unsupported_format` or `too_large`, never `corrupt`.
pub async fn what_is_valid_opens_in_pillow() {
    let made = tempfile::tempdir().unwrap();
    let mut files = pictures(&root().join("tests/fixtures/images"));
    files.extend(pictures(&root().join("tests/fixtures/images-bad")));
    let cut = cut(&files, made.path());
    files.extend(cut.iter().cloned());
    files.extend(corpus());
    let mut figures: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (file, pillow) in files.iter().zip(ask(&files)) {
        let bytes = std::fs::read(file).unwrap();
        let name = file.display().to_string();
        for level in [Level::Medium, Level::Slow] {
            let len = bytes.len().try_into().unwrap();
            let verdict = inspect(&mut Cursor::new(&bytes), len, level).map(|info| info.format);
            let word = verdict.map_or_else(|refusal| format!("{refusal:?}"), |_| "valid".into());
            let format = pillow.strip_prefix("ok ").unwrap_or("refused by Pillow");
            *figures.entry(format!("{level:?}: {format}: {word}")).or_default() += 1;
            if !agree(verdict.map(drop), &pillow)
                && !is_explained(file, &cut, level, verdict.is_ok())
            {
                wrong.push(format!("{name} at {level:?}: {word}, Pillow: {pillow}"));
            }
        }
    }
    for (group, n) in figures {
        eprintln!("{n:5} {group}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Case 291: of pictures in every variant that Pillow writes, medium accepts what slow accepts and nothing else.
pub async fn what_pillow_writes_has_one_verdict_at_medium_and_slow() {
    let made = tempfile::tempdir().unwrap();
    let written = Command::new(python_with_loaders().as_ref().unwrap())
        .arg(root().join("tests/machine/loaders/write.py"))
        .arg(made.path())
        // libtiff says there what it cannot write.
        .stderr(Stdio::null())
        .status();
    assert!(written.unwrap().success());
    let files = pictures(made.path());
    assert!(files.len() > 800, "{}", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        let [medium, slow] = [Level::Medium, Level::Slow].map(|level| {
            let len = bytes.len().try_into().unwrap();
            inspect(&mut Cursor::new(&bytes), len, level).map(|info| info.format)
        });
        if medium != slow {
            wrong.push(format!("{}: {medium:?}, at slow {slow:?}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

/// Whether a difference has its reason in the table, or a cut file is refused that Pillow opens.
fn is_explained(file: &Path, cut: &[PathBuf], level: Level, is_valid: bool) -> bool {
    let name = file.display().to_string();
    let reason = DIFFERENT.iter().find(|(end, _)| name.ends_with(end)).map(|(_, reason)| reason);
    match reason {
        Some(Reason::Damaged) => !is_valid,
        Some(Reason::Codes) => is_valid && level == Level::Medium,
        None => !is_valid && cut.iter().any(|path| path == file),
    }
}

fn agree(verdict: Result<(), Refusal>, pillow: &str) -> bool {
    match verdict {
        Ok(()) => pillow.starts_with("ok "),
        // Not kept, whatever loaders do: a format or a variant, or more pixels than we allow.
        Err(Refusal::UnsupportedFormat | Refusal::TooLarge) => true,
        Err(_) => !pillow.starts_with("ok "),
    }
}

fn pictures(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_none_or(|e| e != "md")).collect();
    files.sort();
    files
}

/// Files that are cut at several places. Those that Pillow opens nevertheless must be refused too.
fn cut(files: &[PathBuf], folder: &Path) -> Vec<PathBuf> {
    let mut made = Vec::new();
    for (n, file) in files.iter().enumerate() {
        let bytes = std::fs::read(file).unwrap();
        for part in [1, 3, 6, 9] {
            let path = folder.join(format!("{n}-{part}"));
            std::fs::write(&path, &bytes[..bytes.len() * part / 10]).unwrap();
            made.push(path);
        }
    }
    made
}

/// The files of the picture corpus, if it is there.
fn corpus() -> Vec<PathBuf> {
    let root = std::env::var_os("PIXCRAWLER_TEST_CORPUS")
        .map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    let Ok(manifest) = std::fs::read_to_string(root.join("MANIFEST.tsv")) else {
        eprintln!("no corpus at {}", root.display());
        return Vec::new();
    };
    let names = manifest.lines().skip(1).filter_map(|line| line.split('\t').next());
    names.map(|name| root.join(name)).collect()
}

/// What Pillow says of each file.
fn ask(files: &[PathBuf]) -> Vec<String> {
    let mut python = Command::new(python_with_loaders().as_ref().unwrap())
        .arg(root().join("tests/machine/loaders/open.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let paths: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    python.stdin.take().unwrap().write_all(paths.join("\n").as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let answers: Vec<_> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), files.len(), "an answer for each file");
    answers
}
