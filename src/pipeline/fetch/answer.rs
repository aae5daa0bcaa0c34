//! What an HTTP answer, or its absence, means for the image.

use super::{
    TryError,
    address::AddressRefused,
    client::{self, Response},
    head::NO_LENGTH,
};
use crate::{chunk::Reason, settings::DownloadSettings};
use hyper::{
    StatusCode,
    body::Body as _,
    header::{self, HeaderValue},
};
use percent_encoding::{AsciiSet, percent_encode};
use std::{
    io::ErrorKind,
    time::{Duration, SystemTime},
};
use url::Url;

/// What about a body only its bytes can tell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doubts {
    /// The head says that it is compressed.
    pub is_coded: bool,
    /// The head does not say that it is all of the picture.
    pub may_be_part: bool,
    /// Its length is nonsense.
    pub has_no_length: bool,
}

/// The next hop of a redirect; none for other answers. Also 300 may name one (RFC 9110, section
/// 15.4.1), which curl follows.
pub(super) fn redirect(from: &Url, response: &Response) -> Result<Option<Url>, TryError> {
    let location = response.headers().get(header::LOCATION).map(HeaderValue::as_bytes);
    match response.status().as_u16() {
        300 if location.is_none() => return Ok(None),
        300 | 301 | 302 | 303 | 307 | 308 => {}
        _ => return Ok(None),
    }
    match location.and_then(|location| target(from, location)) {
        Some(next) if from.scheme() == "https" && next.scheme() == "http" => {
            Err(TryError::Final(Reason::BadRedirect))
        }
        Some(next) => Ok(Some(next)),
        None => Err(TryError::Final(Reason::BadRedirect)),
    }
}

/// Where a `Location` leads, as browsers read it: bytes that are not ASCII stay what they are, be they
/// UTF-8 or Latin-1 (<https://github.com/whatwg/fetch/issues/883>), and blanks are escaped by the
/// parser of URLs. One without anything leads nowhere.
fn target(from: &Url, location: &[u8]) -> Option<Url> {
    let location = location.trim_ascii();
    let escaped = percent_encode(location, &AsciiSet::EMPTY).to_string();
    if location.is_empty() { None } else { from.join(&escaped).ok() }
}

/// Refuses by status and headers, before any byte of the body is read.
pub(super) fn check_head(
    response: &Response,
    settings: &DownloadSettings,
    max_bytes: u64,
) -> Result<Doubts, TryError> {
    let status = response.status();
    let Some(range) = success(response) else {
        let reason = match status.as_u16() {
            429 => Reason::RateLimited,
            other => Reason::Http(other),
        };
        return Err(match (is_transient(status), retry_after(response)) {
            (false, _) => TryError::Final(reason),
            (true, None) if reason != Reason::RateLimited => TryError::Transient(reason),
            (true, asked) => TryError::Throttled(reason, asked),
        });
    };
    if settings.respect_opt_out && opts_out(response) {
        return Err(TryError::Final(Reason::OptOut));
    }
    if response.body().size_hint().exact().is_some_and(|length| length > max_bytes) {
        return Err(TryError::Final(Reason::TooLarge));
    }
    let codings = response.headers().get_all(header::CONTENT_ENCODING).into_iter();
    let is_coded = codings.flat_map(|value| value.as_bytes().split(|c| *c == b',')).any(is_coding);
    let has_no_length = response.headers().contains_key(NO_LENGTH);
    Ok(Doubts { is_coded, may_be_part: range == Range::Unsaid, has_no_length })
}

/// True for answers that another try may mend: the ones of RFC 9110, of hosts that sell bandwidth
/// (509), of Cloudflare in place of an origin that it cannot reach (520-530,
/// <https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/>),
/// and older words for 429 (420, 430).
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 420 | 425 | 429 | 430 | 500 | 502 | 503 | 504 | 509 | 520..=530)
}

/// What an answer with a body says about which part of the picture it is.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Unsaid,
}

/// Answers whose body is the picture: success of any kind, but no content (204, 205) and no part of it
/// (206 whose Content-Range, RFC 9110 section 14.4, says that bytes are missing).
fn success(response: &Response) -> Option<Range> {
    match response.status().as_u16() {
        206 => {
            let range = response.headers().get(header::CONTENT_RANGE);
            let Some((first, last, size)) = range.and_then(|value| parts(value.as_bytes())) else {
                return Some(Range::Unsaid);
            };
            match (first, size) {
                (0, Some(size)) if last.checked_add(1) == Some(size) => Some(Range::Whole),
                (0, None) => Some(Range::Unsaid),
                _ => None,
            }
        }
        200..=203 | 207..=299 => Some(Range::Whole),
        _ => None,
    }
}

