//! Settings that are lists of `ip:port`.

use super::{reader::Reader, setting::Provenance};
use std::net::SocketAddr;

impl Reader {
    pub(super) fn allowed_origins(&mut self, on_azure: bool) -> Vec<SocketAddr> {
        let default = (Vec::new(), String::new(), Provenance::Default);
        self.parsed("ALLOWED_ORIGINS", default, |text| {
            if on_azure {
                return Err("opens the address guard and is refused in Azure; remove it".into());
            }
            addresses(text).ok_or_else(|| "must be a comma-separated list of ip:port".into())
        })
    }

    pub(super) fn name_servers(&mut self) -> Vec<SocketAddr> {
        let default = (Vec::new(), String::new(), Provenance::Default);
        self.parsed("NAME_SERVERS", default, |text| {
            let servers = addresses(text).filter(|servers| servers.len() <= MOST_NAME_SERVERS);
            servers.ok_or_else(|| "must be a comma-separated list of at most three ip:port".into())
        })
    }
}

/// As many as the system's own resolver asks (`MAXNS` of resolv.conf(5)).
const MOST_NAME_SERVERS: usize = 3;

/// A list of `ip:port`, separated by commas.
fn addresses(text: &str) -> Option<Vec<SocketAddr>> {
    text.split(',').map(|part| part.trim().parse().ok()).collect()
}
