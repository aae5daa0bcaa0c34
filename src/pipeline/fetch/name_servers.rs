//! Asks the name servers about one name, one server after another, and sorts what they say.

use super::{failure::is_own_limit, hosts_file::HostsFile};
use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream::FuturesUnordered,
};
use hickory_resolver::{
    TokioResolver,
    config::{
        NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
    },
    lookup::Lookup,
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RecordType},
    },
    system_conf::read_system_conf,
};
use parking_lot::Mutex;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Why a name leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    /// A server said so: no such name, or none with an address.
    #[error("the name has no address")]
    NotFound,
    /// The servers answered that they cannot tell, or nonsense; about other names they can.
    #[error("the name servers failed")]
    ServerFailed,
    /// No answer about this name in time, from servers that answer other questions.
    #[error("no name server answered in time")]
    Timeout,
    /// No name server knows anything: the environment is broken, not the name.
    #[error("no name server answers")]
    Away,
    /// This process ran out of something; the code is the operating system's.
    #[error("this process cannot ask: {}", std::io::Error::from_raw_os_error(*.0))]
    Own(i32),
    /// The name has an address that may not be connected to.
    #[error("the name has an address that may not be connected to")]
    Refused,
}

/// What a name leads to, and how long that holds.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// IPv4 first: it connects nearly everywhere, and the client tries the other family 300 ms later.
    pub(super) found: Result<Arc<[IpAddr]>, LookupError>,
    /// How long it may be remembered.
    pub(super) holds: Duration,
}

/// The servers in the order they are asked, and the hosts file that is asked before them. Both were
/// read when the process started.
#[derive(Debug)]
pub(super) struct NameServers {
    servers: Vec<TokioResolver>,
    hosts: HostsFile,
    /// Which server is asked first: the last one that answered when the one before it was silent.
    first: AtomicUsize,
    /// When any server last knew anything, and of which name.
    heard: Mutex<Option<(Instant, Name)>>,
    /// Whether the servers answered about a name while they did not about the root and about nothing.
    are_choosy: AtomicBool,
}

/// How long one server has for one name. Within it the question is sent up to three times.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the IPv6 addresses may come after the IPv4 ones: some servers of domains never answer about
/// IPv6 (RFC 8305, section 3, allows 50 ms: <https://www.rfc-editor.org/rfc/rfc8305#section-3>).
const GRACE: Duration = Duration::from_millis(300);
/// A name is asked for at least so often, at one server if there is only one.
const LEAST_TRIES: usize = 2;
/// Rounds of questions about the root and about nothing before the servers are said to be away.
const PROBES: usize = 5;
/// An answer holds as its TTL says, within these: a longer one is not worth a server that moved.
const LEAST_TTL: Duration = Duration::from_secs(1);
const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// The same of "no such name" (RFC 2308, section 5, <https://www.rfc-editor.org/rfc/rfc2308#section-5>).
const LEAST_NEGATIVE_TTL: Duration = Duration::from_secs(5);
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(300);
/// How long a failure holds (RFC 9520, section 3.2, wants one second at least:
/// <https://www.rfc-editor.org/rfc/rfc9520#section-3.2>). Of the four tries of a URL, spread over 3.5 s,
/// the first and the last one ask.
const FAILURE_TTL: Duration = Duration::from_secs(2);

impl NameServers {
    /// These servers, or without any those of the system.
    pub(super) fn new(configured: &[SocketAddr]) -> Self {
        let (addresses, options) = match configured {
            [] => of_the_system(),
            some => (some.to_vec(), plain_options()),
        };
        let hosts = HostsFile::read(Path::new("/etc/hosts")).unwrap_or_else(|error| {
            tracing::warn!(%error, "the hosts file cannot be read, no name of it is known");
            HostsFile::default()
        });
        let servers = addresses.iter().filter_map(|address| server(*address, &options));
        Self {
            servers: servers.collect(),
            hosts,
            first: AtomicUsize::new(0),
            heard: Mutex::new(None),
            are_choosy: AtomicBool::new(false),
        }
    }

