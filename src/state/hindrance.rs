//! One connection of its own, and at which step it ended.
//!
//! A pool asks a server that is full or starting again and again, and says in the end only that its time
//! is over.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "enums of others, of which a few members count"
)]

use super::Database;
use crate::redact::one_line;
use rustls::{CertificateError, Error as TlsError};
use sqlx::{
    Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgDatabaseError},
};
use std::{future::Future, io};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};

/// Why a login to the database did not come about, by the step at which it ended.
#[derive(Debug, thiserror::Error)]
pub enum Hindrance {
    /// There is no address for the host's name.
    #[error("the name of its host has no address here: {0}")]
    Name(String),
    /// The machine is there, and nobody listens at the port.
    #[error("nobody listens there: {0}")]
    Closed(String),
    /// No way to the machine, or the socket is not there or not ours to use.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// A connection was not answered at all.
    #[error("no answer to a connection within {0} s")]
    Silent(u64),
    /// A connection stands, and nobody says anything.
    #[error("a connection stands, and nothing is said within {0} s")]
    Mute(u64),
    /// A connection was closed before the login.
    #[error("the connection was closed before the login: {0}")]
    Dropped(String),
    /// Who answers does not speak the protocol of Postgres.
    #[error("what answers there is no Postgres: {0}")]
    OtherProtocol(String),
    /// The server asks for a way of login that the driver does not have.
    #[error("the server asks for a login that is not known here: {0}")]
    Method(String),
    /// The URL asks for TLS, and the server has none.
    #[error("the server takes no TLS, and sslmode in DATABASE_URL asks for it")]
    NoTls,
    /// The server's certificate is not trusted, by whoever signed it.
    #[error("the server's certificate is not trusted: {0}")]
    Untrusted(String),
    /// It is another name's.
    #[error("the server's certificate is for another name: {0}")]
    OtherName(String),
    /// It is over, or not yet valid.
    #[error("the server's certificate is not valid now: {0}")]
    OutOfDate(String),
    /// TLS ended for another reason.
    #[error("no TLS with the server: {0}")]
    Tls(String),
    /// A pooler in front of the server does not take what a session starts with.
    #[error(
        "a pooler in front of the database refuses how a session starts: {0}; take options out of \
         DATABASE_URL and PGOPTIONS, or name them in its ignore_startup_parameters"
    )]
    Parameter(String),
    /// A file that the URL names, or a part of the URL.
    #[error("{0}")]
    Configuration(String),
    /// The server answered with an error.
    #[error("the server says: {message} ({code})")]
    Server {
        /// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
        code: String,
        /// The server's own function, the same in every language; a pooler names none.
        routine: Option<String>,
        /// In the language of the server.
        message: String,
    },
}

impl Database {
    /// The port that is connected to; none: a socket.
    pub fn port(&self) -> Option<u16> {
        let options = self.pool.connections.connect_options();
        options.get_socket().is_none().then(|| options.get_port())
    }

    /// Where the database is, for people: `127.0.0.1:5432, database d`.
    pub fn place(&self) -> String {
        let options = self.pool.connections.connect_options();
        let at = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        // Without a name it is that of the user.
        let name = options.get_database().unwrap_or_else(|| options.get_username());
        format!("{at}, database {name}")
    }

    /// Logs in once, beside the pools.
    ///
    /// # Errors
    ///
    /// At which step it ended, and why.
    pub async fn try_login(&self) -> Result<(), Hindrance> {
        let options = self.pool.connections.connect_options();
        let s = self.cap.as_secs();
        if options.get_socket().is_none() {
            let place = (options.get_host(), options.get_port());
            let addresses = self.within(lookup_host(place), Hindrance::Silent(s)).await?;
            let addresses = addresses.map_err(|error| Hindrance::Name(error.to_string()))?;
            let addresses: Vec<_> = addresses.collect();
            let reached = TcpStream::connect(&*addresses);
            let reached = self.within(reached, Hindrance::Silent(s)).await?;
            let mut reached = reached.map_err(|error| Hindrance::of_connect(&error))?;
            let answer = self.within(first_answer(&mut reached), Hindrance::Mute(s)).await?;
            is_of_postgres(&answer.map_err(|error| Hindrance::of_io(&error))?)?;
        }
        self.log_in(&options).await
    }

