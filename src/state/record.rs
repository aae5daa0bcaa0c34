//! What is written down for people: rejected messages and health checks.

use super::{Database, Error, Gauges};

/// A health check's result.
#[derive(Debug)]
pub struct HealthRow {
    /// What the database said.
    pub gauges: Gauges,
    /// Messages in the chunk queue, roughly; none: the queue did not answer.
    pub queue_depth: Option<i32>,
    /// How far Azure Monitor can be believed.
    pub azure_state: &'static str,
    /// Percent; none: not known.
    pub azure_cpu: Option<f64>,
    /// Percent; none: not known.
    pub azure_memory: Option<f64>,
    /// Everything else, for people.
    pub report: serde_json::Value,
}

impl Database {
    /// Records a message that can never work; a second record of the same source is ignored. Returns
    /// whether this one is new.
    pub(crate) async fn reject(
        &self,
        source_key: &str,
        queue: &str,
        body: &str,
        reason: &str,
    ) -> Result<bool, Error> {
        // Postgres text holds no NUL.
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        let statement = sqlx::query(
            "-- reject
            insert into rejected (source_key, queue, body, reason) values ($1, $2, $3, $4)
            on conflict (source_key) do nothing",
        )
        .bind(clean(source_key))
        .bind(queue)
        .bind(clean(body))
        .bind(clean(reason));
        let done = ask!(self.pool, self.cap, "reject", statement.execute)?;
        Ok(done.rows_affected() > 0)
    }

    /// Writes a health row.
    pub(crate) async fn record_health(&self, row: &HealthRow) -> Result<(), Error> {
        let statement = sqlx::query(
            "-- record_health
            insert into health_check (active_chunks, pending_chunks, queue_depth, azure_state,
                azure_cpu, azure_memory, report)
            values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(row.gauges.active_chunks)
        .bind(row.gauges.pending_chunks)
        .bind(row.queue_depth)
        .bind(row.azure_state)
        .bind(row.azure_cpu)
        .bind(row.azure_memory)
        .bind(sqlx::types::Json(&row.report));
        ask!(self.pool, self.cap, "record_health", statement.execute).map(drop)
    }
}
