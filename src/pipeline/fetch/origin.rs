//! Origins: how many downloads each gets at once, and when it wants to be left alone.

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

/// Host and port: what limits and waits hold for.
pub(super) fn key(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Every origin (host and port) that the process downloads from: one back-off for all its chunks.
#[derive(Debug)]
pub(super) struct Origins {
    limit: usize,
    origins: Mutex<HashMap<String, Arc<Origin>>>,
}

/// One origin: it gets fewer downloads at once each time it answers that these are too many, and more
/// again while it answers all of them.
#[derive(Debug)]
struct Origin {
    limit: usize,
    permits: Arc<Semaphore>,
    pace: Mutex<Pace>,
}

/// How fast an origin is asked.
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

/// Above this many origins the idle ones are forgotten.
const REMEMBERED_ORIGINS: usize = 4096;
/// So many answers for each download at once, then there may be one more.
const GROW_AFTER: usize = 32;
/// The first wait of an origin that names none; it doubles with each round.
const FIRST_QUIET: Duration = Duration::from_millis(500);
/// A longer wait may be meant for one URL: it is not shared by all of the origin.
const LONGEST_QUIET: Duration = Duration::from_secs(60);
/// An origin that asked to wait this often in a row is not asked at all for [`LONGEST_QUIET`].
const OPEN_AFTER: u32 = 5;

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Origins {
    /// Origins of which each gets at most `limit` downloads at once.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, origins: Mutex::default() }
    }

    /// Waits for a permit at the origin.
    ///
    /// # Errors
    ///
    /// `rate_limited`: the origin asked for a wait beyond `deadline`, or answers nothing else.
    async fn enter(&self, origin: &str, deadline: Instant) -> Result<OriginPermit, Reason> {
        let origin = self.origin(origin);
        let permit = Arc::clone(&origin.permits).acquire_owned().await;
        let permit = OriginPermit { origin, permit: permit.ok() };
        while let Some(until) = permit.origin.quiet_until() {
            if until > deadline || locked(&permit.origin.pace).rounds >= OPEN_AFTER {
                return Err(Reason::RateLimited);
            }
            sleep_until(until).await;
        }
        Ok(permit)
    }

    /// Waits for a permit of the origin and one of the chunk's downloads.
    ///
    /// A download that must wait gives its origin permit back first: a chunk whose downloads are all
    /// at slow origins would otherwise keep a quick origin's permits from every other chunk. When
    /// both are scarce this could go on for ever, so the second time the permit is kept.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`].
    pub(super) async fn enter_with<'a>(
        &self,
        origin: &str,
        downloads: &'a Semaphore,
        deadline: Instant,
    ) -> Result<(OriginPermit, SemaphorePermit<'a>), Reason> {
        let permit = self.enter(origin, deadline).await?;
        if let Ok(download) = downloads.try_acquire() {
            return Ok((permit, download));
        }
        drop(permit);
        let download = acquired(downloads).await?;
        if let Some(permit) = self.try_enter(origin) {
            return Ok((permit, download));
        }
        drop(download);
        let permit = self.enter(origin, deadline).await?;
        Ok((permit, acquired(downloads).await?))
    }

    /// A permit at the origin, if there is one right now.
    fn try_enter(&self, origin: &str) -> Option<OriginPermit> {
        let origin = self.origin(origin);
        let permit = Arc::clone(&origin.permits).try_acquire_owned().ok()?;
        let permit = OriginPermit { origin, permit: Some(permit) };
        permit.origin.quiet_until().is_none().then_some(permit)
    }

    fn origin(&self, name: &str) -> Arc<Origin> {
        let mut origins = locked(&self.origins);
        if let Some(origin) = origins.get(name) {
            return Arc::clone(origin);
        }
        if origins.len() >= REMEMBERED_ORIGINS {
            origins.retain(|_, origin| {
                Arc::strong_count(origin) > 1 || origin.quiet_until().is_some()
            });
        }
        let origin = Arc::new(Origin::new(self.limit));
        origins.insert(name.to_owned(), Arc::clone(&origin));
        origin
    }
}

