//! What the head of an HTTP answer means for the image.

use super::{TryError, client::Response, consent::opt_out, head::NO_LENGTH};
use crate::{
    chunk::{Detail, Reason},
    settings::DownloadSettings,
};
use hyper::{
    StatusCode,
    body::Body as _,
    header::{self, HeaderValue},
};
use percent_encoding::{AsciiSet, percent_encode};
use std::time::{Duration, SystemTime};
use url::Url;

/// What about a body only its bytes can tell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doubts {
    /// What it is refused for unless it begins as a picture: the head says that it is compressed, or the
    /// endless stream of a camera.
    pub unless_picture: Option<Reason>,
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
            Err(TryError::Final(Reason::BadRedirect.into()))
        }
        Some(next) => Ok(Some(next)),
        None => Err(TryError::Final(Reason::BadRedirect.into())),
    }
}

/// Where a `Location` leads, as browsers read it: bytes that are not ASCII stay what they are, be they
/// UTF-8 or Latin-1 (<https://github.com/whatwg/fetch/issues/883>), and blanks are escaped by the
/// parser of URLs, which drops tabs and line ends. One without anything leads nowhere.
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
    let range = check_status(response)?;
    if settings.respect_opt_out
        && let Some(header) = opt_out(response.headers(), &settings.user_agent)
    {
        return Err(TryError::Final(Reason::OptOut.because(header)));
    }
    if response.body().size_hint().exact().is_some_and(|length| length > max_bytes) {
        return Err(TryError::Final(Reason::TooLarge.because(Detail::Bytes)));
    }
    let is_coded = codings(response).next().is_some();
    let has_no_length = response.headers().contains_key(NO_LENGTH);
    let unless_picture = match (is_coded, is_stream(response)) {
        (true, _) => Some(Reason::EncodingRefused),
        (false, true) => Some(Reason::NotImage),
        (false, false) => None,
    };
    Ok(Doubts { unless_picture, may_be_part: range == Range::Unsaid, has_no_length })
}

/// Refuses by the status: what answer has no body that was asked for.
pub(super) fn check_status(response: &Response) -> Result<Range, TryError> {
    let status = response.status();
    if let Some(range) = success(response) {
        return Ok(range);
    }
    let reason = match status.as_u16() {
        429 => Reason::RateLimited,
        other => Reason::Http(other),
    };
    Err(match (is_transient(status), retry_after(response)) {
        (false, _) => TryError::Final(reason.into()),
        (true, None) if reason != Reason::RateLimited => TryError::Transient(reason.into()),
        (true, asked) => TryError::Throttled(reason.into(), asked),
    })
}

/// Whether the body has one picture after another, each with a head of its own, and perhaps no end.
fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = kind.and_then(|kind| kind.split(|byte| *byte == b';').next()).unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"multipart/x-mixed-replace")
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
pub(super) enum Range {
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
        // It should have no body, and curl takes one that is there.
        205 if response.body().size_hint().lower() > 0 => Some(Range::Whole),
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

/// How a body is compressed, by the names that are known.
pub(super) fn codings(response: &Response) -> impl Iterator<Item = &[u8]> {
    let lines = response.headers().get_all(header::CONTENT_ENCODING).into_iter();
    let names = lines.flat_map(|value| value.as_bytes().split(|c| *c == b','));
    names.map(<[u8]>::trim_ascii).filter(|name| is_coding(name))
}

pub(super) fn is_gzip(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip")
}

/// Codings that exist, and that a body may really have. Servers also say `none`, `utf-8`, `binary`, a
/// media type: that means nothing.
fn is_coding(name: &[u8]) -> bool {
    let known = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"];
    known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Retry-After as seconds or a date (RFC 9110, section 10.2.3,
/// <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>); nonsense counts as absent.
fn retry_after(response: &Response) -> Option<Duration> {
    wait_of(response.headers().get(header::RETRY_AFTER)?)
}

fn wait_of(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        // More digits than a number holds is a very long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use httpdate::fmt_http_date;

    fn wait(text: &str) -> Option<Duration> {
        wait_of(&HeaderValue::from_bytes(text.as_bytes()).ok()?)
    }

    /// Cases 66-68: a number is so many seconds, however many digits it has; a date is until then, and what
    /// is past is now; everything else says nothing.
    #[test]
    fn waits_are_seconds_or_dates() {
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..2_000 {
            let n = rng.u64(..) >> rng.u32(..64);
            let zeros = "0".repeat(rng.usize(..3));
            let blanks = " ".repeat(rng.usize(..3));
            assert_eq!(wait(&format!("{blanks}{zeros}{n}{blanks}")), Some(Duration::from_secs(n)));
            assert_eq!(wait(&format!("{}{n}", u64::MAX)), Some(Duration::from_secs(u64::MAX)));
            for nonsense in [format!("-{n}"), format!("+{n}"), format!("{n}.5"), format!("{n} s")] {
                assert_eq!(wait(&nonsense), None, "{nonsense}");
            }
            let away = Duration::from_secs(rng.u64(2..1_000_000_000));
            let until = wait(&fmt_http_date(SystemTime::now() + away)).unwrap();
            assert!(
                until <= away && until + Duration::from_secs(60) > away,
                "{until:?} of {away:?}"
            );
            let past = fmt_http_date(SystemTime::now() - away);
            assert_eq!(wait(&past), Some(Duration::ZERO), "{past}");
        }
        assert_eq!((wait(""), wait("soon"), wait("\u{fc}")), (None, None, None));
    }

    /// A fuzz target: whatever a header says, nothing panics, and where it leads is an absolute URL whose
    /// text has no byte that ends a line.
    #[test]
    fn fuzz_header_values() {
        let from = Url::parse("https://origin.example/a/b?c").unwrap();
        let seeds = [
            "120",
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "soon",
            "../x y?z#f",
            "//other.example/",
            "http:\\\\x\\y",
            "file:///etc/passwd",
            "\u{fc}/\u{5199}",
            "bytes 0-5690/5691",
            "bytes=0-0/*",
            "gzip, br",
            "noai, noimageai",
            "search=y, train-ai=n;p",
            "agent: none, noindex",
            "otherbot: noai, unavailable_after: 25 Jun 2010 15:00:00 PST",
        ]
        .map(|seed| seed.as_bytes().to_vec());
        fuzz::target::run("headers", &seeds, |bytes| {
            if let Some(next) = target(&from, bytes) {
                assert!(!next.cannot_be_a_base() || !next.has_host());
                assert!(!next.as_str().contains(char::is_control), "{next}");
            }
            parts(bytes);
            is_coding(bytes);
            let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
            wait_of(&value);
            let mut headers = header::HeaderMap::new();
            headers.append("x-robots-tag", value.clone());
            for name in ["tdm-reservation", "content-usage", "content-signal"] {
                headers.append(name, value.clone());
            }
            let said = opt_out(&headers, "agent/1.0");
            headers.append("x-robots-tag", HeaderValue::from_static("noai"));
            assert!(opt_out(&headers, "agent/1.0").is_some(), "hidden, after {said:?}");
        });
    }
}
