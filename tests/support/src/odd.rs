//! The answers of `tests/cases/answers.tsv`, as a server sends them.

use crate::{
    cases::{Row, rows},
    checkout::root,
    origin::picture,
    raw::{Act, Raw, answer},
};
use axum::body::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::{io::Write as _, sync::Arc};

/// An answer of the table.
#[derive(Debug, Clone)]
pub struct Odd {
    /// Where it is served.
    pub path: String,
    /// Its number in `doc/cases.md`.
    pub case: String,
    /// As the table has it, for people.
    pub text: String,
    pub requests: u64,
    pub verdict: String,
    pub is_tls: bool,
    manner: String,
    bytes: Vec<u8>,
}

/// All of them.
pub fn answers() -> Vec<Odd> {
    rows("answers").iter().enumerate().map(|(n, row)| Odd::new(n, row)).collect()
}

impl Odd {
    fn new(n: usize, row: &Row) -> Self {
        let (input, outcome) = (row.input.as_str(), row.outcome.as_str());
        let (requests, verdict) = outcome.split_once(' ').expect("requests and verdict");
        let tagged = input.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (manner, text) = tagged.unwrap_or(("", input));
        let path = format!("/{n}");
        Self {
            bytes: filled(text, &picture::jpeg(n as u64, &path)),
            path,
            case: row.case.clone(),
            text: input.escape_debug().to_string(),
            requests: requests.parse().expect("a number of requests"),
            verdict: verdict.to_owned(),
            is_tls: manner == "tls",
            manner: manner.to_owned(),
        }
    }

    /// The whole pictures that it may lead to.
    pub fn pictures(&self) -> [Bytes; 2] {
        let n = self.path.trim_start_matches('/').parse().expect("its number");
        [picture::jpeg(n, &self.path), picture::jpeg(1, &format!("again {}", self.path))]
    }

    fn act(&self, earlier: u64) -> Act {
        let bytes = self.bytes.clone();
        match self.manner.as_str() {
            "reset" => Act::Reset(bytes),
            "hang" => Act::Hang(bytes),
            "once" if earlier > 0 => Act::Send(answer(200, "", &self.pictures()[1])),
            "" | "tls" | "once" => Act::Close(bytes),
            other => panic!("[{other}] is no manner"),
        }
    }
}

/// Two servers for the answers, the second with TLS and a certificate of the fixtures.
pub fn servers(answers: &[Odd]) -> [Raw; 2] {
    let answers: Arc<[Odd]> = answers.into();
    let act = move |path: &str, earlier| {
        let odd = answers.iter().find(|odd| odd.path == path);
        odd.map_or_else(|| Act::Send(answer(404, "", b"")), |odd| odd.act(earlier))
    };
    [Raw::start(act.clone()), Raw::tls("good.pem", act)]
}

/// The bytes of a text of the table: a character is one byte, a word in braces stands for others.
fn filled(text: &str, jpeg: &[u8]) -> Vec<u8> {
    let (half, n) = (&jpeg[..jpeg.len() / 2], jpeg.len());
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let Some((word, after)) = word else {
            bytes.push(u8::try_from(u32::from(c)).expect("one byte"));
            rest = &rest[c.len_utf8()..];
            continue;
        };
        match word {
            "jpeg" => bytes.extend(jpeg),
            "half" => bytes.extend(half),
            "n" => bytes.extend(n.to_string().bytes()),
            "more" => bytes.extend((n + 10).to_string().bytes()),
            "last" => bytes.extend((n - 1).to_string().bytes()),
            "chunk" => bytes.extend(chunk("", jpeg)),
            "chunklf" => {
                bytes.extend([format!("{n:x}\n").as_bytes(), jpeg, b"\n"].concat());
            }
            "chunkext" => bytes.extend(chunk(" ;a=b;c=\"d\"", jpeg)),
            "halfchunk" => bytes.extend(chunk("", half)),
            "packed" => bytes.extend(packed(jpeg)),
            "packedchunk" => bytes.extend(chunk("", &packed(jpeg))),
            "packedhalfchunk" => bytes.extend(chunk("", &packed(jpeg)[..n / 2])),
            "manyfields" => bytes.extend(b"X-Robots-Tag: otherbot: noai\r\n".repeat(95)),
            "interim" => {
                bytes.extend(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(20));
            }
            "gzip" => {
                let path = root().join("tests/fixtures/images-bad/gzip_of_jpeg.jpg");
                bytes.extend(std::fs::read(path).expect("the fixture"));
            }
            other => panic!("{{{other}}} stands for nothing"),
        }
        rest = after;
    }
    bytes
}

/// In gzip, as a server sends it that compresses on the way.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn chunk(extension: &str, data: &[u8]) -> Vec<u8> {
    [format!("{:X}{extension}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}
