//! The address that was asked for, with its filters.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use std::convert::Infallible;
use url::form_urlencoded;

/// What a page is asked with. Filters live in the address, so that it can be shared.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Path and query.
    pub(super) address: String,
    path: String,
    filters: Vec<(String, String)>,
    /// The reading that the browser has.
    pub(super) has: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::new(parts.uri.path(), parts.uri.query().unwrap_or_default(), &parts.headers))
    }
}

impl Asked {
    pub(super) fn new(path: &str, query: &str, headers: &HeaderMap) -> Self {
        let has = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
        // The database knows no text with NUL, so nothing has it.
        let clean = |(key, value): (String, String)| (key, value.replace('\0', "\u{fffd}"));
        let filters: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().map(clean).collect();
        let address = written(path, &filters);
        Self { address, path: path.to_owned(), filters, has: has.map(str::to_owned) }
    }

    /// A filter that is set; an empty one is not.
    pub(super) fn filter(&self, name: &str) -> Option<&str> {
        let found = self.filters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A filter that is a number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.filter(name).and_then(|value| value.parse().ok())
    }

    /// This address with another value of a filter, or without it. Another filter begins at page 1.
    pub(super) fn with(&self, name: &str, value: Option<&str>) -> String {
        let mut filters = self.filters.clone();
        filters.retain(|(key, _)| key != name && key != "page");
        filters.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        written(&self.path, &filters)
    }
}

/// An address with a query, when there is something in it.
pub(super) fn written<K: AsRef<str>, V: AsRef<str>>(path: &str, filters: &[(K, V)]) -> String {
    if filters.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(filters).finish();
    format!("{path}?{query}")
}
