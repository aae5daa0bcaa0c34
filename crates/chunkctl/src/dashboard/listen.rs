//! Where the dashboard listens, and which hosts are it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};
use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// The system doubles it, and says that there is room when a third of that is free: who takes 20 kB/s is seen
/// to take something each second.
const SEND_BUFFER: u32 = 32 * 1024;
const BACKLOG: u32 = 1024;

/// A port that is open.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) hosts: Hosts,
}

/// Names that a request may have been sent to.
///
/// A page of somebody else can make its own name lead here (DNS rebinding), and then sends that name as
/// `Host`. It cannot send a number or `localhost`.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    /// As it was given, in lower case.
    name: String,
    address: IpAddr,
}

/// What is wrong with the address, and what to do.
type Wrong = (String, &'static str);

/// Opens the port.
///
/// # Errors
///
/// What to set, when the address is none, is taken, or is not loopback and nothing protects it.
pub(super) async fn open(listen: &str, has_password: bool) -> Result<Place, Wrong> {
    let no_address = |cause: &dyn std::fmt::Display| {
        (format!("--listen {listen}: {cause}"), "give an address and a port, as 127.0.0.1:7072")
    };
    let found: Vec<SocketAddr> =
        lookup_host(listen).await.map_err(|error| no_address(&error))?.collect();
    let wanted = *found.first().ok_or_else(|| no_address(&"no such host"))?;
    if !wanted.ip().is_loopback() && !has_password {
        return Err((
            format!(
                "--listen {listen} can be reached from other machines, and nothing protects it"
            ),
            "set PIXCRAWLER_DASHBOARD_PASSWORD, or listen on 127.0.0.1 and use a tunnel",
        ));
    }
    let taken = |error| {
        (format!("--listen {listen}: {error}"), "choose another port, as --listen 127.0.0.1:7073")
    };
    let listener = listener(wanted).map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    let name = listen.rsplit_once(':').map_or(listen, |(name, _)| name);
    let hosts = Hosts { name: name.to_ascii_lowercase(), address: address.ip() };
    Ok(Place { listener, address, hosts })
}

/// Its connections hold little of an answer that nobody takes: what the system would hold by itself is 4 MB
/// each.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Hosts {
    /// Whether a `Host` is one of ours. The port does not matter: a tunnel may have another one, and no
    /// browser sends another site's.
    pub(super) fn have(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (host, None),
        };
        if port.is_some_and(|port| !is_port(port)) {
            return false;
        }
        let name = name.to_ascii_lowercase();
        let number = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        match number.unwrap_or(&name).parse::<IpAddr>() {
            // Listening everywhere it is reached by any number of this machine.
            Ok(ip) => {
                ip == self.address || self.address.is_unspecified() || self.is_loopback(Some(ip))
            }
            Err(_) => name == self.name || (name == "localhost" && self.is_loopback(None)),
        }
    }

    /// Whether loopback is listened on, and `ip`, if there is one, is of it.
    fn is_loopback(&self, ip: Option<IpAddr>) -> bool {
        (self.address.is_loopback() || self.address.is_unspecified())
            && ip.is_none_or(|ip| ip.is_loopback())
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(name: &str, ip: &str) -> Hosts {
        Hosts { name: name.into(), address: ip.parse().unwrap() }
    }

    /// Names of others are not ours, whatever they look like; numbers of this machine are.
    #[test]
    fn only_what_is_listened_on_is_a_host() {
        let local = hosts("127.0.0.1", "127.0.0.1");
        for host in ["127.0.0.1:7072", "127.0.0.1", "localhost:7072", "LOCALHOST", "[::1]:8000"] {
            assert!(local.have(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:7072",
            "127.0.0.1.evil.example:7072",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1:",
            "127.0.0.1:+80",
            "127.0.0.1:65536",
            "127.0.0.1@evil.example",
            "user@localhost",
            "10.0.0.1:7072",
            "2130706433",
            "[::1",
        ] {
            assert!(!local.have(host), "{host}");
        }
        let everywhere = hosts("0.0.0.0", "0.0.0.0");
        assert!(everywhere.have("10.0.0.1:7072") && everywhere.have("localhost:7072"));
        assert!(!everywhere.have("evil.example:7072"));
        let named = hosts("ops.example", "10.0.0.1");
        assert!(named.have("OPS.example:7072") && named.have("10.0.0.1:7072"));
        assert!(!named.have("localhost:7072") && !named.have("10.0.0.2:7072"));
    }
}
