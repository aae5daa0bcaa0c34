//! Hosts: how many downloads each gets, when it wants to be left alone, and which are given up.

use crate::chunk::Reason;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};
use url::Url;

/// Host and port.
pub(super) fn key(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Every host and port that the process downloads from: one back-off for all its chunks.
#[derive(Debug)]
pub struct Hosts {
    limit: usize,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

/// One host: it gets fewer downloads at once each time it answers that these are too many, and more
/// again while it answers all of them.
#[derive(Debug)]
struct Host {
    limit: usize,
    permits: Arc<Semaphore>,
    pace: Mutex<Pace>,
}

/// How fast a host is asked.
#[derive(Debug)]
struct Pace {
    /// Downloads at once.
    width: usize,
    /// Permits in use that are not given back: the width was lowered.
    surplus: usize,
    /// Answers since the width last changed or a request was refused.
    answered: usize,
    /// Times in a row that it asked us to wait, with no answer in between.
    rounds: u32,
    quiet_until: Option<Instant>,
}

/// Above this many hosts the idle ones are forgotten.
const REMEMBERED_HOSTS: usize = 4096;
/// So many answers for each download at once, then there may be one more.
const GROW_AFTER: usize = 32;
/// The first wait of a host that names none; it doubles with each round.
const FIRST_QUIET: Duration = Duration::from_millis(500);
/// A longer wait may be meant for one URL: it is not shared by all of the host.
const LONGEST_QUIET: Duration = Duration::from_secs(60);
/// A host that asked to wait this often in a row is not asked at all for [`LONGEST_QUIET`].
const OPEN_AFTER: u32 = 5;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hosts {
    /// Hosts of which each gets at most `limit` downloads at once.
    pub fn new(limit: usize) -> Self {
        Self { limit, hosts: Mutex::default() }
    }

    /// Waits for a place at the host.
    ///
    /// # Errors
    ///
    /// `rate_limited`: the host asked for a wait beyond `deadline`, or answers nothing else.
    async fn enter(&self, host: &str, deadline: Instant) -> Result<Place, Reason> {
        let host = self.host(host);
        let permit = Arc::clone(&host.permits).acquire_owned().await;
        let place = Place { host, permit: permit.ok() };
        while let Some(until) = place.host.quiet_until() {
            if until > deadline || locked(&place.host.pace).rounds >= OPEN_AFTER {
                return Err(Reason::RateLimited);
            }
            sleep_until(until).await;
        }
        Ok(place)
    }

    /// Waits for a place at the host and one of a chunk's downloads. Whoever waits for a download leaves
    /// the place to others first: a chunk of slow hosts would keep a good host's places from all. Where
    /// both are scarce one goes to others while the other is waited for, so the second time it stays.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`].
    pub(super) async fn enter_with<'a>(
        &self,
        host: &str,
        downloads: &'a Semaphore,
        deadline: Instant,
    ) -> Result<(Place, SemaphorePermit<'a>), Reason> {
        let place = self.enter(host, deadline).await?;
        if let Ok(download) = downloads.try_acquire() {
            return Ok((place, download));
        }
        drop(place);
        let download = acquired(downloads).await?;
        if let Some(place) = self.try_enter(host) {
            return Ok((place, download));
        }
        drop(download);
        let place = self.enter(host, deadline).await?;
        Ok((place, acquired(downloads).await?))
    }

    /// A place at the host, if there is one right now.
    fn try_enter(&self, host: &str) -> Option<Place> {
        let host = self.host(host);
        let permit = Arc::clone(&host.permits).try_acquire_owned().ok()?;
        let place = Place { host, permit: Some(permit) };
        place.host.quiet_until().is_none().then_some(place)
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = locked(&self.hosts);
        if let Some(host) = hosts.get(name) {
            return Arc::clone(host);
        }
        if hosts.len() >= REMEMBERED_HOSTS {
            hosts.retain(|_, host| Arc::strong_count(host) > 1 || host.quiet_until().is_some());
        }
        let host = Arc::new(Host::new(self.limit));
        hosts.insert(name.to_owned(), Arc::clone(&host));
        host
    }
}

async fn acquired(downloads: &Semaphore) -> Result<SemaphorePermit<'_>, Reason> {
    // It is never closed.
    downloads.acquire().await.map_err(|_| Reason::Deadline)
}

impl Host {
    fn new(limit: usize) -> Self {
        let pace = Pace { width: limit, surplus: 0, answered: 0, rounds: 0, quiet_until: None };
        Self { limit, permits: Arc::new(Semaphore::new(limit)), pace: Mutex::new(pace) }
    }

