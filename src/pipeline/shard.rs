//! WebDataset shards: a ustar of samples, each an image, a JSON sidecar, and a text and a class where
//! they are asked for. Pure bytes.

use crate::chunk::{Item, Meta, Output, OutputExtension, OutputText};
use imagecheck::ImageInfo;
use serde::Serialize;
use std::io;

/// The unit of a tar.
const RECORD_BYTES: usize = 512;
const ZEROS: [u8; RECORD_BYTES] = [0; RECORD_BYTES];
/// The end of a tar: two empty records.
pub(super) const END: [u8; 2 * RECORD_BYTES] = [0; 2 * RECORD_BYTES];

/// The header record of a member: fixed mode, time and owner, so that equal samples are equal
/// bytes.
///
/// # Errors
///
/// When the name does not fit a ustar header.
pub(super) fn header(name: &str, len: u64) -> io::Result<[u8; RECORD_BYTES]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(len);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// Zeros that fill the last record of a member.
pub(super) fn padding(len: u64) -> &'static [u8] {
    let used = usize::try_from(len % 512).unwrap_or(0);
    ZEROS.get(used..).filter(|rest| rest.len() < RECORD_BYTES).unwrap_or_default()
}

/// The extension of an image member.
pub(super) fn extension(output: OutputExtension, info: &ImageInfo) -> &'static str {
    match output {
        OutputExtension::Jpg => "jpg",
        OutputExtension::Original => info.format.extension(),
    }
}

/// Where an item has no class: a class is a number in every sample, or loaders disagree about its type.
const NO_CLASS: i64 = -1;

/// The sidecar: the same keys in every sample, or loaders disagree about columns.
#[derive(Serialize)]
struct Sidecar<'a> {
    url: &'a str,
    label: &'a str,
    caption: &'a str,
    class: i64,
    width: u32,
    height: u32,
    format: &'static str,
    file_size: u64,
    sha256: &'a str,
    meta: &'a str,
}

/// The sidecar's bytes.
pub(super) fn sidecar(
    item: &Item,
    url: &str,
    info: &ImageInfo,
    file_size: u64,
    sha256: &str,
) -> Vec<u8> {
    let meta = item.meta.as_ref().map_or("{}", Meta::get);
    let sidecar = Sidecar {
        url,
        label: item.label.as_deref().unwrap_or(""),
        caption: item.caption.as_deref().unwrap_or(""),
        class: item.class.unwrap_or(NO_CLASS),
        width: info.width,
        height: info.height,
        format: info.format.as_str(),
        file_size,
        sha256,
        meta,
    };
    serde_json::to_vec(&sidecar).unwrap_or_default()
}

/// The members that a message asks for beside image and sidecar, by extension. Every sample has them,
/// empty if need be: loaders refuse a shard where one of the first samples lacks what others have.
pub(super) fn others(output: &Output, item: &Item) -> Vec<(&'static str, Vec<u8>)> {
    let text = output.text.map(|of| match of {
        OutputText::Caption => &item.caption,
        OutputText::Label => &item.label,
    });
    let text = text.map(|text| ("txt", text.as_deref().unwrap_or("").as_bytes().to_vec()));
    let class = item.class.unwrap_or(NO_CLASS).to_string().into_bytes();
    text.into_iter().chain(output.class.then_some(("cls", class))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    /// A sample has what the message asks for, whatever its item has: bytes of the caption as they are,
    /// and an integer.
    #[test]
    fn every_sample_has_the_members_that_are_asked_for() {
        let bare = Item::of_url("http://a");
        let caption = "two\r\nlines 𝄞\0";
        let full = Item {
            caption: Some(caption.to_owned()),
            label: Some("a label".to_owned()),
            class: Some(i64::MIN),
            ..bare.clone()
        };
        let with = |text, class| Output { text, class, ..Output::default() };
        let members = |output: &Output, item: &Item| -> Vec<(&'static str, String)> {
            let text = |(name, bytes)| (name, String::from_utf8(bytes).unwrap());
            others(output, item).into_iter().map(text).collect()
        };
        assert_eq!(members(&Output::default(), &full), []);
        let both = with(Some(OutputText::Caption), true);
        let class = i64::MIN.to_string();
        assert_eq!(members(&both, &full), [("txt", caption.to_owned()), ("cls", class)]);
        assert_eq!(members(&both, &bare), [("txt", String::new()), ("cls", "-1".to_owned())]);
        let label = with(Some(OutputText::Label), false);
        assert_eq!(members(&label, &full), [("txt", "a label".to_owned())]);
        assert_eq!(members(&label, &bare), [("txt", String::new())]);
    }

    /// A law: what is written reads back, for lengths around the record size.
    #[test]
    fn members_read_back_as_they_were_written() {
        let lengths = [0, 1, 511, 512, 513, 1024, 100_000];
        let mut tar = Vec::new();
        for len in lengths {
            let name = format!("00001_{len:05}.jpg");
            tar.extend(header(&name, len).unwrap());
            tar.extend((0..len).map(|i| u8::try_from(i % 251).unwrap()));
            tar.extend(padding(len));
        }
        tar.extend(END);
        assert_eq!(tar.len() % RECORD_BYTES, 0);
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut read = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert!(entry.header().as_ustar().is_some());
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert!(bytes.iter().enumerate().all(|(i, b)| usize::from(*b) == i % 251));
            read.push(u64::try_from(bytes.len()).unwrap());
        }
        assert_eq!(read, lengths);
    }

    /// A law: members of any lengths lie where the sum of what was written before them says, header and
    /// padding included; that is how offsets of manifests are made.
    #[test]
    fn members_lie_where_the_bytes_before_them_end() {
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..50 {
            let (mut tar, mut offsets) = (Vec::new(), Vec::new());
            for n in 0..rng.usize(1..20) {
                let len = [rng.u64(..5), rng.u64(..2048), 512 * rng.u64(..4)][rng.usize(..3)];
                let name = format!("{:05}_{n:05}.jpg", rng.u32(..100_000));
                tar.extend(header(&name, len).unwrap());
                offsets.push((u64::try_from(tar.len()).unwrap(), len, name));
                tar.extend((0..len).map(|_| rng.u8(..)));
                tar.extend(padding(len));
                assert_eq!(tar.len() % RECORD_BYTES, 0);
            }
            tar.extend(END);
            let mut archive = tar::Archive::new(tar.as_slice());
            let read: Vec<_> = archive
                .entries()
                .unwrap()
                .map(Result::unwrap)
                .map(|entry| {
                    let name = entry.path().unwrap().display().to_string();
                    (entry.raw_file_position(), entry.size(), name)
                })
                .collect();
            assert_eq!(read, offsets);
        }
    }
}
