//! Pictures as photos are on the wire, any number of them, all different, and where to find them.
//!
//! A picture is the header of a real photo, a comment with its number, and a scan of random bytes
//! with stuffed zeros, as compressed data looks. It is walked to its end, never decoded.

use std::{fmt, fs, net::SocketAddr, path::Path};

const NOISE_BYTES: usize = 8 * 1024 * 1024;
const EOI: [u8; 2] = [0xFF, 0xD9];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// How an origin answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// At once.
    Fast,
    /// 50 ms to the first byte, then 1 MB/s.
    Slow,
    /// As slowly, with 1 % that drip, 1 % without end and 1 % that answer 503.
    Rude,
}

pub const FIRST_BYTE_SECONDS: f64 = 0.05;
pub const BYTES_PER_SECOND: f64 = 1_000_000.0;

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Slow => "slow",
            Self::Rude => "rude",
        })
    }
}

/// A picture's path: `/{way}/{mean_bytes}/{number}`.
pub fn parse(path: &str) -> Option<(Way, u64, u64)> {
    let mut parts = path.trim_start_matches('/').split('/');
    let way = match parts.next()? {
        "fast" => Way::Fast,
        "slow" => Way::Slow,
        "rude" => Way::Rude,
        _ => return None,
    };
    Some((way, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Pictures of one chunk.
#[derive(Debug, Clone)]
pub struct Album {
    pub scheme: Scheme,
    pub way: Way,
    pub mean_bytes: u64,
    pub first: u64,
    pub n: u64,
    /// The ports that take turns.
    pub hosts: Vec<SocketAddr>,
}

impl Album {
    pub fn urls(&self) -> Vec<String> {
        let scheme = if self.scheme == Scheme::Http { "http" } else { "https" };
        let url = |n: u64| {
            let host = self.hosts[n as usize % self.hosts.len()];
            format!("{scheme}://{host}/{}/{}/{n}", self.way, self.mean_bytes)
        };
        (self.first..self.first + self.n).map(url).collect()
    }

    /// The least time in which a slow origin hands them over on so many connections.
    pub fn bound_seconds(&self, connections: usize) -> f64 {
        self.seconds().sum::<f64>() / connections as f64
    }

    /// How long the answer of each lasts with a slow origin.
    pub fn seconds(&self) -> impl Iterator<Item = f64> {
        let one = |n| FIRST_BYTE_SECONDS + len(self.mean_bytes, n) as f64 / BYTES_PER_SECOND;
        (self.first..self.first + self.n).map(one)
    }
}

/// About the length of a picture: two thirds to four thirds of the mean.
fn len(mean_bytes: u64, n: u64) -> u64 {
    let spread = mean_bytes * 2 / 3;
    spread + n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32) % spread.max(1)
}

/// What all pictures are made of.
#[derive(Debug)]
pub struct Pictures {
    header: Vec<u8>,
    noise: Vec<u8>,
}

impl Pictures {
    pub fn open() -> Self {
        let path = "tests/fixtures/images/01-photo.jpg";
        let photo = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        Self { header: decoder_tables(&photo), noise: noise() }
    }

    /// What follows the start of a picture: its scan, its end.
    pub fn rest(&self, mean_bytes: u64, n: u64) -> [&[u8]; 2] {
        let len = len(mean_bytes, n) as usize;
        let at = (n.wrapping_mul(0xD134_2543_DE82_EF95) >> 8) as usize % (NOISE_BYTES - len);
        [&self.noise[at..at + len], &EOI]
    }

    /// The start of a picture, which its number makes different from all others.
    pub fn start(&self, n: u64) -> Vec<u8> {
        let comment = format!("photo {n:020}");
        let length = (comment.len() as u16 + 2).to_be_bytes();
        [&[0xFF, 0xD8, 0xFF, 0xFE], &length[..], comment.as_bytes(), &self.header].concat()
    }

    pub fn endless(&self) -> &[u8] {
        &self.noise
    }
}

/// The segments of a JPEG that a decoder needs, up to the scan's data.
fn decoder_tables(photo: &[u8]) -> Vec<u8> {
    let (mut tables, mut at) = (Vec::new(), 2);
    loop {
        let marker = photo[at + 1];
        let len = 2 + usize::from(u16::from_be_bytes([photo[at + 2], photo[at + 3]]));
        if !(0xE0..=0xFE).contains(&marker) {
            tables.extend_from_slice(&photo[at..at + len]);
        }
        if marker == 0xDA {
            return tables;
        }
        at += len;
    }
}

/// Random bytes, each 0xFF followed by a zero.
fn noise() -> Vec<u8> {
    let mut noise = Vec::with_capacity(NOISE_BYTES + 8);
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    while noise.len() < NOISE_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for byte in state.to_le_bytes() {
            noise.push(byte);
            if byte == 0xFF {
                noise.push(0);
            }
        }
    }
    noise
}