async fn acquired(downloads: &Semaphore) -> Result<SemaphorePermit<'_>, Reason> {
    // It is never closed.
    downloads.acquire().await.map_err(|_| Reason::Deadline)
}

impl Origin {
    fn new(limit: usize) -> Self {
        let pace = Pace { width: limit, surplus: 0, answered: 0, rounds: 0, quiet_until: None };
        Self { limit, permits: Arc::new(Semaphore::new(limit)), pace: Mutex::new(pace) }
    }

    /// When it may be asked again; none: now.
    fn quiet_until(&self) -> Option<Instant> {
        locked(&self.pace).quiet_until.filter(|until| *until > Instant::now())
    }
}

/// One download's permit at an origin.
#[derive(Debug)]
pub(super) struct OriginPermit {
    origin: Arc<Origin>,
    permit: Option<OwnedSemaphorePermit>,
}

impl OriginPermit {
    /// The origin answered.
    pub(super) fn answered(&self) {
        let mut pace = locked(&self.origin.pace);
        pace.rounds = 0;
        pace.answered += 1;
        if pace.answered >= GROW_AFTER * pace.width && pace.width < self.origin.limit {
            pace.width += 1;
            pace.answered = 0;
            match pace.surplus.checked_sub(1) {
                Some(surplus) => pace.surplus = surplus,
                None => self.origin.permits.add_permits(1),
            }
        }
    }

