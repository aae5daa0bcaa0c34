//! The fleet row: the limit in force, the pause, and what processes are asked to do.

use super::{Database, Error};
use crate::settings::Settings;
use time::OffsetDateTime;

impl Database {
    /// Writes this process's limits into the fleet row and creates missing slots.
    pub async fn announce(&self, settings: &Settings) -> Result<(), Error> {
        let statement = sqlx::query(
            "-- announce
            select announce($1, $2, $3, $4)",
        )
        .bind(settings.fleet_max_chunks)
        .bind(settings.profile.to_string())
        .bind(i32::try_from(settings.limits.chunk_size_images).unwrap_or(i32::MAX))
        .bind(i32::try_from(settings.limits.temp_storage_mb).unwrap_or(i32::MAX));
        ask!(self.pool, self.cap, "announce", statement.execute).map(drop)
    }

    /// Pauses intake for the fleet; `None` lifts the pause.
    pub async fn pause(&self, minutes: Option<u32>) -> Result<(), Error> {
        let statement = sqlx::query(
            "-- pause
            update fleet set paused_until = clock_timestamp() + make_interval(mins => $1)",
        )
        .bind(minutes.map(|m| i32::try_from(m).unwrap_or(i32::MAX)));
        ask!(self.pool, self.cap, "pause", statement.execute).map(drop)
    }

    /// Asks every process to sweep its temp space.
    pub(crate) async fn ask_sweep(&self) -> Result<(), Error> {
        let statement =
            sqlx::query("-- ask_sweep\nupdate fleet set sweep_asked_at = clock_timestamp()");
        ask!(self.pool, self.cap, "ask_sweep", statement.execute).map(drop)
    }

    /// When a sweep was last asked for; none: never.
    pub async fn sweep_asked_at(&self) -> Result<Option<OffsetDateTime>, Error> {
        let statement = sqlx::query_scalar("-- sweep_asked_at\nselect sweep_asked_at from fleet");
        ask!(self.pool, self.cap, "sweep_asked_at", statement.fetch_one)
    }
}
