//! What is done to a round, and when: a deck of faults, shuffled by seed and round.

use std::time::Duration;

/// Numbers that follow from a seed alone (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, round: u32) -> Self {
        let mut dice = Self(seed ^ u64::from(round).rotate_right(32));
        // Neighbouring seeds must not begin alike.
        Self(dice.roll())
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0, below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn millis(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_millis((least + self.below(most - least)) as u64)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A generator of its own, so that what one fault draws does not change the next.
    fn split(&mut self) -> Self {
        Self(self.roll())
    }
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of a handler.
    Kill,
    /// SIGSTOP for longer than the lease, then SIGCONT.
    Freeze,
    /// SIGTERM to a handler.
    Terminate,
    /// kill -9 of a host: its handler is an orphan, what it fetched stays invisible.
    KillHost,
    /// Postgres ends without a checkpoint and starts again.
    RestartPostgres,
    /// The server has no connection left to give.
    Crowd,
    /// All connections of the handlers are ended by the server.
    TerminateBackends,
    /// A table is locked for a moment.
    LockTable,
    /// A call is cut before it takes effect.
    Cut,
    /// A call takes effect, its reply is lost.
    DropReply,
    /// A call takes effect late, some after the lease of their caller.
    Delay,
    /// A storage call is answered 503.
    Busy,
    /// A service answers nobody for a while.
    Stall,
    /// A service cuts its connections and takes no new ones for a while.
    Refuse,
    /// No file may grow: the spool meets a full disk.
    FillTemp,
    /// One message, many times at once.
    Duplicate,
    /// A wake-up disappears.
    Lose,
    /// A job is cancelled, then retried.
    Cancel,
    /// Intake is paused, then resumed.
    Pause,
    /// A message that nobody can read.
    Undecodable,
    /// SIGSTOP for less than what a lease is trusted for, then SIGCONT.
    Nap,
    /// kill -9 of a host in the moment that it has started its handler.
    Birth,
    /// A process may open no more files.
    Descriptors,
    /// A role loses a right, and gets it back.
    Revoke,
    /// Storage refuses its role, or does not know its containers.
    Forbid,
    /// Storage knows the key no more, until the new one is set.
    Rotate,
    /// The server takes no writes, as one that was demoted.
    ReadOnly,
    /// Somebody's lease is on a blob.
    Lease,
    /// A blob must not be changed, by law.
    Hold,
    /// The server is put back to an earlier point.
    Restore,
    /// A slot or a chunk is deleted by hand.
    DeleteRow,
    /// Blobs of a completed chunk are gone, as after an account's failover.
    LoseBlobs,
    /// Two submissions of one file at once.
    SubmitTwice,
    /// Lists that are added to a job at once.
    Extend,
    /// Commands in any order, between the messages of a job.
    Commands,
    /// The schema asks for a newer handler.
    NewerSchema,
    /// A process of the round works through a session pooler.
    Pooler,
    /// The clock of a process is half a minute off.
    Clock,
}

/// How often each kind is in the deck. All of them leave the fleet some time to work.
const DECK: [(Fault, usize); 20] = [
    (Fault::Kill, 4),
    (Fault::Freeze, 2),
    (Fault::Terminate, 1),
    (Fault::KillHost, 1),
    (Fault::RestartPostgres, 1),
    (Fault::Crowd, 1),
    (Fault::TerminateBackends, 2),
    (Fault::LockTable, 2),
    (Fault::Cut, 5),
    (Fault::DropReply, 5),
    (Fault::Delay, 4),
    (Fault::Busy, 4),
    (Fault::Stall, 2),
    (Fault::Refuse, 2),
    (Fault::FillTemp, 1),
    (Fault::Duplicate, 2),
    (Fault::Lose, 1),
    (Fault::Cancel, 1),
    (Fault::Pause, 1),
    (Fault::Undecodable, 3),
];

