//! Where one URL stands: what it ends as when the chunk's time is over before it is.

use super::origin::Origin;
use crate::{
    chunk::{Reason, Rejection},
    turns::Party,
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// One URL on its way, as its fetch says it and whoever ends the fetch reads it.
#[derive(Debug, Default)]
pub(in super::super) struct Standing(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// Its turn to be looked at has not come.
    #[default]
    New,
    /// It was never asked for, but for a trial, and waits for its turn at this origin.
    Waits(Arc<Origin>, Party),
    /// It was asked for, which failed so; it waits for its next try.
    Failed(Rejection),
    /// It is being fetched or inspected, or it was asked for and waits for the host of its next hop.
    UnderWay,
    /// It has its verdict.
    Over,
}

/// Why a URL was not asked for when the chunk's time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum NotAsked {
    /// Its origin wants to be left alone, or gets less than it could since it did.
    HostBusy,
    /// Its turn did not come.
    NoTurn,
}

impl From<NotAsked> for Reason {
    fn from(why: NotAsked) -> Self {
        match why {
            NotAsked::HostBusy => Self::HostBusy,
            NotAsked::NoTurn => Self::Deadline,
        }
    }
}

impl Standing {
    /// It waits for the turn of its chunk. One that was asked for stays what it is, whichever host it waits
    /// for now.
    pub(super) fn waits(&self, origin: &Arc<Origin>, party: Party) {
        let mut state = self.0.lock();
        if matches!(*state, State::New | State::Waits(..)) {
            *state = State::Waits(Arc::clone(origin), party);
        }
    }

    /// It is asked for now.
    pub(super) fn asked(&self) {
        *self.0.lock() = State::UnderWay;
    }

    /// The try failed, and another one will come.
    pub(super) fn failed(&self, why: Rejection) {
        *self.0.lock() = State::Failed(why);
    }

    /// It has its verdict.
    pub(in super::super) fn over(&self) {
        *self.0.lock() = State::Over;
    }

    /// Why it is not being asked for; none: it was, or it is over.
    pub(in super::super) fn not_asked(&self) -> Option<NotAsked> {
        match &*self.0.lock() {
            State::New => Some(NotAsked::NoTurn),
            State::Waits(origin, party) if origin.is_busy(*party) => Some(NotAsked::HostBusy),
            State::Waits(..) => Some(NotAsked::NoTurn),
            State::Failed(_) | State::UnderWay | State::Over => None,
        }
    }

    /// What it ends as when the chunk's time is over now.
    pub(in super::super) fn at_deadline(&self) -> Rejection {
        if let Some(why) = self.not_asked() {
            return Reason::from(why).into();
        }
        match &*self.0.lock() {
            State::Failed(why) => *why,
            State::New | State::Waits(..) | State::UnderWay | State::Over => {
                Reason::Deadline.into()
            }
        }
    }

    /// How long the origin that it waits for wants to be left alone.
    fn host_is_back_in(&self, now: Instant) -> Wait {
        match &*self.0.lock() {
            State::Over => Wait::Over,
            State::Waits(origin, party) => match origin.back_at(*party) {
                Some(until) => Wait::For(until.saturating_duration_since(now)),
                None => Wait::Unknown,
            },
            State::New | State::Failed(_) | State::UnderWay => Wait::Unknown,
        }
    }
}

/// What one URL of a chunk waits for.
enum Wait {
    /// For nothing: it has its verdict.
    Over,
    /// For its host, so long.
    For(Duration),
    /// For something else.
    Unknown,
}

/// How long a chunk can do nothing, since all of its URLs that are not over wait for hosts that want to
/// be left alone; none: something can be done, or all is over.
pub(in super::super) fn all_hosts_busy(standings: &[Standing]) -> Option<Duration> {
    let now = Instant::now();
    let mut shortest = None;
    for standing in standings {
        match standing.host_is_back_in(now) {
            Wait::Over => {}
            Wait::For(wait) => shortest = Some(shortest.unwrap_or(wait).min(wait)),
            Wait::Unknown => return None,
        }
    }
    shortest
}

#[cfg(test)]
mod tests {
    use super::{
        super::{downloads::Downloads, origin::Origins},
        *,
    };
    use crate::chunk::Detail;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A chunk.
    const US: Party = Party(100);

    /// An origin that asked us to leave it alone for so long.
    async fn busy(origins: &Origins, key: &str, wait: Duration) -> Arc<Origin> {
        let (origin, downloads) = (origins.get(key), Downloads::new(1));
        let (mut permit, _) = origin.enter(US, 0, &downloads).await.unwrap();
        permit.throttled(Some(wait));
        drop(permit);
        origin
    }

    /// At the deadline a URL that was never asked for is `host_busy` or `deadline`, one that waits for the
    /// host of its next hop `deadline`, one that waits for its next try what its last one was.
    #[tokio::test(start_paused = true)]
    async fn a_url_ends_as_it_stands() {
        let origins = Origins::new(8);
        let (busy, free) = (busy(&origins, "a:80", MINUTE).await, origins.get("b:80"));
        let standing = Standing::default();
        let ends = |standing: &Standing| standing.at_deadline().to_string();
        assert_eq!((standing.not_asked(), &*ends(&standing)), (Some(NotAsked::NoTurn), "deadline"));
        standing.waits(&free, US);
        assert_eq!((standing.not_asked(), &*ends(&standing)), (Some(NotAsked::NoTurn), "deadline"));
        standing.waits(&busy, US);
        assert_eq!(
            (standing.not_asked(), &*ends(&standing)),
            (Some(NotAsked::HostBusy), "host_busy")
        );
        standing.asked();
        assert_eq!((standing.not_asked(), &*ends(&standing)), (None, "deadline"));
        standing.waits(&busy, US);
        assert_eq!(
            (standing.not_asked(), &*ends(&standing)),
            (None, "deadline"),
            "it led to a busy host"
        );
        let why = Reason::ConnectFailed.because(Detail::Reset);
        standing.failed(why);
        standing.waits(&busy, US);
        assert_eq!((standing.not_asked(), standing.at_deadline()), (None, why));
    }

    /// A chunk can do nothing only while every URL that is not over waits for a host that wants to be left
    /// alone; it can again when the first of these is back.
    #[tokio::test(start_paused = true)]
    async fn one_url_that_can_be_asked_is_enough() {
        let origins = Origins::new(8);
        let long = busy(&origins, "a:80", MINUTE).await;
        let short = busy(&origins, "b:80", MINUTE / 2).await;
        let standings: Vec<_> = (0..3).map(|_| Standing::default()).collect();
        standings[0].waits(&long, US);
        standings[1].waits(&short, US);
        assert_eq!(all_hosts_busy(&standings), None, "the third was not looked at");
        standings[2].waits(&origins.get("c:80"), US);
        assert_eq!(all_hosts_busy(&standings), None, "its host is free");
        standings[2].over();
        assert_eq!(all_hosts_busy(&standings), Some(MINUTE / 2));
        tokio::time::sleep(MINUTE / 2).await;
        assert_eq!(all_hosts_busy(&standings), None, "one is back");
        standings.iter().for_each(Standing::over);
        assert_eq!(all_hosts_busy(&standings), None);
    }
}
