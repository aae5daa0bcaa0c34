//! `DATABASE_URL`: what is taken, and what a text that is not one is called. Nothing that is said of it
//! holds a part of it: any part may be the password.

use std::fs::File;
use url::Url;

const FORM: &str = "must be postgres://user:password@host:5432/database";
const ENCODE: &str = "in user, password and name a # / ? % @ or : must be percent-encoded (# is %23, \
    / is %2F, ? is %3F, % is %25, @ is %40, : is %3A)";

const MODES: &str = "disable, allow, prefer, require, verify-ca or verify-full";

/// Parameters that the driver reads
/// (<https://docs.rs/sqlx-postgres/latest/sqlx_postgres/struct.PgConnectOptions.html>).
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// Those of them that name files, unless they hold a certificate themselves.
const FILES: [&str; 7] =
    ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// Parameters of other clients that ask for TLS.
const ENCRYPTION: [&str; 5] = ["ssl", "tls", "usessl", "requiressl", "encrypt"];

/// Words that begin the parts of other clients' strings.
const KEYS: [&str; 16] = [
    "server",
    "host",
    "hostaddr",
    "data source",
    "database",
    "dbname",
    "initial catalog",
    "user",
    "user id",
    "userid",
    "username",
    "uid",
    "port",
    "password",
    "pwd",
    "sslmode",
];

/// A URL that the driver takes, and what its owner should hear about it.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) url: Url,
    pub(super) warnings: Vec<String>,
}

/// Reads the URL. What it leaves out that the driver would take from elsewhere is written into it.
///
/// # Errors
///
/// What is wrong and how it is written, in one line without any part of the text.
pub(super) fn check(text: &str) -> Result<Checked, String> {
    if text.chars().any(char::is_control) {
        return Err(format!("has a line break or another control character in it; {FORM}"));
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Err(kind_of(text)) };
    if !["postgres", "postgresql"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(kind_of(text));
    }
    check_shape(rest)?;
    let mut url = Url::parse(text).map_err(|error| format!("{FORM}: {error}; {ENCODE}"))?;
    check_encryption(&url)?;
    let mut warnings = user_warnings(rest);
    warnings.extend(leave_out_unknown(&mut url));
    check_parts(&url)?;
    let names = |name: &str| url.query_pairs().any(|(key, _)| key == name);
    if url.port().is_none() && !names("port") {
        // Fails where there is no host, whose socket has no port.
        url.set_port(Some(5432)).unwrap_or_default();
    }
    if url.as_str().parse::<sqlx::postgres::PgConnectOptions>().is_err() {
        // The driver quotes what it does not take.
        return Err(format!(
            "has a part that cannot be read: {FORM}; {ENCODE}; sslmode is {MODES}"
        ));
    }
    Ok(Checked { url, warnings })
}

