//! What an HTTP answer, or its absence, means for the image.

use super::{TryError, is_transient, name_servers::LookupError};
use crate::{chunk::Reason, settings::DownloadSettings};
use reqwest::{Response, StatusCode, header};
use std::{
    error::Error,
    io::ErrorKind,
    time::{Duration, SystemTime},
};
use url::Url;

/// The next hop of a redirect; none for other answers.
pub(super) fn redirect(from: &Url, response: &Response) -> Result<Option<Url>, TryError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
    let next = location.and_then(|text| from.join(text).ok());
    match next {
        Some(next) if from.scheme() == "https" && next.scheme() == "http" => {
            Err(TryError::Final(Reason::BadRedirect))
        }
        Some(next) => Ok(Some(next)),
        None => Err(TryError::Final(Reason::BadRedirect)),
    }
}

/// Refuses by status and headers, before any byte of the body is read.
pub(super) fn check_head(
    response: &Response,
    settings: &DownloadSettings,
    max_bytes: u64,
) -> Result<(), TryError> {
    let status = response.status();
    if status != StatusCode::OK {
        let reason = match status.as_u16() {
            429 => Reason::RateLimited,
            other => Reason::Http(other),
        };
        return Err(match (is_transient(status), retry_after(response)) {
            (false, _) => TryError::Final(reason),
            (true, None) if reason != Reason::RateLimited => TryError::Transient(reason),
            (true, asked) => TryError::Throttled(reason, asked),
        });
    }
    if settings.respect_opt_out && opts_out(response) {
        return Err(TryError::Final(Reason::OptOut));
    }
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(TryError::Final(Reason::EncodingRefused));
    }
    if response.content_length().is_some_and(|length| length > max_bytes) {
        return Err(TryError::Final(Reason::TooLarge));
    }
    Ok(())
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
pub(super) fn classify_request(error: &reqwest::Error) -> (TryError, bool) {
    if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<LookupError>()) {
        return ((*error).into(), false);
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
        let reason = if error.is_timeout() { Reason::Timeout } else { Reason::ConnectFailed };
        return (TryError::Transient(reason), true);
    }
    (interrupted(error, Reason::ConnectFailed), false)
}

impl From<LookupError> for TryError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Refused => Self::Final(Reason::UrlRefused),
            LookupError::NotFound => Self::Final(Reason::NameNotResolved),
            LookupError::ServerFailed | LookupError::Timeout => {
                Self::Transient(Reason::NameNotResolved)
            }
            LookupError::Away => Self::NamesAway,
            LookupError::Own(code) => Self::Spool(std::io::Error::from_raw_os_error(code)),
        }
    }
}

/// What this process ran out of, if that is why the request failed: descriptors or memory of the
/// kernel. It says nothing about the origin.
fn own_limit(error: &reqwest::Error) -> Option<std::io::Error> {
    let codes = causes(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let code = codes.filter_map(std::io::Error::raw_os_error).find(|code| is_own_limit(*code));
    code.map(std::io::Error::from_raw_os_error)
}

/// Whether a code of the operating system says that this process or its machine ran out of something.
pub(super) fn is_own_limit(code: i32) -> bool {
    use nix::errno::Errno;
    let limits = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    limits.contains(&Errno::from_raw(code))
}

/// Sorts a failure inside a body.
pub(super) fn classify_body(error: &reqwest::Error) -> TryError {
    let ends_early = text_of(error).contains("end of file")
        || text_of(error).contains("before message length")
        || text_of(error).contains("connection closed before message completed");
    let reason = if ends_early { Reason::BodyTruncated } else { Reason::ConnectFailed };
    interrupted(error, reason)
}

/// A connection that ended may serve another try; an answer against the rules of HTTP will not.
fn interrupted(error: &reqwest::Error, reason: Reason) -> TryError {
    if error.is_timeout() {
        return TryError::Transient(Reason::Timeout);
    }
    let ended = causes(error).any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| {
            matches!(
                io.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::UnexpectedEof
            )
        })
    });
    // The HTTP library's own error type is private to it; its words are all there is.
    let text = text_of(error);
    let broken = ["invalid", "parse", "too large", "protocol error"];
    if !ended && broken.iter().any(|word| text.contains(word)) {
        return TryError::Final(Reason::BadResponse);
    }
    TryError::Transient(reason)
}

fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

/// The causes' words, without the URL that the outermost one names.
fn text_of(error: &reqwest::Error) -> String {
    causes(error).map(|cause| cause.to_string().to_lowercase()).collect::<Vec<_>>().join(": ")
}
