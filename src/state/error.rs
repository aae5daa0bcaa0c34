//! Why the database did not do what was asked.

use super::Hindrance;
use crate::chunk::ChunkId;
use sqlx::migrate::MigrateError;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked right now: away, overloaded, or too slow. Nothing is known of the effect.
    #[error("{}", away(.doing, .source.as_ref()))]
    Away {
        /// The statement.
        doing: &'static str,
        /// What the driver said.
        #[source]
        source: Option<sqlx::Error>,
    },
    /// It refused the statement: a missing right, a schema that does not fit, or a defect.
    #[error("{}", refused(.doing, .source))]
    Refused {
        /// The statement.
        doing: &'static str,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// It refused the values of a message that was to be registered.
    #[error("the database cannot store the message")]
    Unstorable(#[source] sqlx::Error),
    /// The claim no longer holds the chunk.
    #[error("the lease of chunk {0} is lost")]
    LeaseLost(ChunkId),
    /// The database was not asked: another part of the environment is not as it must be.
    #[error("this process is degraded: {0}")]
    Degraded(String),
    /// A pooler in front of the server gives each transaction, or statement, to another session.
    #[error(
        "a pooler in transaction or statement mode is in front of the database: settings and prepared \
         statements of a session are lost; connect to the server itself, or set pool_mode = session"
    )]
    TransactionPooler,
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date; was the database made by another build?")]
    Migrate(#[source] MigrateError),
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>: connection exceptions; a
/// read-only transaction (failover, full disk); authorization (a password or token that is being
/// rotated); a database that is being restored; rollbacks (serialization, deadlock); resources;
/// lock and statement timeouts; operator intervention; and a missing schema, which the background
/// migration is about to make.
const AWAY_CODES: [&str; 11] =
    ["08", "25006", "28", "3D000", "40", "53", "55P03", "57", "3F000", "42P01", "42883"];

/// What may be true of one session and not of the next (same page): a session that began while the
/// server was read-only stays so; a plan whose result type changed; a lost search path, which hides
/// schema, tables and functions.
const SESSION_CODES: [&str; 5] = ["25006", "0A000", "3F000", "42P01", "42883"];

/// A schema, a table, a column or a function that is not there (same page).
const SCHEMA_CODES: [&str; 4] = ["3F000", "42P01", "42703", "42883"];

/// A read-only server: a standby, a full disk of a managed one, `default_transaction_read_only`.
const READ_ONLY: &str = "25006";

/// A lock that was not given in time (same page).
const LOCK_TIMEOUT: &str = "55P03";

/// Rolled back for the sake of others: a deadlock, for one (same page).
const ROLLED_BACK: &str = "40";

/// A statement that was ended by its time limit, or by that of its wait for a lock (same page).
const TOO_LONG: [&str; 2] = ["57014", LOCK_TIMEOUT];
/// `insufficient_privilege`.
const DENIED: &str = "42501";

/// What a text or a number of a message may be refused with (same page): characters that the server's
/// encoding does not have, and numbers out of range.
const VALUE_CODES: [&str; 3] = ["22021", "22P05", "22003"];
/// A check that a row does not pass (same page).
const CHECK_VIOLATION: &str = "23514";

impl Error {
    /// Sorts what the driver said: "cannot be asked now" or "refused".
    pub(super) fn of_driver(doing: &'static str, source: sqlx::Error) -> Self {
        if refuses_transaction(&source) {
            return Self::TransactionPooler;
        }
        let away = match code(&source) {
            _ if lacks_tls(&source) || refuses_parameter(&source) => false,
            Some(code) => AWAY_CODES.iter().any(|class| code.starts_with(class)),
            None => !is_defect(&source),
        };
        if away {
            Self::Away { doing, source: Some(source) }
        } else {
            Self::Refused { doing, source }
        }
    }

    /// Why a migration failed: a server that is gone or read-only says nothing about the schema, nor does
    /// somebody who held what it was to change, for whom it gave way.
    pub(super) fn of_migration(error: MigrateError) -> Self {
        let passes = |source: &sqlx::Error| match code(source) {
            Some(code) => {
                code == READ_ONLY || code == LOCK_TIMEOUT || code.starts_with(ROLLED_BACK)
            }
            None => !is_defect(source),
        };
        let does_pass = matches!(
            &error,
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)
                if passes(source)
        );
        if !does_pass {
            return Self::Migrate(error);
        }
        let (MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) = error
        else {
            return Self::Away { doing: "migrate", source: None };
        };
        Self::Away { doing: "migrate", source: Some(source) }
    }

    /// What kept a statement from its answer, where the driver said something of it.
    pub fn hindrance(&self) -> Option<Hindrance> {
        match self {
            Self::Away { source: Some(source), .. } | Self::Refused { source, .. } => {
                Hindrance::of_driver(source)
            }
            Self::Away { source: None, .. }
            | Self::Unstorable(_)
            | Self::LeaseLost(_)
            | Self::Degraded(_)
            | Self::TransactionPooler
            | Self::Migrate(_) => None,
        }
    }

    /// The same error of a statement that was to store a message: only a complaint about values
    /// may be the message's fault.
    pub(super) fn of_registration(self) -> Self {
        match self {
            Self::Refused { source, .. } if is_about_values(&source) => Self::Unstorable(source),
            Self::Refused { .. }
            | Self::Away { .. }
            | Self::Unstorable(_)
            | Self::LeaseLost(_)
            | Self::Degraded(_)
            | Self::TransactionPooler
            | Self::Migrate(_) => self,
        }
    }

    /// Whether the database refused values, of whatever they are.
    pub(super) fn complains_of_values(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if is_about_values(source))
    }

    /// Whether the schema, or a part of it, is not there.
    pub fn lacks_schema(&self) -> bool {
        let source = match self {
            Self::Away { source, .. } => source.as_ref(),
            Self::Refused { source, .. } | Self::Unstorable(source) => Some(source),
            Self::LeaseLost(_) | Self::Degraded(_) | Self::TransactionPooler | Self::Migrate(_) => {
                None
            }
        };
        source.and_then(code).is_some_and(|code| SCHEMA_CODES.contains(&code.as_ref()))
    }

    /// Whether the database cannot be asked right now.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// Whether the server ended the statement, since it took too long.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Away { source: Some(source), .. }
            if code(source).is_some_and(|code| TOO_LONG.contains(&code.as_ref())))
    }

    /// Whether the login may not read or do what the statement names.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { source, .. }
            if code(source).is_some_and(|code| code == DENIED))
    }

    /// Whether the error says nothing about the message or the chunk: rights, schema and an absent
    /// server are mended by people, and the work is still to be done then (rule H8).
    pub(crate) fn is_environment(&self) -> bool {
        match self {
            Self::Away { .. }
            | Self::Refused { .. }
            | Self::Degraded(_)
            | Self::TransactionPooler
            | Self::Migrate(_) => true,
            Self::Unstorable(_) | Self::LeaseLost(_) => false,
        }
    }
}

