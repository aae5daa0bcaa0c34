//! Whose turn it is at an origin: that of the chunk which has the fewest downloads there.

use std::collections::{HashMap, VecDeque};

/// A chunk, as origins tell it from the others of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Party(pub u64);

/// The downloads of one origin that run and those that wait, by chunk.
///
/// A freed place goes to the chunk that has the fewest, and among these to who waits longest: a long
/// queue gets no more places than a short one. Inside a chunk it is first come, first served.
#[derive(Debug)]
pub(super) struct Turns<W> {
    parties: HashMap<Party, Downloads<W>>,
    running: usize,
    came: u64,
}

/// One chunk's.
#[derive(Debug)]
struct Downloads<W> {
    running: usize,
    /// Each with the number of its coming.
    waiting: VecDeque<(u64, W)>,
}

impl<W> Default for Turns<W> {
    fn default() -> Self {
        Self { parties: HashMap::new(), running: 0, came: 0 }
    }
}

impl<W> Turns<W> {
    /// Downloads that run.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// A download begins to wait.
    pub(super) fn wait(&mut self, party: Party, waiter: W) {
        self.came += 1;
        let came = self.came;
        self.of(party).waiting.push_back((came, waiter));
    }

    /// Takes who is next and lets it run; who `is_gone` is left out, and who `is_late` lets all others go
    /// first.
    pub(super) fn next(
        &mut self,
        is_gone: impl Fn(&W) -> bool,
        is_late: impl Fn(&W) -> bool,
    ) -> Option<(Party, W)> {
        self.parties.retain(|_, downloads| {
            while downloads.waiting.front().is_some_and(|(_, waiter)| is_gone(waiter)) {
                downloads.waiting.pop_front();
            }
            downloads.running > 0 || !downloads.waiting.is_empty()
        });
        let turns = self.parties.iter().filter_map(|(party, downloads)| {
            let (came, waiter) = downloads.waiting.front()?;
            Some(((is_late(waiter), downloads.running, *came), *party))
        });
        let (_, party) = turns.min_by_key(|(turn, _)| *turn)?;
        let (_, waiter) = self.of(party).waiting.pop_front()?;
        self.start(party);
        Some((party, waiter))
    }

    /// A download runs.
    pub(super) fn start(&mut self, party: Party) {
        self.of(party).running += 1;
        self.running += 1;
    }

    /// A download that ran has ended.
    pub(super) fn end(&mut self, party: Party) {
        let downloads = self.of(party);
        downloads.running = downloads.running.saturating_sub(1);
        if downloads.running == 0 && downloads.waiting.is_empty() {
            self.parties.remove(&party);
        }
        self.running = self.running.saturating_sub(1);
    }

    fn of(&mut self, party: Party) -> &mut Downloads<W> {
        let none = || Downloads { running: 0, waiting: VecDeque::new() };
        self.parties.entry(party).or_insert_with(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Party = Party(1);
    const SHORT: Party = Party(2);
    const OTHER: Party = Party(3);
    const LATE: u32 = 1000;

    fn next(turns: &mut Turns<u32>) -> Option<(Party, u32)> {
        turns.next(|waiter| *waiter == 0, |waiter| *waiter == LATE)
    }

    /// A long queue that holds every place gets no freed one while a shorter one waits with fewer; with
    /// as many each, who waits longest is next.
    #[test]
    fn a_freed_place_goes_to_who_has_the_fewest() {
        let mut turns = Turns::default();
        (1..=100).for_each(|n| turns.wait(LONG, n));
        (0..4).for_each(|_| assert_eq!(next(&mut turns).unwrap().0, LONG));
        (1..=9).for_each(|n| turns.wait(SHORT, n));
        turns.wait(OTHER, 1);
        let mut order = Vec::new();
        for _ in 0..4 {
            turns.end(LONG);
            order.push(next(&mut turns).unwrap());
        }
        // Then each has as many as the others, or more, and the long queue came first.
        assert_eq!(order, [(SHORT, 1), (OTHER, 1), (LONG, 5), (LONG, 6)]);
        turns.end(SHORT);
        assert_eq!(next(&mut turns), Some((SHORT, 2)));
        assert_eq!(turns.running(), 4);
    }

    /// Who is late goes when nobody else waits, however few its chunk has.
    #[test]
    fn who_is_late_lets_the_others_go_first() {
        let mut turns = Turns::default();
        turns.wait(LONG, LATE);
        turns.start(SHORT);
        turns.wait(SHORT, 2);
        let order = [next(&mut turns).unwrap(), next(&mut turns).unwrap()];
        assert_eq!(order, [(SHORT, 2), (LONG, LATE)]);
    }

    /// Who is gone takes no turn, and a chunk that has nothing left is forgotten.
    #[test]
    fn who_is_gone_is_left_out() {
        let mut turns = Turns::default();
        [0, 0, 7, 0].into_iter().for_each(|n| turns.wait(LONG, n));
        assert_eq!(next(&mut turns), Some((LONG, 7)));
        assert_eq!(next(&mut turns), None);
        turns.end(LONG);
        assert_eq!((turns.running(), turns.parties.len()), (0, 0));
    }
}
