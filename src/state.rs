//! Every SQL statement of the product, and the types that its answers become.
//!
//! Each statement starts with a comment naming it, which shows up in the server's logs. A state
//! change is one statement guarded by state and fence; time is the database's own.
#![deny(clippy::wildcard_enum_match_arm)]

/// Runs a statement on a connection of a pool, each within the cap.
///
/// A connection whose call timed out is closed: the pool would wait for its server, perhaps for
/// ever, with the place still taken. A macro, since the driver's statements share no trait.
macro_rules! ask {
    ($pool:expr, $cap:expr, $doing:literal, $statement:ident.$method:ident) => {{
        let connection = tokio::time::timeout($cap, $pool.acquire()).await;
        match connection {
            Err(_) => Err($crate::state::Error::Away { doing: $doing, source: None }),
            Ok(Err(source)) => Err($crate::state::classify($doing, source)),
            Ok(Ok(mut connection)) => {
                let call = $statement.$method(&mut *connection);
                match tokio::time::timeout($cap, call).await {
                    Ok(result) => result.map_err(|source| $crate::state::classify($doing, source)),
                    Err(_) => {
                        drop(connection.detach());
                        Err($crate::state::Error::Away { doing: $doing, source: None })
                    }
                }
            }
        }
    }};
}

mod claim;
mod failures;
mod job;
mod lease;
mod record;
mod wake;

pub use claim::{Answer, Claim, Refusal, Registered};
pub use failures::Failures;
pub use job::{Cancelled, DatasetRows, JobProgress, NewJob, OverJob, Submitted};
pub use lease::{GiveUp, GivenUp, Lease, Reclaimed, Released, Renewal};
pub use record::{Capacity, ChunkStatus, Description, Gauges, HealthRow};

use crate::chunk::ChunkId;
use sqlx::{
    PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{future::Future, str::FromStr, time::Duration};

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked right now: away, overloaded, or too slow. Nothing is known of the effect.
    #[error("the database is away ({doing})")]
    Away {
        /// The statement.
        doing: &'static str,
        /// What the driver said.
        #[source]
        source: Option<sqlx::Error>,
    },
    /// It refused the statement, which is a defect or a schema that does not fit.
    #[error("the database refused {doing}")]
    Refused {
        /// The statement.
        doing: &'static str,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// The fence no longer holds the chunk.
    #[error("the lease of chunk {0} is lost")]
    LeaseLost(ChunkId),
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date; was the database made by another build?")]
    Migrate(#[source] MigrateError),
}

/// Between two tries while the database is away.
const AWAY_PAUSE: Duration = Duration::from_millis(250);

/// Asks until the database is back; whoever waits ends the wait, with a lease for one.
///
/// # Errors
///
/// What the database says once it is there.
pub async fn until_back<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        match ask().await {
            Err(Error::Away { .. }) => tokio::time::sleep(AWAY_PAUSE).await,
            result => return result,
        }
    }
}

/// The database as this process uses it.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
    /// Heartbeats have a connection of their own: a busy pool must not cost a lease.
    heartbeat: PgPool,
    lease: Duration,
    cap: Duration,
}

/// The schema of everything here; connections search it first.
const SCHEMA: &str = "chunk_handler";

impl Database {
    /// Prepares pools for the database at `url`; connects on first use.
    ///
    /// # Errors
    ///
    /// When the URL is not one of Postgres.
    pub fn open(url: &str, lease: Duration) -> Result<Self, Error> {
        // Each call ends within L/8, so that a lease outlives a call that hangs.
        let cap = (lease / 8).min(Duration::from_secs(5));
        let lock_ms = (lease / 8).min(Duration::from_secs(2)).as_millis();
        let options = PgConnectOptions::from_str(url)
            .map_err(|source| Error::Refused { doing: "the connection URL", source })?
            .application_name("chunk-handler")
            .options([
                ("search_path", SCHEMA.to_owned()),
                ("lock_timeout", format!("{lock_ms}ms")),
                ("statement_timeout", format!("{}ms", cap.as_millis())),
                ("idle_in_transaction_session_timeout", "10s".to_owned()),
            ]);
        let pool = |size, options: PgConnectOptions| {
            PgPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(cap)
                // A connection that broke while it was idle fails its next call, which the caller
                // repeats as any other: a ping before each call would double the round trips.
                .test_before_acquire(false)
                .idle_timeout(Duration::from_secs(60))
                .max_lifetime(Duration::from_secs(1800))
                .connect_lazy_with(options)
        };
        Ok(Self { pool: pool(4, options.clone()), heartbeat: pool(1, options), lease, cap })
    }

    /// How long a claim holds without renewal.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Brings the schema up to date, under a lock of the database.
    ///
    /// # Errors
    ///
    /// When the database is away or holds something else under our names.
    pub async fn migrate(&self) -> Result<(), Error> {
        let mut connection = self.capped("migrate", self.pool.acquire()).await?;
        // A concurrent migration is waited for, and creating an index may take its time.
        self.capped(
            "migrate",
            sqlx::raw_sql("-- migrate\nset lock_timeout = 0; set statement_timeout = 0")
                .execute(&mut *connection),
        )
        .await?;
        let done = migrator().run_direct(None, &mut *connection, false).await;
        // Its timeouts differ from those of the pool.
        drop(connection.detach());
        done.map_err(Error::Migrate)
    }

    /// The newest migration that this release knows.
    pub fn known_schema_version() -> i64 {
        migrator().iter().map(|migration| migration.version).max().unwrap_or(0)
    }

    /// Runs one database call with its deadline and names it in errors.
    async fn capped<T>(
        &self,
        doing: &'static str,
        call: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.cap, call).await {
            Ok(result) => result.map_err(|source| classify(doing, source)),
            Err(_) => Err(Error::Away { doing, source: None }),
        }
    }

    /// A connection for calls that may take longer than the cap: submits, listings, job ends. It
    /// is closed afterwards, since its timeout differs from those of the pool.
    async fn patient(&self, doing: &'static str) -> Result<PgConnection, Error> {
        let connect = async {
            let mut connection = self.pool.acquire().await?.detach();
            sqlx::raw_sql("-- patient\nset statement_timeout = '60s'")
                .execute(&mut connection)
                .await?;
            Ok(connection)
        };
        self.capped(doing, connect).await
    }
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("src/state/migrations");
    migrator.create_schema(SCHEMA);
    migrator.dangerous_set_table_name("chunk_handler._sqlx_migrations");
    // While a newer release starts, this one goes on with the schema it knows.
    migrator.set_ignore_missing(true);
    migrator
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>: connection exceptions; a
/// read-only transaction (failover, full disk); authorization (a password or token that is being
/// rotated); a database that is being restored; rollbacks (serialization, deadlock); resources;
/// lock and statement timeouts; operator intervention; and a missing schema, which the background
/// migration is about to make.
const AWAY_CODES: [&str; 11] =
    ["08", "25006", "28", "3D000", "40", "53", "55P03", "57", "3F000", "42P01", "42883"];

/// Tells "cannot be asked now" from "refused".
fn classify(doing: &'static str, source: sqlx::Error) -> Error {
    let away = match source.as_database_error().and_then(|e| e.code()) {
        Some(code) => AWAY_CODES.iter().any(|class| code.starts_with(class)),
        None => !is_defect(&source),
    };
    if away {
        Error::Away { doing, source: Some(source) }
    } else {
        Error::Refused { doing, source }
    }
}

/// Errors without a server code that no waiting mends.
fn is_defect(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::RowNotFound
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_)
            | sqlx::Error::InvalidArgument(_)
            | sqlx::Error::Configuration(_)
    )
}
