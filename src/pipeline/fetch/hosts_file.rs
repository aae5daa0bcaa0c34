//! The hosts file: names that are known without any server.
//!
//! Not read by the library that asks the servers: it leaves out names that begin with a hyphen or an
//! underscore, which browsers and curl take.

use std::{collections::HashMap, io, net::IpAddr, path::Path};
use url::Host;

/// The names of the file, as a URL has them, without a dot at the end.
#[derive(Debug, Default)]
pub(super) struct HostsFile(HashMap<String, Vec<IpAddr>>);

impl HostsFile {
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&String::from_utf8_lossy(&std::fs::read(path)?)))
    }

    /// A line is an address and its names; what is none is left out, and so is what follows a `#`.
    fn of(text: &str) -> Self {
        let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(ip) = words.next().and_then(|word| word.parse().ok()) else { continue };
            for word in words {
                if let Ok(Host::Domain(name)) = Host::parse(word) {
                    names.entry(name.trim_end_matches('.').to_owned()).or_default().push(ip);
                }
            }
        }
        for found in names.values_mut() {
            found.sort_by_key(IpAddr::is_ipv6);
        }
        Self(names)
    }

    /// The addresses of a name, IPv4 first; none: it is not in the file.
    pub(super) fn find(&self, name: &str) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 292: names as URLs have them, in any case, in other scripts, with hyphens and underscores anywhere;
    /// of several lines all addresses.
    #[test]
    fn names_are_read_as_urls_have_them() {
        let file = HostsFile::of(
            "\u{feff}# names\n::1 local\n10.0.0.1 Plain.test -a.test b-.test _c.test # d.test\r\n\
             10.0.0.2\tplain.test. \u{fc}ber.test\n  fd00::1 plain.test\nfe80::1%eth0 scoped.test\n\
             nonsense e.test\n10.0.0.3\n10.0.0.4 10.0.0.5 f/g.test",
        );
        let found = |name| {
            let found = file.find(name).unwrap_or_default().iter();
            found.map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("plain.test"), "10.0.0.1 10.0.0.2 fd00::1");
        for name in ["-a.test", "b-.test", "_c.test"] {
            assert_eq!(found(name), "10.0.0.1", "{name}");
        }
        assert_eq!((found("local"), found("xn--ber-goa.test")), ("::1".into(), "10.0.0.2".into()));
        for name in ["d.test", "e.test", "scoped.test", "10.0.0.5", "f", "g.test", ""] {
            assert_eq!(found(name), "", "{name}");
        }
    }
}