/// First and last byte and size of `bytes 0-5690/5691`; the size may be `*`.
fn parts(range: &[u8]) -> Option<(u64, u64, Option<u64>)> {
    let (unit, range) = str::from_utf8(range).ok()?.trim().split_at_checked("bytes".len())?;
    let (bytes, size) = range.split_once('/')?;
    let (first, last) = bytes.trim_start_matches([' ', '=', ':']).split_once('-')?;
    let number = |text: &str| text.trim().parse().ok();
    let is_bytes = unit.eq_ignore_ascii_case("bytes");
    let parts = (number(first)?, number(last)?, number(size));
    is_bytes.then_some(parts)
}

/// Codings that exist, and that a body may really have. Servers also say `none`, `utf-8`, `binary`, a
/// media type: that means nothing.
fn is_coding(name: &[u8]) -> bool {
    let known = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"];
    known.iter().any(|known| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
}

/// Retry-After as seconds or a date (RFC 9110, section 10.2.3,
/// <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>); nonsense counts as absent.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        // More digits than a number holds is a very long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// `X-Robots-Tag: [agent:] directive, …` with a directive that keeps images out of datasets:
/// <https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag> for the form and
/// `noindex`, `noimageindex`; `noai` and `noimageai` are the convention
/// that img2dataset respects too.
fn opts_out(response: &Response) -> bool {
    let values = response.headers().get_all("x-robots-tag");
    values.iter().filter_map(|value| value.to_str().ok()).any(|value| {
        let (agent, directives) = match value.split_once(':') {
            Some((agent, rest)) if is_agent(agent) => (agent.trim(), rest),
            _ => ("", value),
        };
        let concerns_us = matches!(agent.to_ascii_lowercase().as_str(), "" | "*" | "pixcrawler");
        concerns_us
            && directives.split(',').any(|directive| {
                let directive = directive.trim().to_ascii_lowercase();
                matches!(directive.as_str(), "noai" | "noimageai" | "noindex" | "noimageindex")
            })
    })
}

/// Directives may hold a colon too: `max-snippet:-1`, `unavailable_after: 25 Jun 2030 15:00`.
fn is_agent(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    !text.contains(',') && !text.starts_with("max-") && text != "unavailable_after"
}

/// Sorts the failure of a request that got no answer; true when no connection ever stood.
pub(super) fn classify_request(error: &client::Error) -> (TryError, bool) {
    if error.causes().any(|cause| cause.is::<AddressRefused>()) {
        return (TryError::Final(Reason::UrlRefused), false);
    }
    if let Some(limit) = own_limit(error) {
        return (TryError::Spool(limit), false);
    }
    if error.is_connect() {
        let text = text_of(error);
        let tls = ["certificate", "tls", "handshake", "corrupt message", "fatal alert", "peer "];
        if tls.iter().any(|word| text.contains(word)) {
            return (TryError::Final(Reason::Tls), false);
        }
        let reason = match text.contains("dns error") || text.contains("lookup") {
            true => Reason::NameNotResolved,
            false if error.is_timeout() => Reason::Timeout,
            false => Reason::ConnectFailed,
        };
        return (TryError::Transient(reason), true);
    }
    (interrupted(error, Reason::ConnectFailed), false)
}

/// What this process ran out of, if that is why the request failed: descriptors or memory of the
/// kernel. It says nothing about the origin. A resolver without a descriptor has words of its own, so
/// one is tried for.
fn own_limit(error: &client::Error) -> Option<std::io::Error> {
    use nix::errno::Errno;
    let limits = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    let is_limit = |code: i32| limits.contains(&Errno::from_raw(code));
    let tried = || std::fs::File::open("/dev/null").err()?.raw_os_error();
    let code = error.io().filter_map(std::io::Error::raw_os_error).find(|code| is_limit(*code));
    let code = code.or_else(|| error.is_connect().then(tried).flatten().filter(|c| is_limit(*c)));
    code.map(std::io::Error::from_raw_os_error)
}

/// Sorts a failure inside a body.
pub(super) fn classify_body(error: &client::Error) -> TryError {
    let ends_early = error.io().any(|io| io.kind() == ErrorKind::UnexpectedEof);
    let reason = if ends_early { Reason::BodyTruncated } else { Reason::ConnectFailed };
    interrupted(error, reason)
}

/// A connection that ended may serve another try; an answer against the rules of HTTP will not.
fn interrupted(error: &client::Error, reason: Reason) -> TryError {
    if error.is_timeout() {
        return TryError::Transient(Reason::Timeout);
    }
    // What is wrong with a chunk or a head comes as invalid input or data; so does what went wrong
    // under TLS, which says nothing about the origin.
    let is_invalid = |io: &std::io::Error| {
        let is_tls = io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        !is_tls && matches!(io.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData)
    };
    let parsed = error.causes().filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    if error.io().any(is_invalid) || parsed.into_iter().any(hyper::Error::is_parse) {
        return TryError::Final(Reason::BadResponse);
    }
    TryError::Transient(reason)
}

/// The causes' words, without the URL that the outermost one names.
fn text_of(error: &client::Error) -> String {
    error.causes().map(|cause| cause.to_string().to_lowercase()).collect::<Vec<_>>().join(": ")
}
