//! Whose turn it is: that of the chunk which holds the fewest.

use std::collections::{HashMap, VecDeque};

/// A chunk, as whoever shares something with it tells it from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Party(pub u64);

/// What is held of one thing and who waits for it, by chunk.
///
/// What is freed goes to the chunk that holds the fewest, and among these to who waits longest: a long
/// queue gets no more than a short one. Inside a chunk it is first come, first served, unless its host is
/// to be asked once only.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    parties: HashMap<Party, Share<W>>,
    held: usize,
    came: u64,
}

/// One chunk's.
#[derive(Debug)]
struct Share<W> {
    held: usize,
    /// Each with the number of its coming.
    waiting: VecDeque<(u64, W)>,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { parties: HashMap::new(), held: 0, came: 0 }
    }
}

impl<W> Queue<W> {
    /// How many are held in all.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// How many the chunks hold of which this is true.
    pub(crate) fn held_by(&self, is_meant: impl Fn(Party) -> bool) -> usize {
        let meant = self.parties.iter().filter(|(party, _)| is_meant(**party));
        meant.map(|(_, share)| share.held).sum()
    }

    /// Whether anybody waits of whom this is false.
    pub(crate) fn is_waited_for(&self, is_gone: impl Fn(&W) -> bool) -> bool {
        self.parties.values().any(|share| share.waiting.iter().any(|(_, waiter)| !is_gone(waiter)))
    }

    /// Somebody begins to wait.
    pub(crate) fn wait(&mut self, party: Party, waiter: W) {
        self.came += 1;
        let came = self.came;
        self.of(party).waiting.push_back((came, waiter));
    }

    /// Who is next; `next` takes it. Who `is_gone` is left out. The first of each chunk has a `rank`: none
    /// may not go now, and a true one lets all others go first.
    pub(crate) fn first(
        &mut self,
        is_gone: impl Fn(&W) -> bool,
        rank: impl Fn(Party, &W) -> Option<bool>,
    ) -> Option<(Party, &W)> {
        self.parties.retain(|_, share| {
            while share.waiting.front().is_some_and(|(_, waiter)| is_gone(waiter)) {
                share.waiting.pop_front();
            }
            share.held > 0 || !share.waiting.is_empty()
        });
        let turns = self.parties.iter().filter_map(|(party, share)| {
            let (came, waiter) = share.waiting.front()?;
            Some(((rank(*party, waiter)?, share.held, *came), *party, waiter))
        });
        turns.min_by_key(|(turn, ..)| *turn).map(|(_, party, waiter)| (party, waiter))
    }

    /// Who waits of a chunk, in the order of their coming; some may be gone.
    pub(crate) fn waiting(&self, party: Party) -> impl Iterator<Item = &W> {
        let share = self.parties.get(&party).into_iter();
        share.flat_map(|share| share.waiting.iter().map(|(_, waiter)| waiter))
    }

    /// Takes the one `at` this place of a chunk's, 0 is the first, who holds one from now on.
    pub(crate) fn next(&mut self, party: Party, at: usize) -> Option<W> {
        let (_, waiter) = self.of(party).waiting.remove(at)?;
        self.hold(party);
        Some(waiter)
    }

    /// A chunk holds one more.
    pub(crate) fn hold(&mut self, party: Party) {
        self.of(party).held += 1;
        self.held += 1;
    }

    /// A chunk holds one less.
    pub(crate) fn give_back(&mut self, party: Party) {
        let share = self.of(party);
        share.held = share.held.saturating_sub(1);
        if share.held == 0 && share.waiting.is_empty() {
            self.parties.remove(&party);
        }
        self.held = self.held.saturating_sub(1);
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.parties.is_empty()
    }

    fn of(&mut self, party: Party) -> &mut Share<W> {
        self.parties.entry(party).or_insert_with(|| Share { held: 0, waiting: VecDeque::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Party = Party(1);
    const SHORT: Party = Party(2);
    const OTHER: Party = Party(3);
    const LATE: u32 = 1000;

    fn next(queue: &mut Queue<u32>) -> Option<(Party, u32)> {
        let rank = |_: Party, waiter: &u32| Some(*waiter == LATE);
        let (party, _) = queue.first(|waiter| *waiter == 0, rank)?;
        Some((party, queue.next(party, 0)?))
    }

    /// A long queue that holds every place gets no freed one while a shorter one waits with fewer; with
    /// as many each, who waits longest is next.
    #[test]
    fn a_freed_place_goes_to_who_has_the_fewest() {
        let mut queue = Queue::default();
        (1..=100).for_each(|n| queue.wait(LONG, n));
        (0..4).for_each(|_| assert_eq!(next(&mut queue).unwrap().0, LONG));
        (1..=9).for_each(|n| queue.wait(SHORT, n));
        queue.wait(OTHER, 1);
        let mut order = Vec::new();
        for _ in 0..4 {
            queue.give_back(LONG);
            order.push(next(&mut queue).unwrap());
        }
        // Then each has as many as the others, or more, and the long queue came first.
        assert_eq!(order, [(SHORT, 1), (OTHER, 1), (LONG, 5), (LONG, 6)]);
        queue.give_back(SHORT);
        assert_eq!(next(&mut queue), Some((SHORT, 2)));
        assert_eq!((queue.held(), queue.held_by(|party| party == LONG)), (4, 2));
    }

    /// Who is late goes when nobody else waits, however few its chunk has; who may not go keeps nobody.
    #[test]
    fn who_is_late_lets_the_others_go_first() {
        let mut queue = Queue::default();
        queue.wait(LONG, LATE);
        queue.hold(SHORT);
        queue.wait(SHORT, 2);
        queue.wait(OTHER, 3);
        let rank = |party: Party, waiter: &u32| (party != OTHER).then_some(*waiter == LATE);
        assert_eq!(queue.first(|_| false, rank), Some((SHORT, &2)));
        let order = [next(&mut queue), next(&mut queue), next(&mut queue)].map(Option::unwrap);
        assert_eq!(order, [(OTHER, 3), (SHORT, 2), (LONG, LATE)]);
    }

    /// Who is gone takes no turn, and a chunk that has nothing left is forgotten.
    #[test]
    fn who_is_gone_is_left_out() {
        let mut queue = Queue::default();
        [0, 0, 7, 0].into_iter().for_each(|n| queue.wait(LONG, n));
        assert!(queue.is_waited_for(|waiter| *waiter == 0));
        assert_eq!(next(&mut queue), Some((LONG, 7)));
        assert!(!queue.is_waited_for(|waiter| *waiter == 0));
        assert_eq!(next(&mut queue), None);
        queue.give_back(LONG);
        assert_eq!((queue.held(), queue.is_empty()), (0, true));
    }
}
