//! The database: where it is, and what a login to it shows.

use super::{
    Provenance, Secret,
    database_url::{self, Checked},
    reader::Reader,
};
use crate::redact::HIDDEN;
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

pub(super) fn read(reader: &mut Reader, on_azure: bool) -> (Secret, DatabaseCredential) {
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
        reader.violation(NAME, HIDDEN, problem.into());
    }
    check_tls(reader, &url, credential, on_azure);
    warn_of_gaps(reader, &url);
    (Secret::new(url), credential)
}

fn url(reader: &mut Reader) -> Option<Url> {
    let Some((text, provenance)) = reader.found(NAME) else {
        let problem = "is required: must be postgres://user:password@host:5432/database";
        reader.violation(NAME, "not set", problem.into());
        return None;
    };
    match database_url::check(&text) {
        Ok(Checked { url, warnings }) => {
            warnings.into_iter().for_each(|warning| reader.warn(warning));
            reader.record(NAME.into(), url.as_str(), provenance);
            Some(url)
        }
        Err(problem) => {
            reader.violation(NAME, HIDDEN, problem);
            None
        }
    }
}

/// Whoever answers at the address could be somebody else, who would read all that is sent, and change
/// what is answered. `verify-ca` is not enough: every server of the same cloud has a certificate of the
/// same authorities.
fn check_tls(reader: &mut Reader, url: &Url, credential: DatabaseCredential, on_azure: bool) {
    if proves_its_name(url) {
        return;
    }
    let is_here = is_here(url);
    if on_azure {
        let problem = "must end in ?sslmode=verify-full in Azure: else login and data go to whoever \
                       answers at that address";
        reader.violation(NAME, HIDDEN, problem.into());
    } else if credential == DatabaseCredential::Entra && !is_here {
        let problem = "must end in ?sslmode=verify-full with PIXCRAWLER_DATABASE_CREDENTIAL=entra: else \
                       the token goes to whoever answers at that address";
        reader.violation(NAME, HIDDEN, problem.into());
    } else if !is_here {
        reader.warn(
            "DATABASE_URL: login and data go to whoever answers at that address; let it end in \
             ?sslmode=verify-full (with &sslrootcert=FILE for an authority of your own)"
                .into(),
        );
    }
}

fn proves_its_name(url: &Url) -> bool {
    let options = url.as_str().parse::<sqlx::postgres::PgConnectOptions>();
    let is_full = |mode| matches!(mode, sqlx::postgres::PgSslMode::VerifyFull);
    options.is_ok_and(|options| is_full(options.get_ssl_mode()))
}

/// Whether the server is on this machine: a socket, or loopback.
fn is_here(url: &Url) -> bool {
    let Ok(options) = url.as_str().parse::<sqlx::postgres::PgConnectOptions>() else {
        return false;
    };
    let host = options.get_host();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    options.get_socket().is_some()
        || host == "localhost"
        || address.is_ok_and(|address| address.is_loopback())
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
    use crate::settings::Program;

    /// Case 276: what is said of a URL in Azure, with a token, and elsewhere with a password.
    #[test]
    fn a_server_proves_its_name_where_it_is_not_this_machine() {
        const NO: &str = "must end in ?sslmode=verify-full";
        const WARNED: &str = "whoever answers";
        for (host, parameters, azure, entra, password) in [
            ("db", "", NO, NO, WARNED),
            ("db", "?sslmode=disable", NO, NO, WARNED),
            ("db", "?sslmode=require", NO, NO, WARNED),
            ("db", "?ssl-mode=prefer", NO, NO, WARNED),
            ("db", "?ssl=true", NO, NO, NO),
            ("db", "?sslmode=verify-ca", NO, NO, WARNED),
            ("127.0.0.2.example", "", NO, NO, WARNED),
            ("db", "?sslmode=verify-full", "", "", ""),
            ("db", "?SSLMODE=verify-full", NO, NO, WARNED),
            ("db", "?sslmode=verify-full&sslmode=disable", NO, NO, WARNED),
            ("127.0.0.1", "", NO, "", ""),
            ("[::1]", "", NO, "", ""),
            ("localhost", "?sslmode=disable", NO, "", ""),
            ("", "?host=/tmp", NO, "", ""),
        ] {
            let user = if host.is_empty() { "" } else { "app@" };
            let url = format!("postgres://{user}{host}/d{parameters}");
            for (on_azure, credential, expected) in [
                (true, "entra", azure),
                (true, "password", azure),
                (false, "entra", entra),
                (false, "password", password),
            ] {
                let environment =
                    [("DATABASE_URL", &*url), ("PIXCRAWLER_DATABASE_CREDENTIAL", credential)];
                let pairs = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let mut reader = Reader::new(Program::Handler, pairs.into(), [].into());
                read(&mut reader, on_azure);
                let said = match reader.finish() {
                    Ok(read) => read.warnings.join("\n"),
                    Err(violations) => violations[0].to_string(),
                };
                let is_right = if expected.is_empty() {
                    !said.contains(NO) && !said.contains(WARNED)
                } else {
                    said.contains(expected)
                        && (expected == NO) == said.starts_with("DATABASE_URL=***: ")
                };
                assert!(is_right, "{url} {on_azure} {credential}: {said:?}, not {expected:?}");
            }
        }
    }
}
