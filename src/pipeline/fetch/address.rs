//! Which addresses may be connected to (pure).

use crate::{
    chunk::{Detail, Reason, Rejection},
    settings::Settings,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::{Host, Url};

/// The longest URL that is fetched, in bytes.
const MAX_URL_BYTES: usize = 8192;
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
    pub(super) fn parse(&self, text: &str) -> Result<Url, Rejection> {
        // As browsers do, and what lists are read with may not.
        let text = text.trim_matches(|c: char| c <= ' ');
        if text.len() > MAX_URL_BYTES {
            return Err(refused(Detail::TooLong));
        }
        // The URL standard drops tabs and newlines, and takes a backslash for a slash before the query,
        // so that other parsers see another host or path.
        let before_query = text.split(['?', '#']).next().unwrap_or_default();
        if text.contains(|c: char| c.is_control()) || before_query.contains('\\') {
            return Err(refused(Detail::NotAUrl));
        }
        // Strict servers refuse one in the query, too, and read this like it.
        let url = Url::parse(&text.replace('\\', "%5C")).map_err(|error| match error {
            url::ParseError::InvalidPort => refused(Detail::Port),
            _ => refused(Detail::NotAUrl),
        })?;
        self.check(&url)?;
        // It also takes http:x and http:///x for http://x.
        let has_host = text.split_once("://").is_some_and(|(_, rest)| !rest.starts_with('/'));
        if has_host { Ok(url) } else { Err(refused(Detail::NotAUrl)) }
    }

    /// Checks one hop, its literal address included; names are checked by [`super::names::Names`].
    ///
    /// # Errors
    ///
    /// [`Reason::UrlRefused`] for what may not be connected to.
    pub(super) fn check(&self, url: &Url) -> Result<(), Rejection> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused(Detail::Scheme));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(Detail::UserInfo));
        }
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(refused(Detail::TooLong));
        }
        self.check_host(url).map_err(refused)
    }

    fn check_host(&self, url: &Url) -> Result<(), Detail> {
        let port = url.port_or_known_default().ok_or(Detail::Port)?;
        // On Url::host(), never on strings: decimal, hex and octal forms are addresses too.
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(name)) if is_local_name(name) => return Err(Detail::Address),
            Some(Host::Domain(_)) => None,
            None => return Err(Detail::NotAUrl),
        };
        if ip.is_some_and(|ip| self.allowed.contains(&SocketAddr::new(ip, port))) {
            return Ok(());
        }
        let host = url.host_str().map(|host| host.trim_end_matches('.'));
        let is_identity = self.identity.is_some() && self.identity.as_deref() == host;
        if is_identity || ip.is_some_and(is_forbidden) {
            return Err(Detail::Address);
        }
        if PORTS.contains(&port) { Ok(()) } else { Err(Detail::Port) }
    }
}

fn refused(detail: Detail) -> Rejection {
    Reason::UrlRefused.because(detail)
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
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, 0 | 0xdb8, ..] | [0x2001, 2, 0, ..] | [0x3fff, 0..=0xfff, ..] => true,
        // All that is given out.
        [0x2000..=0x3fff, ..] => false,
        [..] => true,
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

    /// The URLs of the table, each with the detail that it is refused with, or none.
    fn urls() -> Vec<(String, Option<Detail>)> {
        let detail = |outcome: &str| {
            let word = outcome.strip_prefix("refused ")?;
            Some(serde_json::from_str(&format!("\"{word}\"")).unwrap())
        };
        let rows = support::cases::rows("urls").into_iter();
        rows.map(|row| (row.input.replace("{port}", "8080"), detail(&row.outcome))).collect()
    }

    /// Cases 1-33, 40-46; I12: refused before any connection, each with its cause, or passed on.
    #[test]
    fn refused_urls_never_get_a_connection() {
        let urls = urls();
        assert!(urls.len() > 85, "the table is read");
        for (url, detail) in urls {
            let refused = guard().parse(&url).err();
            assert_eq!(refused, detail.map(refused_with), "{url:.60}");
        }
        for url in [
            "http://identity.example:8080/",
            "http://identity.example.:8080/",
            "http://identity.example/",
            "http://127.0.0.1:9998/",
        ] {
            assert_eq!(guard().parse(url).err(), Some(refused_with(Detail::Address)), "{url}");
        }
    }

    fn refused_with(detail: Detail) -> Rejection {
        Rejection { reason: Reason::UrlRefused, detail: Some(detail) }
    }

    /// Cases 43, 181, 182: what is asked for is what browsers ask for. The exemption of the allowed origins.
    #[test]
    fn urls_are_read_as_browsers_read_them() {
        for (url, asked) in [
            ("http://127.0.0.1:9999/img", "http://127.0.0.1:9999/img"),
            ("http://example.com/a%0d%0ab", "http://example.com/a%0d%0ab"),
            ("https://example.com:8443/?sig=1", "https://example.com:8443/?sig=1"),
            (" HTTP://Example.COM:80/a b.jpg\r\n", "http://example.com/a%20b.jpg"),
            ("http://example.com/a?p=C:\\b\\c", "http://example.com/a?p=C:%5Cb%5Cc"),
            ("http://example.com/./a/../b//c", "http://example.com/b//c"),
            ("http://example.com/\u{dc}?\u{dc}#x", "http://example.com/%C3%9C?%C3%9C#x"),
            ("http://b\u{fc}cher.example/100%", "http://xn--bcher-kva.example/100%"),
        ] {
            assert_eq!(guard().parse(url).map(|u| u.to_string()).as_deref(), Ok(asked), "{url}");
        }
        let of_length = |n: usize| format!("http://example.com/?q={}", "a".repeat(n - 22));
        assert!(guard().parse(&of_length(MAX_URL_BYTES)).is_ok());
        // A character of three bytes is nine when it is encoded.
        let too_long =
            [of_length(MAX_URL_BYTES + 1), format!("http://a.example/{}", "\u{5199}".repeat(1000))];
        for url in too_long {
            assert_eq!(guard().parse(&url).err(), Some(refused_with(Detail::TooLong)));
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
