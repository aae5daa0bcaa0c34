//! Fair turns: a limited number of something that all chunks of the process want.
//!
//! A turn that becomes free goes to the seat that holds the fewest, and of several such seats to the
//! one that has waited longest; not to the longest queue. Whoever asks while there are free turns has
//! one at once: a chunk alone uses all of them.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::oneshot;

/// A number of turns at something.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    next_seat: u64,
    next_ticket: u64,
    /// Those that hold a turn or wait for one.
    seats: HashMap<u64, Seated>,
}

#[derive(Debug, Default)]
struct Seated {
    held: usize,
    /// Who waits, in order, each with a number that rises.
    waiting: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// One chunk's place among those who take turns.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    turns: Turns,
    seat: u64,
}

/// The right to use one of them; dropping it gives it to the next.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    seat: AtomicU64,
}

/// A turn that is asked for.
#[derive(Debug)]
pub(crate) struct Asked(oneshot::Receiver<Turn>);

impl Turns {
    /// So many turns, at least one.
    pub(crate) fn new(limit: usize) -> Self {
        let state =
            State { free: limit.max(1), next_seat: 0, next_ticket: 0, seats: HashMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A place for one chunk.
    pub(crate) fn seat(&self) -> Seat {
        let mut state = self.locked();
        state.next_seat += 1;
        Seat { turns: self.clone(), seat: state.next_seat }
    }

    /// Whether anybody waits for a turn.
    pub(crate) fn is_waited_for(&self) -> bool {
        let state = self.locked();
        state.seats.values().any(|seat| seat.waiting.iter().any(|(_, it)| !it.is_closed()))
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, seat: u64) {
        let next = {
            let mut state = self.locked();
            state.free += 1;
            if let Some(seated) = state.seats.get_mut(&seat) {
                seated.held -= 1;
            }
            state.next()
        };
        // Outside of the lock: who has gone away meanwhile drops the turn, which comes back here.
        if let Some((seat, sender)) = next {
            drop(sender.send(Turn { turns: self.clone(), seat: seat.into() }));
        }
    }
}

impl State {
    /// Takes a free turn for the seat whose turn it is.
    fn next(&mut self) -> Option<(u64, oneshot::Sender<Turn>)> {
        for seated in self.seats.values_mut() {
            seated.waiting.retain(|(_, sender)| !sender.is_closed());
        }
        self.seats.retain(|_, seated| seated.held > 0 || !seated.waiting.is_empty());
        let order = |seated: &Seated| Some((seated.held, seated.waiting.front()?.0));
        let waiting = self.seats.iter_mut().filter(|(_, seated)| !seated.waiting.is_empty());
        let (seat, seated) = waiting.min_by_key(|(_, seated)| order(seated))?;
        let (_, sender) = seated.waiting.pop_front()?;
        seated.held += 1;
        self.free -= 1;
        Some((*seat, sender))
    }
}

impl Seat {
    /// A turn that is free, or a place in the queue, which is kept from now on.
    pub(crate) fn ask(&self) -> Result<Turn, Asked> {
        let mut state = self.turns.locked();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let is_free = state.free > 0;
        state.free -= usize::from(is_free);
        let seated = state.seats.entry(self.seat).or_default();
        if is_free {
            seated.held += 1;
            return Ok(Turn { turns: self.turns.clone(), seat: self.seat.into() });
        }
        let (sender, receiver) = oneshot::channel();
        seated.waiting.push_back((ticket, sender));
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
        self.turns.locked().seats.get(&self.seat).map_or(0, |seated| seated.held)
    }
}

impl Turn {
    /// Gives it to another seat of the same turns, which holds it from now on.
    pub(crate) fn pass_to(&self, seat: &Seat) {
        let mut state = self.turns.locked();
        // Under the lock, so that the seat that is named here is the one that holds it.
        let before = self.seat.swap(seat.seat, Ordering::Relaxed);
        if let Some(seated) = state.seats.get_mut(&before) {
            seated.held -= 1;
        }
        state.seats.entry(seat.seat).or_default().held += 1;
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
        self.turns.give_back(*self.seat.get_mut());
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
        assert!(turns.locked().seats.len() <= 1, "nothing is remembered of who is gone");
    }
}
