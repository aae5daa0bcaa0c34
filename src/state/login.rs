//! The login of new connections: the password of the URL, or an Entra token that is renewed here.
//!
//! The server asks for the token when a connection is made, and never again: connections that are
//! open stay when it ends.
//! <https://learn.microsoft.com/azure/postgresql/flexible-server/security-entra-configure>

use super::Database;
use crate::{
    identity,
    redact::{cause_chain, without_queries},
    settings::{HostFacts, Settings},
};
use azure_core::{credentials::AccessToken, error::ErrorKind};
use sqlx::{PgPool, Postgres, pool::PoolConnection, postgres::PgConnectOptions};
use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// What a token for Azure Database for PostgreSQL is asked with (page above).
const SCOPE: &str = "https://ossrdbms-aad.database.windows.net/.default";
/// One question for a token.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// After a question that failed, and between two that refused logins cause.
const RETRY: Duration = Duration::from_secs(1);
/// A token that lives longer than twice this is renewed this long before its end at the latest.
const LATEST: Duration = Duration::from_secs(300);

/// Connections whose logins show what is valid now.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) connections: PgPool,
    /// None: the password of the URL.
    pub(super) login: Option<Arc<Login>>,
}

impl Pool {
    /// A connection. Without a token yet it fails as it does when the server is away.
    pub(super) async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let Some(login) = &self.login else { return self.connections.acquire().await };
        login.has_token().await.map_err(|problem| {
            let problem = format!("no token for the login: {problem}");
            sqlx::Error::Io(io::Error::other(problem))
        })?;
        let connection = self.connections.acquire().await;
        if connection.as_ref().is_err_and(is_refused_login) {
            login.refused.notify_one();
        }
        connection
    }
}

/// Class 28 of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(super) fn is_refused_login(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("28"))
}

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoToken {
    /// Who gives tokens knows no such identity, or nobody is logged in.
    #[error("{0}")]
    Refused(String),
    /// Who gives tokens is away, slow, or has trouble of its own.
    #[error("{0}")]
    Failing(String),
}

impl NoToken {
    /// Sorts what the SDK said. The status that an endpoint answered with stands in a cause.
    fn of_sdk(error: &azure_core::Error) -> Self {
        let said = without_queries(&cause_chain(error));
        let first: &(dyn std::error::Error + 'static) = error;
        let mut causes = std::iter::successors(Some(first), |error| error.source())
            .filter_map(|error| error.downcast_ref::<azure_core::Error>());
        let kind = causes.find(|error| !matches!(error.kind(), ErrorKind::Credential));
        match kind.map(azure_core::Error::kind) {
            Some(ErrorKind::HttpResponse { status, .. }) => {
                let status = u16::from(*status);
                let said = format!("the identity's endpoint answered {status}: {said}");
                match status {
                    408 | 429 | 500.. => Self::Failing(said),
                    _ => Self::Refused(said),
                }
            }
            // Not reached, or no answer of its protocol.
            Some(_) => Self::Failing(said),
            None => Self::Refused(said),
        }
    }
}

/// Whether there is a token.
#[derive(Debug)]
enum State {
    /// Nobody has answered yet.
    Asked,
    /// Why there is none.
    Without(NoToken),
    /// New connections show it. It stays until there is a newer one.
    There,
}

/// A login with tokens of Entra.
pub(super) struct Login {
    options: PgConnectOptions,
    host: HostFacts,
    client_id: Option<String>,
    state: watch::Sender<State>,
    /// The server refused a login.
    refused: Notify,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

impl Login {
    /// A login with these options but for the password, by the identity of the storage connection.
    pub(super) fn new(options: PgConnectOptions, settings: &Settings) -> Self {
        Self {
            options,
            host: settings.host.clone(),
            client_id: identity::storage_client_id(settings),
            state: watch::Sender::new(State::Asked),
            refused: Notify::new(),
        }
    }

    /// Waits for the first answer; why there is no token.
    async fn has_token(&self) -> Result<(), NoToken> {
        let mut states = self.state.subscribe();
        let state = states.wait_for(|state| !matches!(state, State::Asked)).await;
        match state.as_deref() {
            Ok(State::Without(problem)) => Err(problem.clone()),
            Ok(State::Asked | State::There) => Ok(()),
            Err(closed) => Err(NoToken::Failing(closed.to_string())),
        }
    }

