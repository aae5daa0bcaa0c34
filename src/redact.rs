//! What may be shown: errors, URLs and messages without the secrets they may hold.
//!
//! Logs, records, manifests and command output go through here. Signatures and tokens hide in the
//! query of a URL, passwords in its user info, and parsers quote the values they refuse.

use std::net::{Ipv6Addr, SocketAddr};
use url::Url;

/// An error with its whole cause in one line, for a log or a record. A cause that its error repeats is
/// left out. Libraries and servers write line ends into their errors; here they become blanks.
pub fn cause_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let text = causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    });
    let parts = text.split(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
    parts.map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The same of a client that could not be made. Without any trusted certificate none is made, also where
/// only http is spoken.
pub fn client_error(error: &dyn std::error::Error) -> String {
    let cause = one_line(&cause_chain(error));
    // The words of `rustls-platform-verifier`, which has no type for it.
    if cause.contains("No CA certificates") {
        return format!(
            "no trusted certificates: neither SSL_CERT_FILE and SSL_CERT_DIR, where they are set, nor \
             /etc/ssl/certs has any; correct them or install ca-certificates ({cause})"
        );
    }
    cause
}

/// A text of somebody else as one line of at most 500 characters.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(500).collect()
}

/// Why a message is refused, without the values it holds: a value may be a signed URL, or made to
/// look like another line of the log.
pub fn refusal(error: &dyn std::error::Error) -> String {
    let text = cause_chain(error);
    let mut shown = String::with_capacity(text.len());
    let mut closing = None;
    for c in text.chars() {
        match closing {
            // A quote inside a value ends the cut early; what follows is cut by the next one.
            Some(end) if c == end => {
                shown.push(c);
                closing = None;
            }
            Some(_) => {}
            None => {
                shown.push(c);
                let opens_value = c == '"' || (c == '`' && shown.ends_with("unknown variant `"));
                closing = opens_value.then_some(c);
            }
        }
    }
    shown
}

/// A text without the query of any URL in it. A quote or bracket ends a query where no more of it can
/// follow: of `?a='b'&sig=c` none does.
pub fn without_queries(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut in_query = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_behind = |c: &char| c.is_whitespace() || matches!(c, '"' | ')' | ',' | ';' | ':');
        let closes = matches!(c, '\'' | ')' | '>' | '<');
        let ends = c.is_whitespace() || c == '"' || closes && chars.peek().is_none_or(is_behind);
        in_query = (in_query || c == '?') && !ends;
        if !in_query {
            clean.push(c);
        }
    }
    clean
}

/// A URL without query, fragment and user info. What is no URL is cut by the same rules.
pub fn bare_url(text: &str) -> String {
    // Without a host, as in user:password@host, the parser takes the user for a scheme.
    let Some(mut url) = Url::parse(text).ok().filter(Url::has_host) else {
        return bare_text(text);
    };
    url.set_query(None);
    url.set_fragment(None);
    // These fail only for URLs without a host.
    url.set_username("").unwrap_or_default();
    url.set_password(None).unwrap_or_default();
    url.into()
}

/// What is left of a text that is no URL without its query and user info.
fn bare_text(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let Some((before, rest)) = text.split_once("//") else {
        return text.rsplit('@').next().unwrap_or_default().to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{before}//{host}{path}")
}

/// What stands for what is not shown.
pub const HIDDEN: &str = "***";

/// A value of a setting as people may see it. Any value may be a URL or a connection string, also one
/// that was written into the wrong variable: of those is shown only what is certain to be no secret.
pub fn masked(text: &str) -> String {
    let shown = match text.split_once("://") {
        Some((scheme, rest)) => masked_url(scheme, rest),
        None => is_plain(text).then(|| text.to_owned()),
    };
    shown.unwrap_or_else(|| HIDDEN.to_owned())
}

/// Whether a text has nothing of what joins the parts of a URL or of a connection string.
fn is_plain(text: &str) -> bool {
    // A clock, or addresses with their ports: no name stands before them, which could be a user.
    let is_clock = text.chars().all(|c| c.is_ascii_digit() || matches!(c, ':' | '.' | '-'));
    let is_addresses = text.split(',').all(|part| {
        let here = part.trim().replacen("localhost:", "127.0.0.1:", 1);
        here.parse::<SocketAddr>().is_ok()
    });
    is_clock || is_addresses || !text.contains(['@', ':', ';', '=', '?', '&', '#', '%'])
}

/// Scheme, user (of a database), host, port and a short path; none: it is not certain what is which. A
/// password with a slash in it ends the part with the host early, and its begin looks like a port.
fn masked_url(scheme: &str, rest: &str) -> Option<String> {
    let is_name = |text: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '%' | '+'))
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    let is_known = ["http", "https", "postgres", "postgresql"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme));
    if !is_known || tail.contains(['@', '\\']) {
        return None;
    }
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    if !is_host || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return None;
    }
    let user = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        None => String::new(),
        Some((name, password)) if scheme.starts_with("postgres") && is_name(name) => {
            format!("{name}{}@", if password.is_empty() { "" } else { ":***" })
        }
        Some(_) => format!("{HIDDEN}@"),
    };
    let path = tail.split(['?', '#']).next().unwrap_or_default();
    // The name of a database or an account. Longer paths may be secrets, as those of webhooks are.
    let is_short =
        path.len() <= 64 && path.matches('/').count() <= 1 && is_name(path.trim_start_matches('/'));
    Some(format!("{scheme}://{user}{place}{}", if is_short { path } else { "/***" }))
}

