//! What became of one URL, and why.

use super::Detail;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// The one verdict that every URL of a chunk ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The image is in the shard.
    Valid,
    /// The same bytes are kept under another key.
    Duplicate,
    /// Something was fetched, and it is not an image we keep.
    Invalid,
    /// Nothing usable was fetched.
    Failed,
}

/// Why a URL is not a valid sample. The words are those of manifests and of `errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The bytes are already kept, in this chunk or in a completed one of the job.
    ExactDuplicate,

    /// The URL is malformed, or names a scheme, port or address that may not be connected to.
    UrlRefused,
    /// More than five redirects.
    TooManyRedirects,
    /// A redirect from https to http, or without a usable Location.
    BadRedirect,
    /// The host name has no address.
    NameNotResolved,
    /// The connection was refused, reset or never came to be.
    ConnectFailed,
    /// A time limit passed, or the body came slower than the minimum rate.
    Timeout,
    /// The certificate or the handshake was refused.
    Tls,
    /// The answer broke the rules of HTTP, or the connection ended inside it.
    BadResponse,
    /// The body ended before its announced length.
    BodyTruncated,
    /// The origin answered 429 (or 503) at the last try, or asked to wait longer than an image may.
    RateLimited,
    /// Never asked for: the origin wanted to be left alone until the chunk's deadline.
    HostBusy,
    /// The origin's answer asks not to be used for training (`X-Robots-Tag`).
    OptOut,
    /// The answer is compressed although identity was asked for.
    EncodingRefused,
    /// Connecting to the origin failed eight times in a row.
    HostUnreachable,
    /// The chunk's deadline came first.
    Deadline,
    /// The origin answered with this status.
    Http(u16),

    /// The answer has no bytes.
    Empty,
    /// More bytes, or more pixels a side or in all, than allowed.
    TooLarge,
    /// Fewer bytes or pixels than the minimum.
    TooSmall,
    /// The bytes are no image.
    NotImage,
    /// An image, but not of a listed format.
    UnsupportedFormat,
    /// The image's container ends early.
    Truncated,
    /// The image's container contradicts itself.
    Corrupt,
    /// The image is longer, or wider, for its other side than the message wants.
    AspectRatio,
    /// The operator blocks the host of the URL, or of one that it leads to.
    BlockedHost,
    /// The operator blocks these bytes.
    BlockedHash,
    /// The robots.txt of the origin does not allow the URL, or one that it leads to, or cannot be had.
    Robots,
}

impl Reason {
    /// The verdict that goes with the reason.
    pub fn status(self) -> Status {
        match self {
            Self::ExactDuplicate => Status::Duplicate,
            Self::Empty
            | Self::TooLarge
            | Self::TooSmall
            | Self::NotImage
            | Self::UnsupportedFormat
            | Self::Truncated
            | Self::Corrupt
            | Self::AspectRatio
            | Self::BlockedHash => Status::Invalid,
            Self::UrlRefused
            | Self::TooManyRedirects
            | Self::BadRedirect
            | Self::NameNotResolved
            | Self::ConnectFailed
            | Self::Timeout
            | Self::Tls
            | Self::BadResponse
            | Self::BodyTruncated
            | Self::RateLimited
            | Self::HostBusy
            | Self::OptOut
            | Self::EncodingRefused
            | Self::HostUnreachable
            | Self::Deadline
            | Self::BlockedHost
            | Self::Robots
            | Self::Http(_) => Status::Failed,
        }
    }
}

impl Reason {
    /// Whether the URL may be answered with its picture at another time: the origin, the way to it, or
    /// our own time was in the way. The verdict tells a body that was cut from a picture that is, and the
    /// detail a robots.txt that cannot be had from one that forbids.
    pub fn is_transient(self, detail: Option<Detail>, status: Status) -> bool {
        match self {
            Self::Timeout
            | Self::ConnectFailed
            | Self::NameNotResolved
            | Self::HostUnreachable
            | Self::BadResponse
            | Self::RateLimited
            | Self::HostBusy
            | Self::Deadline => true,
            Self::BodyTruncated | Self::Truncated => status == Status::Failed,
            Self::Robots => detail == Some(Detail::Unreachable),
            Self::Http(code) => matches!(code, 408 | 425 | 429 | 500..=599),
            Self::ExactDuplicate
            | Self::UrlRefused
            | Self::TooManyRedirects
            | Self::BadRedirect
            | Self::Tls
            | Self::OptOut
            | Self::EncodingRefused
            | Self::Empty
            | Self::TooLarge
            | Self::TooSmall
            | Self::NotImage
            | Self::UnsupportedFormat
            | Self::Corrupt
            | Self::AspectRatio
            | Self::BlockedHost
            | Self::BlockedHash => false,
        }
    }
}

