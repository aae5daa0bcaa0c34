//! The connection string of Application Insights. The exporter's own reader refuses a last semicolon and
//! takes what is no URL.
//!
//! <https://learn.microsoft.com/azure/azure-monitor/app/connection-strings>

use super::Unusable;
use url::{Host, Url};

const DEFAULT_ENDPOINT: &str = "https://dc.services.visualstudio.com";

/// Where telemetry goes, and under which key.
#[derive(Debug)]
pub(super) struct Connection {
    key: String,
    /// With http only on this machine.
    endpoint: Url,
}

impl Connection {
    /// Reads a connection string.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without any value of it.
    pub(super) fn parse(text: &str) -> Result<Self, Unusable> {
        let unusable = |problem: &str| Unusable(format!("the connection string {problem}"));
        let mut fields: Vec<(String, &str)> = Vec::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(unusable("has a part without a =: InstrumentationKey=...; is wanted"));
            };
            let name = name.trim().to_ascii_lowercase();
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(unusable("has a part twice"));
            }
            fields.push((name, value.trim()));
        }
        let field = |name: &str| {
            let found = fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| *value).filter(|value| !value.is_empty())
        };
        if field("authorization").is_some_and(|kind| !kind.eq_ignore_ascii_case("ikey")) {
            return Err(unusable("has another Authorization than ikey"));
        }
        let key =
            field("instrumentationkey").ok_or_else(|| unusable("has no InstrumentationKey"))?;
        if !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(unusable("has an InstrumentationKey that is none"));
        }
        let endpoint = match (field("ingestionendpoint"), field("endpointsuffix")) {
            (Some(endpoint), _) => endpoint.to_owned(),
            (None, Some(suffix)) => {
                let location = field("location").map(|l| format!("{l}.")).unwrap_or_default();
                format!("https://{location}dc.{suffix}")
            }
            (None, None) => DEFAULT_ENDPOINT.to_owned(),
        };
        let endpoint = endpoint_url(&endpoint).ok_or_else(|| {
            unusable("has an IngestionEndpoint that is no https URL without query")
        })?;
        Ok(Self { key: key.to_owned(), endpoint })
    }

    /// What the exporter is given. It makes every endpoint https.
    pub(super) fn for_exporter(&self) -> String {
        format!("InstrumentationKey={};IngestionEndpoint={}", self.key, self.endpoint)
    }

    /// Whether the endpoint is on this machine and speaks http.
    pub(super) fn is_plain(&self) -> bool {
        self.endpoint.scheme() == "http"
    }
}

fn endpoint_url(text: &str) -> Option<Url> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '='))
    {
        return None;
    }
    let mut url = Url::parse(text.trim_end_matches('/')).ok().filter(Url::has_host)?;
    let is_bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if url.scheme() == "http" && !is_loopback(&url) {
        url.set_scheme("https").ok()?;
    }
    (is_bare && matches!(url.scheme(), "http" | "https")).then_some(url)
}

/// Whether a URL leads to this machine by its text alone.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S12: what may be meant is taken, with blanks, a last semicolon, or a suffix of another cloud.
    #[test]
    fn connection_strings_give_key_and_endpoint() {
        for (text, endpoint) in [
            ("InstrumentationKey=k", "https://dc.services.visualstudio.com/"),
            ("InstrumentationKey=k;", "https://dc.services.visualstudio.com/"),
            (" instrumentationkey = k ; IngestionEndpoint = https://a/ ;; ", "https://a/"),
            ("InstrumentationKey=k;IngestionEndpoint=http://a/", "https://a/"),
            ("InstrumentationKey=k;IngestionEndpoint=http://127.0.0.1:1/", "http://127.0.0.1:1/"),
            ("InstrumentationKey=k;IngestionEndpoint=http://[::1]:1", "http://[::1]:1/"),
            ("InstrumentationKey=k;EndpointSuffix=ai.us;Location=usgov", "https://usgov.dc.ai.us/"),
        ] {
            let connection = Connection::parse(text).unwrap();
            assert_eq!(connection.endpoint.as_str(), endpoint, "{text}");
            assert_eq!(connection.key, "k");
        }
    }

    /// S12 I11: what is no connection string is called so, and no value of it is shown.
    #[test]
    fn what_is_no_connection_string_is_refused() {
        for (text, words) in [
            ("hush", "without a ="),
            ("IngestionEndpoint=https://hush/", "no InstrumentationKey"),
            ("InstrumentationKey=", "no InstrumentationKey"),
            ("InstrumentationKey=hush;InstrumentationKey=hush", "twice"),
            ("InstrumentationKey=hu sh", "is none"),
            ("InstrumentationKey=hush;Authorization=AAD", "Authorization"),
            ("InstrumentationKey=k;IngestionEndpoint=hush", "no https URL"),
            ("InstrumentationKey=k;IngestionEndpoint=ftp://hush", "no https URL"),
            ("InstrumentationKey=k;IngestionEndpoint=https://a/?hush", "no https URL"),
            ("InstrumentationKey=k;IngestionEndpoint=\"https://hush\"", "no https URL"),
        ] {
            let problem = Connection::parse(text).unwrap_err().to_string();
            assert!(problem.contains(words) && !problem.contains("hush"), "{text}: {problem}");
        }
    }
}