/// What the parser would accept and take for something else than its writer meant.
fn check_shape(rest: &str) -> Result<(), String> {
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let is_password = |query: &str| {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        query.contains('@') && pairs.into_iter().any(|(key, _)| !is_known(&key))
    };
    if rest.contains('#') || path.contains('@') || is_password(query) {
        return Err(format!("ends in the middle of user, password or name: {ENCODE}; it {FORM}"));
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.contains(',') {
        return Err("names several hosts; name the one that takes writes".into());
    }
    if !host.starts_with('[') && host.matches(':').count() > 1 {
        return Err(format!("has an IPv6 address without brackets: write [::1]:5432; it {FORM}"));
    }
    Ok(())
}

/// Whether a parameter of other clients asks for encryption, and none that the driver knows does: it
/// would do without where the server does.
fn check_encryption(url: &Url) -> Result<(), String> {
    let is_off = |value: &str| matches!(value, "0" | "no" | "off" | "false" | "disable");
    let asks = |key: &str, value: &str| ENCRYPTION.contains(&key) && !is_off(value);
    let mut pairs = url.query_pairs();
    let has_mode = pairs.clone().any(|(key, _)| key == "sslmode" || key == "ssl-mode");
    if !has_mode && pairs.any(|(key, value)| asks(&key.to_lowercase(), &value.to_lowercase())) {
        return Err(
            "asks for TLS in another client's words: it must end in ?sslmode=verify-full, or in \
                    ?sslmode=require, which does not prove who answers"
                .to_owned(),
        );
    }
    Ok(())
}

/// What the URL lacks, or names and is not there.
fn check_parts(url: &Url) -> Result<(), String> {
    let parameter = |names: &[&str]| {
        let mut pairs = url.query_pairs();
        pairs.find(|(key, _)| names.contains(&key.as_ref())).map(|(_, value)| value.into_owned())
    };
    let host = parameter(&["host", "hostaddr"]);
    if url.host_str().unwrap_or_default().is_empty() && host.is_none() {
        return Err(format!(
            "names no host; it {FORM}, or for a socket postgres:///database?host=/var/run/postgresql"
        ));
    }
    if host.is_some_and(|host| host.contains(',')) {
        return Err("names several hosts; name the one that takes writes".into());
    }
    if url.port() == Some(0) {
        return Err(format!("names port 0; it {FORM}"));
    }
    let path = url.path().strip_prefix('/').unwrap_or_default();
    if path.is_empty() && parameter(&["dbname"]).is_none_or(|name| name.is_empty()) {
        return Err(format!("names no database; it {FORM}"));
    }
    if path.contains('/') {
        return Err(format!("has a / behind or in the name of the database; it {FORM}"));
    }
    for (key, file) in url.query_pairs().filter(|(key, _)| FILES.contains(&key.as_ref())) {
        if !file.contains("-----BEGIN")
            && let Err(error) = File::open(&*file)
        {
            return Err(format!("has a parameter {key} whose file cannot be read: {error}"));
        }
    }
    Ok(())
}

fn is_known(key: &str) -> bool {
    PARAMETERS.contains(&key) || key.starts_with("options[")
}

/// Takes out what the driver does not know: it would log name and value. `libpq` and poolers know more.
fn leave_out_unknown(url: &mut Url) -> Vec<String> {
    let pairs: Vec<(String, String)> =
        url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    let (known, unknown): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| is_known(key));
    if unknown.is_empty() {
        return Vec::new();
    }
    url.set_query(None);
    if !known.is_empty() {
        url.query_pairs_mut().extend_pairs(known);
    }
    let is_word =
        |key: &str| key.len() <= 30 && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let named = unknown.iter().map(|(key, _)| if is_word(key) { key } else { "***" });
    vec![format!(
        "DATABASE_URL: these parameters are not known here and left out: {}",
        named.collect::<Vec<_>>().join(", ")
    )]
}

/// User and password that are taken as they stand, where other clients would read something else.
fn user_warnings(rest: &str) -> Vec<String> {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return Vec::new() };
    let is_code =
        |text: &str| text.get(..2).is_some_and(|code| code.chars().all(|c| c.is_ascii_hexdigit()));
    let is_bare = user.split('%').skip(1).any(|after| !is_code(after));
    let is_odd = is_bare || user.contains('@') || user.matches(':').count() > 1;
    let warning = format!("DATABASE_URL: {ENCODE}; it is taken as it stands");
    if is_odd { vec![warning] } else { Vec::new() }
}

/// What a text is that is no URL of Postgres.
fn kind_of(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    if begins(&["jdbc:"]) {
        return format!(
            "is a JDBC URL; leave out jdbc: and put user and password in it: it {FORM}"
        );
    }
    if begins(&["postgres+", "postgresql+"]) {
        return format!("is a URL of SQLAlchemy; leave out the + and what follows it: it {FORM}");
    }
    if begins(&["database_url=", "export ", "psql "]) {
        return format!("begins with a name or a command; the value alone {FORM}");
    }
    if begins(&["\"", "'"]) || lower.ends_with(['"', '\'']) {
        return format!("has a quote at one end only; it {FORM}");
    }
    if text.contains("://") {
        return FORM.to_owned();
    }
    let has_key =
        |part: &str| part.split_once('=').is_some_and(|(key, _)| KEYS.contains(&key.trim()));
    if text.contains(';') && lower.split(';').any(has_key) {
        return format!("is an ADO.NET connection string; written as a URL it {FORM}");
    }
    if has_key(&lower) || lower.split_whitespace().any(has_key) {
        return format!("is a key=value string of libpq; written as a URL it {FORM}");
    }
    if text.contains('@') {
        return format!("has no postgres:// before it; it {FORM}");
    }
    FORM.to_owned()
}
