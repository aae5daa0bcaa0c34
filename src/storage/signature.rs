//! An account signature made from the account's key: the SDK has no shared-key credential.

use crate::settings::Secret;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

const VERSION: &str = "2021-12-02";
/// Longer than any instance lives; the signature never leaves this process.
const VALID: Duration = Duration::days(365);

/// The query of an account signature for blob and queue
/// (<https://learn.microsoft.com/rest/api/storageservices/create-account-sas>).
pub(super) fn account_signature(account: &str, key: &Secret) -> Result<Secret, String> {
    let key = STANDARD.decode(key.expose()).map_err(|_| "AccountKey is not Base64".to_owned())?;
    let expiry = (OffsetDateTime::now_utc() + VALID)
        .replace_nanosecond(0)
        .map(|t| t.format(&Rfc3339).unwrap_or_default())
        .unwrap_or_default();
    let (permissions, services, types) = ("rwdlacup", "bq", "sco");
    let protocol = "https,http";
    // Fields: account, permissions, services, types, start, expiry, addresses, protocol, version,
    // encryption scope; each ends with a newline.
    let text = format!(
        "{account}\n{permissions}\n{services}\n{types}\n\n{expiry}\n\n{protocol}\n{VERSION}\n\n"
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|e| e.to_string())?;
    mac.update(text.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("sv", VERSION)
        .append_pair("ss", services)
        .append_pair("srt", types)
        .append_pair("sp", permissions)
        .append_pair("se", &expiry)
        .append_pair("spr", protocol)
        .append_pair("sig", &signature)
        .finish();
    Ok(Secret::new(query))
}
