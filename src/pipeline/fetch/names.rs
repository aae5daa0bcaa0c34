//! What names lead to: one bounded memory for all chunks, under the address guard.

use super::{
    address::allows_answer,
    name_servers::{Answer, LookupError, NameServers},
};
use crate::{settings::Limits, stall::WATCH};
use moka::{Expiry, future::Cache, policy::EvictionPolicy};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// The names of the process.
#[derive(Debug, Clone)]
pub(super) struct Names {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    servers: NameServers,
    /// Look-ups at once, all chunks together.
    lookups: Semaphore,
    remembered: Cache<String, Answer>,
}

/// What is remembered, in addresses and names: a name with one address counts two.
const REMEMBERED: u64 = 16_384;

/// A chunk's part of so many look-ups of the process, at least one. The parts are fixed: names that nobody
/// answers for keep no other chunk's waiting, unless there are more chunks than look-ups.
pub(super) fn share(lookups: usize, limits: &Limits) -> Semaphore {
    let chunks = usize::try_from(limits.max_concurrent_chunks).unwrap_or(usize::MAX);
    Semaphore::new((lookups / chunks.max(1)).max(1))
}

impl Names {
    /// Names as these servers know them, or without any those of the system, with so many look-ups at once.
    pub(super) fn new(servers: &[SocketAddr], lookups: usize) -> Self {
        let remembered = Cache::builder()
            .max_capacity(REMEMBERED)
            .weigher(|_, answer: &Answer| weight(answer))
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(AsItHolds)
            .build();
        let (servers, lookups) = (NameServers::new(servers), Semaphore::new(lookups));
        Self { inner: Arc::new(Inner { servers, lookups, remembered }) }
    }

    /// The addresses of a host, remembered or asked for with a permit of this share. Of many who want
    /// the same name one asks.
    ///
    /// # Errors
    ///
    /// [`LookupError`]; `Refused` when one of the addresses may not be connected to.
    ///
    /// # Cancel safety
    ///
    /// When who asks is dropped, the next one who waits asks.
    pub(super) async fn look_up(
        &self,
        host: &str,
        share: &Semaphore,
    ) -> Result<Arc<[IpAddr]>, LookupError> {
        let host = host.trim_end_matches('.');
        let answer = match self.inner.remembered.get(host).await {
            Some(answer) => answer,
            None => {
                // It is never closed.
                let _permit = share.acquire().await.ok();
                let ask = Box::pin(self.ask(host));
                self.inner.remembered.get_with_by_ref(host, ask).await
            }
        };
        // Each time, not only when the answer came.
        answer.found.and_then(|found| {
            if allows_answer(&found) { Ok(found) } else { Err(LookupError::Refused) }
        })
    }

    /// Asks the servers. A failure across a standstill of this process holds for nobody else.
    async fn ask(&self, host: &str) -> Answer {
        // It is never closed.
        let _permit = self.inner.lookups.acquire().await.ok();
        let mark = WATCH.mark();
        let answer = self.inner.servers.ask(host).await;
        match answer.found {
            Err(_) if WATCH.stood_still_since(mark) => Answer { holds: Duration::ZERO, ..answer },
            Ok(_) | Err(_) => answer,
        }
    }
}

fn weight(answer: &Answer) -> u32 {
    let addresses = answer.found.as_ref().map_or(0, |found| found.len());
    u32::try_from(addresses).unwrap_or(u32::MAX).saturating_add(1)
}

/// An answer is forgotten when it no longer holds.
struct AsItHolds;

impl Expiry<String, Answer> for AsItHolds {
    fn expire_after_create(&self, _: &String, answer: &Answer, _: Instant) -> Option<Duration> {
        Some(answer.holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::{net::UdpSocket, time::timeout};

    /// Each chunk has a part of its own, and all of them together ask no more than the process may.
    #[tokio::test]
    async fn parts_of_at_least_one_are_no_more_than_all_look_ups() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let names = Names::new(&[server.local_addr().unwrap()], 1);
        let held = names.inner.lookups.acquire().await.unwrap();
        let share = Semaphore::new(1);
        let mut asked = pin!(names.look_up("pictures.test", &share));
        let mut question = [0; 512];
        assert!(timeout(Duration::from_millis(200), &mut asked).await.is_err());
        assert!(server.try_recv(&mut question).is_err(), "nobody was asked");
        drop(held);
        tokio::select! {
            answer = asked => panic!("nobody answers: {answer:?}"),
            asked = server.recv(&mut question) => assert!(asked.is_ok_and(|n| n > 0)),
        }
    }
}
