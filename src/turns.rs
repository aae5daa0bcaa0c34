//! Fair turns: a limited number of something that all chunks of the process want.
//!
//! A turn that becomes free goes to the seat that holds the fewest, and of several such seats to the
//! one that has waited longest; not to the longest queue. Whoever asks while there are free turns has
//! one at once: a chunk alone uses all of them.

mod queue;

use parking_lot::Mutex;
pub(crate) use queue::{Party, Queue};
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::oneshot;

/// A number of turns at something.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limit: usize,
    next_seat: u64,
    queue: Queue<oneshot::Sender<Turn>>,
}

/// One chunk's place among those who take turns.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    turns: Turns,
    party: Party,
}

/// The right to use one of them; dropping it gives it to the next.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    /// The number of the party that holds it.
    party: AtomicU64,
}

/// A turn that is asked for.
#[derive(Debug)]
pub(crate) struct Asked(oneshot::Receiver<Turn>);

impl Turns {
    /// So many turns, at least one.
    pub(crate) fn new(limit: usize) -> Self {
        let state = State { limit: limit.max(1), next_seat: 0, queue: Queue::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A place for one chunk.
    pub(crate) fn seat(&self) -> Seat {
        let mut state = self.0.lock();
        state.next_seat += 1;
        Seat { turns: self.clone(), party: Party(state.next_seat) }
    }

    /// Whether anybody waits for a turn.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.0.lock().queue.is_waited_for(oneshot::Sender::is_closed)
    }

    fn give_back(&self, party: Party) {
        let next = {
            let mut state = self.0.lock();
            state.queue.give_back(party);
            state.next()
        };
        // Outside of the lock: who has gone away meanwhile drops the turn, which comes back here.
        if let Some((party, sender)) = next {
            drop(sender.send(self.turn_of(party)));
        }
    }

    fn turn_of(&self, party: Party) -> Turn {
        Turn { turns: self.clone(), party: party.0.into() }
    }
}

impl State {
    /// Takes a free turn for the party whose turn it is.
    fn next(&mut self) -> Option<(Party, oneshot::Sender<Turn>)> {
        let (party, _) = self.queue.first(oneshot::Sender::is_closed, |_, _| Some(false))?;
        Some((party, self.queue.next(party, 0)?))
    }
}

impl Seat {
    /// A turn that is free, or a place in the queue, which is kept from now on.
    pub(crate) fn ask(&self) -> Result<Turn, Asked> {
        let mut state = self.turns.0.lock();
        if state.queue.held() < state.limit {
            state.queue.hold(self.party);
            return Ok(self.turns.turn_of(self.party));
        }
        let (sender, receiver) = oneshot::channel();
        state.queue.wait(self.party, sender);
        Err(Asked(receiver))
    }

