//! Where things lie in this checkout, and who may reach them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

/// The user and group id that a server gets which refuses to run as root: `nobody` everywhere.
pub const NOBODY: u32 = 65534;

/// The root of the checkout: the directory with `host.json`.
pub fn root() -> PathBuf {
    // Cargo says at run time where the package lies; what it said at build time is right unless the
    // checkout has moved since.
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root =
        Path::new(&package).ancestors().find(|directory| directory.join("host.json").exists());
    root.expect("this package lies in a checkout with host.json").to_path_buf()
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The place itself, or, when this is root and [`NOBODY`] cannot reach it, one of ours that it can.
pub fn reachable(place: PathBuf) -> PathBuf {
    if !is_root() || place.ancestors().all(nobody_may_pass) {
        return place;
    }
    let hash = hex(&Sha256::digest(place.as_os_str().as_encoded_bytes()));
    let elsewhere = Path::new("/var/tmp").join(format!("pixcrawler-{}", &hash[..12]));
    eprintln!(
        "{} is closed to the user that Postgres runs as: using {}",
        place.display(),
        elsewhere.display()
    );
    elsewhere
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nobody_may_pass(directory: &Path) -> bool {
    directory.metadata().map_or(true, |data| data.mode() & 0o001 != 0 || data.uid() == NOBODY)
}
