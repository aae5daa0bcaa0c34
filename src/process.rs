//! The process: what the environment decided, its clients, its byte budget, and its shutdown.
//!
//! Everything that acts stands above this module and takes from it what it needs.

use crate::{
    blocklist::Blocklists,
    circuit::{Circuits, Part},
    redact::cause_chain,
    settings::Settings,
    spool::Budget,
    state::{self, Database},
    storage::{self, Storage},
    telemetry::Metrics,
};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What everything in the process shares, once.
#[derive(Debug)]
pub struct Process {
    /// What the environment decided.
    pub settings: Settings,
    /// The database.
    pub database: Database,
    /// Blob and queue.
    pub storage: Storage,
    /// Chunk permits, body memory and temp bytes.
    pub budget: Arc<Budget>,
    /// The instruments.
    pub metrics: Metrics,
    /// Who owns this process's leases: instance, process id and eight random digits.
    pub owner: String,
    /// What of the environment does not work.
    pub circuits: Circuits,
    /// What is never fetched, and never kept.
    pub blocklists: Blocklists,
    /// When it began.
    pub started: Instant,
    /// How far the shutdown has come.
    pub shutdown: Shutdown,
}

impl Process {
    /// Puts the parts together under a new owner's name.
    pub fn new(
        settings: Settings,
        database: Database,
        storage: Storage,
        budget: Arc<Budget>,
    ) -> Self {
        // Whoever finds the directory without its lock knows whose leases end.
        let owner = format!("{}/{}", settings.host.instance, budget.directory().process());
        let metrics = Metrics::new(&budget);
        let shutdown = Shutdown::default();
        let (circuits, started) = (Circuits::default(), Instant::now());
        let blocklists = Blocklists::new(&settings);
        if blocklists.are_any() {
            // Before any chunk is claimed: nothing is fetched unfiltered.
            circuits.begin(Part::Blocklists);
        }
        Self {
            settings,
            database,
            storage,
            budget,
            metrics,
            owner,
            circuits,
            blocklists,
            started,
            shutdown,
        }
    }
}

impl Process {
    /// Whether an error of the database will pass. A refusal is noticed on the way: it concerns every
    /// chunk. What another part refused is known already.
    pub(crate) fn will_pass(&self, error: &state::Error) -> bool {
        let is_known = error.is_away() || matches!(error, state::Error::Degraded(_));
        if error.is_environment() && !is_known {
            let is_pooler = matches!(error, state::Error::TransactionPooler);
            let part = if is_pooler { Part::Pooler } else { Part::Database };
            self.circuits.open(part, &cause_chain(error));
        }
        error.is_environment()
    }
}

/// The two moments of a shutdown: no new work starts; work that still runs is released.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    intake_stopped: CancellationToken,
    drain_over: CancellationToken,
}

impl Shutdown {
    /// From now on no chunk starts.
    pub(crate) fn stop_intake(&self) {
        self.intake_stopped.cancel();
    }

    /// Whether no new chunk may start.
    pub(crate) fn is_intake_stopped(&self) -> bool {
        self.intake_stopped.is_cancelled()
    }

    /// Waits until no new chunk may start.
    pub(crate) async fn intake_stopped(&self) {
        self.intake_stopped.cancelled().await;
    }

    /// From now on running chunks are released.
    pub(crate) fn end_drain(&self) {
        self.drain_over.cancel();
    }

    /// Waits until running chunks must be released.
    pub(crate) async fn drain_over(&self) {
        self.drain_over.cancelled().await;
    }
}

/// Why something that needs database and storage was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("the database failed")]
    State(#[from] state::Error),
    /// Blob or queue.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}