    /// Waits for a turn.
    ///
    /// # Cancel safety
    ///
    /// The place in the queue is lost, and a turn that came already goes to the next.
    pub(crate) async fn turn(&self) -> Turn {
        match self.ask() {
            Ok(turn) => turn,
            Err(asked) => asked.turn().await,
        }
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.turns.0.lock().queue.held_by(|party| party == self.party)
    }
}

impl Turn {
    /// Gives it to another seat of the same turns, which holds it from now on.
    pub(crate) fn pass_to(&self, seat: &Seat) {
        let mut state = self.turns.0.lock();
        // Under the lock, so that the party that is named here is the one that holds it.
        let before = self.party.swap(seat.party.0, Ordering::Relaxed);
        state.queue.give_back(Party(before));
        state.queue.hold(seat.party);
    }
}

impl Asked {
    /// Waits for it; as [`Seat::turn`].
    pub(crate) async fn turn(self) -> Turn {
        match self.0.await {
            Ok(turn) => turn,
            // Who is asked for a turn keeps the question until it is answered.
            Err(_) => pending().await,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_back(Party(*self.party.get_mut()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{pin::pin, time::Duration};
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(1);

    /// Lets each of these wait for a turn; who got which is told in order.
    async fn order(waiting: Vec<(&'static str, Asked)>, first: Turn) -> Vec<&'static str> {
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        for (name, asked) in waiting {
            let said = said.clone();
            tasks.spawn(async move {
                let turn = asked.turn().await;
                said.send(name).unwrap();
                drop(turn);
            });
        }
        drop((said, first));
        tasks.join_all().await;
        let mut names = Vec::new();
        while let Some(name) = heard.recv().await {
            names.push(name);
        }
        names
    }

    fn asked(seat: &Seat) -> Asked {
        seat.ask().unwrap_err()
    }

    /// A short queue is not kept waiting by a long one that was there before: the two take turns.
    #[tokio::test]
    async fn a_turn_goes_to_who_has_the_fewest() {
        let turns = Turns::new(2);
        let (busy, other) = (turns.seat(), turns.seat());
        let (first, second) = (busy.ask().unwrap(), busy.ask().unwrap());
        let mut waiting: Vec<_> = (0..5).map(|_| ("busy", asked(&busy))).collect();
        waiting.extend([("other", asked(&other)), ("other", asked(&other))]);
        // The second turn stays with the busy one, which so has more than the other at each moment.
        let names = order(waiting, first).await;
        assert_eq!(names[..2], ["other", "other"], "{names:?}");
        assert_eq!(names.len(), 7);
        drop(second);
    }

    /// Between equals who waits longest is next, and one seat's queue keeps its order.
    #[tokio::test]
    async fn equals_take_turns_as_they_came() {
        let turns = Turns::new(1);
        let seats = [turns.seat(), turns.seat(), turns.seat()];
        let first = turns.seat().ask().unwrap();
        let names = ["a1", "b1", "a2", "c1", "b2"];
        let of = [0, 1, 0, 2, 1];
        let waiting = names.into_iter().zip(of).map(|(name, of)| (name, asked(&seats[of])));
        let waiting = waiting.collect();
        assert_eq!(order(waiting, first).await, names);
    }

    /// A turn that is passed on counts for who has it now: who had it is served before.
    #[tokio::test]
    async fn a_turn_that_is_passed_on_counts_for_the_other() {
        let turns = Turns::new(2);
        let (one, other) = (turns.seat(), turns.seat());
        let (passed, second) = (one.ask().unwrap(), other.ask().unwrap());
        passed.pass_to(&other);
        assert_eq!((one.held(), other.held()), (0, 2));
        let waiting = vec![("other", asked(&other)), ("one", asked(&one))];
        assert_eq!(order(waiting, second).await, ["one", "other"]);
        drop(passed);
        assert_eq!((one.held(), other.held()), (0, 0));
    }

    /// Who goes away before or after its turn came costs nobody a turn.
    #[tokio::test(start_paused = true)]
    async fn no_turn_is_lost_with_who_waited_for_it() {
        let turns = Turns::new(1);
        let (gone, other) = (turns.seat(), turns.seat());
        let first = other.ask().unwrap();
        assert!(!turns.is_waited_for());
        let given_up: Vec<Asked> = (0..1000).map(|_| asked(&gone)).collect();
        assert!(turns.is_waited_for());
        let mut waiting = pin!(gone.turn());
        assert!(timeout(SOON, &mut waiting).await.is_err());
        let last = asked(&other);
        drop(given_up);
        // It has its turn now, and never looks.
        drop(first);
        assert!(timeout(SOON, other.turn()).await.is_err());
        assert!(timeout(SOON, waiting).await.is_ok(), "and it is dropped at once");
        let turn = timeout(SOON, last.turn()).await.unwrap();
        assert!(gone.ask().is_err());
        drop(turn);
        assert!(gone.ask().is_ok());
        assert!(other.ask().is_ok());
        let unseen = other.ask().unwrap();
        let sent = asked(&gone);
        drop(unseen);
        drop(sent);
        assert!(other.ask().is_ok(), "one that was sent to nobody comes back");
        assert!(turns.0.lock().queue.is_empty(), "nothing is remembered of who is gone");
    }
}
