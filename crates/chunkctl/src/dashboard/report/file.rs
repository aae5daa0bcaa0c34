//! The file of a report: nothing of others is written over, and none is there in part.

use crate::failure::bail_as;
use anyhow::Context as _;
use std::{
    fs::{self, File, Permissions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// What a report says that it was made by.
pub(super) const GENERATOR: &str = "chunkctl dashboard --write";
/// It says so within these bytes.
const HEAD: u64 = 512;

/// Refuses to replace what is no report.
pub(super) fn refuse_others(path: &Path) -> anyhow::Result<()> {
    let reading = || format!("reading {}", path.display());
    match fs::metadata(path) {
        Ok(there) if there.is_file() => {}
        Ok(_) => bail_as!(DirectoryRefused, "{} is no file; give a file's name", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(reading),
    }
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(HEAD).read_to_end(&mut head))
        .with_context(reading)?;
    if !String::from_utf8_lossy(&head).contains(GENERATOR) {
        bail_as!(
            DirectoryRefused,
            "{} is there and is no report of this command; give another name, or move it away",
            path.display()
        );
    }
    Ok(())
}

/// Writes it beside its place, and gives it its name when it is whole.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let writing = || format!("writing {}", path.display());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        // As any other file: what the umask leaves of it.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory.unwrap_or(Path::new(".")))
        .with_context(writing)?;
    file.write_all(text.as_bytes()).with_context(writing)?;
    file.as_file().sync_all().with_context(writing)?;
    file.persist(path).map_err(|failed| failed.error).with_context(writing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report replaces an older one and nothing else, and leaves nothing beside it.
    #[test]
    fn only_a_report_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        refuse_others(&path).unwrap();
        write(&path, &format!("<!DOCTYPE html><meta name=\"generator\" content=\"{GENERATOR}\">1"))
            .unwrap();
        refuse_others(&path).unwrap();
        write(&path, "<!DOCTYPE html>my own").unwrap();
        let refusal = refuse_others(&path).unwrap_err().to_string();
        assert!(refusal.contains("no report of this command; give another name"), "{refusal}");
        let refusal = refuse_others(directory.path()).unwrap_err().to_string();
        assert!(refusal.contains("is no file"), "{refusal}");
        assert!(write(&directory.path().join("none/report.html"), "").is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
