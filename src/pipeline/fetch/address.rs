//! Which addresses may be connected to (pure).

use crate::{chunk::Reason, settings::Settings};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::{Host, Url};

/// The longest URL that is fetched, in bytes.
const MAX_URL_BYTES: usize = 2048;
/// Ports of web servers; everything else is somebody's internal service.
const PORTS: [u16; 4] = [80, 443, 8080, 8443];

/// Decides before each hop whether its URL may be asked for.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    allowed: Vec<SocketAddr>,
    /// Host of the managed identity's endpoint.
    identity: Option<String>,
}

impl Guard {
    /// The guard of this process.
    pub(super) fn new(settings: &Settings) -> Self {
        let own_port = settings.host.port;
        let identity = settings.host.identity_endpoint.as_deref();
        Self {
            allowed: settings
                .download
                .allowed_origins
                .iter()
                .filter(|origin| Some(origin.port()) != own_port)
                .copied()
                .collect(),
            identity: identity
                .and_then(|text| Url::parse(text).ok())
                .and_then(|url| url.host_str().map(|host| host.trim_end_matches('.').to_owned())),
        }
    }

    /// Parses the text of a source.
    ///
    /// # Errors
    ///
    /// [`Reason::UrlRefused`] for what is no URL or may not be connected to.
    pub(super) fn parse(&self, text: &str) -> Result<Url, Reason> {
        // The URL standard drops tabs and newlines and takes backslashes for slashes, so that
        // other parsers see another host.
        let is_odd = text.chars().any(|c| c.is_control() || c == '\\');
        // It also takes http:x and http:///x for http://x.
        let has_host = text.split_once("://").is_some_and(|(_, rest)| !rest.starts_with('/'));
        if text.len() > MAX_URL_BYTES || is_odd || !has_host {
            return Err(Reason::UrlRefused);
        }
        let url = Url::parse(text).map_err(|_| Reason::UrlRefused)?;
        self.check(&url)?;
        Ok(url)
    }

    /// Checks one hop, its literal address included; names are checked by [`super::names::Names`].
    ///
    /// # Errors
    ///
    /// [`Reason::UrlRefused`] for what may not be connected to.
    pub(super) fn check(&self, url: &Url) -> Result<(), Reason> {
        let allowed = url.as_str().len() <= MAX_URL_BYTES
            && matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && self.allows_host(url);
        if allowed { Ok(()) } else { Err(Reason::UrlRefused) }
    }

    fn allows_host(&self, url: &Url) -> bool {
        let Some(port) = url.port_or_known_default() else { return false };
        // On Url::host(), never on strings: decimal, hex and octal forms are addresses too.
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(name)) if is_local_name(name) => return false,
            Some(Host::Domain(_)) => None,
            None => return false,
        };
        if ip.is_some_and(|ip| self.allowed.contains(&SocketAddr::new(ip, port))) {
            return true;
        }
        let host = url.host_str().map(|host| host.trim_end_matches('.'));
        let is_identity = self.identity.is_some() && self.identity.as_deref() == host;
        !is_identity && PORTS.contains(&port) && !ip.is_some_and(is_forbidden)
    }
}

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// True for addresses that are not on the public internet, and for Azure's wire server.
///
/// The ranges are those of IANA's special-purpose registries that are not globally reachable:
/// <https://www.iana.org/assignments/iana-ipv4-special-registry> and
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>, with multicast, the old site-local
/// addresses, and the tunnels that carry an IPv4 address.
fn is_forbidden(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_forbidden_v4(ip),
        IpAddr::V6(ip) => is_forbidden_v6(ip),
    }
}

