//! What the absence of an answer, or of its end, means for the image: by the types of what failed.

use super::{client::Response, name_servers::LookupError};
use crate::{
    chunk::{Detail, Reason, Rejection},
    pipeline::refused::Refused,
};
use hyper::{body::Body as _, header};
use nix::errno::Errno;
use rustls::{CertificateError, InvalidMessage, OtherError};
use std::{
    error::Error,
    io::{self, ErrorKind},
    time::Duration,
};

/// How one try failed.
#[derive(Debug)]
pub(super) enum TryError {
    /// No further try helps.
    Final(Rejection),
    /// The header, or all of the bytes, say that the image is not wanted.
    Unwanted(Refused),
    /// Another try may help.
    Transient(Rejection),
    /// Another try may help, and would come too late for the chunk.
    Cut(Rejection),
    /// The origin asks for a wait, of its own choice or ours.
    Throttled(Rejection, Option<Duration>),
    /// No name server answers anything, which is not the image's fault.
    NamesAway,
    Spool(io::Error),
}

/// What a client says of a failure; the causes below it are looked at.
type Failure = dyn Error + 'static;

/// Sorts the failure of a request that got no answer, of `is_connect` when no connection came to be;
/// true when that is the origin's or its network's fault.
pub(super) fn classify_request(error: &Failure, is_connect: bool) -> (TryError, bool) {
    if let Some(limit) = own_limit(error) {
        return (TryError::Spool(limit), false);
    }
    if !is_connect {
        return (classify_interrupted(error, Detail::Closed), false);
    }
    let ended = io_errors(error).any(|io| io.kind() == ErrorKind::UnexpectedEof);
    match tls(error).or(ended.then_some(Detail::Handshake)) {
        Some(detail) => (TryError::Final(Reason::Tls.because(detail)), false),
        None => {
            let why = broken(error).unwrap_or(Reason::ConnectFailed.into());
            (TryError::Transient(why), true)
        }
    }
}

impl From<LookupError> for TryError {
    fn from(error: LookupError) -> Self {
        let unresolved = |detail| Reason::NameNotResolved.because(detail);
        match error {
            LookupError::Refused => Self::Final(Reason::UrlRefused.because(Detail::Address)),
            LookupError::NotFound => Self::Final(unresolved(Detail::NotFound)),
            LookupError::ServerFailed => Self::Transient(unresolved(Detail::ServerFailed)),
            LookupError::Timeout => Self::Transient(unresolved(Detail::Timeout)),
            LookupError::Away => Self::NamesAway,
            LookupError::Own(code) => Self::Spool(io::Error::from_raw_os_error(code)),
        }
    }
}

/// What this process ran out of, if that is why the request failed: descriptors or memory of the
/// kernel. It says nothing about the origin.
fn own_limit(error: &Failure) -> Option<io::Error> {
    let codes = io_errors(error).filter_map(io::Error::raw_os_error);
    let mut limits = codes.filter(|code| is_own_limit(*code));
    limits.next().map(io::Error::from_raw_os_error)
}

/// Whether a code of the operating system says that this process or its machine ran out of something.
pub(super) fn is_own_limit(code: i32) -> bool {
    let limits = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    limits.contains(&Errno::from_raw(code))
}

/// How the end of a body is known (RFC 9112, section 6.3,
/// <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>).
pub(super) fn framing(response: &Response) -> Detail {
    match response.body().size_hint().exact() {
        Some(_) => Detail::Length,
        None if response.headers().contains_key(header::TRANSFER_ENCODING) => Detail::Chunks,
        None => Detail::Close,
    }
}

/// Sorts the failure of a connection that stood: one that ended may serve another try; an answer
/// against the rules of HTTP will not. Of one that ended in an orderly way, `at_end` says what was
/// missing: the answer, or the end of a body of this [`framing`].
pub(super) fn classify_interrupted(error: &Failure, at_end: Detail) -> TryError {
    if let Some(limit) = own_limit(error) {
        return TryError::Spool(limit);
    }
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
fn broken(error: &Failure) -> Option<Rejection> {
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
        None => {
            let timed_out = io_errors(error).any(|io| io.kind() == ErrorKind::TimedOut);
            timed_out.then(|| Reason::Timeout.because(Detail::Connect))
        }
    }
}

/// What TLS says of the failure, if it is one of its own.
fn tls(error: &Failure) -> Option<Detail> {
    use rustls::Error as Tls;
    Some(match find(error)? {
        Tls::InvalidCertificate(error) => certificate(error),
        Tls::AlertReceived(_) => Detail::Alert,
        Tls::PeerIncompatible(_) => Detail::Incompatible,
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => Detail::NotTls,
        _ => Detail::Handshake,
    })
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
        CertificateError::Other(OtherError(error))
            if matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
        {
            Detail::SelfSigned
        }
        _ => Detail::BadCertificate,
    }
}

/// The first cause of a type.
fn find<T: Error + 'static>(error: &Failure) -> Option<&T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn io_errors(error: &Failure) -> impl Iterator<Item = &io::Error> {
    causes(error).filter_map(|cause| cause.downcast_ref())
}

/// The failure and its causes, those that an IO error wraps too: its `source` is theirs, and skips
/// them.
fn causes(error: &Failure) -> impl Iterator<Item = &Failure> {
    std::iter::successors(Some(error), |&cause| {
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|inner| -> &Failure { inner }).or_else(|| cause.source())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 248: what this process or its machine ran out of is nobody's fault, whether a connection was
    /// still to come or a body was under way.
    #[test]
    fn a_shortage_of_our_own_says_nothing_about_an_image() {
        let limits = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
        for kind in limits.map(io::Error::from) {
            let code = kind.raw_os_error().unwrap();
            let of_kernel = || io::Error::from_raw_os_error(code);
            let wrapped = io::Error::other(of_kernel());
            for error in [of_kernel(), wrapped] {
                for is_connect in [true, false] {
                    let (failure, never_connected) = classify_request(&error, is_connect);
                    let is_own = matches!(&failure, TryError::Spool(own)
                        if own.raw_os_error() == Some(code));
                    assert!(is_own && !never_connected, "{code} {is_connect}");
                }
                let failure = classify_interrupted(&error, Detail::Length);
                assert!(matches!(failure, TryError::Spool(_)), "{code}");
            }
        }
        let reset = io::Error::from(Errno::ECONNRESET);
        assert!(matches!(classify_interrupted(&reset, Detail::Length), TryError::Transient(_)));
    }
}
