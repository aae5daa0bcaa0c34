//! A ustar archive as it streams by: its members, where they lie, and its end.

use tar::{EntryType, Header};

/// The unit of a tar.
const RECORD: usize = 512;
const RECORD_BYTES: u64 = 512;
/// Empty records that end one.
const END_RECORDS: u32 = 2;

/// What is told of an archive.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A member begins; its bytes lie there.
    Begin { name: &'a str, offset: u64, length: u64 },
    /// Bytes of the member.
    Bytes(&'a [u8]),
    /// The member is whole.
    End,
}

/// What is expected next.
#[derive(Debug)]
enum Next {
    Header(Vec<u8>),
    Content {
        left: u64,
        padding: u64,
    },
    Padding(u64),
    /// Nothing that could be understood.
    Broken(String),
}

/// An archive that is read from its start.
#[derive(Debug)]
pub(super) struct Archive {
    position: u64,
    end_records: u32,
    next: Next,
}

impl Archive {
    pub(super) fn new() -> Self {
        Self { position: 0, end_records: 0, next: Next::Header(Vec::new()) }
    }

    /// Takes the next bytes, and tells what they are.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Event<'_>)) {
        while !bytes.is_empty() {
            let wanted = match &self.next {
                Next::Header(record) => RECORD - record.len(),
                Next::Content { left, .. } | Next::Padding(left) => {
                    usize::try_from(*left).unwrap_or(usize::MAX)
                }
                Next::Broken(_) => return,
            };
            let (piece, rest) = bytes.split_at(wanted.min(bytes.len()));
            let n = u64::try_from(piece.len()).unwrap_or(0);
            (bytes, self.position) = (rest, self.position + n);
            match &mut self.next {
                Next::Header(record) => {
                    record.extend_from_slice(piece);
                    if record.len() == RECORD {
                        let record = std::mem::take(record);
                        self.next = self.after(&record, &mut tell);
                    }
                }
                Next::Content { left, padding } => {
                    tell(Event::Bytes(piece));
                    *left -= n;
                    if *left == 0 {
                        tell(Event::End);
                        self.next = after_content(*padding);
                    }
                }
                Next::Padding(left) => {
                    *left -= n;
                    if *left == 0 {
                        self.next = Next::Header(Vec::new());
                    }
                }
                Next::Broken(_) => return,
            }
        }
    }

    /// What comes after a record where a header may be.
    fn after(&mut self, record: &[u8], tell: &mut impl FnMut(Event<'_>)) -> Next {
        let at = self.position - RECORD_BYTES;
        if record.iter().all(|byte| *byte == 0) {
            self.end_records += 1;
            return Next::Header(Vec::new());
        }
        if self.end_records > 0 {
            return Next::Broken(format!("something stands behind its end, at byte {at}"));
        }
        let Some((name, length)) = member(record) else {
            return Next::Broken(format!("no header of a file at byte {at}"));
        };
        tell(Event::Begin { name: &name, offset: self.position, length });
        let padding = (RECORD_BYTES - length % RECORD_BYTES) % RECORD_BYTES;
        if length == 0 {
            tell(Event::End);
            return after_content(padding);
        }
        Next::Content { left: length, padding }
    }

    /// What is wrong with its end; none: it ended as it should.
    pub(super) fn finish(self) -> Option<String> {
        match self.next {
            Next::Broken(why) => Some(why),
            Next::Header(record) if record.is_empty() && self.end_records == END_RECORDS => None,
            Next::Header(_) | Next::Content { .. } | Next::Padding(_) => Some(format!(
                "it ends at byte {} with {} empty records, where {END_RECORDS} end an archive",
                self.position, self.end_records
            )),
        }
    }
}

fn after_content(padding: u64) -> Next {
    if padding > 0 { Next::Padding(padding) } else { Next::Header(Vec::new()) }
}

/// Name and length of a file; none: the record is no header of one.
fn member(record: &[u8]) -> Option<(String, u64)> {
    let header = Header::from_byte_slice(record);
    let mut own = header.clone();
    own.set_cksum();
    let is_whole = header.cksum().ok() == own.cksum().ok();
    let is_file = is_whole && header.entry_type() == EntryType::Regular;
    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    is_file.then_some((name, header.entry_size().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(tar: &mut Vec<u8>, name: &str, bytes: &[u8]) {
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(u64::try_from(bytes.len()).unwrap());
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(bytes);
        tar.resize(tar.len().next_multiple_of(RECORD), 0);
    }

    /// Name, place and bytes of each member, and what is wrong with the end.
    type Seen = (Vec<(String, u64, Vec<u8>)>, Option<String>);

    /// Members and end of an archive that comes in pieces of one length.
    fn read(tar: &[u8], piece: usize) -> Seen {
        let (mut archive, mut members) = (Archive::new(), Vec::new());
        let mut ends = 0;
        for piece in tar.chunks(piece) {
            archive.feed(piece, |event| match event {
                Event::Begin { name, offset, .. } => {
                    members.push((name.to_owned(), offset, Vec::new()));
                }
                Event::Bytes(bytes) => members.last_mut().unwrap().2.extend_from_slice(bytes),
                Event::End => ends += 1,
            });
        }
        (members, archive.finish())
    }

    /// A law: however the bytes are cut, the members and the judgement are the same.
    #[test]
    fn members_are_found_however_the_bytes_are_cut() {
        let mut tar = Vec::new();
        append(&mut tar, "a.jpg", &[7; 512]);
        append(&mut tar, "a.json", b"{}");
        append(&mut tar, "b.jpg", b"");
        tar.extend([0; 1024]);
        let whole = read(&tar, tar.len());
        assert_eq!(whole.1, None);
        let places: Vec<_> =
            whole.0.iter().map(|(name, at, b)| (name.as_str(), *at, b.len())).collect();
        assert_eq!(places, [("a.jpg", 512, 512), ("a.json", 1536, 2), ("b.jpg", 2560, 0)]);
        for piece in [1, 3, 511, 512, 513, 1000] {
            assert_eq!(read(&tar, piece), whole);
        }
    }

    #[test]
    fn an_archive_that_ends_otherwise_is_named() {
        let mut tar = Vec::new();
        append(&mut tar, "a.jpg", b"bytes");
        let end = |tail: &[u8]| read(&[&tar, tail].concat(), 100).1;
        assert_eq!(end(&[0; 1024]), None);
        for tail in [&[0; 0][..], &[0; 512], &[0; 1023], &[0; 1536], &[1; 512]] {
            assert!(end(tail).is_some(), "{}", tail.len());
        }
        assert!(end(&[&[0; 512][..], &tar].concat()).unwrap().contains("behind its end"));
        let (_, cut) = read(&tar[..515], 100);
        assert!(cut.unwrap().contains("ends at byte 515"));
        tar[0] ^= 1;
        assert!(read(&tar, 100).1.unwrap().contains("no header"));
    }
}
