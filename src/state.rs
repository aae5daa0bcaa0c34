//! Every SQL statement of the product, and the types that its answers become.
//!
//! Each statement starts with a comment naming it, which shows up in the server's logs. A state
//! change is one statement guarded by state and token; time is the database's own.
#![deny(clippy::wildcard_enum_match_arm)]

/// Runs a statement on a connection of a pool, each within the cap.
///
/// A connection whose call timed out is closed. Given back to the pool it would go on waiting for the
/// server, perhaps for ever, and still count against the pool's size. Closed is also one whose session
/// may be at fault: a new one sees the server as it is now.
///
/// A macro, since the driver's statements share no trait.
macro_rules! ask {
    ($pool:expr, $cap:expr, $doing:literal, $statement:ident.$method:ident) => {{
        let connection = tokio::time::timeout($cap, $pool.acquire()).await;
        match connection {
            Err(_) => Err($crate::state::Error::Away { doing: $doing, source: None }),
            Ok(Err(source)) => Err($crate::state::Error::of_driver($doing, source)),
            Ok(Ok(mut connection)) => {
                let call = $statement.$method(&mut *connection);
                match tokio::time::timeout($cap, call).await {
                    Ok(Ok(done)) => Ok(done),
                    Ok(Err(source)) => {
                        if $crate::state::error::blames_session(&source) {
                            drop(connection.detach());
                        }
                        Err($crate::state::Error::of_driver($doing, source))
                    }
                    Err(_) => {
                        drop(connection.detach());
                        Err($crate::state::Error::Away { doing: $doing, source: None })
                    }
                }
            }
        }
    }};
}

mod again;
mod claim;
mod dashboard;
mod effect;
mod error;
mod extend;
mod failure_export;
mod fleet;
mod hash;
mod hindrance;
mod history;
mod job;
mod keep;
mod keeper;
mod lease;
mod login;
mod other_jobs;
mod progress;
mod record;
mod sums;
mod view;
mod wait;
mod wake;

pub(crate) use again::CompletedShard;
pub use again::LostDuplicates;
pub use claim::{Claim, ClaimAnswer, Refusal, Registration};
pub use dashboard::{
    ChunkCell, FailedImages, FailureCode, HealthReading, OpenChunk, ProcessTemp, QueueCount,
    Verdicts, Waiting,
};
pub use effect::{Backoff, GiveUp, GivenUp, Reclaimed, WhyGivenUp};
pub use error::Error;
pub use extend::{ExtendOutcome, Extension, ExtensionOptions, JobChunk, NewExtension};
pub use failure_export::UnconfirmedFailures;
pub use fleet::CheckIn;
pub use hindrance::Hindrance;
pub use history::{
    BusySlots, ChunkWaits, DoneChunks, Ending, FleetHistory, HealthChecks, InstanceUse,
};
pub(crate) use job::TOUCHES_AT_ONCE;
pub use job::{Cancellation, DatasetRows, NewJob, OverJob, RegisteredJob, Submission};
pub(crate) use keep::ReferringChunk;
pub use keep::{Hashes, Kept, KeptShard, TableSize};
pub use keeper::Keeper;
pub use lease::{Lease, LeaseTerms, NotHeld};
pub use login::NoToken;
pub use progress::Progress;
pub use record::HealthRow;
pub use view::{
    AttemptRow, Capacity, ChunkStatus, Description, Failures, Gauges, HostBusy, JobProgress,
    JobReason, LiveProcess, Page, RejectedMessage,
};
pub use wait::until_answered;
pub(crate) use wake::WAKE_AGAIN;

