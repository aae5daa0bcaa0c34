//! What the head of an HTTP answer means for the image.

use super::{TryError, consent::opt_out, is_transient};
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
    if settings.respect_opt_out
        && let Some(header) = opt_out(response.headers(), &settings.user_agent)
    {
        return Err(TryError::Final(Reason::OptOut.because(header)));
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
