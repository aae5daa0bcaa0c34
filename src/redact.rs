//! What may be shown: errors, URLs and messages without the secrets they may hold.
//!
//! Logs, records, manifests and command output go through here. Signatures and tokens hide in the
//! query of a URL, passwords in its user info, and parsers quote the values they refuse.

use url::Url;

/// An error with its whole cause, for a log line or a record. A cause that its error repeats is
/// left out.
pub fn cause_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
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
                shown.extend(c.escape_debug().filter(|_| c.is_control()));
                if !c.is_control() {
                    shown.push(c);
                }
                let opens_value = c == '"' || (c == '`' && shown.ends_with("unknown variant `"));
                closing = opens_value.then_some(c);
            }
        }
    }
    shown
}

/// A text without the query of any URL in it.
pub(crate) fn without_queries(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut in_query = false;
    for c in text.chars() {
        let ends = c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '>' | '<');
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

/// The URL of a database, which people may see: user, host and name stay.
pub fn database_url(mut url: Url) -> String {
    if url.password().is_some() {
        // Cannot fail: the URL has a host, or it would have no password.
        url.set_password(Some("***")).unwrap_or_default();
    }
    url.set_query(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I11
    #[test]
    fn queries_are_cut_from_errors() {
        let text = "GET (http://a/b?sig=SECRET&x=1) failed for \"http://c?sv=2\" twice";
        assert_eq!(without_queries(text), "GET (http://a/b) failed for \"http://c\" twice");
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
        let url = Url::parse("postgres://u:secret@h:5432/d?password=x").unwrap();
        assert_eq!(database_url(url), "postgres://u:***@h:5432/d");
    }

    /// I11: what a parser quotes is cut, and control characters cannot start another line.
    #[test]
    fn a_refusal_shows_no_value() {
        let error = serde_json::from_str::<bool>(r#""http://a?sig=SECRET""#).unwrap_err();
        assert!(!refusal(&error).contains("SECRET"), "{}", refusal(&error));
        let error = std::io::Error::other("a\nb unknown variant `SECRET`, expected");
        assert_eq!(refusal(&error), "a\\nb unknown variant ``, expected");
    }
}
