//! Where an ingestion endpoint may send us on to. The global one answers 307 or 308 with the one of the
//! region, and the official exporters follow ten of them and stay there
//! (<https://github.com/Azure/azure-sdk-for-net/blob/main/sdk/monitor/Azure.Monitor.OpenTelemetry.Exporter/src/Internals/IngestionRedirectPolicy.cs>).
//! They go wherever it says; we stay with whom the connection string trusts: a token goes along.

use super::connection::is_loopback;
use url::Url;

/// Redirects in a row that are followed.
pub(super) const MOST: usize = 10;

/// Hosts of ingestion endpoints end so, in each of Azure's clouds
/// (<https://learn.microsoft.com/azure/azure-monitor/fundamentals/azure-monitor-network-access>).
const CLOUDS: [&[&str]; 3] = [
    &[".applicationinsights.azure.com", ".services.visualstudio.com", ".monitor.azure.com"],
    &[".applicationinsights.azure.us", ".applicationinsights.us", ".monitor.azure.us"],
    &[".applicationinsights.azure.cn", ".monitor.azure.cn"],
];

/// The next endpoint.
///
/// # Errors
///
/// Where it points, and why that is not followed.
pub(super) fn follow(from: &Url, location: Option<&[u8]>) -> Result<Url, String> {
    let Some(location) = location else { return Err("points nowhere".into()) };
    let text = String::from_utf8_lossy(location);
    let Some(mut to) = from.join(&text).ok().filter(Url::has_host) else {
        return Err("points to what is no URL".into());
    };
    to.set_fragment(None);
    let place = to.origin().ascii_serialization();
    let refused = |why: &str| Err(format!("points to {place}, which {why}"));
    if !to.username().is_empty() || to.password().is_some() {
        return refused("comes with a user");
    }
    if is_loopback(from) && is_loopback(&to) && (to.scheme() == "https" || from.scheme() == "http")
    {
        return Ok(to);
    }
    if to.scheme() != "https" {
        return refused("is not https");
    }
    if from.origin() == to.origin() || is_same_cloud(from, &to) {
        return Ok(to);
    }
    refused("is no endpoint of the same kind")
}

fn is_same_cloud(from: &Url, to: &Url) -> bool {
    let ends = |url: &Url, cloud: &[&str]| {
        let host = url.host_str().unwrap_or_default();
        cloud.iter().any(|suffix| host.ends_with(suffix))
    };
    let has_no_port = to.port().is_none();
    has_no_port && CLOUDS.iter().any(|cloud| ends(from, cloud) && ends(to, cloud))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: &str = "https://dc.services.visualstudio.com/v2.1/track";

    /// Case 213: https stays https, and telemetry stays with whom the connection string trusts.
    #[test]
    fn redirects_stay_with_whom_the_connection_string_trusts() {
        let west = "https://westeurope-1.in.applicationinsights.azure.com/v2.1/track";
        for (from, location, outcome) in [
            (TRACK, west, Ok(west)),
            (west, TRACK, Ok(TRACK)),
            (
                west,
                "/v2/other",
                Ok("https://westeurope-1.in.applicationinsights.azure.com/v2/other"),
            ),
            (
                "https://own.example/v2.1/track",
                "https://own.example/x",
                Ok("https://own.example/x"),
            ),
            ("http://127.0.0.1:1/x", "http://localhost:2/y#z", Ok("http://localhost:2/y")),
            ("http://127.0.0.1:1/x", "https://[::1]:2/y", Ok("https://[::1]:2/y")),
            ("https://127.0.0.1:1/x", "http://127.0.0.1:2/y", Err("not https")),
            ("http://127.0.0.1:1/x", west, Err("same kind")),
            (TRACK, "http://westeurope-1.in.applicationinsights.azure.com/", Err("not https")),
            (TRACK, "https://evil.example/v2.1/track", Err("same kind")),
            (TRACK, "https://evilapplicationinsights.azure.com/", Err("same kind")),
            (TRACK, "https://a.applicationinsights.azure.com.evil.example/", Err("same kind")),
            (TRACK, "https://a.applicationinsights.azure.us/", Err("same kind")),
            (TRACK, "https://a.applicationinsights.azure.com:8443/", Err("same kind")),
            (TRACK, "https://u:p@a.applicationinsights.azure.com/", Err("with a user")),
            (TRACK, "http://127.0.0.1:1/", Err("not https")),
            (TRACK, "https://127.0.0.1/", Err("same kind")),
            ("https://own.example/x", west, Err("same kind")),
            (TRACK, "mailto:a@b", Err("no URL")),
            (TRACK, "https://[bad/", Err("no URL")),
        ] {
            let from = Url::parse(from).unwrap();
            match (follow(&from, Some(location.as_bytes())), outcome) {
                (Ok(to), Ok(wanted)) => assert_eq!(to.as_str(), wanted),
                (Err(problem), Err(words)) => {
                    assert!(problem.contains(words), "{location}: {problem}");
                }
                (found, _) => panic!("{location}: {found:?}"),
            }
        }
        let from = Url::parse(TRACK).unwrap();
        assert_eq!(follow(&from, None), Err("points nowhere".to_owned()));
    }
}
