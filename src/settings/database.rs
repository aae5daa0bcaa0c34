//! The database: where it is, and what a login to it shows.

use super::{Provenance, Secret, reader::Reader};
use std::net::IpAddr;
use url::Url;

/// What a login to the database shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseCredential {
    /// The password in `DATABASE_URL`, or none.
    Password,
    /// A token of Entra: of the managed identity in Azure, of the developer's own login elsewhere.
    Entra,
}

pub(super) fn read(reader: &mut Reader) -> (Secret, DatabaseCredential) {
    let url = reader.database_url();
    let default = (DatabaseCredential::Password, "password".to_owned(), Provenance::Default);
    let credential = reader.parsed("DATABASE_CREDENTIAL", default, |text| {
        match text.to_ascii_lowercase().as_str() {
            "password" => Ok(DatabaseCredential::Password),
            "entra" => Ok(DatabaseCredential::Entra),
            _ => Err("must be password or entra".into()),
        }
    });
    if credential == DatabaseCredential::Entra && has_password(url.expose()) {
        let problem = "has a password, but with PIXCRAWLER_DATABASE_CREDENTIAL=entra a token is the \
                       password: remove it";
        reader.violation("DATABASE_URL", "***".into(), problem.into());
    }
    if credential == DatabaseCredential::Entra && may_leak(url.expose()) {
        let problem = "must end in ?sslmode=verify-full with PIXCRAWLER_DATABASE_CREDENTIAL=entra: else \
                       the token goes to whoever answers at that address";
        reader.violation("DATABASE_URL", "***".into(), problem.into());
    }
    (url, credential)
}

/// Whether whoever answers at this address could be somebody else, who would get the token.
fn may_leak(url: &str) -> bool {
    use sqlx::postgres::PgSslMode::{VerifyCa, VerifyFull};
    let Ok(options) = url.parse::<sqlx::postgres::PgConnectOptions>() else { return false };
    let host = options.get_host();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_here = options.get_socket().is_some()
        || host == "localhost"
        || address.is_ok_and(|address| address.is_loopback());
    !is_here && !matches!(options.get_ssl_mode(), VerifyCa | VerifyFull)
}

/// The driver takes one in front of the host, and as a parameter.
fn has_password(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token is shown only to a server whose name was checked, or on this machine.
    #[test]
    fn a_token_is_for_a_server_that_proves_its_name() {
        for (host, parameters, leaks) in [
            ("db", "", true),
            ("db", "?sslmode=disable", true),
            ("db", "?sslmode=require", true),
            ("db", "?ssl=true", true),
            ("127.0.0.2.example", "", true),
            ("db", "?sslmode=verify-full", false),
            ("db", "?sslmode=verify-ca", false),
            ("127.0.0.1", "", false),
            ("[::1]", "", false),
            ("localhost", "?sslmode=disable", false),
        ] {
            let url = format!("postgres://app@{host}:5432/d{parameters}");
            assert_eq!(may_leak(&url), leaks, "{url}");
        }
    }
}