    /// Asks for the addresses of a host: the hosts file, then server after server until one knows.
    ///
    /// # Cancel safety
    ///
    /// Nothing goes on when it is dropped.
    pub(super) async fn ask(&self, host: &str) -> Answer {
        let host = host.trim_end_matches('.');
        if let Some(found) = self.hosts.find(host) {
            return Answer { found: Ok(found.into()), holds: LONGEST_TTL };
        }
        // The name of a URL is absolute: no search list.
        let Ok(name) = Name::from_labels(host.split('.').map(str::as_bytes)) else {
            return Answer { found: Err(LookupError::NotFound), holds: LONGEST_NEGATIVE_TTL };
        };
        let since = Instant::now();
        let first = self.first.load(Ordering::Relaxed);
        let in_turn = self.servers.iter().enumerate().cycle().skip(first);
        let mut why = LookupError::Timeout;
        let mut was_silent = false;
        for (at, server) in in_turn.take(self.servers.len().max(LEAST_TRIES)) {
            let said = ask_server(server, &name).await;
            self.hear(&said, &name);
            if was_silent && !matches!(said, Said::Silence | Said::Own(_)) {
                self.first.store(at, Ordering::Relaxed);
            }
            match said {
                Said::Addresses(found, ttl) => {
                    let holds = ttl.clamp(LEAST_TTL, LONGEST_TTL);
                    return Answer { found: Ok(found.into()), holds };
                }
                Said::Nothing { ttl, .. } => {
                    let holds = ttl.clamp(LEAST_NEGATIVE_TTL, LONGEST_NEGATIVE_TTL);
                    return Answer { found: Err(LookupError::NotFound), holds };
                }
                Said::Own(code) => {
                    return Answer { found: Err(LookupError::Own(code)), holds: Duration::ZERO };
                }
                Said::Refused | Said::Failure => why = LookupError::ServerFailed,
                Said::Silence => was_silent = true,
            }
        }
        if !self.anybody_answers(since, why == LookupError::Timeout).await {
            why = LookupError::Away;
        }
        Answer { found: Err(why), holds: FAILURE_TTL }
    }

    /// Notes that a server knows a name. One that says it cannot tell knows nothing: so does a forwarder
    /// whose own servers are away.
    fn hear(&self, said: &Said, name: &Name) {
        if said.is_known() {
            *self.heard.lock() = Some((Instant::now(), name.clone()));
        }
    }

    /// Whether any server knew anything since then, or knows the root, as nearly every one does, or that
    /// there is no such name. Some drop questions about the root, and a server that keeps the root in
    /// memory may know nothing else. About a name that met nothing but silence, one that refuses these
    /// questions is there all the same.
    ///
    /// Servers that answer about names of a list alone, and drop the rest, are asked about the last name
    /// that they knew. Others are not: they may have that in memory when those that they ask are away.
    async fn anybody_answers(&self, since: Instant, was_silent: bool) -> bool {
        for _ in 0..PROBES {
            let began = Instant::now();
            let known = self.last_heard().filter(|_| self.are_choosy.load(Ordering::Relaxed));
            let mut questions =
                vec![(Name::root(), RecordType::NS), (unknown_name(), RecordType::A)];
            questions.extend(known.map(|(_, name)| (name, RecordType::A)));
            let asked = questions.iter().flat_map(|(name, kind)| {
                self.servers.iter().map(|server| server.lookup(name.clone(), *kind))
            });
            let mut answers: FuturesUnordered<_> = asked.collect();
            while let Some(answer) = answers.next().await {
                let said = Said::of(answer);
                if said.is_known() || was_silent && matches!(said, Said::Refused) {
                    return true;
                }
            }
            if let Some((heard, _)) = self.last_heard().filter(|(heard, _)| *heard > since) {
                self.are_choosy.fetch_or(heard > began, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    fn last_heard(&self) -> Option<(Instant, Name)> {
        self.heard.lock().clone()
    }
}

/// A name that is nowhere, and in no server's memory.
fn unknown_name() -> Name {
    let label = uuid::Uuid::new_v4().simple().to_string();
    Name::from_labels([label.as_bytes(), b"com"]).unwrap_or_default()
}

/// The servers and options of `/etc/resolv.conf`; without it the server on this machine, as
/// resolv.conf(5) has it.
fn of_the_system() -> (Vec<SocketAddr>, ResolverOpts) {
    match read_system_conf() {
        Ok((config, options)) => {
            let servers = config.name_servers().iter().map(|server| SocketAddr::new(server.ip, 53));
            (servers.take(3).collect(), options)
        }
        Err(error) => {
            tracing::warn!(%error, "/etc/resolv.conf names no server, 127.0.0.1 is asked for names");
            (vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))], plain_options())
        }
    }
}

/// What resolv.conf(5) has without any option: the library's, but for EDNS, which some servers refuse.
fn plain_options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.edns0 = false;
    options
}

/// A client of one server: which is asked next, and what is remembered, is decided here, since the
/// library asks no second server when the first one fails.
fn server(address: SocketAddr, options: &ResolverOpts) -> Option<TokioResolver> {
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut config.connections {
        connection.port = address.port();
    }
    let config = ResolverConfig::from_name_servers(vec![config]);
    let mut options = options.clone();
    options.timeout = options.timeout.min(PATIENCE);
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.num_concurrent_reqs = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let built = builder.with_options(options).build();
    built.inspect_err(|error| tracing::warn!(%error, %address, "no use of a name server")).ok()
}