    /// The origin refused a request and asked for a wait: all downloads wait, then half as many run.
    ///
    /// Three refusals do not count as one more round: of requests that were under way when the wait
    /// began (they repeat what is known), a single one among many answers (it is about its URL), and
    /// one that asks for longer than [`LONGEST_QUIET`] (likewise).
    pub(super) fn throttled(&self, asked: Option<Duration>) {
        let now = Instant::now();
        let mut pace = locked(&self.origin.pace);
        if asked > Some(LONGEST_QUIET) && pace.rounds < OPEN_AFTER {
            return;
        }
        let is_lone = pace.answered >= self.origin.limit;
        pace.answered = 0;
        if is_lone {
            return;
        }
        if pace.quiet_until.is_none_or(|until| until <= now) {
            pace.rounds += 1;
            let width = (pace.width / 2).max(1);
            let fewer = pace.width - width;
            // Only free permits can be taken away now; the rest goes when its downloads end (`drop`).
            pace.surplus += fewer - self.origin.permits.forget_permits(fewer);
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

impl Drop for OriginPermit {
    fn drop(&mut self) {
        let mut pace = locked(&self.origin.pace);
        if let Some(surplus) = pace.surplus.checked_sub(1)
            && let Some(permit) = self.permit.take()
        {
            pace.surplus = surplus;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_secs(3600);

    async fn enter(origins: &Origins) -> Result<OriginPermit, Reason> {
        origins.enter("a:80", Instant::now() + FAR).await
    }

    /// How many downloads at once an origin gets now.
    async fn width(origins: &Origins) -> usize {
        let mut permits = Vec::new();
        while let Ok(permit) = tokio::time::timeout(Duration::from_millis(1), enter(origins)).await
        {
            permits.push(permit.unwrap());
        }
        permits.len()
    }

    /// An origin that says it is too much gets half, everybody waits as long as it asked, and it gets
    /// more again while it answers.
    #[tokio::test(start_paused = true)]
    async fn a_throttled_host_gets_half_after_its_wait_and_more_later() {
        let origins = Origins::new(8);
        let (first, second) = (enter(&origins).await.unwrap(), enter(&origins).await.unwrap());
        let began = Instant::now();
        first.throttled(Some(Duration::from_secs(3)));
        second.throttled(Some(Duration::from_secs(2)));
        drop((first, second));
        let permit = enter(&origins).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 3);
        drop(permit);
        assert_eq!(width(&origins).await, 4, "one round counts once");
        let permit = enter(&origins).await.unwrap();
        (0..GROW_AFTER * 4).for_each(|_| permit.answered());
        drop(permit);
        assert_eq!(width(&origins).await, 5);
    }

    /// A single refusal among many answers is about its URL; two close to each other are not.
    #[tokio::test(start_paused = true)]
    async fn one_refusal_among_many_answers_slows_nobody() {
        let origins = Origins::new(8);
        let permit = enter(&origins).await.unwrap();
        (0..8).for_each(|_| permit.answered());
        let began = Instant::now();
        permit.throttled(Some(Duration::from_secs(3)));
        drop(permit);
        assert_eq!((width(&origins).await, began.elapsed().as_secs()), (8, 0));
        let permit = enter(&origins).await.unwrap();
        (0..7).for_each(|_| permit.answered());
        permit.throttled(Some(Duration::from_secs(3)));
        drop(permit);
        assert!(origins.try_enter("a:80").is_none(), "it is left alone");
        drop(enter(&origins).await.unwrap());
        assert_eq!((width(&origins).await, began.elapsed().as_secs()), (4, 3));
    }

    /// A chunk whose downloads are all busy leaves an origin to the others, and gets its turn when it has
    /// a download again, however busy the origin is.
    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_download_keeps_no_place() {
        let (origins, far) = (Origins::new(1), Instant::now() + FAR);
        let (busy, free) = (Semaphore::new(0), Semaphore::new(1));
        let soon = Duration::from_millis(1);
        let mut waiting = std::pin::pin!(origins.enter_with("a:80", &busy, far));
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        let others = tokio::time::timeout(soon, origins.enter_with("a:80", &free, far)).await;
        let others = others.unwrap().unwrap();
        // The origin is taken now: the download is lost again, and the permit waited for.
        busy.add_permits(1);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        assert_eq!(busy.available_permits(), 1);
        let taken = busy.try_acquire().unwrap();
        drop(others);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        assert!(origins.try_enter("a:80").is_none(), "the second time it stays");
        drop(taken);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_ok());
    }

    /// What was under way when the wait began may end well or badly, in any order.
    #[tokio::test(start_paused = true)]
    async fn answers_and_refusals_mix_while_a_host_is_quiet() {
        let origins = Origins::new(8);
        let (first, second) = (enter(&origins).await.unwrap(), enter(&origins).await.unwrap());
        first.throttled(None);
        second.answered();
        first.throttled(None);
        drop((first, second));
        let began = Instant::now();
        drop(enter(&origins).await.unwrap());
        assert_eq!(began.elapsed().as_millis(), 500);
    }

    /// An origin that answers nothing else is not asked any more, then asked once.
    #[tokio::test(start_paused = true)]
    async fn a_host_that_only_throttles_is_left_alone_for_a_minute() {
        let origins = Origins::new(8);
        for _ in 0..OPEN_AFTER {
            enter(&origins).await.unwrap().throttled(None);
        }
        assert_eq!(enter(&origins).await.err(), Some(Reason::RateLimited));
        tokio::time::advance(LONGEST_QUIET).await;
        let permit = enter(&origins).await.unwrap();
        assert_eq!(width(&origins).await, 0, "one at a time");
        permit.throttled(None);
        drop(permit);
        assert_eq!(enter(&origins).await.err(), Some(Reason::RateLimited));
        tokio::time::advance(LONGEST_QUIET).await;
        enter(&origins).await.unwrap().answered();
        enter(&origins).await.unwrap().throttled(None);
        assert!(enter(&origins).await.is_ok(), "an answer closes the circuit");
    }

    /// Case 67: an eternity that one URL asks for silences only that URL; one within the deadline
    /// but beyond a chunk's own costs its images at once.
    #[tokio::test(start_paused = true)]
    async fn no_wait_goes_beyond_the_deadline() {
        let origins = Origins::new(8);
        let began = Instant::now();
        enter(&origins).await.unwrap().throttled(Some(Duration::from_secs(99_999)));
        drop(enter(&origins).await.unwrap());
        enter(&origins).await.unwrap().throttled(Some(Duration::from_secs(30)));
        let refused = origins.enter("a:80", began + Duration::from_secs(20)).await.err();
        assert_eq!((refused, began.elapsed()), (Some(Reason::RateLimited), Duration::ZERO));
    }
}
