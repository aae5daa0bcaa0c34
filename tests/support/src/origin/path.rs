//! What each path of the origin means.

use std::collections::HashMap;

use bytes::Bytes;

use super::picture::{Format, Picture, bitmap_header, crc32, jpeg, noise, padded, picture, tagged};
use super::reply::Reply;

const HTML: &str = "<!doctype html><title>Sign in</title><p>Please sign in to see this picture.";

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    pub(super) query: HashMap<&'a str, &'a str>,
    /// How often this path has been asked for before.
    pub(super) earlier: u64,
    /// The least and the most bytes of a JPEG.
    pub(super) padding: (usize, usize),
}

/// What to do with a request.
#[derive(Debug)]
pub(super) enum Answer {
    Now(Reply),
    After(u64, Reply),
    Never,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        path: &'a str,
        query: &'a str,
        earlier: u64,
        padding: (usize, usize),
    ) -> Self {
        let query = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        Self { path, query, earlier, padding }
    }

    pub(super) fn answer(&self) -> Answer {
        let mut segments = self.path.trim_start_matches('/').splitn(3, '/');
        let (kind, argument) =
            (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
        let n = argument.parse().unwrap_or(0);
        let reply = match kind {
            "img" => self.good(n),
            "same" => self.served(n, tagged(n, &format!("same {n}"))),
            "slow" => return Answer::After(self.number("ms").unwrap_or(1000), self.good(n)),
            "hang" => return Answer::Never,
            "404" | "500" => plain(kind.parse().unwrap_or(500)),
            "status" => plain(argument.parse().unwrap_or(500)),
            "flaky" => self.at_first(2, plain(500), n),
            "429" => self.at_first(1, plain(429).header("retry-after", "1"), n),
            "retry-after" => {
                self.at_first(1, plain(503).header("retry-after", decoded(argument)), 0)
            }
            "redirect" => redirect(format!("/img/{n}")),
            "loop" => redirect(self.path.to_owned()),
            "to-private" => redirect("http://169.254.169.254/".to_owned()),
            "to" => redirect(decoded(self.query.get("url").copied().unwrap_or_default())),
            "noai" => self.good(n).header("x-robots-tag", "noai"),
            _ => self.body_at_odds(kind, n),
        };
        Answer::Now(reply)
    }

    /// Answers whose bytes are not what they seem.
    fn body_at_odds(&self, kind: &str, n: u64) -> Reply {
        let whole = jpeg(n, &format!("{kind} {n}"));
        match kind {
            "html" => Reply::new(200, "text/html; charset=utf-8", HTML),
            "empty" => Reply::new(200, "image/jpeg", ""),
            "wrongtype" => {
                let wrong = self.query.get("type").copied().unwrap_or("text/plain");
                self.good(n).header("content-type", decoded(wrong))
            }
            "gzip" => {
                Reply::new(200, "image/jpeg", gzip(&whole)).header("content-encoding", "gzip")
            }
            "cut" => Reply::new(200, "image/jpeg", whole.slice(..whole.len() / 2)),
            "short" => {
                let announced = Some(whole.len() as u64);
                let reply = Reply::new(200, "image/jpeg", whole.slice(..whole.len() / 2));
                Reply { announced, ..reply }
            }
            "drip" => Reply { rate: Some(1), ..Reply::new(200, "image/jpeg", whole) },
            "endless" => {
                let reply = Reply::new(200, "image/jpeg", whole).filled(noise(n), u64::MAX);
                Reply { announced: None, ..reply }
            }
            "huge" => Reply::new(200, "image/jpeg", whole).filled(noise(n), 20_000_000_000),
            "big" => self.big(n),
            _ => plain(404),
        }
    }

    fn good(&self, n: u64) -> Reply {
        self.served(n, picture(n))
    }

    fn served(&self, n: u64, picture: Picture) -> Reply {
        let (least, most) = self.padding;
        let wanted = match self.number("kb") {
            Some(kb) => usize::try_from(kb).unwrap_or(0) * 1024,
            // Spread over the range, the same for the same picture.
            None => {
                least
                    + usize::try_from(n.wrapping_mul(7919) % 1_000_003).unwrap_or(0)
                        % (most - least + 1)
            }
        };
        let picture = padded(picture, wanted);
        Reply::new(200, picture.format.content_type(), picture.bytes)
    }

    /// A valid bitmap of any size, made while it is sent.
    fn big(&self, n: u64) -> Reply {
        let bytes = self.number("kb").map(|kb| kb << 10);
        let bytes = bytes.or(self.number("mb").map(|mb| mb << 20)).unwrap_or(1 << 20);
        let (header, pixels) = bitmap_header(bytes);
        let length = header.len() as u64 + pixels;
        let reply = Reply::new(200, Format::Bmp.content_type(), header).filled(noise(n), length);
        let announced = (self.query.get("cl") != Some(&"0")).then_some(length);
        Reply { announced, ..reply }
    }

    /// A failure the first times, then a good picture. `?times=` changes how often.
    fn at_first(&self, times: u64, failure: Reply, n: u64) -> Reply {
        match self.earlier < self.number("times").unwrap_or(times) {
            true => failure,
            false => self.good(n),
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.query.get(name)?.parse().ok()
    }
}

fn plain(status: u16) -> Reply {
    Reply::new(status, "text/plain", format!("{status}\n"))
}

fn redirect(to: String) -> Reply {
    plain(302).header("location", to)
}

/// A gzip file of stored blocks: for whoever decodes it, the picture; for whoever does not, no picture.
fn gzip(bytes: &Bytes) -> Vec<u8> {
    let mut file = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("a block is that short");
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    file.extend(crc32(bytes).to_le_bytes());
    file.extend(u32::try_from(bytes.len()).expect("a fixture is small").to_le_bytes());
    file
}

/// A segment of a path without its percent signs.
fn decoded(segment: &str) -> String {
    let mut parts = segment.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if byte.is_ascii() => {
                text.push(char::from(byte));
                text.push_str(&part[2..]);
            }
            _ => text.push_str(part),
        }
    }
    text
}
