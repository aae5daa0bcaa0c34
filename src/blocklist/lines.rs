//! The text of a list: an entry a line, `#` begins a comment.

use crate::chunk::sha256_of_hex;
use std::net::IpAddr;
use url::{Host, Url};

/// The longest line, in bytes, without its end.
const LINE_LIMIT: usize = 4096;

/// Entries of one kind.
pub(super) trait List: Default + Send + Sync + 'static {
    /// The largest blob that is read, in bytes.
    const LIMIT_BYTES: usize;
    /// The most entries.
    const MOST: usize;

    /// Adds the entry of a line, which is not blank.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn add(&mut self, line: &str) -> Result<(), &'static str>;

    fn len(&self) -> usize;

    /// All entries are there: from now on they are looked up.
    fn sort(&mut self);
}

/// A list that arrives in pieces.
#[derive(Debug)]
pub(super) struct Lines<T> {
    list: T,
    /// The start of the next line.
    rest: Vec<u8>,
    /// Nothing came yet but blanks.
    is_blank: bool,
    /// Of lines that have ended.
    n: usize,
    fault: Option<String>,
}

impl<T: List> Default for Lines<T> {
    fn default() -> Self {
        Self { list: T::default(), rest: Vec::new(), is_blank: true, n: 0, fault: None }
    }
}

impl<T: List> Lines<T> {
    /// Takes the next bytes. What follows a fault is not looked at.
    pub(super) fn take(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.fault.is_some() {
                return;
            }
            let text = part.strip_suffix(b"\n");
            // However the network cut it.
            if self.rest.len() + text.unwrap_or(part).len() > LINE_LIMIT {
                self.fault =
                    Some(format!("line {}: is longer than {LINE_LIMIT} bytes", self.n + 1));
                return;
            }
            self.rest.extend_from_slice(text.unwrap_or(part));
            if text.is_some() {
                self.line();
            }
        }
    }

    fn line(&mut self) {
        self.n += 1;
        let line = std::mem::take(&mut self.rest);
        if let Err(why) = self.add(&line) {
            // Not the line itself: what must not be kept must not be logged.
            self.fault = Some(format!("line {}: {why}", self.n));
        }
    }

    fn add(&mut self, line: &[u8]) -> Result<(), String> {
        let line = str::from_utf8(line).map_err(|_| "is not UTF-8")?;
        let line = line.trim_start_matches('\u{feff}').trim();
        self.is_blank &= line.is_empty();
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            return Ok(());
        }
        if self.list.len() >= T::MOST {
            let most = T::MOST;
            return Err(format!(
                "is one entry more than the {most} that there may be, repeated ones included"
            ));
        }
        Ok(self.list.add(line)?)
    }

    /// The whole list.
    ///
    /// # Errors
    ///
    /// The first line that is none, by its number; that there is none, not even a comment: what wrote it may
    /// have failed.
    pub(super) fn end(mut self) -> Result<T, String> {
        if !self.rest.is_empty() && self.fault.is_none() {
            self.line();
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.is_blank {
            return Err(
                "which is empty: a list that is to block nothing has a line with a comment".into(),
            );
        }
        self.list.sort();
        Ok(self.list)
    }
}

/// The longest name that can be looked up (RFC 1035, section 2.3.4), and the longest part of it, in bytes.
const NAME_LIMIT: usize = 253;
const LABEL_LIMIT: usize = 63;

