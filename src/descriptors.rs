//! Descriptors: how many this process may have open, and which part of them is for what.
//!
//! Connections and look-ups are bounded by the limit, so that it is never reached: what is kept back
//! is enough for the database, storage, the host's port, temporary files and telemetry.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More than any settings can use: a limit without end would only cost the tools that go through all
/// descriptors.
const ENOUGH: u64 = 65_536;
/// The runtime, the port with the host's connections, five to the database, telemetry, files.
const KEPT: u64 = 64;
/// Of a chunk: its invocation, its connections to storage, what it reads or writes of a file.
const KEPT_FOR_A_CHUNK: u64 = 4;
/// Of a look-up that nobody answers: two kinds of addresses, each from three servers.
const OF_A_LOOKUP: u64 = 6;
/// Look-ups at once of all chunks, whatever the limit is.
const MOST_LOOKUPS: u64 = 256;

/// Raises the limit of open files as far as it may be, and returns it. Platforms keep the soft limit low
/// for programs that cannot do with high numbers, and leave the hard one to those that can.
pub fn raise() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return limit() };
    let wanted = hard.min(ENOUGH).max(soft);
    // Where it is refused the old one stays, and the parts are smaller.
    if wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_err() {
        return soft;
    }
    wanted
}

/// How many descriptors this process may have open.
pub(crate) fn limit() -> u64 {
    // A limit that cannot be read is the one that most systems begin with.
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// What strangers' URLs may take of the descriptors, all chunks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Connections to origins, idle ones included.
    pub connections: usize,
    /// Look-ups at once.
    pub lookups: usize,
}

impl Parts {
    /// The parts under a limit, for so many chunks at once.
    pub(crate) fn of(limit: u64, chunks: u32) -> Self {
        let limit = limit.min(ENOUGH);
        let kept = (KEPT + KEPT_FOR_A_CHUNK * u64::from(chunks)).min(limit / 2);
        let rest = limit - kept;
        // Half for connections, a quarter for names; the last one is for files, which are open only
        // while they are read or written.
        let lookups = (rest / 4 / OF_A_LOOKUP).clamp(1, MOST_LOOKUPS);
        let n = |n: u64| usize::try_from(n.max(1)).unwrap_or(usize::MAX);
        Self { connections: n(rest / 2), lookups: n(lookups) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 246: whatever the limit is, what may be open at once is below it.
    #[test]
    fn the_parts_leave_room_for_everything_else() {
        for (limit, chunks) in [(1, 1), (64, 1), (256, 10), (256, 100), (1024, 10), (4096, 35)] {
            let parts = Parts::of(limit, chunks);
            let of_lookups = parts.lookups * usize::try_from(OF_A_LOOKUP).unwrap();
            let open = u64::try_from(parts.connections + of_lookups).unwrap();
            assert!(limit < 64 || open <= limit * 3 / 4, "{limit} {chunks}: {parts:?}");
            assert!(parts.connections >= 1 && parts.lookups >= 1);
        }
        assert_eq!(Parts::of(256, 10), Parts { connections: 76, lookups: 6 });
        assert_eq!(Parts::of(u64::MAX, 10).lookups, 256);
    }
}