/// Every reason but those with a number, with its word.
const WORDS: [(Reason, &str); 27] = [
    (Reason::ExactDuplicate, "exact_duplicate"),
    (Reason::UrlRefused, "url_refused"),
    (Reason::TooManyRedirects, "too_many_redirects"),
    (Reason::BadRedirect, "bad_redirect"),
    (Reason::NameNotResolved, "name_not_resolved"),
    (Reason::ConnectFailed, "connect_failed"),
    (Reason::Timeout, "timeout"),
    (Reason::Tls, "tls"),
    (Reason::BadResponse, "bad_response"),
    (Reason::RateLimited, "rate_limited"),
    (Reason::HostBusy, "host_busy"),
    (Reason::OptOut, "opt_out"),
    (Reason::EncodingRefused, "encoding_refused"),
    (Reason::HostUnreachable, "host_unreachable"),
    (Reason::Deadline, "deadline"),
    (Reason::Empty, "empty"),
    (Reason::TooLarge, "too_large"),
    (Reason::TooSmall, "too_small"),
    (Reason::NotImage, "not_image"),
    (Reason::UnsupportedFormat, "unsupported_format"),
    (Reason::Corrupt, "corrupt"),
    // One word for both: the verdict says whether the body or the image ended early.
    (Reason::Truncated, "truncated"),
    (Reason::BodyTruncated, "truncated"),
    (Reason::AspectRatio, "aspect_ratio"),
    (Reason::BlockedHost, "blocked_host"),
    (Reason::BlockedHash, "blocked_hash"),
    (Reason::Robots, "robots"),
];

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Http(status) = self {
            return write!(f, "http_{status}");
        }
        let word = WORDS.iter().find(|(reason, _)| reason == self).map(|(_, word)| *word);
        f.write_str(word.unwrap_or_default())
    }
}

/// A word that is no reason of this release.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no reason of this release")]
pub struct UnknownReason(String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        let status = text.strip_prefix("http_").and_then(|status| status.parse().ok());
        let worded = WORDS.iter().find(|(_, word)| *word == text).map(|(reason, _)| *reason);
        let reason = status.map(Self::Http).or(worded);
        reason.ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the words of manifests, in which a cut body and a cut picture have the same.
    #[test]
    fn what_may_pass_is_asked_for_again() {
        let failed = "timeout connect_failed name_not_resolved host_unreachable bad_response rate_limited \
            host_busy deadline truncated http_408 http_425 http_429 http_500 http_503 http_599";
        let transient =
            |word: &str, status| word.parse::<Reason>().unwrap().is_transient(None, status);
        assert!(failed.split_whitespace().all(|word| transient(word, Status::Failed)));
        let numbered = ["http_404", "http_410", "http_407", "http_600"];
        let others = WORDS.iter().map(|(_, word)| *word).filter(|word| !failed.contains(word));
        let lasting: Vec<&str> = others.chain(numbered).collect();
        assert!(lasting.len() > 14, "{lasting:?}");
        assert!(!lasting.iter().any(|word| transient(word, Status::Failed)));
        assert!(!transient("truncated", Status::Invalid));
        let robots = |detail| Reason::Robots.is_transient(Some(detail), Status::Failed);
        assert!(robots(Detail::Unreachable) && !robots(Detail::Disallowed), "case 426");
    }

    /// What is written is read back, and no reason is without a word.
    #[test]
    fn every_reason_survives_its_word() {
        let numbered = [Reason::Http(404), Reason::Http(599)];
        for reason in WORDS.iter().map(|(reason, _)| *reason).chain(numbered) {
            let text = serde_json::to_string(&reason).unwrap();
            let read: Reason = serde_json::from_str(&text).unwrap();
            assert_eq!(read.to_string(), reason.to_string());
            assert!(!reason.to_string().is_empty());
        }
        assert!("gremlins".parse::<Reason>().is_err());
        let variants = include_str!("verdict.rs").split("pub enum Reason {").nth(1).unwrap();
        let variants = variants.split("\n}").next().unwrap().lines();
        let n = variants.filter(|line| line.trim_end().ends_with(',')).count();
        assert_eq!(n, WORDS.len() + 1, "each variant but Http has its word");
    }
}
