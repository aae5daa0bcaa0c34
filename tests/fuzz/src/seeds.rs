//! The files that the fuzzer begins with.

use anyhow::{Context as _, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Larger files only make fewer executions of the same code.
const MAX_SEED_BYTES: u64 = 256 * 1024;

/// Reads the pictures of the checkout, good and bad, and those of the picture corpus if it is there.
///
/// They come in the order of their names, so that a run can be repeated.
pub fn load(root: &Path) -> Result<Vec<Vec<u8>>> {
    let fixtures = root.join("tests/fixtures");
    let mut files = Vec::new();
    for directory in [fixtures.join("images"), fixtures.join("images-bad"), corpus(root)] {
        collect(&directory, &mut files)
            .with_context(|| format!("cannot read {}", directory.display()))?;
    }
    files.sort();
    files.iter().map(|file| Ok(fs::read(file)?)).collect()
}

/// The same place as that of the tests.
fn corpus(root: &Path) -> PathBuf {
    std::env::var_os("PIXCRAWLER_TEST_CORPUS")
        .map_or_else(|| root.join("../shared/corpus"), PathBuf::from)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_text = path.extension().is_some_and(|end| end == "md" || end == "tsv");
        if path.is_dir() {
            collect(&path, files)?;
        } else if !is_text && path.metadata()?.len() <= MAX_SEED_BYTES {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_of_the_checkout_are_seeds() {
        let seeds = load(&fuzz::root()).unwrap();
        assert!(seeds.len() >= 20, "{}", seeds.len());
    }
}
