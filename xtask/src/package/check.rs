//! What is in the zip, and that it is the same each time.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use zip::ZipArchive;

const MOST_MB: f64 = 25.0;
/// Name and mode of every entry, in order.
const CONTENT: [(&str, u32); 6] = [
    ("LICENSE", 0o644),
    ("control/function.json", 0o644),
    ("handler", 0o755),
    ("health_check/function.json", 0o644),
    ("host.json", 0o644),
    ("process_chunk/function.json", 0o644),
];

/// Lists the content and compares it with what it must be.
pub(super) fn content(bytes: &[u8]) -> Result<()> {
    let mut zip = ZipArchive::new(Cursor::new(bytes))?;
    let mut found = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index(index)?;
        let name = entry.name()?.into_owned();
        let mode = entry.unix_mode().unwrap_or_default() & 0o777;
        eprintln!("  {mode:04o} {:>9} {name}", entry.size());
        found.push((name, mode));
    }
    let wanted = CONTENT.map(|(name, mode)| (name.to_owned(), mode));
    ensure!(found == wanted, "the zip has {found:?}, not {wanted:?}");
    let size = megabytes(bytes.len());
    ensure!(size < MOST_MB, "the zip has {size:.1} MB, {MOST_MB} are too many");
    Ok(())
}

/// Whether a program needs neither a loader nor a library: position-independent, and no interpreter is
/// asked for (`elf(5)`: `e_type` 3, no program header of type 3).
pub(super) fn is_static(program: &Path) -> Result<()> {
    let bytes = std::fs::read(program)?;
    let number = |at: usize, len: usize| {
        let field = bytes.get(at..at + len).context("the program is cut short")?;
        Ok::<u64, anyhow::Error>(
            field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "no 64-bit ELF program");
    ensure!(number(16, 2)? == 3, "not position-independent");
    let (start, size, n) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for header in 0..n {
        let at = usize::try_from(start + header * size)?;
        ensure!(number(at, 4)? != 3, "the program asks for a loader");
    }
    eprintln!("  handler: static-pie, no interpreter, {:.1} MB", megabytes(bytes.len()));
    Ok(())
}

/// Whether two builds gave the same bytes.
pub(super) fn is_equal(one: &[u8], other: &[u8]) -> Result<()> {
    ensure!(one == other, "two builds differ: {} and {} bytes", one.len(), other.len());
    eprintln!("  two builds are equal");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
pub(super) fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;

    fn zipped(entries: &[(&str, u32)]) -> Result<Vec<u8>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, mode) in entries {
            zip.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode))?;
            zip.write_all(b"x")?;
        }
        Ok(zip.finish()?.into_inner())
    }

    /// H13: content, modes and order are checked, and so is that the program needs no loader.
    #[test]
    fn what_is_not_as_it_must_be_is_named() -> Result<()> {
        content(&zipped(&CONTENT)?)?;
        let mut other = CONTENT;
        other[2].1 = 0o644;
        assert!(content(&zipped(&other)?).is_err(), "a program that cannot be run");
        other = CONTENT;
        other.swap(0, 1);
        assert!(content(&zipped(&other)?).is_err(), "another order");
        assert!(content(&zipped(&CONTENT[1..])?).is_err(), "something is missing");
        // This very test asks for a loader.
        assert!(is_static(&std::env::current_exe()?).is_err());
        assert!(is_equal(b"one", b"two").is_err());
        Ok(())
    }
}