/// An address in one form: an IPv4 address is that also where it is written as one of IPv6.
fn address(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

/// Hosts, in the form in which URLs have them, sorted.
#[derive(Debug, Default)]
pub(super) struct Hosts(Vec<Box<str>>);

impl List for Hosts {
    const LIMIT_BYTES: usize = 32 << 20;
    const MOST: usize = 200_000;

    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let host = match (line.parse::<IpAddr>(), Host::parse(line)) {
            (Ok(ip), _) => address(ip),
            (Err(_), Ok(Host::Domain(name))) => name.trim_end_matches('.').to_owned(),
            (Err(_), Ok(Host::Ipv4(ip))) => address(ip.into()),
            (Err(_), Ok(Host::Ipv6(ip))) => address(ip.into()),
            (Err(_), Err(_)) => String::new(),
        };
        let is_label = |label: &str| {
            let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
            (1..=LABEL_LIMIT).contains(&label.len()) && label.chars().all(is_letter)
        };
        if host.len() > NAME_LIMIT || !host.split('.').all(is_label) {
            return Err("is no host: a name or an address, without scheme, port, path or *");
        }
        self.0.push(host.into());
        Ok(())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn sort(&mut self) {
        self.0.sort_unstable();
        self.0.dedup();
        self.0.shrink_to_fit();
    }
}

impl Hosts {
    pub(super) fn has(&self, url: &Url) -> bool {
        let is_listed = |host: &str| self.0.binary_search_by(|entry| (**entry).cmp(host)).is_ok();
        match url.host() {
            _ if self.0.is_empty() => false,
            Some(Host::Domain(name)) => {
                let mut name = name.trim_end_matches('.');
                while !is_listed(name) {
                    let Some((_, above)) = name.split_once('.') else { return false };
                    name = above;
                }
                true
            }
            Some(Host::Ipv4(ip)) => is_listed(&address(ip.into())),
            Some(Host::Ipv6(ip)) => is_listed(&address(ip.into())),
            None => false,
        }
    }
}

/// SHA-256 hashes, sorted.
#[derive(Debug, Default)]
pub(super) struct Hashes(Vec<[u8; 32]>);

impl List for Hashes {
    /// A million of them with the line end, and as much again for comments.
    const LIMIT_BYTES: usize = 128 << 20;
    const MOST: usize = 1_000_000;

    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        self.0.push(sha256_of_hex(line).ok_or("is no SHA-256: 64 hex digits and nothing else")?);
        Ok(())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn sort(&mut self) {
        self.0.sort_unstable();
        self.0.dedup();
        self.0.shrink_to_fit();
    }
}

impl Hashes {
    pub(super) fn has(&self, sha256: &[u8]) -> bool {
        self.0.binary_search_by(|entry| entry.as_slice().cmp(sha256)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: List>(text: &[u8]) -> Result<T, String> {
        let mut lines = Lines::default();
        // In pieces that end anywhere.
        text.chunks(3).for_each(|piece| lines.take(piece));
        lines.end()
    }

    fn hosts(text: &str) -> Hosts {
        read(text.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    /// Case 325: a host blocks itself and what is below it, in whatever form either is written; and no other.
    #[test]
    fn a_host_blocks_what_is_below_it() {
        let list = "\u{feff}# ours\r\nExample.COM\r\n\n b\u{fc}cher.example. # of books\n192.0.2.7\n\
                    2001:db8::1\n0x5db8d822\n::ffff:192.0.2.8\n[::ffff:192.0.2.9]";
        let list = hosts(list);
        for (url, is_blocked) in [
            ("http://example.com/x", true),
            ("https://EXAMPLE.com.:8443/x", true),
            ("http://a.b.example.com/", true),
            ("http://ex%61mple.com/", true),
            ("http://notexample.com/", false),
            ("http://example.com.evil.test/", false),
            ("http://com/", false),
            ("http://xn--bcher-kva.example/", true),
            ("http://cdn.b\u{dc}cher.example/", true),
            ("http://192.0.2.7/", true),
            ("http://3221225991/", true),
            ("http://192.0.2.71/", false),
            ("http://192.0.2.8/", true),
            ("http://192.0.2.9/", true),
            ("http://[::ffff:192.0.2.7]/", true),
            ("http://[::ffff:192.0.2.8]/", true),
            ("http://[2001:db8:0::1]/", true),
            ("http://[2001:db8::2]/", false),
            ("http://93.184.216.34/", true),
        ] {
            assert_eq!(list.has(&Url::parse(url).unwrap()), is_blocked, "{url}");
        }
        assert!(!Hosts::default().has(&Url::parse("http://example.com/").unwrap()));
    }

    /// Case 328: what is no entry is named by its line, and never shown.
    #[test]
    fn a_line_that_is_no_entry_is_named_by_its_number() {
        for bad in [
            "http://example.com",
            "example.com/x",
            "example.com:80",
            "*.example.com",
            ".example.com",
            "a..example.com",
            "0.0.0.0 example.com",
            "exa\u{1}mple.com",
            "||example.com^",
            &format!("exa{}.example", "a".repeat(61)),
            &"exa.".repeat(64),
        ] {
            let why = read::<Hosts>(format!("# one\nok.example\n{bad}\n").as_bytes()).unwrap_err();
            assert!(why.starts_with("line 3: ") && !why.contains("exa"), "{bad}: {why}");
        }
        let good = "ab".repeat(32);
        for bad in [
            good.get(1..).unwrap_or_default(),
            &format!("{good}0"),
            &format!("{good}00"),
            &"xy".repeat(32),
            &format!("{good} a.jpg"),
        ] {
            let why = read::<Hashes>(format!("{good}\n{bad}").as_bytes()).unwrap_err();
            assert!(why.starts_with("line 2: ") && !why.contains("abab"), "{bad}: {why}");
        }
        assert!(read::<Hosts>(b"a\n\xff\n").unwrap_err().starts_with("line 2: is not UTF-8"));
        let long = format!("a\n#{}", "x".repeat(2 * LINE_LIMIT));
        assert!(read::<Hosts>(long.as_bytes()).unwrap_err().starts_with("line 2: is longer"));
        assert_eq!(read::<Hosts>(b"# nothing\n\n").map(|list| list.len()), Ok(0));
        for empty in ["", "\n \r\n", "\u{feff}"] {
            let why = read::<Hosts>(empty.as_bytes()).unwrap_err();
            assert!(why.starts_with("which is empty"), "{why}");
        }
    }

    /// Case 328: a long line is refused, and one that is just not too long is taken, however it comes in.
    #[test]
    fn how_a_list_is_cut_decides_nothing() {
        for (len, is_long) in [(LINE_LIMIT, false), (LINE_LIMIT + 1, true), (3 * LINE_LIMIT, true)]
        {
            let comment = "x".repeat(len - 1);
            for text in [format!("a\n#{comment}\nb\n"), format!("a\n#{comment}")] {
                for size in [1, 1000, LINE_LIMIT, LINE_LIMIT + 3, 1 << 20] {
                    let mut lines = Lines::<Hosts>::default();
                    text.as_bytes().chunks(size).for_each(|piece| lines.take(piece));
                    let is_refused =
                        lines.end().is_err_and(|why| why.starts_with("line 2: is longer"));
                    assert_eq!(is_refused, is_long, "{len} in pieces of {size}");
                }
            }
        }
    }

    /// Case 326: a million hashes are 32 MB, and each is found; one more is refused.
    #[test]
    fn a_million_hashes_are_found_in_32_megabytes() {
        let mut lines = Lines::<Hashes>::default();
        let hash = |n: u32| {
            let mut hash = [0; 32];
            // Not in order.
            hash[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
            hash
        };
        // As text some of them: to write a million takes longer than to read them.
        for n in 0..20_000 {
            lines.take(format!("{}\n", crate::chunk::hex(&hash(n)).to_uppercase()).as_bytes());
        }
        lines.list.0.extend((20_000..1_000_000).map(hash));
        let list = lines.end().unwrap();
        assert_eq!((list.len(), list.0.capacity()), (1_000_000, 1_000_000));
        assert!((0..1_000_000).step_by(997).all(|n| list.has(&hash(n))));
        assert!((1_000_000..1_001_000).all(|n| !list.has(&hash(n))));
        assert!(!list.has(b"") && !Hashes::default().has(&hash(0)));
        let mut lines = Lines { list, n: 1_000_000, ..Lines::default() };
        lines.take(b"00\n");
        assert!(
            lines
                .end()
                .unwrap_err()
                .starts_with("line 1000001: is one entry more than the 1000000 ")
        );
    }
}
