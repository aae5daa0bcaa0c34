//! What the head of an HTTP answer means for the image.

use super::{TryError, is_transient};
use crate::{chunk::Reason, settings::DownloadSettings};
use reqwest::{Response, StatusCode, header};
use std::time::{Duration, SystemTime};
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
            Err(TryError::Final(Reason::BadRedirect.into()))
        }
        Some(next) => Ok(Some(next)),
        None => Err(TryError::Final(Reason::BadRedirect.into())),
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
            (false, _) => TryError::Final(reason.into()),
            (true, None) if reason != Reason::RateLimited => TryError::Transient(reason.into()),
            (true, asked) => TryError::Throttled(reason.into(), asked),
        });
    }
    if settings.respect_opt_out && opts_out(response) {
        return Err(TryError::Final(Reason::OptOut.into()));
    }
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(TryError::Final(Reason::EncodingRefused.into()));
    }
    if response.content_length().is_some_and(|length| length > max_bytes) {
        return Err(TryError::Final(Reason::TooLarge.into()));
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
