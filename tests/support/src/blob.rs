//! Reads blobs, and does to them what strangers do, with plain HTTP and a signature of our own, so that
//! what the product wrote is judged by code that shares nothing with it.

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Method, Url};
use sha2::Sha256;

use crate::azurite::connection_string;

/// Access to the blobs of an account.
#[derive(Debug, Clone)]
pub struct Blobs {
    endpoint: String,
    signature: Vec<(String, String)>,
    client: Client,
}

impl Blobs {
    /// Takes a connection string with an account key, or `UseDevelopmentStorage=true`.
    pub fn new(connection: &str) -> Result<Self> {
        let standard = connection_string([10000, 10001, 10002]);
        let connection =
            if connection.contains("UseDevelopmentStorage=true") { &standard } else { connection };
        let field = |name: &str| {
            let mut fields = connection.split(';').filter_map(|field| field.split_once('='));
            let found = fields.find(|(key, _)| *key == name).map(|(_, value)| value);
            found.with_context(|| format!("the connection string has no {name}"))
        };
        let signature = signature(field("AccountName")?, field("AccountKey")?)?;
        // Azurite closes idle connections after seconds, sometimes just as a request begins.
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
        Ok(Self {
            endpoint: field("BlobEndpoint")?.trim_end_matches('/').to_owned(),
            signature,
            client,
        })
    }

    /// The names of a container's blobs that begin with a prefix.
    pub async fn list(&self, container: &str, prefix: &str) -> Result<Vec<String>> {
        let (mut names, mut marker) = (Vec::new(), String::new());
        loop {
            let query = [
                ("restype", "container"),
                ("comp", "list"),
                ("prefix", prefix),
                ("marker", &marker),
            ];
            let page = self.get(container, &query).await?;
            let page = String::from_utf8_lossy(&page);
            names.extend(elements(&page, "Name").map(str::to_owned));
            match elements(&page, "NextMarker").next() {
                Some(next) if !next.is_empty() => marker = next.to_owned(),
                _ => return Ok(names),
            }
        }
    }

    /// The content of a blob.
    pub async fn read(&self, container: &str, name: &str) -> Result<Bytes> {
        self.get(&format!("{container}/{name}"), &[]).await
    }

    /// Writes a blob, whatever is there.
    pub async fn put(&self, container: &str, name: &str, content: Vec<u8>) -> Result<()> {
        let (path, headers) = (format!("{container}/{name}"), [("x-ms-blob-type", "BlockBlob")]);
        self.call(Method::PUT, &path, &[], &headers, content).await.map(drop)
    }

    /// Creates an empty blob where there is none.
    pub async fn create(&self, container: &str, name: &str) -> Result<()> {
        let headers = [("x-ms-blob-type", "BlockBlob"), ("If-None-Match", "*")];
        self.call(Method::PUT, &format!("{container}/{name}"), &[], &headers, Vec::new())
            .await
            .map(drop)
    }

    /// Writes an empty blob with these metadata, whatever is there.
    pub async fn create_with(
        &self,
        container: &str,
        name: &str,
        metadata: &[(&str, &str)],
    ) -> Result<()> {
        let names: Vec<String> =
            metadata.iter().map(|(name, _)| format!("x-ms-meta-{name}")).collect();
        let mut headers = vec![("x-ms-blob-type", "BlockBlob")];
        headers.extend(names.iter().map(String::as_str).zip(metadata.iter().map(|(_, v)| *v)));
        self.call(Method::PUT, &format!("{container}/{name}"), &[], &headers, Vec::new())
            .await
            .map(drop)
    }

    /// Takes a blob away.
    pub async fn delete(&self, container: &str, name: &str) -> Result<()> {
        self.call(Method::DELETE, &format!("{container}/{name}"), &[], &[], Vec::new())
            .await
            .map(drop)
    }

    /// Removes a container with everything in it.
    pub async fn delete_container(&self, container: &str) -> Result<()> {
        self.call(Method::DELETE, container, &[("restype", "container")], &[], Vec::new())
            .await
            .map(drop)
    }

    /// Moves a blob to another access tier.
    pub async fn set_tier(&self, container: &str, name: &str, tier: &str) -> Result<()> {
        let path = format!("{container}/{name}");
        let headers = [("x-ms-access-tier", tier)];
        self.call(Method::PUT, &path, &[("comp", "tier")], &headers, Vec::new()).await.map(drop)
    }

    /// Takes a lease on a blob, which then only its holder writes, until [`break_lease`](Self::break_lease).
    pub async fn lease(&self, container: &str, name: &str) -> Result<()> {
        self.leased(container, name, ("acquire", "x-ms-lease-duration", "-1")).await
    }

    /// Ends whatever lease is on a blob.
    pub async fn break_lease(&self, container: &str, name: &str) -> Result<()> {
        self.leased(container, name, ("break", "x-ms-lease-break-period", "0")).await
    }

    async fn leased(&self, container: &str, name: &str, how: (&str, &str, &str)) -> Result<()> {
        let (action, term, seconds) = how;
        let headers = [("x-ms-lease-action", action), (term, seconds)];
        let path = format!("{container}/{name}");
        self.call(Method::PUT, &path, &[("comp", "lease")], &headers, Vec::new()).await.map(drop)
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Bytes> {
        self.call(Method::GET, path, query, &[], Vec::new()).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Bytes> {
        let mut url = Url::parse(&format!("{}/{path}", self.endpoint))?;
        url.query_pairs_mut().extend_pairs(query).extend_pairs(&self.signature);
        let mut request = self.client.request(method.clone(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if method == Method::PUT {
            request = request.header("Content-Length", body.len()).body(body);
        }
        let answer = request.send().await?;
        let (status, body) = (answer.status(), answer.bytes().await?);
        if !status.is_success() {
            bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}

/// An account SAS for reading, listing, writing and deleting blobs, in the order of fields that the service signs.
fn signature(account: &str, key: &str) -> Result<Vec<(String, String)>> {
    const VERSION: &str = "2021-08-06";
    const EXPIRY: &str = "2099-01-01T00:00:00Z";
    let text = format!("{account}\nrwdl\nb\nsco\n\n{EXPIRY}\n\nhttps,http\n{VERSION}\n\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(
        &STANDARD.decode(key).context("the account key is not Base64")?,
    )?;
    mac.update(text.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let fields = [
        ("sv", VERSION),
        ("ss", "b"),
        ("srt", "sco"),
        ("sp", "rwdl"),
        ("se", EXPIRY),
        ("spr", "https,http"),
        ("sig", &signature),
    ];
    Ok(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

/// The texts of the elements of a name; enough for a listing of names without special characters.
fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (text, after) = after.split_once(&close)?;
        rest = after;
        Some(text)
    })
}
