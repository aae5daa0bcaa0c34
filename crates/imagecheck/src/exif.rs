//! Exif as far as it stops a loader: `datasets` reads its header of each picture and raises for one
//! that is none. What the header leads to may be anything; loaders warn about it and go on.
//!
//! Source: Pillow, `Image.Exif.load` and `TiffImagePlugin.PREFIXES`.

/// What Exif begins with in a JPEG, and by mistake in other formats too.
pub(crate) const PREFIX: &[u8] = b"Exif\0\0";

/// The bytes that are needed: two prefixes and a header.
pub(crate) const HEAD_BYTES: usize = 2 * PREFIX.len() + 8;

/// Whether Exif with this beginning, up to [`HEAD_BYTES`] of it, makes a loader raise.
pub(crate) fn stops_loaders(head: &[u8]) -> bool {
    let head = head.strip_prefix(PREFIX).unwrap_or(head);
    let head = head.strip_prefix(PREFIX).unwrap_or(head);
    let header: [u8; 4] = match head {
        [] => return false,
        [a, b, c, d, _, _, _, _, ..] => [*a, *b, *c, *d],
        _ => return true,
    };
    // Two of them have their bytes in the wrong order, and are read.
    ![*b"II\x2a\0", *b"MM\0\x2a", *b"II\0\x2a", *b"MM\x2a\0", *b"MM\0\x2b"].contains(&header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exif_begins_like_a_tiff_or_is_empty() {
        for good in [&b""[..], b"II\x2a\0\x08\0\0\0", b"Exif\0\0MM\0\x2a\0\0\0\x08", b"Exif\0\0"] {
            assert!(!stops_loaders(good), "{good:x?}");
        }
        for bad in [&b"no Exif at all"[..], b"II\x2a\0", b"II\x2b\0\x08\0\0\0", b"Exif\0\0\0\0"] {
            assert!(stops_loaders(bad), "{bad:x?}");
        }
    }
}
