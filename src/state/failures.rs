//! Failed chunks on their way to telemetry: counted in the transaction that fails them, told at least
//! once.

use super::{Database, Error};

/// How long one process may take to tell: the exporter tries for up to 135 s where each try hangs.
const EXPORT_LEASE_SECONDS: f64 = 300.0;

/// Failures that a process has to tell of.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Failures {
    /// How many there are to tell.
    pub n: i64,
    /// How many there ever were, these included.
    pub failed: i64,
    /// Whether a process took them before and did not say how it went: it may have told of them.
    pub again: bool,
}

impl Database {
    /// Takes the failures that telemetry has not confirmed; none: there are none, or another process
    /// tells of them.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn take_failures(&self, owner: &str) -> Result<Option<Failures>, Error> {
        let statement = sqlx::query_as(
            "-- take_failures
            update failure_export f
            set holder = $1, until = clock_timestamp() + make_interval(secs => $2)
            from (select until from failure_export) before
            where f.exported < f.failed and f.until < clock_timestamp()
            returning f.failed - f.exported as n, f.failed, before.until > '-infinity' as again",
        )
        .bind(owner)
        .bind(EXPORT_LEASE_SECONDS);
        ask!(self.pool, self.cap, "take_failures", statement.fetch_optional)
    }

    /// Notes that telemetry has confirmed the failures taken by this process.
    ///
    /// # Errors
    ///
    /// When the database is away.
    pub async fn failures_exported(&self, owner: &str, taken: Failures) -> Result<(), Error> {
        let statement = sqlx::query(
            "-- failures_exported
            update failure_export set exported = $2, until = '-infinity'
            where holder = $1 and exported < $2",
        )
        .bind(owner)
        .bind(taken.failed);
        ask!(self.pool, self.cap, "failures_exported", statement.execute).map(drop)
    }
}