    /// When it may be asked again; none: now.
    fn quiet_until(&self) -> Option<Instant> {
        locked(&self.pace).quiet_until.filter(|until| *until > Instant::now())
    }
}

/// One download's place at a host.
#[derive(Debug)]
pub(super) struct Place {
    host: Arc<Host>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// The host answered.
    pub(super) fn answered(&self) {
        let mut pace = locked(&self.host.pace);
        pace.rounds = 0;
        pace.answered += 1;
        if pace.answered >= GROW_AFTER * pace.width && pace.width < self.host.limit {
            pace.width += 1;
            pace.answered = 0;
            match pace.surplus.checked_sub(1) {
                Some(surplus) => pace.surplus = surplus,
                None => self.host.permits.add_permits(1),
            }
        }
    }

    /// The host asked for a wait: everybody waits, and half as many come back. What was under way
    /// meanwhile says the same once more and counts nothing; neither does one refusal among answers.
    pub(super) fn throttled(&self, asked: Option<Duration>) {
        let now = Instant::now();
        let mut pace = locked(&self.host.pace);
        if asked > Some(LONGEST_QUIET) && pace.rounds < OPEN_AFTER {
            return;
        }
        let is_lone = pace.answered >= self.host.limit;
        pace.answered = 0;
        if is_lone {
            return;
        }
        if pace.quiet_until.is_none_or(|until| until <= now) {
            pace.rounds += 1;
            let width = (pace.width / 2).max(1);
            let fewer = pace.width - width;
            pace.surplus += fewer - self.host.permits.forget_permits(fewer);
            pace.width = width;
        }
        let wait = match asked {
            _ if pace.rounds >= OPEN_AFTER => LONGEST_QUIET,
            Some(asked) => asked,
            None => (FIRST_QUIET * 2_u32.pow(pace.rounds.clamp(1, 8) - 1)).min(LONGEST_QUIET),
        };
        pace.quiet_until = pace.quiet_until.max(Some(now + wait));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pace = locked(&self.host.pace);
        if let Some(surplus) = pace.surplus.checked_sub(1)
            && let Some(permit) = self.permit.take()
        {
            pace.surplus = surplus;
            permit.forget();
        }
    }
}

/// What one chunk knows of its hosts.
#[derive(Debug, Default)]
pub struct ChunkHosts {
    hosts: Mutex<HashMap<String, Reached>>,
}

/// Whether a host can be reached at all.
#[derive(Debug, Default)]
struct Reached {
    /// Tries in a row that got no answer.
    failures: u32,
    has_answered: bool,
}

/// A host and port that failed to answer this often in a row is given up for the chunk.
const GIVE_UP_AFTER: u32 = 8;

impl ChunkHosts {
    pub(super) fn is_unreachable(&self, host: &str) -> bool {
        locked(&self.hosts).get(host).is_some_and(|reached| reached.failures >= GIVE_UP_AFTER)
    }

    /// No connection, or no answer in time of a host that never gave one.
    pub(super) fn failed(&self, host: &str) {
        locked(&self.hosts).entry(host.to_owned()).or_default().failures += 1;
    }

    /// Whether the host never answered anything.
    pub(super) fn is_silent(&self, host: &str) -> bool {
        !locked(&self.hosts).get(host).is_some_and(|reached| reached.has_answered)
    }

    pub(super) fn answered(&self, host: &str) {
        let mut hosts = locked(&self.hosts);
        let reached = hosts.entry(host.to_owned()).or_default();
        *reached = Reached { failures: 0, has_answered: true };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_secs(3600);

    async fn enter(hosts: &Hosts) -> Result<Place, Reason> {
        hosts.enter("a:80", Instant::now() + FAR).await
    }

    /// How many downloads at once a host gets now.
    async fn width(hosts: &Hosts) -> usize {
        let mut places = Vec::new();
        while let Ok(place) = tokio::time::timeout(Duration::from_millis(1), enter(hosts)).await {
            places.push(place.unwrap());
        }
        places.len()
    }

    /// A host that says it is too much gets half, everybody waits as long as it asked, and it gets
    /// more again while it answers.
    #[tokio::test(start_paused = true)]
    async fn a_throttled_host_gets_half_after_its_wait_and_more_later() {
        let hosts = Hosts::new(8);
        let (first, second) = (enter(&hosts).await.unwrap(), enter(&hosts).await.unwrap());
        let began = Instant::now();
        first.throttled(Some(Duration::from_secs(3)));
        second.throttled(Some(Duration::from_secs(2)));
        drop((first, second));
        let place = enter(&hosts).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 3);
        drop(place);
        assert_eq!(width(&hosts).await, 4, "one round counts once");
        let place = enter(&hosts).await.unwrap();
        (0..GROW_AFTER * 4).for_each(|_| place.answered());
        drop(place);
        assert_eq!(width(&hosts).await, 5);
    }

