//! One hop: a request to the origin whose turn it is, and what its answer leads to.

use super::{
    ChunkFetch, Errand, Fetcher, TryError, Want, answer,
    body::{self, Received},
    client::{self, Response},
    failure,
    origin::OriginPermit,
    robots,
};
use crate::{
    chunk::{Detail, Reason},
    stall::WATCH,
};
use std::{sync::atomic::Ordering, time::Duration};
use url::Url;

/// One hop's end.
pub(super) enum Hop {
    Body(Received),
    Redirect(Url),
}

impl Fetcher {
    pub(super) async fn hop(
        &self,
        url: &Url,
        permit: &mut OriginPermit,
        errand: Errand<'_>,
        note_asked: impl Fn(),
        has_failed: bool,
        remaining: &mut Duration,
    ) -> Result<Hop, TryError> {
        let Errand { want, chunk, .. } = errand;
        let origin = &permit.origin.key;
        let response = self.request(url, origin, chunk, has_failed, remaining).await?;
        chunk.answered.store(true, Ordering::Relaxed);
        chunk.origins.answered(origin);
        let checked = match want {
            Want::Picture => answer::check_head(&response, &self.settings, chunk.rules.max_bytes),
            Want::Robots => robots::check_head(&response),
        };
        match checked {
            Err(TryError::Throttled(_, asked)) => permit.throttled(asked),
            Ok(_) | Err(_) => {
                note_asked();
                permit.answered();
            }
        }
        let next = answer::redirect(url, &response)?;
        if let Some(next) = next {
            self.guard.check(&next).map_err(TryError::Final)?;
            return Ok(Hop::Redirect(next));
        }
        let doubts = checked?;
        let received = match want {
            Want::Picture => {
                body::receive(response, doubts, chunk, &self.settings, *remaining).await
            }
            Want::Robots => robots::receive(response, chunk, &self.settings, *remaining).await,
        };
        received.map(Hop::Body)
    }

    /// The head of an answer.
    async fn request(
        &self,
        url: &Url,
        origin: &str,
        chunk: &ChunkFetch,
        has_failed: bool,
        remaining: &mut Duration,
    ) -> Result<Response, TryError> {
        let (limit, why) = match self.settings.first_byte_timeout {
            limit if limit < *remaining => (limit, Detail::FirstByte),
            _ => (*remaining, Detail::Total),
        };
        let why = Reason::Timeout.because(why);
        // What an idle connection answered wrongly, or not at all, the next one may as well.
        let mut may_reuse = !has_failed;
        let (answer, since, mark) = loop {
            let look_up = async |name: &str| self.names.look_up(name, &chunk.lookups).await;
            let place = self.client.place(url, &chunk.connections, may_reuse, look_up).await?;
            // Time in which we had no connection to give is no time of the origin.
            let (since, mark) = (WATCH.awake(), WATCH.mark());
            let answer = WATCH.timeout(limit, self.client.get(url, place)).await;
            if !matches!(answer, Some(Err(client::Error::Stale))) {
                break (answer, since, mark);
            }
            may_reuse = false;
        };
        *remaining = remaining.saturating_sub(WATCH.awake() - since);
        // What is given up is an origin that fails a process that runs.
        let is_judged = || !WATCH.stood_still_since(mark);
        match answer {
            Some(Ok(response)) => Ok(response),
            // What the parser of URLs takes and the client does not: no try changes it.
            Some(Err(client::Error::Url)) => {
                Err(TryError::Final(Reason::UrlRefused.because(Detail::NotAUrl)))
            }
            Some(Err(error)) => {
                let is_connect = matches!(error, client::Error::Connect(_));
                let (failure, never_connected) = failure::classify_request(&error, is_connect);
                if never_connected && is_judged() {
                    chunk.origins.failed(origin);
                }
                Err(failure)
            }
            // An origin that never answered costs one timeout: the next try would wait as long again.
            None if chunk.origins.is_silent(origin) && is_judged() => {
                chunk.origins.failed(origin);
                Err(TryError::Final(why))
            }
            None => Err(TryError::Transient(why)),
        }
    }
}