use crate::settings::{DatabaseCredential, Settings};
use login::{Login, Pool};
use sqlx::{
    AssertSqlSafe, PgConnection,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{future::Future, str::FromStr, sync::Arc, time::Duration};

/// The database as this process uses it.
#[derive(Debug, Clone)]
pub struct Database {
    pool: Pool,
    /// Renewals have a connection of their own: a busy pool must not cost a lease.
    renewals: Pool,
    terms: LeaseTerms,
    /// Connecting ends within this, and so does each call.
    cap: Duration,
}

/// The longest call that an invocation waits for, however long a lease is.
pub(crate) const LONGEST_CALL: Duration = Duration::from_secs(5);
/// The longest wait for a row that somebody else changes.
const LONGEST_LOCK_WAIT: Duration = Duration::from_secs(2);
/// The longest call of submits, listings and job ends.
const PATIENT_CALL: Duration = Duration::from_secs(60);

/// How many connections do the work, and how long a call may take.
#[derive(Debug, Clone, Copy)]
struct Reach {
    connections: u32,
    /// The server ends a statement after this.
    statement: Duration,
    /// We wait no longer than this.
    cap: Duration,
}

impl Reach {
    fn of_work(terms: LeaseTerms) -> Self {
        let cap = terms.longest_call().min(LONGEST_CALL);
        Self { connections: 4, statement: cap, cap }
    }
}

/// The schema of everything here; connections search it first.
const SCHEMA: &str = "chunk_handler";

impl Database {
    /// Prepares pools for the database at `url`; connects on first use.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the URL is not one of Postgres.
    pub fn open(url: &str, terms: LeaseTerms) -> Result<Self, Error> {
        Ok(Self::with(options(url)?, None, terms, Reach::of_work(terms)))
    }

    /// The same as the settings say. Where a token is the password, somebody must poll
    /// [`Self::keep_login`].
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn of_settings(settings: &Settings) -> Result<Self, Error> {
        Self::reaching(settings, Reach::of_work(LeaseTerms::new(settings.lease)))
    }

    fn reaching(settings: &Settings, reach: Reach) -> Result<Self, Error> {
        let options = options(settings.database_url.expose())?;
        let login = match settings.database_credential {
            DatabaseCredential::Password => None,
            DatabaseCredential::Entra => Some(Arc::new(Login::new(options.clone(), settings))),
        };
        Ok(Self::with(options, login, LeaseTerms::new(settings.lease), reach))
    }

    fn with(
        options: PgConnectOptions,
        login: Option<Arc<Login>>,
        terms: LeaseTerms,
        reach: Reach,
    ) -> Self {
        let Reach { connections, statement, cap } = reach;
        let lock_ms = terms.longest_call().min(LONGEST_LOCK_WAIT).as_millis();
        let pool = |size, idle: Option<Duration>, options: PgConnectOptions| Pool {
            connections: PgPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(cap)
                // A connection that broke while it was idle fails its next call, which the caller
                // repeats as any other: a ping before each call would double the round trips.
                .test_before_acquire(false)
                .idle_timeout(idle)
                .max_lifetime(Duration::from_secs(1800))
                .after_connect(move |session, _| Box::pin(set_up(session, lock_ms, statement)))
                .connect_lazy_with(options),
            login: login.clone(),
        };
        let work = pool(connections, Some(Duration::from_secs(60)), options.clone());
        // Kept also while there is nothing to renew.
        Self { pool: work, renewals: pool(1, None, options), terms, cap }
    }

    /// The arithmetic of its leases.
    pub(crate) fn terms(&self) -> LeaseTerms {
        self.terms
    }

    /// Makes the schema fit this release. Where it does already, no right is needed for it.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionPooler`], and those of [`Self::migrate`].
    pub async fn prepare(&self) -> Result<(), Error> {
        // Before the two below: a login that may have only two connections must not get ready without one
        // for renewals.
        drop(self.capped("renewals", self.renewals.acquire()).await?);
        self.refuse_transaction_pooler().await?;
        // Without a schema the question itself fails.
        let version = self.schema_version().await.ok().flatten();
        if version.is_some_and(|version| version >= Self::known_schema_version()) {
            return Ok(());
        }
        self.migrate().await
    }

    /// Brings the schema up to date, under a lock of the database.
    ///
    /// # Errors
    ///
    /// [`Error::Migrate`] when the database holds something else under our names, the role may not
    /// change the schema, or it takes longer than 60 s.
    pub async fn migrate(&self) -> Result<(), Error> {
        let mut connection = self.capped("migrate", self.pool.acquire()).await?.detach();
        // A concurrent migration is waited for, and creating an index may take its time; both with an
        // end, so that a lock of somebody else shows itself.
        let patience = format!("{}ms", PATIENT_CALL.as_millis());
        let settings = sqlx::query(
            "-- migrate
            select set_config('lock_timeout', $1, false), set_config('statement_timeout', $1, false)",
        )
        .bind(patience);
        self.capped("migrate", settings.execute(&mut connection)).await?;
        let migrated = migrator().run_direct(None, &mut connection, false).await;
        migrated.map_err(Error::of_migration)
    }

    /// With a pooler in transaction mode a session of ours is one of the server's only while it is
    /// busy: a second one then gets the very same.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionPooler`], or when the database cannot be asked.
    pub async fn refuse_transaction_pooler(&self) -> Result<(), Error> {
        let (mut first, mut second) = (
            self.capped("session", self.pool.acquire()).await?,
            self.capped("session", self.pool.acquire()).await?,
        );
        // Another client may take and give back the server's session in between: not each time.
        for _ in 0..3 {
            let pids = async {
                let before = backend(&mut first).await?;
                let mut transaction = sqlx::Connection::begin(&mut *second).await?;
                let other = backend(&mut transaction).await?;
                let after = backend(&mut first).await?;
                transaction.rollback().await?;
                Ok((before, other, after))
            };
            let (before, other, after) = self.capped("session", pids).await?;
            if before == other || before != after {
                return Err(Error::TransactionPooler);
            }
        }
        Ok(())
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
            Ok(result) => result.map_err(|source| Error::of_driver(doing, source)),
            Err(_) => Err(Error::Away { doing, source: None }),
        }
    }

    /// A connection for calls that may take longer than the cap: submits, listings, job ends. It
    /// is closed afterwards, since its timeout differs from those of the pool.
    async fn patient(&self, doing: &'static str) -> Result<PgConnection, Error> {
        let connect = async {
            let mut connection = self.pool.acquire().await?.detach();
            sqlx::query("-- patient\nselect set_config('statement_timeout', $1, false)")
                .bind(format!("{}ms", PATIENT_CALL.as_millis()))
                .execute(&mut connection)
                .await?;
            Ok(connection)
        };
        self.capped(doing, connect).await
    }
}

