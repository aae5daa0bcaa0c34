//! What the absence of an answer, or of its end, means for the image: by the types of what failed.

use super::{TryError, address::AddressRefused};
use crate::chunk::{Detail, Reason, Rejection};
use nix::errno::Errno;
use reqwest::{Response, header};
use rustls::{CertificateError, InvalidMessage, pki_types::InvalidDnsNameError};
use std::{
    error::Error,
    io::{self, ErrorKind},
};

/// A name could not be looked up.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be looked up")]
pub(super) struct NotResolved {
    /// What the resolver can tell.
    pub detail: Option<Detail>,
    pub source: Box<dyn Error + Send + Sync>,
}

/// Sorts the failure of a request that got no answer; true when no connection ever stood.
pub(super) fn classify_request(error: &reqwest::Error) -> (TryError, bool) {
    if find::<AddressRefused>(error).is_some() {
        return (TryError::Final(Reason::UrlRefused.because(Detail::Address)), false);
    }
    if let Some(limit) = own_limit(error) {
        return (TryError::Spool(limit), false);
    }
    if error.is_builder() {
        return (TryError::Final(Reason::UrlRefused.because(Detail::NotAUrl)), false);
    }
    if !error.is_connect() {
        return (interrupted(error, Detail::Closed), false);
    }
    // Asked for before anything else: nothing was connected to.
    if find::<InvalidDnsNameError>(error).is_some() {
        return (TryError::Final(Reason::Tls.because(Detail::BadName)), false);
    }
    match tls(error) {
        Some(detail) => (TryError::Final(Reason::Tls.because(detail)), false),
        None => (TryError::Transient(not_connected(error)), true),
    }
}

/// Why there is no connection, when TLS is not the reason.
fn not_connected(error: &reqwest::Error) -> Rejection {
    if let Some(NotResolved { detail, .. }) = find(error) {
        return Rejection { reason: Reason::NameNotResolved, detail: *detail };
    }
    if error.is_dns() {
        return Reason::NameNotResolved.into();
    }
    broken(error).unwrap_or(Reason::ConnectFailed.into())
}

/// What this process ran out of, if that is why the request failed: descriptors or memory of the
/// kernel. It says nothing about the origin. A resolver without a descriptor has words of its own, so
/// one is tried for.
fn own_limit(error: &reqwest::Error) -> Option<io::Error> {
    let limits = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    let is_limit = |code: i32| limits.contains(&Errno::from_raw(code));
    let tried = || std::fs::File::open("/dev/null").err()?.raw_os_error();
    let code = io_errors(error).filter_map(io::Error::raw_os_error).find(|code| is_limit(*code));
    let code = code.or_else(|| error.is_connect().then(tried).flatten().filter(|c| is_limit(*c)));
    code.map(io::Error::from_raw_os_error)
}

/// How the end of a body is known (RFC 9112, section 6.3,
/// <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>).
pub(super) fn framing(response: &Response) -> Detail {
    match response.content_length() {
        Some(_) => Detail::Length,
        None if response.headers().contains_key(header::TRANSFER_ENCODING) => Detail::Chunks,
        None => Detail::Close,
    }
}

/// Sorts a failure inside a body whose end is known by its `framing`.
pub(super) fn classify_body(error: &reqwest::Error, framing: Detail) -> TryError {
    interrupted(error, framing)
}

/// A connection that ended may serve another try; an answer against the rules of HTTP will not. Of
/// one that ended in an orderly way, `at_end` says what was missing.
fn interrupted(error: &reqwest::Error, at_end: Detail) -> TryError {
    let of_http = find::<hyper::Error>(error);
    let ended = of_http.is_some_and(hyper::Error::is_incomplete_message)
        || io_errors(error).any(|io| io.kind() == ErrorKind::UnexpectedEof);
    if ended {
        let reason = match at_end {
            Detail::Closed => Reason::ConnectFailed,
            _ => Reason::BodyTruncated,
        };
        return TryError::Transient(reason.because(at_end));
    }
    if let Some(rejection) = broken(error) {
        return TryError::Transient(rejection);
    }
    if let Some(detail) = tls(error) {
        return TryError::Transient(Reason::Tls.because(detail));
    }
    // The reader of chunks has no error type of its own, only these kinds.
    let is_nonsense =
        |io: &io::Error| matches!(io.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData);
    if of_http.is_some_and(hyper::Error::is_parse) || io_errors(error).any(is_nonsense) {
        return TryError::Final(Reason::BadResponse.into());
    }
    TryError::Transient(Reason::ConnectFailed.into())
}

/// What the kernel, or our own clock, says of a connection that broke or never was.
fn broken(error: &reqwest::Error) -> Option<Rejection> {
    let of_kernel = io_errors(error).find_map(|io| match io.kind() {
        ErrorKind::ConnectionRefused => Some(Detail::Refused),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            Some(Detail::Reset)
        }
        ErrorKind::TimedOut if io.raw_os_error().is_some() => Some(Detail::Timeout),
        // The last two: no address of ours leads there, or a firewall forbids it.
        ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::NotConnected
        | ErrorKind::AddrNotAvailable
        | ErrorKind::PermissionDenied => Some(Detail::NoRoute),
        _ => None,
    });
    match of_kernel {
        Some(detail) => Some(Reason::ConnectFailed.because(detail)),
        None => error.is_timeout().then(|| Reason::Timeout.because(Detail::Connect)),
    }
}

/// Why a handshake failed; none: it did not.
fn tls(error: &reqwest::Error) -> Option<Detail> {
    use rustls::Error as Tls;
    if let Some(error) = find::<Tls>(error) {
        return Some(match error {
            Tls::InvalidCertificate(error) => certificate(error),
            Tls::AlertReceived(_) => Detail::Alert,
            Tls::PeerIncompatible(_) => Detail::Incompatible,
            Tls::InvalidMessage(InvalidMessage::InvalidContentType) => Detail::NotTls,
            _ => Detail::Handshake,
        });
    }
    let ended = io_errors(error).any(|io| io.kind() == ErrorKind::UnexpectedEof);
    (error.is_connect() && ended).then_some(Detail::Handshake)
}

fn certificate(error: &CertificateError) -> Detail {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Detail::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Detail::NotYetValid
        }
        CertificateError::UnknownIssuer => Detail::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Detail::NameMismatch
        }
        CertificateError::Revoked => Detail::Revoked,
        _ => Detail::BadCertificate,
    }
}

/// The first cause of a type.
fn find<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn io_errors(error: &reqwest::Error) -> impl Iterator<Item = &io::Error> {
    causes(error).filter_map(|cause| cause.downcast_ref())
}

/// The causes, those that an IO error wraps too: its `source` is theirs, and skips them.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| {
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|inner| -> &(dyn Error + 'static) { inner }).or_else(move || cause.source())
    })
}