fn away(doing: &str, source: Option<&sqlx::Error>) -> String {
    if source.and_then(code).is_some_and(|code| code == READ_ONLY) {
        return format!(
            "the database is read-only ({doing}); wait for its failover, name the primary, free its \
             disk, or reset default_transaction_read_only of role and database"
        );
    }
    format!("the database is away ({doing})")
}

fn refused(doing: &str, source: &sqlx::Error) -> String {
    if lacks_tls(source) {
        return format!(
            "the server takes no TLS, and sslmode in DATABASE_URL asks for it ({doing})"
        );
    }
    if refuses_parameter(source) {
        return format!(
            "a pooler in front of the database refuses how a session starts ({doing}); take options \
             out of DATABASE_URL and PGOPTIONS, or name them in its ignore_startup_parameters"
        );
    }
    format!("the database refused {doing}")
}

/// The driver's own words: it has no code for it.
fn lacks_tls(source: &sqlx::Error) -> bool {
    matches!(source, sqlx::Error::Tls(_)) && source.to_string().contains("does not support TLS")
}

/// pgbouncer's words: it has one code for all that it refuses.
fn refuses_parameter(source: &sqlx::Error) -> bool {
    source.as_database_error().is_some_and(|e| e.message().contains("startup parameter"))
}

/// The same: in statement mode it takes no transaction.
fn refuses_transaction(source: &sqlx::Error) -> bool {
    source.as_database_error().is_some_and(|e| e.message().contains("statement pooling mode"))
}

/// Whether another connection may get another answer.
pub(super) fn blames_session(source: &sqlx::Error) -> bool {
    code(source).is_some_and(|code| SESSION_CODES.contains(&code.as_ref()))
}

fn code(source: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    source.as_database_error().and_then(|error| error.code())
}

/// Of constraints only the checks of the message's own table can be the message's fault: everything
/// else about its row is ours to write.
fn is_about_values(source: &sqlx::Error) -> bool {
    let Some(error) = source.as_database_error() else { return false };
    let is_own_check = || error.constraint().is_some_and(|name| name.starts_with("chunk_"));
    error.code().is_some_and(|code| {
        VALUE_CODES.contains(&code.as_ref()) || code == CHECK_VIOLATION && is_own_check()
    })
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
