//! Whether the database answers this login, and if not, at which step it ended.

use super::{
    Check, on_time,
    remedy::{self, Login},
};
use crate::Session;
use chunk_handler::{
    redact::cause_chain,
    settings::{DatabaseCredential, MIB},
    state::{Description, Error},
};
use std::borrow::Cow;

/// What the pool says itself: the rest of the time it was full, or the statement took too long.
const SLOW: &str = "the login works, and the question is not answered: the server is overloaded, or \
    somebody holds a lock; `select * from pg_stat_activity` on it shows what runs";

impl Session {
    /// Why nobody can work with this login; none: one can.
    pub(super) async fn check_login(&self) -> Option<Check> {
        // Without a token the server is not asked at all.
        let (problem, remedy) = if let Err(problem) = self.database.token().await {
            let remedy = remedy::without_token(&problem, self.is_managed());
            (format!("no token: {problem}"), remedy.into())
        } else if let Some(refused) = self.refused_login().await {
            refused
        } else {
            self.transaction_pooler().await?
        };
        let problem = format!("{}: {problem}", self.database.place());
        Some(Check { what: "Postgres", result: Err(problem), remedy })
    }

    /// Why a login of its own does not come about, and what to do; none: it works.
    pub(super) async fn refused_login(&self) -> Option<(String, Cow<'static, str>)> {
        let hindrance = self.database.try_login().await.err()?;
        Some((hindrance.to_string(), remedy::of(&hindrance, &self.login())))
    }

    /// What stands in front of the server and keeps no sessions, and what to do; none: nothing.
    async fn transaction_pooler(&self) -> Option<(String, Cow<'static, str>)> {
        let error = self.database.refuse_transaction_pooler().await.err()?;
        let is_pooler = matches!(error, Error::TransactionPooler);
        let said = error.to_string();
        let (what, remedy) = said.split_once("; ")?;
        is_pooler.then(|| (what.to_owned(), remedy.to_owned().into()))
    }

    pub(super) async fn check_database(&self) -> Check {
        let (result, remedy) = self.describe_database().await;
        let place = self.database.place();
        let at_place = |text: String| format!("{place}: {text}");
        let result = result.map(at_place).map_err(at_place);
        Check { what: "Postgres", result, remedy }
    }

    async fn describe_database(&self) -> (Result<String, String>, Cow<'static, str>) {
        match self.database.describe().await {
            Ok(Description { version, bytes, clock, is_read_only }) => {
                let mb = u64::try_from(bytes).unwrap_or(0) / MIB;
                let found = format!("version {version}, {mb} MB");
                if is_read_only {
                    return (Err(format!("{found}; it is read-only")), remedy::READ_ONLY.into());
                }
                let remedy = "set the clock of this machine: leases are shown by it";
                (on_time(clock, found), remedy.into())
            }
            Err(error) => (Err(cause_chain(&error)), self.remedy_of(&error)),
        }
    }

    /// Whether the platform gives tokens here, and no developer's tool.
    fn is_managed(&self) -> bool {
        let host = &self.settings.host;
        host.identity_endpoint.is_some() || host.on_azure
    }

    fn login(&self) -> Login {
        let url = url::Url::parse(self.settings.database_url.expose()).ok();
        let parameter = |names: &[&str], is_it: fn(&str) -> bool| {
            let mut pairs = url.iter().flat_map(url::Url::query_pairs);
            pairs.any(|(name, value)| names.contains(&&*name) && is_it(&value))
        };
        let password = url.as_ref().and_then(url::Url::password);
        Login {
            is_entra: self.settings.database_credential == DatabaseCredential::Entra,
            has_password: password.is_some() || parameter(&["password"], |_| true),
            is_plain: parameter(&["sslmode", "ssl-mode"], |mode| {
                mode.eq_ignore_ascii_case("disable") || mode.eq_ignore_ascii_case("allow")
            }),
            port: self.database.port(),
        }
    }

    /// What to do when the database does not answer a question.
    pub(super) fn remedy_of(&self, error: &Error) -> Cow<'static, str> {
        match error.hindrance() {
            Some(hindrance) => remedy::of(&hindrance, &self.login()),
            None => SLOW.into(),
        }
    }
}