    async fn log_in(&self, options: &PgConnectOptions) -> Result<(), Hindrance> {
        let mute = || Hindrance::Mute(self.cap.as_secs());
        let connection = self.within(PgConnection::connect_with(options), mute()).await?;
        let connection = connection.map_err(|error| {
            let other = || Hindrance::Configuration(one_line(&error.to_string()));
            Hindrance::of_driver(&error).unwrap_or_else(other)
        })?;
        // It stood: how it ends does not matter.
        self.within(connection.close(), mute()).await?.unwrap_or_default();
        Ok(())
    }

    async fn within<T>(
        &self,
        step: impl Future<Output = T>,
        late: Hindrance,
    ) -> Result<T, Hindrance> {
        timeout(self.cap, step).await.map_err(|_| late)
    }
}

/// Asks for TLS and returns the begin of the answer. Without this question the driver would take the
/// answer of another program for a message of Postgres, of any length.
async fn first_answer(server: &mut TcpStream) -> io::Result<Vec<u8>> {
    // Its length and its number, `SSLRequest` of
    // <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
    server.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
    let mut answer = vec![0; 16];
    let length = server.read(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

/// Postgres says one letter: it takes TLS or does not; or else it begins an error.
fn is_of_postgres(answer: &[u8]) -> Result<(), Hindrance> {
    match answer {
        b"S" | b"N" | [b'E', ..] => Ok(()),
        [] => Err(Hindrance::Dropped("it answers nothing".to_owned())),
        other => {
            let said = one_line(&String::from_utf8_lossy(other));
            Err(Hindrance::OtherProtocol(format!("it begins with {said:?}")))
        }
    }
}

impl Hindrance {
    fn of_connect(error: &io::Error) -> Self {
        let said = error.to_string();
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Closed(said),
            _ => Self::Unreachable(said),
        }
    }

    /// Sorts what the driver said; none: it is about nothing between us and the server.
    pub(super) fn of_driver(error: &sqlx::Error) -> Option<Self> {
        Some(match error {
            sqlx::Error::Database(error) => Self::of_server(&**error),
            sqlx::Error::Io(error) => Self::of_io(error),
            sqlx::Error::Tls(error) => match error.to_string() {
                // The driver's own words: it has no type for it.
                said if said.contains("does not support TLS") => Self::NoTls,
                said => Self::Tls(one_line(&said)),
            },
            // Here as well.
            sqlx::Error::Protocol(said) if said.contains("authentication") => {
                Self::Method(one_line(said))
            }
            sqlx::Error::Protocol(said) => Self::OtherProtocol(one_line(said)),
            sqlx::Error::Configuration(said) => Self::Configuration(one_line(&said.to_string())),
            _ => return None,
        })
    }

    fn of_server(error: &dyn sqlx::error::DatabaseError) -> Self {
        let message = one_line(error.message());
        // pgbouncer's words: it has one code for all that it refuses.
        if message.contains("startup parameter") {
            return Self::Parameter(message);
        }
        let routine =
            error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::routine);
        Self::Server {
            code: error.code().unwrap_or_default().into_owned(),
            routine: routine.map(str::to_owned),
            message,
        }
    }

    /// An error of a connection that stood, or of a socket that is a file.
    fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, UnexpectedEof,
        };
        let said = one_line(&error.to_string());
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        match tls {
            Some(TlsError::InvalidCertificate(problem)) => Self::of_certificate(problem),
            Some(TlsError::InvalidMessage(_)) => Self::OtherProtocol(said),
            Some(_) => Self::Tls(said),
            None => match error.kind() {
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => {
                    Self::Dropped(said)
                }
                InvalidData => Self::OtherProtocol(said),
                _ => Self::of_connect(error),
            },
        }
    }

    fn of_certificate(problem: &CertificateError) -> Self {
        let said = one_line(&problem.to_string());
        match problem {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName(said)
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::OutOfDate(said),
            _ => Self::Untrusted(said),
        }
    }
}