    /// A single refusal among many answers is about its URL; two close to each other are not.
    #[tokio::test(start_paused = true)]
    async fn one_refusal_among_many_answers_slows_nobody() {
        let hosts = Hosts::new(8);
        let place = enter(&hosts).await.unwrap();
        (0..8).for_each(|_| place.answered());
        let began = Instant::now();
        place.throttled(Some(Duration::from_secs(3)));
        drop(place);
        assert_eq!((width(&hosts).await, began.elapsed().as_secs()), (8, 0));
        let place = enter(&hosts).await.unwrap();
        (0..7).for_each(|_| place.answered());
        place.throttled(Some(Duration::from_secs(3)));
        drop(place);
        assert!(hosts.try_enter("a:80").is_none(), "it is left alone");
        drop(enter(&hosts).await.unwrap());
        assert_eq!((width(&hosts).await, began.elapsed().as_secs()), (4, 3));
    }

    /// A chunk whose downloads are all busy leaves a host to the others, and gets its turn when it has
    /// a download again, however busy the host is.
    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_download_keeps_no_place() {
        let (hosts, far) = (Hosts::new(1), Instant::now() + FAR);
        let (busy, free) = (Semaphore::new(0), Semaphore::new(1));
        let soon = Duration::from_millis(1);
        let mut waiting = std::pin::pin!(hosts.enter_with("a:80", &busy, far));
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        let others = tokio::time::timeout(soon, hosts.enter_with("a:80", &free, far)).await;
        let others = others.unwrap().unwrap();
        // The host is taken now: the download is lost again, and the place waited for.
        busy.add_permits(1);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        assert_eq!(busy.available_permits(), 1);
        let taken = busy.try_acquire().unwrap();
        drop(others);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        assert!(hosts.try_enter("a:80").is_none(), "the second time it stays");
        drop(taken);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_ok());
    }

    /// What was under way when the wait began may end well or badly, in any order.
    #[tokio::test(start_paused = true)]
    async fn answers_and_refusals_mix_while_a_host_is_quiet() {
        let hosts = Hosts::new(8);
        let (first, second) = (enter(&hosts).await.unwrap(), enter(&hosts).await.unwrap());
        first.throttled(None);
        second.answered();
        first.throttled(None);
        drop((first, second));
        let began = Instant::now();
        drop(enter(&hosts).await.unwrap());
        assert_eq!(began.elapsed().as_millis(), 500);
    }

    /// A host that answers nothing else is not asked any more, then asked once.
    #[tokio::test(start_paused = true)]
    async fn a_host_that_only_throttles_is_left_alone_for_a_minute() {
        let hosts = Hosts::new(8);
        for _ in 0..OPEN_AFTER {
            enter(&hosts).await.unwrap().throttled(None);
        }
        assert_eq!(enter(&hosts).await.err(), Some(Reason::RateLimited));
        tokio::time::advance(LONGEST_QUIET).await;
        let place = enter(&hosts).await.unwrap();
        assert_eq!(width(&hosts).await, 0, "one at a time");
        place.throttled(None);
        drop(place);
        assert_eq!(enter(&hosts).await.err(), Some(Reason::RateLimited));
        tokio::time::advance(LONGEST_QUIET).await;
        enter(&hosts).await.unwrap().answered();
        enter(&hosts).await.unwrap().throttled(None);
        assert!(enter(&hosts).await.is_ok(), "an answer closes the circuit");
    }

    /// Case 67: an eternity that one URL asks for silences only that URL; one within the deadline
    /// but beyond a chunk's own costs its images at once.
    #[tokio::test(start_paused = true)]
    async fn no_wait_goes_beyond_the_deadline() {
        let hosts = Hosts::new(8);
        let began = Instant::now();
        enter(&hosts).await.unwrap().throttled(Some(Duration::from_secs(99_999)));
        drop(enter(&hosts).await.unwrap());
        enter(&hosts).await.unwrap().throttled(Some(Duration::from_secs(30)));
        let refused = hosts.enter("a:80", began + Duration::from_secs(20)).await.err();
        assert_eq!((refused, began.elapsed()), (Some(Reason::RateLimited), Duration::ZERO));
    }
}
