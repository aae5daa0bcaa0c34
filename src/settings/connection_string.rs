//! The text of a storage connection string. What is said of one never holds a value of it.
//!
//! <https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string>

use super::{
    Secret, StorageConnection, StorageEndpoints,
    connection::{HINT, NAME, endpoint},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::Url;

/// Azurite's well-known account, the same on every machine.
const ACCOUNT: &str = "devstoreaccount1";
/// Its key, as well known.
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The settings of a string: names in lower case, none of them twice.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("has a line break or another control character in it".into());
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("has a part without a = in it; expected {HINT}"));
            };
            let name = name.trim().to_ascii_lowercase();
            if fields.iter().any(|(known, _)| *known == name) {
                // What is no name may be a part of a key.
                let is_word = name.chars().all(|c| c.is_ascii_alphanumeric());
                let named = if is_word { name.as_str() } else { "a setting" };
                return Err(format!("has {named} twice"));
            }
            fields.push((name, value.trim().to_owned()));
        }
        Ok(Self(fields))
    }

    /// A value; an empty one counts as unset.
    fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// Reads a connection string.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<StorageConnection, String> {
    if let Some(other) = other_kind(text) {
        return Err(format!("{other}; expected {HINT}"));
    }
    let fields = Fields::read(text)?;
    match fields.get("UseDevelopmentStorage") {
        Some(value) if value.eq_ignore_ascii_case("true") => return emulator(&fields),
        Some(_) => return Err("has UseDevelopmentStorage with another value than true".into()),
        None => {}
    }
    let account = fields.get("AccountName");
    if account.is_some_and(|name| !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')) {
        return Err("has an AccountName that is no name of an account: letters and digits".into());
    }
    let endpoints = StorageEndpoints {
        blob: service(&fields, "BlobEndpoint", "blob")?,
        queue: service(&fields, "QueueEndpoint", "queue")?,
    };
    if let Some(signature) = fields.get("SharedAccessSignature") {
        let signature = signature.trim_start_matches('?');
        let has_one = signature.split('&').any(|pair| pair.starts_with("sig="));
        if !has_one || signature.contains(['"', '\'', ' ']) {
            return Err("has a SharedAccessSignature that is none: ...&sig=..., no quotes".into());
        }
        return Ok(StorageConnection::Signature { endpoints, signature: Secret::new(signature) });
    }
    let missing = |what: &str| format!("has no {what}; expected {HINT}");
    let key = fields.get("AccountKey").ok_or_else(|| missing("AccountKey"))?;
    if STANDARD.decode(key).is_err() {
        return Err("has an AccountKey that is not Base64: is it cut, quoted or encoded?".into());
    }
    let account = account.ok_or_else(|| missing("AccountName"))?.to_owned();
    Ok(StorageConnection::Key { endpoints, account, key: Secret::new(key) })
}

/// The emulator, perhaps on another machine: `DevelopmentStorageProxyUri=http://machine`.
fn emulator(fields: &Fields) -> Result<StorageConnection, String> {
    let machine = fields.get("DevelopmentStorageProxyUri").unwrap_or("http://127.0.0.1");
    let machine = machine.trim_end_matches('/');
    let at =
        |port: u16| endpoint("DevelopmentStorageProxyUri", &format!("{machine}:{port}/{ACCOUNT}"));
    Ok(StorageConnection::Key {
        endpoints: StorageEndpoints { blob: at(10000)?, queue: at(10001)? },
        account: ACCOUNT.to_owned(),
        key: Secret::new(KEY),
    })
}

/// The endpoint of a service: as it is given, or made of account and suffix.
fn service(fields: &Fields, name: &str, service: &str) -> Result<Url, String> {
    if let Some(given) = fields.get(name) {
        return endpoint(name, given);
    }
    let Some(account) = fields.get("AccountName") else {
        return Err(format!("has no {name}; expected {HINT}"));
    };
    let scheme = fields.get("DefaultEndpointsProtocol").unwrap_or("https");
    let suffix = fields.get("EndpointSuffix").unwrap_or("core.windows.net").trim_start_matches('.');
    if !suffix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')) {
        return Err("has an EndpointSuffix that is none: core.windows.net or the like".into());
    }
    endpoint(name, &format!("{scheme}://{account}.{service}.{suffix}"))
}

/// What people put here by mistake.
fn other_kind(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    let own = [NAME, "AzureWebJobsStorage", "export "].map(str::to_ascii_lowercase);
    if own.iter().any(|name| lower.starts_with(name)) {
        return Some("begins with a name; the value alone is wanted");
    }
    if begins(&["http://", "https://"]) {
        return Some("is a URL and no connection string");
    }
    if begins(&["\"", "'"]) || lower.ends_with(['"', '\'']) {
        return Some("has a quote at one end only");
    }
    if begins(&["endpoint=sb:", "accountendpoint=", "hostname="]) {
        return Some("is a connection string of another service than storage");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_of_every_kind_parse() {
        let StorageConnection::Key { endpoints, account, .. } =
            parse("UseDevelopmentStorage=true").unwrap()
        else {
            panic!("the emulator has a key");
        };
        assert_eq!(account, "devstoreaccount1");
        assert_eq!(endpoints.queue.as_str(), "http://127.0.0.1:10001/devstoreaccount1");
        let azure = parse("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=aaaa").unwrap();
        assert_eq!(azure.endpoints().blob.as_str(), "https://a.blob.core.windows.net/");
        let sas = "BlobEndpoint=https://a.b/;QueueEndpoint=https://a.q/;SharedAccessSignature=?sv=1&sig=x%3D";
        let StorageConnection::Signature { signature, .. } = parse(sas).unwrap() else {
            panic!("a signature");
        };
        assert_eq!(signature.expose(), "sv=1&sig=x%3D");
        assert!(!format!("{signature:?}").contains("sig"));
        assert!(parse("nonsense=1").unwrap_err().contains("BlobEndpoint"));
    }
}
