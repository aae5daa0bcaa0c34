//! The database: where it is, and what a login to it shows.

use super::{
    Provenance, Secret,
    database_url::{self, Checked},
    reader::Reader,
};
use crate::redact;
use std::net::IpAddr;
use url::Url;

const NAME: &str = "DATABASE_URL";

/// What a login to the database shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseCredential {
    /// The password in `DATABASE_URL`, or none.
    Password,
    /// A token of Entra: of the managed identity in Azure, of the developer's own login elsewhere.
    Entra,
}

pub(super) fn read(reader: &mut Reader) -> (Secret, DatabaseCredential) {
    let url = url(reader);
    let default = (DatabaseCredential::Password, "password".to_owned(), Provenance::Default);
    let credential = reader.parsed("DATABASE_CREDENTIAL", default, |text| {
        match text.to_ascii_lowercase().as_str() {
            "password" => Ok(DatabaseCredential::Password),
            "entra" => Ok(DatabaseCredential::Entra),
            _ => Err("must be password or entra".into()),
        }
    });
    let Some(url) = url else { return (Secret::new(""), credential) };
    if credential == DatabaseCredential::Entra && has_password(&url) {
        let problem = "has a password, but with PIXCRAWLER_DATABASE_CREDENTIAL=entra a token is the \
                       password: remove it";
        reader.violation(NAME, "***".into(), problem.into());
    }
    if credential == DatabaseCredential::Entra && may_leak(url.as_str()) {
        let problem = "must end in ?sslmode=verify-full with PIXCRAWLER_DATABASE_CREDENTIAL=entra: else \
                       the token goes to whoever answers at that address";
        reader.violation(NAME, "***".into(), problem.into());
    }
    warn_of_gaps(reader, &url);
    (Secret::new(url), credential)
}

fn url(reader: &mut Reader) -> Option<Url> {
    let Some((text, provenance)) = reader.found(NAME) else {
        let problem = "is required: must be postgres://user:password@host:5432/database";
        reader.violation(NAME, "not set".into(), problem.into());
        return None;
    };
    match database_url::check(&text) {
        Ok(Checked { url, warnings }) => {
            warnings.into_iter().for_each(|warning| reader.warn(warning));
            reader.record(NAME.into(), redact::database_url(url.clone()), provenance);
            Some(url)
        }
        Err(problem) => {
            reader.violation(NAME, "***".into(), problem);
            None
        }
    }
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
fn has_password(url: &Url) -> bool {
    url.password().is_some() || has_parameter(url, &["password"])
}

fn has_parameter(url: &Url, names: &[&str]) -> bool {
    url.query_pairs().any(|(name, _)| names.contains(&name.as_ref()))
}

/// What the URL does not say the driver takes from variables of `libpq`, which somebody may have set
/// for another program.
fn warn_of_gaps(reader: &mut Reader, url: &Url) {
    let gaps = [
        ("PGUSER", url.username().is_empty() && !has_parameter(url, &["user"])),
        ("PGPASSWORD", !has_password(url)),
        ("PGSSLMODE", !has_parameter(url, &["sslmode", "ssl-mode"])),
        ("PGSSLROOTCERT", !has_parameter(url, &["sslrootcert", "ssl-root-cert", "ssl-ca"])),
        ("PGOPTIONS", true),
    ];
    for (name, is_gap) in gaps {
        if is_gap && reader.found(name).is_some() {
            reader.warn(format!("{name} is set, and counts where DATABASE_URL says nothing of it"));
        }
    }
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
