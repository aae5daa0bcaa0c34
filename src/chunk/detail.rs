//! What more is known of a reason: one word of a closed list.

use super::Reason;
use imagecheck::Refusal;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is behind a reason, where something is known. The words are those of manifests; which
/// reason has which stands in `doc/formats.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// No URL with a scheme and a host.
    NotAUrl,
    /// Another scheme than http and https.
    Scheme,
    /// A user name or a password.
    UserInfo,
    /// A port that is none of a web server.
    Port,
    /// A host that is, or resolves to, an address that may not be connected to.
    Address,
    /// More bytes than a URL may have.
    TooLong,

    /// The name is not there, or has no address.
    NotFound,
    /// The name servers answered that they cannot tell.
    ServerFailed,

    /// Nobody listens at the port.
    Refused,
    /// The connection was reset or broke.
    Reset,
    /// The network did not answer in time: the kernel's limit, or that of the name servers.
    Timeout,
    /// No way leads to the address.
    NoRoute,
    /// The origin closed the connection before it had answered.
    Closed,

    /// The limit of connecting, the handshake included.
    Connect,
    /// The limit from the request to the first byte.
    FirstByte,
    /// The limit of the image with its redirects.
    Total,
    /// Fewer bytes a second than the minimum rate.
    Rate,

    /// The certificate is no longer valid.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// No authority that is trusted here issued the certificate; it may be self-signed, or an
    /// intermediate certificate is not sent.
    UnknownIssuer,
    /// The certificate is for other names.
    NameMismatch,
    /// The certificate was revoked.
    Revoked,
    /// The certificate is refused for something else, its signature or its purpose.
    BadCertificate,
    /// The host's name cannot stand in a handshake.
    BadName,
    /// What came is not TLS.
    NotTls,
    /// No protocol version or cipher that both sides speak.
    Incompatible,
    /// The origin ended the handshake with an alert.
    Alert,
    /// The handshake failed otherwise.
    Handshake,

    /// Fewer bytes than `Content-Length` says.
    Length,
    /// The last chunk did not come.
    Chunks,
    /// The connection that ends the body was not closed as its protocol wants.
    Close,

    /// The header `X-Robots-Tag`.
    XRobotsTag,
    /// The header `tdm-reservation`.
    TdmReservation,
}

/// Why a URL has no sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// The word that is counted.
    pub reason: Reason,
    /// What more is known.
    pub detail: Option<Detail>,
}

impl Reason {
    /// The reason with what is behind it.
    pub(crate) fn because(self, detail: Detail) -> Rejection {
        Rejection { reason: self, detail: Some(detail) }
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let (reason, detail) = match refusal {
            Refusal::Empty => (Reason::Empty, None),
            Refusal::TooLarge => (Reason::TooLarge, None),
            Refusal::NotImage => (Reason::NotImage, None),
            Refusal::UnsupportedFormat => (Reason::UnsupportedFormat, None),
            Refusal::Truncated => (Reason::Truncated, None),
            Refusal::Corrupt => (Reason::Corrupt, None),
        };
        Self { reason, detail }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail {
            Some(detail) => write!(f, "{} ({detail:?})", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The table of `doc/formats.md` has each detail, and no other word.
    #[test]
    fn every_detail_has_its_word_and_its_place_in_the_papers() {
        let mut words = BTreeSet::new();
        for (reason, details) in support::verdict::details() {
            assert!(reason.parse::<Reason>().is_ok(), "{reason} is no reason");
            for word in details {
                let text = format!("\"{word}\"");
                let detail: Detail = serde_json::from_str(&text).unwrap();
                assert_eq!(serde_json::to_string(&detail).unwrap(), text);
                words.insert(word);
            }
        }
        assert!(serde_json::from_str::<Detail>("\"gremlins\"").is_err());
        let variants = include_str!("detail.rs").split("pub enum Detail {").nth(1).unwrap();
        let variants = variants.split("\n}").next().unwrap().lines();
        let n = variants.filter(|line| line.trim_end().ends_with(',')).count();
        assert_eq!(n, words.len(), "each variant stands in the table: {words:?}");
    }
}
