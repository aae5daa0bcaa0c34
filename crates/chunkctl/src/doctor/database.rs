//! Whether the database answers this login, and if not, at which step it ended.

use super::{Check, on_time};
use crate::Session;
use chunk_handler::{
    redact::cause_chain,
    settings::{DatabaseCredential, MIB},
    state::{Description, Error},
};
use std::borrow::Cow;

/// What to do about a server that takes no writes.
const READ_ONLY: &str = "nothing can be submitted or completed until it takes writes: free or enlarge \
    its disk, lift default_transaction_read_only, wait for its failover, or name the primary";

impl Session {
    pub(super) async fn check_database(&self) -> Check {
        let (result, remedy) = self.describe_database().await;
        Check { what: "Postgres", result, remedy }
    }

    async fn describe_database(&self) -> (Result<String, String>, Cow<'static, str>) {
        // Without a token the server is not asked at all.
        if let Err(problem) = self.database.token().await {
            return (Err(format!("no token: {problem}")), self.remedy_without_token().into());
        }
        match self.database.describe().await {
            Ok(Description { version, bytes, clock, is_read_only }) => {
                let mb = u64::try_from(bytes).unwrap_or(0) / MIB;
                let found = format!("version {version}, {mb} MB");
                if is_read_only {
                    return (Err(format!("{found}; it is read-only")), READ_ONLY.into());
                }
                let remedy = "set the clock of this machine: leases are shown by it";
                (on_time(clock, found), remedy.into())
            }
            Err(error) => (Err(cause_chain(&error)), self.remedy_of(&error)),
        }
    }

    fn remedy_without_token(&self) -> &'static str {
        let host = &self.settings.host;
        if host.identity_endpoint.is_some() || host.on_azure {
            "give the app the identity whose client id ChunkStorage__clientId names"
        } else {
            "log in with `az login` or `azd auth login`, as the user that DATABASE_URL names"
        }
    }

    fn remedy_of(&self, error: &Error) -> Cow<'static, str> {
        if error.lacks_tls() {
            return "set sslmode=prefer in DATABASE_URL, or switch TLS on at the server".into();
        }
        if error.refuses_parameter() {
            return "all that we need is set by statements: the pooler may leave options out"
                .into();
        }
        let entra = self.settings.database_credential == DatabaseCredential::Entra;
        match cause_chain(error) {
            _ if error.is_refused_login() && !entra => {
                "user or password in DATABASE_URL is wrong; in them # / ? % @ : are percent-encoded, \
                 as %23 for #"
                    .into()
            }
            _ if error.is_refused_login() => {
                "the login was refused although a token is there: the user in DATABASE_URL must be \
                 the name of the identity or account that the token is of, and on the server an Entra \
                 administrator or a role made as infra/least-privilege.sql shows"
                    .into()
            }
            cause if cause.contains("does not exist") => {
                "create the database that DATABASE_URL names, or correct its name".into()
            }
            cause if cause.contains("certificate") => {
                "the server's certificate is not trusted: name its authority with sslrootcert=FILE in \
                 DATABASE_URL, and the host as the certificate does"
                    .into()
            }
            _ => self.remedy_of_silence().into(),
        }
    }

    fn remedy_of_silence(&self) -> String {
        let url = url::Url::parse(self.settings.database_url.expose());
        let port = url.ok().and_then(|url| url.port());
        let port = port.map_or_else(|| "it".to_owned(), |port| format!("port {port}"));
        format!(
            "is the server up, does DATABASE_URL name its host and port, and does a firewall let \
             {port} through?"
        )
    }
}
