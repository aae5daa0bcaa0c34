//! The database: where it is, and what a login to it shows.

use super::{
    Provenance, Secret,
    database_url::{self, Checked},
    reader::Reader,
};
use crate::redact;
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
