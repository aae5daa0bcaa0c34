//! Which addresses may be connected to (pure).

use crate::{
    chunk::{Detail, Reason, Rejection},
    settings::Settings,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::{Host, Position, Url};

/// The longest URL that is fetched, in bytes, without its fragment, which no server is sent.
const MAX_URL_BYTES: usize = 8192;
/// Ports of web servers; everything else is somebody's internal service.
const PORTS: [u16; 4] = [80, 443, 8080, 8443];

/// Decides before each hop whether its URL may be asked for.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    allowed: Vec<SocketAddr>,
    /// Hosts that the app itself works with, as URLs show them.
    own: Vec<String>,
}

impl Guard {
    /// The guard of this process.
    pub(super) fn new(settings: &Settings) -> Self {
        let own = own_services(settings);
        let is_own = |origin: &SocketAddr| {
            let host = match origin.ip() {
                IpAddr::V4(ip) => Host::Ipv4(ip),
                IpAddr::V6(ip) => Host::<String>::Ipv6(ip),
            };
            Some(origin.port()) == settings.host.port
                || own.contains(&(host.to_string(), Some(origin.port())))
        };
        let allowed = settings.download.allowed_origins.iter();
        Self {
            allowed: allowed.filter(|origin| !is_own(origin)).copied().collect(),
            own: own.iter().map(|(host, _)| host.clone()).collect(),
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
        let sent = text.split('#').next().unwrap_or_default();
        if sent.len() > MAX_URL_BYTES {
            return Err(refused(Detail::TooLong));
        }
        // The URL standard drops tabs and newlines, and takes a backslash for a slash before the query,
        // so that other parsers see another host or path.
        let before_query = sent.split('?').next().unwrap_or_default();
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
        if url[..Position::AfterQuery].len() > MAX_URL_BYTES {
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
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        let is_own = self.own.iter().any(|own| own == host || is_of_account(own, host));
        if is_own || ip.is_some_and(is_forbidden) {
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

/// The hosts and ports of storage, database and managed identity: who asks for them may know what only
/// their network or a credential opens.
fn own_services(settings: &Settings) -> Vec<(String, Option<u16>)> {
    let storage = settings.storage.endpoints();
    let mut urls = vec![storage.blob.clone(), storage.queue.clone()];
    urls.extend(settings.host.identity_endpoint.as_deref().and_then(|url| Url::parse(url).ok()));
    let mut services: Vec<(String, Option<u16>)> = Vec::new();
    let mut add = |host: &str, port| {
        // Also where its scheme is none of the web's, whose hosts are not brought into one form.
        services
            .extend(Host::parse(host.trim_end_matches('.')).map(|host| (host.to_string(), port)));
    };
    for url in urls {
        add(url.host_str().unwrap_or_default(), url.port_or_known_default());
    }
    if let Ok(database) = Url::parse(settings.database_url.expose()) {
        add(database.host_str().unwrap_or_default(), database.port());
        for (_, host) in database.query_pairs().filter(|(key, _)| key.starts_with("host")) {
            add(&host, database.port());
        }
    }
    services
}

/// Whether a name is a service of the storage account that another one belongs to, as
/// `a.file.core.windows.net` is for `a.blob.core.windows.net`: its files, its pages, its second place.
fn is_of_account(own: &str, name: &str) -> bool {
    let services = [".blob.", ".queue."].iter().find_map(|service| own.split_once(service));
    let Some((account, domain)) = services else { return false };
    let account = account.split('.').next();
    let labels = name.strip_suffix(domain).and_then(|labels| labels.strip_suffix('.'));
    let first = labels.and_then(|labels| labels.split('.').next());
    first.is_some()
        && (first == account || first.and_then(|f| f.strip_suffix("-secondary")) == account)
}

/// IANA's registry of special IPv4 addresses, all of it, whatever it says of their reach: no web server
/// has one (<https://www.iana.org/assignments/iana-ipv4-special-registry>).
const SPECIAL_V4: [(Ipv4Addr, u32); 18] = [
    // "This network"; private; shared by customers of a provider; loopback; link local.
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    // Protocols of the IETF; documentation; AS112; AMT; relays of 6to4; private; AS112.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    // Benchmarks; documentation, twice.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast (<https://www.iana.org/assignments/multicast-addresses>); reserved, and broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Azure's wire server, a public address that only the virtual machine can reach
/// (<https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>).
const WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// All of IPv6 that is given out to anybody
/// (<https://www.iana.org/assignments/ipv6-address-space>). Loopback, private and link local addresses,
/// multicast, and IPv4 addresses in most of their disguises are outside.
const UNICAST_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What of it is in IANA's registry of special IPv6 addresses
/// (<https://www.iana.org/assignments/iana-ipv6-special-registry>), as for IPv4.
const SPECIAL_V6: [(Ipv6Addr, u32); 5] = [
    // Protocols of the IETF: Teredo, benchmarks, AMT, AS112, ORCHID and more.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation; 6to4; AS112; documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// True for addresses of which no picture of the public web comes.
fn is_forbidden(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip == WIRE_SERVER || SPECIAL_V4.iter().any(|range| is_in_v4(ip, *range)),
        IpAddr::V6(ip) => {
            !is_in_v6(ip, UNICAST_V6) || SPECIAL_V6.iter().any(|range| is_in_v6(ip, *range))
        }
    }
}

fn is_in_v4(ip: Ipv4Addr, (start, bits): (Ipv4Addr, u32)) -> bool {
    (ip.to_bits() ^ start.to_bits()).leading_zeros() >= bits
}

fn is_in_v6(ip: Ipv6Addr, (start, bits): (Ipv6Addr, u32)) -> bool {
    (ip.to_bits() ^ start.to_bits()).leading_zeros() >= bits
}

/// Whether a name with these addresses may be connected to: one forbidden address refuses it, whatever
/// the others are.
pub(super) fn allows_answer(found: &[IpAddr]) -> bool {
    !found.iter().any(|ip| is_forbidden(*ip))
}

#[cfg(test)]
mod tests;
