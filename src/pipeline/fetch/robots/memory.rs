//! What is remembered of the robots.txt of origins: one bounded memory for all chunks, and one question
//! for all who want to know the same.

use super::text::Robots;
use crate::turns::Party;
use moka::{future::Cache, policy::EvictionPolicy};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// What the robots.txt of an origin says.
#[derive(Debug)]
pub(super) enum Answer {
    /// These rules; none of them where there is no robots.txt.
    Rules(Robots),
    /// The origin answered that it cannot tell now.
    Failed,
    /// The origin did not answer, which says as much of the network as of the origin: another chunk asks
    /// again.
    Silent,
}

/// An answer and until when it holds.
#[derive(Debug)]
struct Known {
    answer: Answer,
    until: Instant,
}

#[derive(Debug, Default)]
struct Entry {
    /// Held while one asks: the others wait for it, and for nothing else.
    asking: Mutex<()>,
    known: parking_lot::Mutex<Option<Arc<Known>>>,
    /// Chunks that were not answered, each with its own [`Answer::Silent`].
    silent: parking_lot::Mutex<Vec<(Party, Arc<Known>)>>,
}

/// Origins by their keys. The one that was not used for longest gives way.
#[derive(Debug)]
pub(in super::super) struct Memory(Cache<String, Arc<Entry>>);

/// In bytes: some ten thousand origins with usual rules, or six with the most that there may be.
const REMEMBERED_BYTES: u64 = 16 * 1024 * 1024;
/// Of an entry without its rules.
const ENTRY_BYTES: usize = 400;
/// No longer, says RFC 9309, section 2.4.
const RULES_HOLD: Duration = Duration::from_secs(24 * 3600);
/// An origin that is back is noticed soon.
const FAILURE_HOLDS: Duration = Duration::from_secs(600);

impl Memory {
    pub(in super::super) fn new() -> Self {
        let origins = Cache::builder()
            .max_capacity(REMEMBERED_BYTES)
            .weigher(|key: &String, entry: &Arc<Entry>| entry.weight(key))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self(origins)
    }

    /// Runs `read` on what is remembered of an origin, or on what it says now: of many who want to know,
    /// one asks.
    ///
    /// # Errors
    ///
    /// Those of `ask`, for who asked alone: the next one who waits asks then.
    ///
    /// # Cancel safety
    ///
    /// When who asks is dropped, the next one who waits asks.
    pub(super) async fn read<T, E>(
        &self,
        origin: &str,
        party: Party,
        ask: impl AsyncFnOnce() -> Result<Answer, E>,
        read: impl FnOnce(&Answer) -> T,
    ) -> Result<T, E> {
        let entry = self.0.get_with_by_ref(origin, async { Arc::default() }).await;
        if let Some(known) = entry.known_to(party) {
            return Ok(read(&known.answer));
        }
        let _asking = entry.asking.lock().await;
        if let Some(known) = entry.known_to(party) {
            return Ok(read(&known.answer));
        }
        let answer = ask().await?;
        let hold = if matches!(answer, Answer::Rules(_)) { RULES_HOLD } else { FAILURE_HOLDS };
        let known = Arc::new(Known { answer, until: Instant::now() + hold });
        if matches!(known.answer, Answer::Silent) {
            // Beside that of other chunks: theirs would make this one ask again.
            let mut silent = entry.silent.lock();
            silent.retain(|(_, known)| known.holds());
            silent.push((party, Arc::clone(&known)));
        } else {
            *entry.known.lock() = Some(Arc::clone(&known));
        }
        // It is weighed anew.
        self.0.insert(origin.to_owned(), Arc::clone(&entry)).await;
        Ok(read(&known.answer))
    }
}

impl Known {
    fn holds(&self) -> bool {
        Instant::now() < self.until
    }
}

impl Entry {
    fn known_to(&self, party: Party) -> Option<Arc<Known>> {
        let known = self.known.lock().clone().filter(|known| known.holds());
        known.or_else(|| {
            let silent = self.silent.lock();
            let own = silent.iter().find(|(other, known)| *other == party && known.holds())?;
            Some(Arc::clone(&own.1))
        })
    }

    fn weight(&self, key: &str) -> u32 {
        let rules = self.known.lock().as_ref().map_or(0, |known| match &known.answer {
            Answer::Rules(robots) => robots.weight(),
            Answer::Failed | Answer::Silent => 0,
        });
        let silent =
            self.silent.lock().len() * (size_of::<(Party, Arc<Known>)>() + size_of::<Known>());
        u32::try_from(ENTRY_BYTES + key.len() + rules + silent).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