    /// Asks with a credential of its own: the cache of one that was used before would answer with the
    /// token that is to be renewed, or that was refused, until its last five minutes.
    async fn ask(&self) -> Result<AccessToken, NoToken> {
        let token = async {
            let credential = identity::credential_asked_once(&self.host, self.client_id.clone())?;
            credential.get_token(&[SCOPE], None).await
        };
        match timeout(ASK_LIMIT, token).await {
            Ok(answer) => answer.map_err(|error| NoToken::of_sdk(&error)),
            Err(_) => Err(NoToken::Failing(format!("no answer within {} s", ASK_LIMIT.as_secs()))),
        }
    }

    /// Gives the pools new tokens, for ever.
    async fn renew(&self, pools: [&PgPool; 2]) -> Infallible {
        let mut known = Known::default();
        let mut is_failing = false;
        let mut may_be_refused_in = Duration::ZERO;
        loop {
            let pause = match self.ask().await {
                Ok(AccessToken { token, expires_on, .. }) => {
                    for pool in pools {
                        pool.set_connect_options(self.options.clone().password(token.secret()));
                    }
                    self.state.send_replace(State::There);
                    is_failing = false;
                    let pause = known.pause(expires_on, OffsetDateTime::now_utc());
                    tracing::debug!(next_s = pause.as_secs(), "a token for the database is there");
                    pause
                }
                Err(cause) => {
                    if !is_failing {
                        tracing::warn!(%cause, "no new token for the database, asking again");
                    }
                    is_failing = true;
                    self.state.send_if_modified(|state| {
                        let is_without = !matches!(state, State::There);
                        if is_without {
                            *state = State::Without(cause);
                        }
                        is_without
                    });
                    RETRY
                }
            };
            let refused = async {
                sleep(may_be_refused_in).await;
                self.refused.notified().await;
            };
            tokio::select! {
                () = sleep(pause) => may_be_refused_in = Duration::ZERO,
                () = refused => may_be_refused_in = RETRY,
            }
        }
    }
}

/// What is known of the token that new connections show.
#[derive(Debug, Default)]
struct Known {
    expires_on: Option<OffsetDateTime>,
    life: Duration,
}

impl Known {
    /// How long to wait before the next token, now that one with this end came. Who gives tokens may
    /// give the same one several times.
    fn pause(&mut self, expires_on: OffsetDateTime, now: OffsetDateTime) -> Duration {
        let left = Duration::try_from(expires_on - now).unwrap_or_default();
        if self.expires_on != Some(expires_on) {
            *self = Self { expires_on: Some(expires_on), life: left };
        }
        let pause = if self.life > 2 * LATEST && left > LATEST {
            (left / 2).min(left - LATEST)
        } else {
            left / 2
        };
        pause.max(RETRY)
    }
}

impl Database {
    /// Keeps the token of new connections valid, until this is dropped. With a password there is
    /// nothing to do.
    pub async fn keep_login(&self) -> Infallible {
        match &self.pool.login {
            Some(login) => login.renew([&self.pool.connections, &self.renewals.connections]).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until a token is there, or why there is none is known. Somebody must poll
    /// [`Self::keep_login`] meanwhile. With a password it answers at once.
    ///
    /// # Errors
    ///
    /// Why there is no token.
    pub async fn token(&self) -> Result<(), NoToken> {
        match &self.pool.login {
            Some(login) => login.has_token().await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A token is renewed at half of its life; the same one again at half of the rest, but five minutes
    /// before its end if it lives long; and never more than once a second.
    #[test]
    fn a_token_is_renewed_at_half_and_before_its_last_minutes() {
        let mut short = Known::default();
        assert_eq!(short.pause(T0 + s(90), T0), s(45));
        assert_eq!(short.pause(T0 + s(90), T0 + s(45)), Duration::from_millis(22_500));
        assert_eq!(short.pause(T0 + s(90), T0 + s(100)), RETRY);
        let mut day = Known::default();
        assert_eq!(day.pause(T0 + s(86_400), T0), s(43_200));
        assert_eq!(day.pause(T0 + s(86_400), T0 + s(43_200)), s(21_600));
        assert_eq!(day.pause(T0 + s(86_400), T0 + s(86_000)), s(100));
        assert_eq!(day.pause(T0 + s(86_400), T0 + s(86_100)), s(150));
        assert_eq!(day.pause(T0 + s(86_500), T0 + s(86_100)), s(200));
    }

    /// I11: neither the login nor its errors show a token.
    #[test]
    fn a_login_shows_nothing_of_its_options() {
        let options = PgConnectOptions::new_without_pgpass().password("hush");
        let login = Login {
            options,
            host: HostFacts::default(),
            client_id: None,
            state: watch::Sender::new(State::There),
            refused: Notify::new(),
        };
        assert_eq!(format!("{login:?}"), "Login { .. }");
    }
}
