//! What more is known of a reason: one word of a closed list.

use super::Reason;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is behind a reason, where something is known. The words are those of manifests; which
/// reason has which stands in `doc/formats.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// `not_a_url`: no URL with a scheme and a host.
    NotAUrl,
    /// `scheme`: another scheme than http and https.
    Scheme,
    /// `user_info`: a user name or a password.
    UserInfo,
    /// `port`: a port that is none of a web server.
    Port,
    /// `address`: a host that is, or resolves to, an address that may not be connected to.
    Address,
    /// `too_long`: more bytes than a URL may have.
    TooLong,
    /// `item_too_large`: the URL with its label and meta is above [`super::ITEM_LIMIT`].
    ItemTooLarge,

    /// `not_found`: the name is not there, or has no address.
    NotFound,
    /// `server_failed`: the name servers answered that they cannot tell.
    ServerFailed,

    /// `refused`: nobody listens at the port.
    Refused,
    /// `reset`: the connection was reset or broke.
    Reset,
    /// `timeout`: the network did not answer in time; the kernel's limit, or that of name servers.
    Timeout,
    /// `no_route`: no way leads to the address.
    NoRoute,
    /// `closed`: the origin closed the connection before it had answered.
    Closed,

    /// `connect`: the limit of connecting, the handshake included.
    Connect,
    /// `first_byte`: the limit from the request to the first byte.
    FirstByte,
    /// `total`: the limit of the image with its redirects.
    Total,
    /// `rate`: fewer bytes a second than the minimum rate.
    Rate,

    /// `expired`: the certificate is no longer valid.
    Expired,
    /// `not_yet_valid`: the certificate is not valid yet.
    NotYetValid,
    /// `unknown_issuer`: no authority that is trusted here issued the certificate; it may be
    /// self-signed, or an intermediate certificate is not sent.
    UnknownIssuer,
    /// `self_signed`: the server's own certificate is that of an authority, as `openssl req -x509`
    /// makes it.
    SelfSigned,
    /// `name_mismatch`: the certificate is for other names.
    NameMismatch,
    /// `revoked`: the certificate was revoked.
    Revoked,
    /// `bad_certificate`: the certificate is refused for something else, its signature or purpose.
    BadCertificate,
    /// `bad_name`: the host's name cannot stand in a handshake.
    BadName,
    /// `not_tls`: what came is not TLS.
    NotTls,
    /// `incompatible`: no protocol version or cipher that both sides speak.
    Incompatible,
    /// `alert`: the origin ended the handshake with an alert.
    Alert,
    /// `handshake`: the handshake failed otherwise.
    Handshake,

    /// `length`: fewer bytes than `Content-Length` says.
    Length,
    /// `chunks`: the last chunk did not come.
    Chunks,
    /// `close`: the connection that ends the body was not closed as its protocol wants.
    Close,

    /// `bytes`: more, or fewer, bytes than allowed.
    Bytes,
    /// `pixels`: more, or fewer, pixels than allowed, a side or in all.
    Pixels,
    /// `cost`: to check the image would take too much memory or time.
    Cost,
    /// `decode_budget`: at level slow, the decode would take too much memory or time.
    DecodeBudget,

    /// `format`: a picture of a format that is not listed.
    Format,
    /// `variant`: a variant of a listed format that loaders do not read, or that cannot be proven.
    Variant,
    /// `metadata`: what an image carries beside its pixels stops loaders.
    Metadata,

    /// `container`: what holds the picture together ends early, or contradicts itself.
    Container,
    /// `codes`: the picture in its container cannot be decoded.
    Codes,

    /// `x_robots_tag`: the header `X-Robots-Tag`.
    XRobotsTag,
    /// `tdm_reservation`: the header `tdm-reservation`.
    TdmReservation,
    /// `content_usage`: the header `Content-Usage`.
    ContentUsage,
    /// `content_signal`: the header `Content-Signal`.
    ContentSignal,

    /// `disallowed`: a rule of the robots.txt forbids the URL.
    Disallowed,
    /// `unreachable`: the origin does not give its robots.txt, which forbids all of its URLs.
    Unreachable,

    /// `not_wanted`: a format that the message does not name.
    NotWanted,
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
