//! What became of one URL, and why.

use super::PerceptualHash;
use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// The origin answered 429 (or 503) and asked to wait longer than the chunk can.
    RateLimited,
    /// The origin's answer asks not to be used for training (`X-Robots-Tag`).
    OptOut,
    /// The answer is compressed although identity was asked for.
    EncodingRefused,
    /// The host failed to connect eight times in a row.
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
            | Self::Corrupt => Status::Invalid,
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
            | Self::OptOut
            | Self::EncodingRefused
            | Self::HostUnreachable
            | Self::Deadline
            | Self::Http(_) => Status::Failed,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExactDuplicate => "exact_duplicate",
            Self::UrlRefused => "url_refused",
            Self::TooManyRedirects => "too_many_redirects",
            Self::BadRedirect => "bad_redirect",
            Self::NameNotResolved => "name_not_resolved",
            Self::ConnectFailed => "connect_failed",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::BadResponse => "bad_response",
            Self::BodyTruncated | Self::Truncated => "truncated",
            Self::RateLimited => "rate_limited",
            Self::OptOut => "opt_out",
            Self::EncodingRefused => "encoding_refused",
            Self::HostUnreachable => "host_unreachable",
            Self::Deadline => "deadline",
            Self::Http(status) => return write!(f, "http_{status}"),
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::TooSmall => "too_small",
            Self::NotImage => "not_image",
            Self::UnsupportedFormat => "unsupported_format",
            Self::Corrupt => "corrupt",
        })
    }
}

/// A listed image format, by content, never by name or type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the formats")]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    Bmp,
    Webp,
    Tiff,
}

impl Format {
    /// The word in manifests and sidecars.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Webp => "webp",
            Self::Tiff => "tiff",
        }
    }

    /// The usual file extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Webp => "webp",
            Self::Tiff => "tif",
        }
    }
}

/// What inspection learned about an accepted image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    /// By content.
    pub format: Format,
    /// Pixels, as the header says.
    pub width: u32,
    /// Pixels, as the header says.
    pub height: u32,
    /// What it looks like, at level slow; none for a picture without structure.
    pub phash: Option<PerceptualHash>,
}
