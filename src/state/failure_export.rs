//! Failed chunks on their way to telemetry: counted in the transaction that fails them, sent at least
//! once.

use super::{Database, Error};

/// How long one process that is there may take to send them: the exporter tries for up to 135 s where
/// each try hangs.
const EXPORT_LEASE_SECONDS: f64 = 300.0;

/// Failures that telemetry has not confirmed, taken by one process.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct UnconfirmedFailures {
    /// How many there are to send.
    pub n: i64,
    /// How many there ever were, these included.
    pub failed: i64,
    /// Whether a process took them before and did not confirm them: it may have sent them.
    pub again: bool,
}

impl Database {
    /// Takes the failures that telemetry has not confirmed; none: there are none, or another process
    /// has them. One that has not checked in for 30 s has them no longer; and one that has not checked in
    /// yet takes none, since the next one would take them from it.
    pub async fn take_failures(&self, owner: &str) -> Result<Option<UnconfirmedFailures>, Error> {
        let statement = sqlx::query_as(
            "-- take_failures
            update failure_export f
            set holder = $1, until = clock_timestamp() + make_interval(secs => $2)
            from (select until from failure_export) before
            where f.exported < f.failed
                and exists (select from process where owner = $1)
                and (f.until < clock_timestamp()
                    or not exists (select from process where owner = f.holder))
            returning f.failed - f.exported as n, f.failed, before.until > '-infinity' as again",
        )
        .bind(owner)
        .bind(EXPORT_LEASE_SECONDS);
        ask!(self.pool, self.cap, "take_failures", statement.fetch_optional)
    }

    /// Notes that telemetry has confirmed the failures taken by this process.
    pub(crate) async fn failures_exported(
        &self,
        owner: &str,
        taken: UnconfirmedFailures,
    ) -> Result<(), Error> {
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
