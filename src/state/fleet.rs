//! The fleet: its row (the limit in force, the pause, what processes are asked to do), the processes
//! that are there, and what keeps them from working.

use super::{Database, Error};
use crate::settings::Settings;
use std::time::Duration;
use time::OffsetDateTime;

/// What a process learns when it checks in.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CheckIn {
    /// The oldest release that can live with the schema, as the newest migration that it knows.
    pub min_handler: i32,
    /// Account and containers of the fleet's blobs; none: nobody said.
    pub storage: Option<String>,
    /// Whether this process, or one that started later, has announced its limits.
    pub is_announced: bool,
    /// When a sweep was last asked for; none: never.
    pub sweep_asked_at: Option<OffsetDateTime>,
}

impl Database {
    /// Says that this process is there and what is wrong with it; learns what it needs to know.
    pub(crate) async fn check_in(
        &self,
        owner: &str,
        uptime: Duration,
        degraded: Option<&str>,
    ) -> Result<CheckIn, Error> {
        let statement = sqlx::query_as("-- check_in\nselect * from check_in($1, $2, $3, $4)")
            .bind(owner)
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(uptime.as_secs_f64())
            .bind(degraded);
        ask!(self.pool, self.cap, "check_in", statement.fetch_one)
    }

    /// Writes this process's limits into the fleet row, unless a process that started later did, and
    /// creates missing slots.
    pub async fn announce(&self, settings: &Settings, uptime: Duration) -> Result<(), Error> {
        let statement = sqlx::query("-- announce\nselect announce($1, $2, $3, $4, $5, $6)")
            .bind(settings.fleet_max_chunks)
            .bind(settings.profile.to_string())
            .bind(i32::try_from(settings.limits.chunk_size_images).unwrap_or(i32::MAX))
            .bind(i32::try_from(settings.limits.temp_storage_mb).unwrap_or(i32::MAX))
            .bind(settings.place())
            .bind(uptime.as_secs_f64());
        ask!(self.pool, self.cap, "announce", statement.execute).map(drop)
    }

    /// Account and containers of the fleet's blobs; none: nobody said.
    pub async fn fleet_storage(&self) -> Result<Option<String>, Error> {
        let statement = sqlx::query_scalar("-- fleet_storage\nselect storage from capacity");
        ask!(self.pool, self.cap, "fleet_storage", statement.fetch_one)
    }

    /// Whether the server lets this role do the work: what it lacks, in words; none: nothing.
    pub async fn obstacle(&self) -> Result<Option<String>, Error> {
        let statement = sqlx::query_scalar(
            "-- obstacle
            select string_agg(obstacle, ', ' order by obstacle) from (
                select case when pg_is_in_recovery() then 'the server is read-only' else
                    'the server is read-only for this login (default_transaction_read_only, or a full disk)'
                    end as obstacle
                where pg_is_in_recovery() or current_setting('transaction_read_only')::boolean
                union all
                select format('the role %s lacks usage on schema chunk_handler', current_user)
                where not has_schema_privilege('chunk_handler', 'usage')
                union all
                select format('the role %s lacks %s on table %s', current_user, p, c.relname)
                from pg_class c cross join unnest(array['select', 'insert', 'update', 'delete']) p
                where c.relnamespace = 'chunk_handler'::regnamespace and c.relkind = 'r'
                    and c.relname <> '_sqlx_migrations'
                    and not has_table_privilege(c.oid, p)
                union all
                select format('the role %s lacks select on table %s', current_user, c.relname)
                from pg_class c
                where c.relnamespace = 'chunk_handler'::regnamespace
                    and c.relname = '_sqlx_migrations' and not has_table_privilege(c.oid, 'select')
                union all
                select format('the role %s lacks select on view %s', current_user, c.relname)
                from pg_class c
                where c.relnamespace = 'chunk_handler'::regnamespace and c.relkind = 'v'
                    and not has_table_privilege(c.oid, 'select')
                union all
                select format('row security hides table %s from role %s', c.relname, current_user)
                from pg_class c
                where c.relnamespace = 'chunk_handler'::regnamespace and c.relkind = 'r'
                    and row_security_active(c.oid)
                union all
                select format('the role %s lacks execute on function %s', current_user, f.proname)
                from pg_proc f
                where f.pronamespace = 'chunk_handler'::regnamespace
                    and not has_function_privilege(f.oid, 'execute')
                limit 10) o",
        );
        ask!(self.pool, self.cap, "obstacle", statement.fetch_one)
    }

    /// What limits this login to fewer connections than a handler takes; none: nothing. With fewer the
    /// renewal of leases may find none left.
    pub async fn connection_limit(&self) -> Result<Option<String>, Error> {
        let statement = sqlx::query_scalar(
            "-- connection_limit
            select string_agg(format('%s may have %s connections, and a handler takes 5', of, n), '; ')
            from (
                select format('the role %s', rolname) as of, rolconnlimit as n from pg_roles
                where rolname = current_user and not rolsuper
                union all
                select format('the database %s', datname), datconnlimit from pg_database
                where datname = current_database()
            ) l where n between 0 and 4",
        );
        ask!(self.pool, self.cap, "connection_limit", statement.fetch_one)
    }

    /// Pauses intake for the fleet; returns how many minutes are left. A pause that ends later stays:
    /// what an alert asks for must not open the intake that a person has closed.
    pub(crate) async fn pause(&self, minutes: u32) -> Result<i32, Error> {
        let statement = sqlx::query_scalar(
            "-- pause
            update fleet set paused_until =
                greatest(paused_until, clock_timestamp() + make_interval(mins => $1))
            returning ceil(extract(epoch
                from least(paused_until, '5000-01-01') - clock_timestamp()) / 60)::integer",
        )
        .bind(i32::try_from(minutes).unwrap_or(i32::MAX));
        ask!(self.pool, self.cap, "pause", statement.fetch_one)
    }

    /// Lifts the pause.
    pub async fn resume(&self) -> Result<(), Error> {
        let statement = sqlx::query("-- resume\nupdate fleet set paused_until = null");
        ask!(self.pool, self.cap, "resume", statement.execute).map(drop)
    }

    /// Asks every process to sweep its temp space.
    pub(crate) async fn ask_sweep(&self) -> Result<(), Error> {
        let statement =
            sqlx::query("-- ask_sweep\nupdate fleet set sweep_asked_at = clock_timestamp()");
        ask!(self.pool, self.cap, "ask_sweep", statement.execute).map(drop)
    }
}