fn options(url: &str) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|source| Error::Refused { doing: "the connection URL", source })?;
    // The driver looks an IPv6 address up with its brackets.
    let host = options.get_host().trim_matches(['[', ']']).to_owned();
    let options = options.host(&host);
    // No start-up parameter that a pooler refuses; values come in binary, without digits.
    Ok(options.application_name("chunk-handler").extra_float_digits(None))
}

/// Which session of the server answers; not prepared, as [`set_up`].
async fn backend(session: &mut PgConnection) -> sqlx::Result<i32> {
    let row = sqlx::raw_sql("-- backend\nselect pg_backend_pid()").fetch_one(session).await?;
    sqlx::Row::try_get(&row, 0)
}

/// Settings of a session. Sent as statements: as start-up options they are lost or refused where a
/// pooler stands in front of the server. Not prepared: with a pooler in transaction mode that fails
/// before anybody can say what is wrong. Without compilation: a list of jobs takes 20 ms, and to compile
/// it the server takes a second.
async fn set_up(
    session: &mut PgConnection,
    lock_ms: u128,
    statement: Duration,
) -> sqlx::Result<()> {
    let set = sqlx::raw_sql(AssertSqlSafe(format!(
        "-- set_up
        set search_path = {SCHEMA}; set lock_timeout = {lock_ms};
        set statement_timeout = {}; set idle_in_transaction_session_timeout = 10000; set jit = off",
        statement.as_millis()
    )));
    set.execute(session).await.map(drop)
}

/// Runs a call on a patient connection. The server ends it first; our own limit is for a server
/// that is gone.
async fn patiently<T>(
    doing: &'static str,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(PATIENT_CALL + LONGEST_CALL, call).await {
        Ok(result) => result.map_err(|source| Error::of_driver(doing, source)),
        Err(_) => Err(Error::Away { doing, source: None }),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 203: an address of IPv6 is connected to without its brackets; a socket stays one.
    #[test]
    fn hosts_are_as_the_driver_takes_them() {
        for (url, host) in [
            ("postgres://u@[::1]:1/d", "::1"),
            ("postgres://u@h:1/d", "h"),
            ("postgres://u@127.0.0.1/d", "127.0.0.1"),
        ] {
            assert_eq!(options(url).unwrap().get_host(), host);
        }
        let socket = options("postgres:///d?host=/tmp").unwrap();
        assert_eq!(socket.get_socket().unwrap().as_os_str(), "/tmp");
    }
}
