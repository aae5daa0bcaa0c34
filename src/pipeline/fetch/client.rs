//! The HTTP client: names through the guarded resolver, TLS, one connection pool for the process.
//!
//! Not `reqwest`: its connections cannot be wrapped, and what servers send has to be mended below
//! HTTP (see [`mended`]). It is made of the same parts.

mod chunks;
mod mended;
mod packed;

use super::{name_servers::LookupError, names::Names};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    HeaderMap, Request, Uri,
    body::Incoming,
    header::{self, HeaderValue},
};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        self,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use mended::Mended;
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::{
    error,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;
use url::Url;

/// An answer; its body is still to come.
pub(super) type Response = hyper::Response<Incoming>;

type BoxError = Box<dyn error::Error + Send + Sync>;

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No certificates, or no cipher.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// It is sent with each request.
    #[error("the user agent cannot stand in a header")]
    UserAgent(#[from] header::InvalidHeaderValue),
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the URL cannot stand in a request")]
    Url(#[source] hyper::http::uri::InvalidUri),
    #[error("the request got no answer")]
    Request(#[source] legacy::Error),
}

impl Error {
    /// No connection came to be.
    pub(super) fn is_connect(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_connect())
    }
}

/// One for the whole process.
#[derive(Debug)]
pub(super) struct Client {
    pool: legacy::Client<Connector, Empty<Bytes>>,
    headers: HeaderMap,
}

impl Client {
    /// A client that says `user_agent` and looks names up with `names`.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub(super) fn new(
        user_agent: &str,
        names: Names,
        connect_timeout: Duration,
    ) -> Result<Self, SetupError> {
        let accept = "image/jpeg,image/png,image/gif,image/webp,image/bmp,image/tiff,*/*;q=0.5";
        let headers = [
            (header::ACCEPT, HeaderValue::from_static(accept)),
            (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            (header::USER_AGENT, HeaderValue::from_str(user_agent)?),
        ];
        let mut http = HttpConnector::new_with_resolver(Resolver(names));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(15)));
        // It is divided among the addresses of a name.
        http.set_connect_timeout(Some(connect_timeout));
        let connector =
            Connector { tls: HttpsConnector::from((http, tls()?)), timeout: connect_timeout };
        // HTTP/1.1 only: streams of one HTTP/2 connection share a window, so one body that waits for
        // room would starve the others, and what the window holds is in no ledger.
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Ok(Self { pool, headers: HeaderMap::from_iter(headers) })
    }

    /// Sends a request and waits for the head of its answer. Redirects are answers like any other.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] and [`Error::Request`].
    pub(super) async fn get(&self, url: &Url) -> Result<Response, Error> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.as_str().parse().map_err(Error::Url)?;
        request.headers_mut().clone_from(&self.headers);
        self.pool.request(request).await.map_err(Error::Request)
    }
}

/// The certificates that the machine trusts; `SSL_CERT_FILE` names others.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_platform_verifier()?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether the handshake of TLS can name this host. The library takes no hyphen at an end of a label.
pub(super) fn can_be_named(host: &str) -> bool {
    ServerName::try_from(host).is_ok()
}

/// The names of the process, as the connector asks for them.
#[derive(Debug, Clone)]
struct Resolver(Names);

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = LookupError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, LookupError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LookupError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.0.clone();
        Box::pin(async move { Ok(names.to_connect(name.as_str()).await?.into_iter()) })
    }
}

/// Connects, with the handshake of TLS, within one time limit.
#[derive(Debug, Clone)]
struct Connector {
    tls: HttpsConnector<HttpConnector<Resolver>>,
    timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = Mended<MaybeHttpsStream<TokioIo<TcpStream>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tls.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = timeout(self.timeout, self.tls.call(uri));
        Box::pin(async move {
            let connection = connected.await.map_err(|_| io::ErrorKind::TimedOut);
            Ok(Mended::new(connection.map_err(io::Error::from)??))
        })
    }
}
