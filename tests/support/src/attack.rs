//! What a stranger's list can do to the chunks beside it: servers, names and pictures that cost whoever
//! asks for them as much as they can.

use crate::{
    crowd::Crowd,
    names::{Act as Name, NameServer},
    origin::picture::{self, Format, Picture},
    raw::{Act, Raw, answer, head},
};
use flate2::{Compression, write::ZlibEncoder};
use serde_json::{Value, json};
use std::{io::Write as _, net::SocketAddr, thread, time::Duration};

/// A kind of list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// A host that answers after a second, which is the other job's too.
    SlowHost,
    /// A host that asks for a wait with each answer.
    Refusals,
    /// Names that nobody answers for.
    SilentNames,
    /// Pictures that take long to decode, at level slow.
    Heavy,
    /// Each URL on a host of its own.
    ManyHosts,
    /// Bodies in chunks of one byte.
    TinyChunks,
    /// Hosts that take the request and never answer.
    Silence,
}

impl Attack {
    pub const ALL: [Self; 7] = [
        Self::SlowHost,
        Self::Refusals,
        Self::SilentNames,
        Self::Heavy,
        Self::ManyHosts,
        Self::TinyChunks,
        Self::Silence,
    ];
}

/// How long a good picture takes, as on the web.
const GOOD_TAKES: Duration = Duration::from_millis(50);

/// The servers of all kinds.
pub struct Hostile {
    /// Answers every path of the kinds, and `/good/N` with a picture.
    pub raw: Raw,
    crowd: Crowd,
    names: NameServer,
}

impl Hostile {
    /// With so many hosts, and heavy pictures with sides of so many pixels.
    pub fn start(n_hosts: usize, side: u32) -> Self {
        let heavy = heavy_png(side);
        let raw = Raw::start(move |path, _| {
            let (kind, n) = path.trim_start_matches('/').split_once('/').unwrap_or((path, "0"));
            let whole = |bytes: &[u8]| Act::Send(answer(200, "", bytes));
            match kind {
                "slow" => {
                    thread::sleep(Duration::from_secs(1));
                    whole(&picture::jpeg(n.parse().unwrap_or(0), path))
                }
                "refused" => Act::Send(answer(429, "Retry-After: 2\r\n", b"")),
                // A comment at the end makes each another one.
                "heavy" => whole(&[&heavy[..], path.as_bytes()].concat()),
                "tiny" => Act::Send(tiny_chunks(path)),
                "silent" => Act::Hang(Vec::new()),
                _ => {
                    thread::sleep(GOOD_TAKES);
                    whole(&picture::jpeg(n.parse().unwrap_or(0), path))
                }
            }
        });
        let names = NameServer::start(|_| Name::Silence);
        Self { raw, crowd: Crowd::start(n_hosts, Duration::ZERO), names }
    }

    /// The environment in which a handler may go to all of these, and to `other` addresses.
    pub fn environment(&self, other: &[SocketAddr]) -> [(&'static str, String); 2] {
        let all = [&[self.raw.address], &self.crowd.addresses[..], other].concat();
        let allowed: Vec<String> = all.iter().map(ToString::to_string).collect();
        [
            ("PIXCRAWLER_ALLOWED_ORIGINS", allowed.join(",")),
            ("PIXCRAWLER_NAME_SERVERS", self.names.address.to_string()),
        ]
    }

    /// A list of `n` URLs of this kind.
    pub fn urls(&self, attack: Attack, n: u64) -> Vec<String> {
        let url = |n: u64| match attack {
            Attack::SlowHost => self.raw.url(&format!("/slow/{n}")),
            Attack::Refusals => self.raw.url(&format!("/refused/{n}")),
            Attack::SilentNames => format!("http://host-{n}.silent.test/{n}"),
            Attack::Heavy => self.raw.url(&format!("/heavy/{n}")),
            Attack::ManyHosts => self.crowd.url(n),
            Attack::TinyChunks => self.raw.url(&format!("/tiny/{n}")),
            Attack::Silence => self.raw.url(&format!("/silent/{n}")),
        };
        (0..n).map(url).collect()
    }

    /// Whether the attack is under way.
    pub fn has_begun(&self, attack: Attack) -> bool {
        let asked = |start: &str| self.raw.heads().iter().any(|head| head.contains(start));
        match attack {
            Attack::SlowHost => asked("GET /slow/"),
            Attack::Refusals => asked("GET /refused/"),
            Attack::SilentNames => !self.names.asked().is_empty(),
            Attack::Heavy => asked("GET /heavy/"),
            // It says nothing of itself.
            Attack::ManyHosts => true,
            Attack::TinyChunks => asked("GET /tiny/"),
            Attack::Silence => asked("GET /silent/"),
        }
    }
}

/// A message at a level.
pub fn at_level(level: &str, mut message: Value) -> Value {
    message["validation"] = json!({"level": level});
    message
}

/// 300 KB of picture in chunks of one byte.
fn tiny_chunks(path: &str) -> Vec<u8> {
    let jpeg = Picture { format: Format::Jpeg, bytes: picture::jpeg(0, path) };
    let mut body = Vec::new();
    for byte in picture::padded(jpeg, 300_000).bytes {
        body.extend([b'1', b'\r', b'\n', byte, b'\r', b'\n']);
    }
    body.extend(b"0\r\n\r\n");
    head(200, "Transfer-Encoding: chunked\r\n", &body)
}

/// A grey PNG of one colour, whose lines are filtered by the filter that costs most.
pub fn heavy_png(side: u32) -> Vec<u8> {
    let mut line = vec![0; 1 + side as usize];
    line[0] = 4;
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..side {
        pixels.write_all(&line).expect("memory");
    }
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", pixels.finish().expect("memory"))] {
        push_chunk(&mut png, kind, &data);
    }
    push_chunk(&mut png, b"IEND", &[]);
    png
}

fn push_chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    png.extend(u32::try_from(data.len()).expect("a length").to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend(data);
    let mut sum = flate2::Crc::new();
    sum.update(&png[start..]);
    png.extend(sum.sum().to_be_bytes());
}