/// What people, platforms and restores do: a deck has some of them, others in each.
const RARE: [Fault; 16] = [
    Fault::Nap,
    Fault::Birth,
    Fault::Descriptors,
    Fault::Revoke,
    Fault::Forbid,
    Fault::Rotate,
    Fault::ReadOnly,
    Fault::Lease,
    Fault::Hold,
    Fault::Restore,
    Fault::DeleteRow,
    Fault::LoseBlobs,
    Fault::SubmitTwice,
    Fault::Extend,
    Fault::Commands,
    Fault::NewerSchema,
];
const RARE_IN_A_DECK: usize = 8;

impl Fault {
    /// Every kind, in the order of reports.
    pub fn all() -> impl Iterator<Item = Self> {
        let common = DECK.iter().map(|(fault, _)| *fault);
        common.chain(RARE).chain([Self::Pooler, Self::Clock])
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "handler_killed",
            Self::Freeze => "handler_frozen",
            Self::Terminate => "handler_terminated",
            Self::KillHost => "host_killed",
            Self::RestartPostgres => "postgres_restarted",
            Self::Crowd => "connections_exhausted",
            Self::TerminateBackends => "backends_terminated",
            Self::LockTable => "table_locked",
            Self::Cut => "call_cut",
            Self::DropReply => "reply_dropped",
            Self::Delay => "call_delayed",
            Self::Busy => "call_answered_503",
            Self::Stall => "service_stalled",
            Self::Refuse => "service_refusing",
            Self::FillTemp => "temp_full",
            Self::Duplicate => "message_duplicated",
            Self::Lose => "message_lost",
            Self::Cancel => "job_cancelled",
            Self::Pause => "intake_paused",
            Self::Undecodable => "message_undecodable",
            Self::Nap => "handler_paused",
            Self::Birth => "host_killed_at_birth",
            Self::Descriptors => "no_descriptors",
            Self::Revoke => "right_revoked",
            Self::Forbid => "storage_forbidden",
            Self::Rotate => "key_rotated",
            Self::ReadOnly => "server_read_only",
            Self::Lease => "blob_leased",
            Self::Hold => "blob_held",
            Self::Restore => "database_restored",
            Self::DeleteRow => "row_deleted",
            Self::LoseBlobs => "blobs_lost",
            Self::SubmitTwice => "submitted_twice",
            Self::Extend => "job_extended",
            Self::Commands => "commands_shuffled",
            Self::NewerSchema => "schema_newer",
            Self::Pooler => "pooler_in_front",
            Self::Clock => "clock_off",
        }
    }
}

/// One fault of a plan.
#[derive(Debug)]
pub struct Step {
    /// After the one before it.
    pub after: Duration,
    pub fault: Fault,
    /// For its particulars.
    pub dice: Dice,
}

/// The faults of a round: the whole deck, and another one behind it, without end.
#[derive(Debug)]
pub struct Plan {
    dice: Dice,
    deck: Vec<Fault>,
}

impl Plan {
    pub fn new(seed: u64, round: u32) -> Self {
        Self { dice: Dice::new(seed, round), deck: Vec::new() }
    }

    /// Faults in one deck.
    pub fn len() -> usize {
        DECK.iter().map(|(_, n)| n).sum::<usize>() + RARE_IN_A_DECK
    }

    /// A generator of its own, for what is no fault.
    pub fn dice(&mut self) -> Dice {
        self.dice.split()
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.deck.is_empty() {
            let mut rare = RARE.to_vec();
            self.dice.shuffle(&mut rare);
            self.deck = DECK.iter().flat_map(|(fault, n)| vec![*fault; *n]).collect();
            self.deck.extend(&rare[..RARE_IN_A_DECK]);
            self.dice.shuffle(&mut self.deck);
            // An orphan has a minute to end by itself, which is better not waited for at the end.
            self.deck.sort_by_key(|fault| *fault == Fault::Birth);
        }
        let fault = self.deck.pop()?;
        Some(Step { after: self.dice.millis(100, 600), fault, dice: self.dice.split() })
    }
}
