//! Whether the database answers this login, and if not, at which step it ended.

use super::{Check, on_time};
use crate::Session;
use chunk_handler::{
    redact::cause_chain,
    settings::{DatabaseCredential, MIB},
    state::{Description, Error},
};

impl Session {
    pub(super) async fn check_database(&self) -> Check {
        let what = "Postgres";
        // Without a token the server is not asked at all.
        if let Err(problem) = self.database.token().await {
            return Check {
                what,
                result: Err(format!("no token: {problem}")),
                remedy: self.remedy_without_token(),
            };
        }
        match self.database.describe().await {
            Ok(Description { version, bytes, clock }) => {
                let mb = u64::try_from(bytes).unwrap_or(0) / MIB;
                Check {
                    what,
                    result: on_time(clock, format!("version {version}, {mb} MB")),
                    remedy: "set the clock of this machine: leases are shown by it",
                }
            }
            Err(error) => {
                Check { what, result: Err(cause_chain(&error)), remedy: self.remedy_of(&error) }
            }
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

    fn remedy_of(&self, error: &Error) -> &'static str {
        match self.settings.database_credential {
            DatabaseCredential::Password if error.is_refused_login() => {
                "user or password in DATABASE_URL is wrong"
            }
            DatabaseCredential::Entra if error.is_refused_login() => {
                "the login was refused although a token is there: the user in DATABASE_URL must be \
                 the name of the identity or account that the token is of, and on the server an Entra \
                 administrator or a role made as infra/least-privilege.sql shows"
            }
            _ if cause_chain(error).contains("does not exist") => {
                "create the database that DATABASE_URL names, or correct its name"
            }
            _ => {
                "is the server up, does DATABASE_URL name its host and port, and does a firewall let \
                 port 5432 through?"
            }
        }
    }
}
