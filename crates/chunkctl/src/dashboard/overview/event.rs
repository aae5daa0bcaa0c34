//! What happened to claims: processes that died, stopped or were fenced, releases, failures.

use chunk_handler::{
    chunk::ChunkId,
    state::{AttemptRow, LiveProcess},
};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Its leases ran out, and nothing was heard of it since.
    Died,
    /// It was told to stop, and gave its chunks back.
    Stopped,
    /// Its lease ran out, and it lives: others have the chunk, and what it still did for it is void.
    Fenced,
    /// The chunk goes back to the others, uncharged.
    Released,
    /// The chunk goes back, charged.
    Retried,
    /// The chunk failed.
    Failed,
}

impl Kind {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Died => "process died",
            Self::Stopped => "process stopped",
            Self::Fenced => "process fenced",
            Self::Released => "released",
            Self::Retried => "retried",
            Self::Failed => "failed",
        }
    }
}

/// Claims of one process that ended alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: Kind,
    pub(super) owner: String,
    pub(super) code: Option<String>,
    /// When the last of them ended; where the process itself did, the first of them.
    pub(super) at: OffsetDateTime,
    pub(super) chunks: Vec<ChunkId>,
}

/// What happened, the newest first. A process dies once, however many claims it had.
pub(super) fn events(attempts: &[AttemptRow], live: &[LiveProcess]) -> Vec<Event> {
    let heard = heard(attempts, live);
    let mut found: BTreeMap<(Kind, &str, Option<&str>), Event> = BTreeMap::new();
    for attempt in attempts {
        let Some((kind, at)) = ended(attempt, &heard) else { continue };
        let code = attempt.error_code.as_deref();
        let id = ChunkId { job_id: attempt.job_id, chunk_index: attempt.chunk_index };
        let event = found.entry((kind, &attempt.owner, code)).or_insert_with(|| Event {
            kind,
            owner: attempt.owner.clone(),
            code: code.map(str::to_owned),
            at,
            chunks: Vec::new(),
        });
        event.at = match kind {
            Kind::Died | Kind::Stopped => event.at.min(at),
            Kind::Fenced | Kind::Released | Kind::Retried | Kind::Failed => event.at.max(at),
        };
        event.chunks.push(id);
    }
    let mut events: Vec<Event> = found.into_values().collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.at));
    events
}

/// The processes that died, as far as these claims tell.
pub(super) fn died<'a>(attempts: &'a [AttemptRow], live: &'a [LiveProcess]) -> BTreeSet<&'a str> {
    let heard = heard(attempts, live);
    let is_dead = |row: &&AttemptRow| matches!(ended(row, &heard), Some((Kind::Died, _)));
    attempts.iter().filter(is_dead).map(|attempt| attempt.owner.as_str()).collect()
}

/// How a claim ended, when that is worth a word.
pub(super) fn ended(
    attempt: &AttemptRow,
    heard: &BTreeMap<&str, OffsetDateTime>,
) -> Option<(Kind, OffsetDateTime)> {
    let at = attempt.finished_at?;
    let kind = match (attempt.outcome.as_deref()?, attempt.error_code.as_deref()) {
        ("expired", _) if heard.get(attempt.owner.as_str()).is_some_and(|last| *last > at) => {
            Kind::Fenced
        }
        ("expired", _) => Kind::Died,
        ("released", Some("drained")) => Kind::Stopped,
        ("released", _) => Kind::Released,
        ("retried", _) => Kind::Retried,
        ("failed", _) => Kind::Failed,
        _ => return None,
    };
    Some((kind, at))
}

/// When each process was last heard of: it checked in, claimed, or ended a claim itself.
pub(super) fn heard<'a>(
    attempts: &'a [AttemptRow],
    live: &'a [LiveProcess],
) -> BTreeMap<&'a str, OffsetDateTime> {
    let checked_in = live.iter().map(|process| (process.owner.as_str(), process.seen_at));
    let claimed = attempts.iter().flat_map(|attempt| {
        let by_itself = attempt.outcome.as_deref() != Some("expired");
        let finished = attempt.finished_at.filter(|_| by_itself);
        let times = [Some(attempt.claimed_at), finished].into_iter().flatten();
        times.map(|at| (attempt.owner.as_str(), at))
    });
    let mut heard = BTreeMap::new();
    for (owner, at) in checked_in.chain(claimed) {
        let last = heard.entry(owner).or_insert(at);
        *last = at.max(*last);
    }
    heard
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::{Duration, macros::datetime};

    const T0: OffsetDateTime = datetime!(2026-11-27 12:00 UTC);

    fn attempt(
        owner: &str,
        index: i32,
        seconds: i64,
        outcome: Option<&str>,
        code: Option<&str>,
    ) -> AttemptRow {
        AttemptRow {
            job_id: 7,
            chunk_index: index,
            fence: 1,
            owner: owner.into(),
            invocation_id: "i".into(),
            claimed_at: T0,
            finished_at: outcome.map(|_| T0 + Duration::seconds(seconds)),
            outcome: outcome.map(str::to_owned),
            error_code: code.map(str::to_owned),
            temp_peak_bytes: None,
            slot_no: Some(index + 1),
        }
    }

    fn live(owner: &str, seconds: i64) -> LiveProcess {
        LiveProcess {
            owner: owner.into(),
            since: T0,
            seen_at: T0 + Duration::seconds(seconds),
            release: "0".into(),
            degraded: None,
        }
    }

    /// A process that was killed, one that stopped and one that was fenced are told apart; one that dies
    /// is one event, also while it still counts as live.
    #[test]
    fn ends_of_processes_are_told_apart() {
        let attempts = [
            attempt("killed", 0, 60, Some("expired"), Some("lease_expired")),
            attempt("killed", 1, 61, Some("expired"), Some("lease_expired")),
            attempt("stopped", 2, 30, Some("released"), Some("drained")),
            attempt("fenced", 3, 50, Some("expired"), Some("lease_expired")),
            attempt("fenced", 4, 40, Some("completed"), None),
            attempt("busy", 5, 20, Some("released"), Some("host_busy")),
        ];
        let processes = [live("killed", 59), live("fenced", 70)];
        let found = events(&attempts, &processes);
        let told: Vec<(Kind, usize)> =
            found.iter().map(|event| (event.kind, event.chunks.len())).collect();
        let wanted = [(Kind::Died, 2), (Kind::Fenced, 1), (Kind::Stopped, 1), (Kind::Released, 1)];
        assert_eq!(told, wanted);
        assert_eq!(found[0].at, T0 + Duration::seconds(60));
    }
}
