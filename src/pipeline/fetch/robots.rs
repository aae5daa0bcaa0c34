//! Whether an origin's robots.txt lets us ask for a URL (RFC 9309).
//!
//! It is fetched as a picture is, in the turn of the picture that wants to know: by the same client, under
//! the same guard, pace, limits and tries. What is in a picture's way without saying anything about it (no
//! descriptors, no name servers, a process that stood still, a busy host) is the same here, and never a
//! refusal. Refusals are `robots`: of the rules, or because the origin cannot be asked for them.

mod memory;
mod text;

use super::{
    ChunkFetch, Errand, Error, Fetched, Fetcher, Standing, TryError, Want, answer,
    body::{self, Received},
    client::Response,
    consent, origin,
};
use crate::{
    chunk::{Detail, Reason, Rejection},
    settings::DownloadSettings,
};
use futures_util::{FutureExt as _, future::BoxFuture};
use memory::Answer;
pub(super) use memory::Memory;
use std::{sync::atomic::Ordering, time::Duration};
use text::{LIMIT, Robots};
use url::{Position, Url};

const PATH: &str = "/robots.txt";

impl Fetcher {
    /// Whether a chunk that respects robots.txt may ask for a URL. Of all URLs of an origin that wait for it,
    /// one fetches it, and the others hold nothing meanwhile.
    ///
    /// # Errors
    ///
    /// [`TryError::Final`] with reason `robots` when it may not; else why it cannot be known now, which
    /// ends the picture as if it had happened to it.
    // In a box: it fetches by what waits for it.
    pub(super) fn ask_robots<'a>(
        &'a self,
        url: &'a Url,
        chunk: &'a ChunkFetch,
        standing: &'a Standing,
    ) -> BoxFuture<'a, Result<(), TryError>> {
        let answered = async move {
            // It may always be asked for (RFC 9309, section 2.2.2).
            if url.path() == PATH {
                return Ok(());
            }
            let key = origin::key(url);
            standing.waits(&self.origins.get(&key), chunk.party);
            let ask = async || self.robots_of(url, chunk, standing).await;
            self.robots.read(&key, chunk.party, ask, |answer| judge(answer, url, chunk)).await?
        };
        answered.boxed()
    }

    /// What the robots.txt of a URL's origin says. Where it leads elsewhere, that counts for the origin, too
    /// (RFC 9309, section 2.3.1.2).
    async fn robots_of(
        &self,
        url: &Url,
        chunk: &ChunkFetch,
        standing: &Standing,
    ) -> Result<Answer, TryError> {
        let mut url = url.clone();
        url.set_path(PATH);
        url.set_query(None);
        url.set_fragment(None);
        let why = match self.fetch_url(&url, Errand { want: Want::Robots, chunk, standing }).await {
            Ok(Fetched { body, download: _download, .. }) => {
                let own = consent::product(&self.settings.user_agent);
                let parse = move |text: &[u8]| Robots::parse(text, &own);
                let robots = body::text_of(body, limit(), &chunk.walkers, parse).await?;
                return Ok(Answer::Rules(robots));
            }
            Err(Error::Rejected(why)) => why,
            Err(Error::Unwanted(refused)) => return Err(TryError::Unwanted(refused)),
            Err(Error::Cut(why)) => return Err(TryError::Cut(Want::Robots.verdict(why))),
            Err(Error::Spool(error)) => return Err(TryError::Spool(error)),
            Err(Error::NamesAway) => return Err(TryError::NamesAway),
        };
        tracing::debug!(%why, "no robots.txt");
        match why.reason {
            // There is none (section 2.3.1.3), or nothing in it, or it is too far away, which is the same
            // (2.3.1.2).
            Reason::Http(204 | 205 | 400..=499) | Reason::TooManyRedirects => {
                Ok(Answer::Rules(Robots::default()))
            }
            Reason::RateLimited => Err(TryError::Final(why)),
            // Rules that cannot be read are not known.
            Reason::Http(_) | Reason::EncodingRefused => Ok(Answer::Failed),
            _ => Ok(Answer::Silent),
        }
    }
}

/// What the answer of a URL's origin means for the URL.
fn judge(answer: &Answer, url: &Url, chunk: &ChunkFetch) -> Result<(), TryError> {
    let refused = |detail| Err(TryError::Final(Reason::Robots.because(detail)));
    match answer {
        Answer::Rules(robots) => {
            let is_allowed = robots.allow(&url[Position::BeforePath..Position::AfterQuery]);
            if is_allowed { Ok(()) } else { refused(Detail::Disallowed) }
        }
        Answer::Failed => {
            // So the network is there, for this chunk, too.
            chunk.answered.store(true, Ordering::Relaxed);
            refused(Detail::Unreachable)
        }
        Answer::Silent => refused(Detail::Unreachable),
    }
}

impl Want {
    /// What a picture ends as for a failure of this.
    pub(super) fn verdict(self, why: Rejection) -> Rejection {
        match self {
            Self::Robots if why.reason != Reason::RateLimited => {
                Reason::Robots.because(Detail::Unreachable)
            }
            Self::Robots | Self::Picture => why,
        }
    }
}

/// Refuses what is no robots.txt by its status, or compressed in a way that is not read. One that is to be
/// asked for later is an origin that is busy, whatever else the status says.
pub(super) fn check_head(response: &Response) -> Result<answer::Doubts, TryError> {
    match answer::check_status(response) {
        Ok(_) if answer::codings(response).any(|coding| !answer::is_gzip(coding)) => {
            Err(TryError::Final(Reason::EncodingRefused.into()))
        }
        Ok(_) => Ok(answer::Doubts::default()),
        Err(TryError::Throttled(_, asked)) => {
            Err(TryError::Throttled(Reason::RateLimited.into(), asked))
        }
        Err(why) => Err(why),
    }
}

/// Reads a robots.txt as far as it counts.
pub(super) async fn receive(
    response: Response,
    chunk: &ChunkFetch,
    settings: &DownloadSettings,
    remaining: Duration,
) -> Result<Received, TryError> {
    body::receive_start(response, limit(), chunk, settings, remaining).await
}

fn limit() -> u64 {
    u64::try_from(LIMIT).unwrap_or(u64::MAX)
}
