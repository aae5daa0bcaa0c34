//! What the dashboard reads: views only, each statement with a limit of rows and of time.
//!
//! Times are compared with `now()`, which is fixed for a statement, so that indexes of times are of use.
//! A role that may read the views and nothing else can show every page.

mod chunk;
mod fleet;
mod job;
mod report;

pub use fleet::{HealthReading, ProcessTemp, QueueCount, Verdicts, Waiting};
pub use job::{ChunkCell, FailedImages, FailureCode, OpenChunk};

use super::{Database, Error, Reach};
use crate::settings::Settings;
use std::time::Duration;

/// The server ends a statement of the dashboard after this.
const STATEMENT: Duration = Duration::from_secs(2);
/// Later than the server, so that what is slow is told from what is away.
const CAP: Duration = Duration::from_millis(2500);
/// Pages that are read at once.
const CONNECTIONS: u32 = 2;

impl Database {
    /// The database for one who looks on: two connections, and two seconds for each statement. It renews
    /// no lease. Somebody must poll [`Self::keep_login`], as of any other.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn for_dashboard(settings: &Settings) -> Result<Self, Error> {
        let reach = Reach { connections: CONNECTIONS, statement: STATEMENT, cap: CAP };
        Self::reaching(settings, reach)
    }
}