/// What a server said to one question.
#[derive(Debug)]
enum Said {
    Addresses(Vec<IpAddr>, Duration),
    /// No record of the type, and perhaps no such name at all.
    Nothing {
        is_certain: bool,
        ttl: Duration,
    },
    /// Something that answers nothing, but not that it cannot tell: it serves others, or other questions.
    Refused,
    /// That it cannot tell, or nonsense.
    Failure,
    Silence,
    Own(i32),
}

impl Said {
    fn of(answer: Result<Lookup, NetError>) -> Self {
        let error = match answer {
            Ok(lookup) => {
                let ttl = lookup.valid_until().saturating_duration_since(Instant::now());
                let found = addresses(&lookup);
                return match found.is_empty() {
                    true => Self::Nothing { is_certain: false, ttl },
                    false => Self::Addresses(found, ttl),
                };
            }
            Err(error) => error,
        };
        match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                response_code,
                negative_ttl,
                ..
            })) => Self::Nothing {
                is_certain: response_code == ResponseCode::NXDomain,
                ttl: Duration::from_secs(negative_ttl.unwrap_or_default().into()),
            },
            NetError::Io(error) => match error.raw_os_error() {
                Some(code) if is_own_limit(code) => Self::Own(code),
                Some(_) | None => Self::Silence,
            },
            NetError::Dns(DnsError::ResponseCode(code)) if code != ResponseCode::ServFail => {
                Self::Refused
            }
            NetError::Timeout | NetError::NoConnections | NetError::Busy => Self::Silence,
            _ => Self::Failure,
        }
    }

    fn is_known(&self) -> bool {
        matches!(self, Self::Addresses(..) | Self::Nothing { .. })
    }

    /// What was said about both families together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Addresses(mut v4, ttl), Self::Addresses(v6, other)) => {
                v4.extend(v6);
                Self::Addresses(v4, ttl.min(other))
            }
            (found @ Self::Addresses(..), _) | (_, found @ Self::Addresses(..)) => found,
            (certain @ Self::Nothing { is_certain: true, .. }, _)
            | (_, certain @ Self::Nothing { is_certain: true, .. }) => certain,
            (own @ Self::Own(_), _) | (_, own @ Self::Own(_)) => own,
            (Self::Failure, _) | (_, Self::Failure) => Self::Failure,
            (Self::Refused, _) | (_, Self::Refused) => Self::Refused,
            (Self::Silence, _) | (_, Self::Silence) => Self::Silence,
            (nothing @ Self::Nothing { .. }, Self::Nothing { .. }) => nothing,
        }
    }
}

/// Asks for both families at once.
async fn ask_server(server: &TokioResolver, name: &Name) -> Said {
    let v4 = pin!(server.lookup(name.clone(), RecordType::A));
    let v6 = pin!(server.lookup(name.clone(), RecordType::AAAA));
    match select(v4, v6).await {
        Either::Left((v4, v6)) => match Said::of(v4) {
            certain @ Said::Nothing { is_certain: true, .. } => certain,
            found @ Said::Addresses(..) => match timeout(GRACE, v6).await {
                Ok(v6) => found.and(Said::of(v6)),
                Err(_) => found,
            },
            said => said.and(Said::of(v6.await)),
        },
        Either::Right((v6, v4)) => match Said::of(v6) {
            certain @ Said::Nothing { is_certain: true, .. } => certain,
            said => Said::of(v4.await).and(said),
        },
    }
}

fn addresses(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of one family counts, a failure never becomes "no such name".
    #[test]
    fn two_families_make_one_answer() {
        let ttl = Duration::from_secs(60);
        let found = || Said::Addresses(vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))], ttl);
        let none = |is_certain| Said::Nothing { is_certain, ttl };
        let word = |said: &Said| match said {
            Said::Addresses(..) => "found",
            Said::Nothing { is_certain: true, .. } => "no such name",
            Said::Nothing { .. } => "nothing",
            Said::Refused => "refused",
            Said::Failure => "failure",
            Said::Silence => "silence",
            Said::Own(_) => "own",
        };
        for (one, other, together) in [
            (found(), none(false), "found"),
            (found(), Said::Silence, "found"),
            (found(), Said::Own(24), "found"),
            (none(true), Said::Silence, "no such name"),
            (none(true), none(false), "no such name"),
            (none(false), none(false), "nothing"),
            (none(false), Said::Failure, "failure"),
            (none(false), Said::Silence, "silence"),
            (none(false), Said::Refused, "refused"),
            (Said::Refused, Said::Silence, "refused"),
            (Said::Refused, Said::Failure, "failure"),
            (Said::Failure, Said::Silence, "failure"),
            (Said::Own(24), Said::Silence, "own"),
        ] {
            let said = format!("{one:?} and {other:?}");
            assert_eq!(word(&one.and(other)), together, "{said}");
        }
    }
}