/// Directives of a log filter, of which no part is of another kind of text.
pub fn log_filter(text: &str) -> String {
    let is_target = |text: &str| {
        let mut parts = text.split("::");
        parts.all(|part| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        })
    };
    let is_level = |level: &str| {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        levels.iter().any(|known| known.eq_ignore_ascii_case(level))
    };
    let is_directive = |text: &str| match text.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_target(text),
    };
    if text.split(',').all(|text| is_directive(text.trim())) {
        return text.to_owned();
    }
    HIDDEN.to_owned()
}

/// How to authenticate to Application Insights: `Authorization=AAD`, perhaps with `ClientId=...`.
pub fn authentication(text: &str) -> String {
    let is_id = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let is_known = |part: &str| match part.trim().split_once('=') {
        Some(("Authorization", method)) => method == "AAD",
        Some(("ClientId", id)) => is_id(id),
        _ => part.trim().is_empty(),
    };
    let is_certain = text.split(';').all(is_known);
    (if is_certain { text } else { HIDDEN }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I11
    #[test]
    fn queries_are_cut_from_errors() {
        let text = "GET (http://a/b?sig=SECRET&x=1) failed for \"http://c?sv=2\" twice";
        assert_eq!(without_queries(text), "GET (http://a/b) failed for \"http://c\" twice");
        let quoted =
            "'http://a?b='c'&sig=SECRET' (http://a?b=(c)&sig=SECRET): http://a?<b>&sig=SECRET";
        assert_eq!(without_queries(quoted), "'http://a' (http://a): http://a");
    }

    /// I11
    #[test]
    fn a_bare_url_has_neither_query_nor_user() {
        for (text, shown) in [
            ("https://u:p@a/b?sig=1#f", "https://a/b"),
            ("http://a/b", "http://a/b"),
            ("//u:p@a/b?x", "//a/b"),
            ("u:p@a", "a"),
            ("http://u@[bad/b?x=1", "http://[bad/b"),
        ] {
            assert_eq!(bare_url(text), shown, "{text}");
        }
    }

    /// I11: what is certain is shown.
    #[test]
    fn a_value_is_shown_as_far_as_it_is_certain() {
        for (text, shown) in [
            ("postgres://u:p@h:5432/d?password=x", "postgres://u:***@h:5432/d"),
            ("postgres://you%40example.com@h/d", "postgres://you%40example.com@h/d"),
            ("postgres:///d?host=/tmp", "postgres:///d"),
            ("postgres://u:p@[::1]:5432/d", "postgres://u:***@[::1]:5432/d"),
            ("https://a.blob.core.windows.net/", "https://a.blob.core.windows.net/"),
            ("https://a.blob.core.windows.net/?sv=1&sig=x%3D", "https://a.blob.core.windows.net/"),
            ("http://127.0.0.1:10000/devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1"),
            ("https://u:8443@h/a", "https://***@h/a"),
            ("https://hooks.example/services/T0/x", "https://hooks.example/***"),
            // A port that is the begin of a password.
            ("https://u:12/34@h/a", "***"),
            ("postgres://u:12?34@h/d", "***"),
            ("postgres://u:12#34@h/d", "***"),
            ("https://a/?sig=x@y", "***"),
            ("https://u:pass", "***"),
            ("AccountName=a;AccountKey=b", "***"),
            ("password=x", "***"),
            ("u:8443", "***"),
            ("u:p@h", "***"),
            ("127.0.0.1:80, [::1]:81", "127.0.0.1:80, [::1]:81"),
            ("00:20:00", "00:20:00"),
            ("/var/tmp", "/var/tmp"),
            ("12.5", "12.5"),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
        for (text, shown) in [("info,hyper::client=warn", true), ("a=b", false), ("u:p", false)] {
            assert_eq!(log_filter(text) == text, shown, "{text}");
        }
        let id = "ClientId=00000000-0000-0000-0000-00000000000a;Authorization=AAD";
        assert_eq!(authentication(id), id);
        assert_eq!(authentication("Authorization=hush"), "***");
    }

    /// Whatever a library writes, an error is one line; where it has none, nothing is changed.
    #[test]
    fn an_error_with_its_cause_is_one_line() {
        for (text, shown) in [
            ("failed.\r\nTo troubleshoot, visit\u{2028}x\n", "failed. To troubleshoot, visit x"),
            ("a\u{1b}[31m  b\tc", "a [31m  b c"),
            ("two  blanks, \u{e9}", "two  blanks, \u{e9}"),
        ] {
            assert_eq!(cause_chain(&std::io::Error::other(text)), shown);
        }
    }

    /// I11: what a parser quotes is cut, and control characters cannot start another line.
    #[test]
    fn a_refusal_shows_no_value() {
        let error = serde_json::from_str::<bool>(r#""http://a?sig=SECRET""#).unwrap_err();
        assert!(!refusal(&error).contains("SECRET"), "{}", refusal(&error));
        let error = std::io::Error::other("a\nb unknown variant `SECRET`, expected");
        assert_eq!(refusal(&error), "a b unknown variant ``, expected");
    }
}
