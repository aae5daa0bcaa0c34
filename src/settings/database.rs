//! The database: where it is, and what a login to it shows.

use super::{Provenance, Secret, reader::Reader};
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
    (url, credential)
}

/// The driver takes one in front of the host, and as a parameter.
fn has_password(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
    })
}