fn is_forbidden_v4(ip: Ipv4Addr) -> bool {
    match ip.octets() {
        [0 | 10 | 127 | 224..=255, ..]
        | [100, 64..=127, ..]
        | [169, 254, ..]
        | [172, 16..=31, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [192, 168, ..]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        // Azure's wire server, a public address that only the virtual machine can reach:
        // <https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>
        | [168, 63, 129, 16] => true,
        [..] => false,
    }
}

fn is_forbidden_v6(ip: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_forbidden_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // Unspecified, loopback, and the old IPv4-compatible form.
        [0, 0, 0, 0, 0, 0, _, _] => true,
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, ..]
        | [0x100, 0, 0, 0, ..]
        | [0x2001, 0, ..]
        | [0x2001, 0xdb8, ..]
        | [0xfc00..=0xfdff, ..]
        | [0xfe80..=0xfeff, ..]
        | [0xff00..=0xffff, ..] => true,
        [..] => false,
    }
}

/// Whether a name with these addresses may be connected to: one forbidden address refuses it, whatever
/// the others are.
pub(super) fn allows_answer(found: &[IpAddr]) -> bool {
    !found.iter().any(|ip| is_forbidden(*ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard {
            allowed: vec!["127.0.0.1:9999".parse().unwrap()],
            identity: Some("identity.example".into()),
        }
    }

    /// The URLs of the table with this outcome.
    fn urls(outcome: &str) -> Vec<String> {
        let rows = support::cases::rows("urls").into_iter().filter(|row| row.outcome == outcome);
        rows.map(|row| row.input.replace("{port}", "8080")).collect()
    }

    /// Cases 1-33, 40-42, 44-46; I12.
    #[test]
    fn refused_urls_never_get_a_connection() {
        let of_table = urls("refused");
        assert!(of_table.len() > 80, "the table is read");
        let of_this_guard = [
            "http://identity.example:8080/",
            "http://identity.example.:8080/",
            "http://identity.example/",
            "http://127.0.0.1:9998/",
        ];
        for url in of_table.iter().map(String::as_str).chain(of_this_guard) {
            assert_eq!(guard().parse(url), Err(Reason::UrlRefused), "{url:.60}");
        }
    }

    /// Cases 43, 46; the exemption of the allowed origins.
    #[test]
    fn public_urls_pass_as_they_are() {
        let of_table = urls("allowed");
        assert!(of_table.len() > 4, "the table is read");
        for url in of_table.iter().map(String::as_str).chain(["http://127.0.0.1:9999/img"]) {
            assert_eq!(guard().parse(url).map(|u| u.to_string()).as_deref(), Ok(url));
        }
    }

    /// Cases 34-36.
    #[test]
    fn one_forbidden_address_refuses_the_name() {
        let answer = |texts: &[&str]| {
            allows_answer(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
        };
        assert!(answer(&["93.184.216.34"]));
        assert!(!answer(&["127.0.0.1"]));
        assert!(!answer(&["93.184.216.34", "10.0.0.1"]));
        assert!(!answer(&["93.184.216.34", "fd00::1"]));
    }

    /// Case 31: every range of the list, at its first and last address.
    #[test]
    fn every_range_of_the_list_is_forbidden_to_its_edges() {
        for text in [
            "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255",
            "127.0.0.0 127.255.255.255 169.254.0.0 169.254.255.255 168.63.129.16",
            "172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.255 192.0.2.0 192.0.2.255",
            "192.88.99.0 192.88.99.255 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255",
            "198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 224.0.0.0 255.255.255.255",
            ":: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::1 64:ff9b:1::1 100::1 2001::1",
            "2001:db8::1 2002:a00:1:: fc00:: fdff:ffff:: fe80:: febf:: fec0:: feff:: ff00::",
        ]
        .into_iter()
        .flat_map(str::split_whitespace)
        {
            assert!(is_forbidden(text.parse().unwrap()), "{text}");
        }
        for text in "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 168.63.129.15 \
            172.15.255.255 172.32.0.0 192.0.1.0 198.17.255.255 198.20.0.0 223.255.255.255 \
            ::ffff:8.8.8.8 2002:808:808:: 2001:4860:: 2606:4700::"
            .split_whitespace()
        {
            assert!(!is_forbidden(text.parse().unwrap()), "{text}");
        }
    }
}
