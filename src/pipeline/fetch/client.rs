//! The HTTP client: a bounded number of connections, to addresses that were checked, with TLS.
//!
//! Not `reqwest`: its connections cannot be wrapped, and what servers send has to be mended below
//! HTTP (see [`mended`]). Nor the pool of `hyper-util`, which has no bound for all hosts together, and
//! lets no chunk have its part. It is made of the same parts.

mod chunks;
mod idle;
mod mended;
mod packed;

use super::origin::key;
use crate::turns::{Seat, Turn, Turns};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    HeaderMap, Request, Uri,
    body::{Frame, Incoming, SizeHint},
    client::conn::http1,
    header::{self, HeaderValue},
    http::uri::PathAndQuery,
    rt::Executor as _,
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioExecutor,
};
use idle::Idle;
use mended::Mended;
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::{
    convert::Infallible,
    error,
    future::{Ready, ready},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};
use tokio::time::timeout;
use tower_service::Service;
use url::{Host, Url};

/// An answer; its body is still to come.
pub(super) type Response = hyper::Response<Body>;

type BoxError = Box<dyn error::Error + Send + Sync>;

/// The end of a connection to which requests are given.
type Sender = http1::SendRequest<Empty<Bytes>>;

/// A connection that takes requests. Its turn is given back when nobody holds it here and its task has
/// closed its socket.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    turn: Arc<Turn>,
}

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
    Url,
    /// No connection came to be.
    #[error("no connection came to be")]
    Connect(#[source] BoxError),
    #[error("the request got no answer")]
    Request(#[source] hyper::Error),
    /// A connection that was idle did not serve this request, which says nothing about the URL.
    #[error("the idle connection was over")]
    Stale,
}

/// Bytes of a connection that are read ahead, and of a head.
const BUFFER_BYTES: usize = 96 * 1024;
/// An idle connection that does not take a request by then is given up.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// One for the whole process.
#[derive(Debug)]
pub(super) struct Client {
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
    /// Sent with each request.
    headers: HeaderMap,
    idle: Idle,
    /// Connections that may be open at once, the idle ones too.
    connections: Turns,
}

/// Where a request goes.
pub(super) enum Place {
    /// An idle connection.
    Open(Connection),
    /// The right to open one.
    New(Opening),
}

/// The right to open a connection.
pub(super) struct Opening {
    turn: Turn,
    /// With it two sockets may be open until one is connected: one for each kind of addresses.
    second: Option<Turn>,
    addresses: Vec<SocketAddr>,
}

impl Client {
    /// A client that says `user_agent` and has so many connections open at once.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub(super) fn new(
        user_agent: &str,
        connect_timeout: Duration,
        connections: usize,
    ) -> Result<Self, SetupError> {
        let accept = "image/jpeg,image/png,image/gif,image/webp,image/bmp,image/tiff,*/*;q=0.5";
        let headers = [
            (header::ACCEPT, HeaderValue::from_static(accept)),
            (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            (header::USER_AGENT, HeaderValue::from_str(user_agent)?),
        ];
        Ok(Self {
            tls: Arc::new(tls()?),
            connect_timeout,
            headers: HeaderMap::from_iter(headers),
            idle: Idle::default(),
            connections: Turns::new(connections),
        })
    }

    /// A chunk's seat among those who take turns at connections.
    pub(super) fn seat(&self) -> Seat {
        self.connections.seat()
    }

    /// Waits for a connection to the URL's origin, or for the right to open one; an idle one is used
    /// again where the caller `may_reuse` one, and gives way to whoever has to wait. What a name leads to is said by `look_up` when it is needed.
    ///
    /// # Errors
    ///
    /// Those of `look_up`.
    pub(super) async fn place<E>(
        &self,
        url: &Url,
        seat: &Seat,
        may_reuse: bool,
        look_up: impl AsyncFnOnce(&str) -> Result<Arc<[IpAddr]>, E>,
    ) -> Result<Place, E> {
        let origin = key(url);
        while may_reuse && let Some(mut connection) = self.idle.take(&origin) {
            connection.turn.pass_to(seat);
            // The end of its last answer may still be under way inside of the library.
            if let Ok(Ok(())) = timeout(READY_WITHIN, connection.sender.ready()).await {
                return Ok(Place::Open(connection));
            }
        }
        let turn = match seat.ask() {
            Ok(turn) => turn,
            Err(asked) => {
                self.idle.close_oldest();
                asked.turn().await
            }
        };
        let found = match url.host() {
            Some(Host::Domain(name)) => look_up(name).await?,
            // The connector reads them itself.
            Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => Arc::default(),
        };
        let is_of_both_kinds =
            found.iter().any(IpAddr::is_ipv4) && found.iter().any(IpAddr::is_ipv6);
        // Nobody waits for the second one: without it the addresses are tried one after the other.
        let second = is_of_both_kinds.then(|| seat.ask().ok()).flatten();
        let addresses = found.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        Ok(Place::New(Opening { turn, second, addresses }))
    }

    /// Sends a request and waits for the head of its answer. Redirects are answers like any other.
    ///
    /// # Errors
    ///
    /// [`Error`]; after [`Error::Stale`] a fresh connection serves.
    pub(super) async fn get(&self, url: &Url, place: Place) -> Result<Response, Error> {
        let uri: Uri = url.as_str().parse().map_err(|_| Error::Url)?;
        let request = self.request(&uri)?;
        let (mut connection, is_idle) = match place {
            Place::Open(connection) => (connection, true),
            Place::New(opening) => (self.connect(uri, opening).await?, false),
        };
        match connection.sender.send_request(request).await {
            Ok(answer) => {
                let after = After {
                    origin: key(url),
                    connection: Some(connection),
                    idle: self.idle.clone(),
                    connections: self.connections.clone(),
                };
                Ok(answer.map(|incoming| Body { incoming, _after: after }))
            }
            // Its server may close it at any time, also when the request is on its way (RFC 9112,
            // section 9.5, <https://www.rfc-editor.org/rfc/rfc9112#section-9.5>).
            Err(_) if is_idle => Err(Error::Stale),
            Err(error) => Err(Error::Request(error)),
        }
    }

    fn request(&self, uri: &Uri) -> Result<Request<Empty<Bytes>>, Error> {
        let mut request = Request::new(Empty::new());
        request.headers_mut().clone_from(&self.headers);
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        *request.uri_mut() = path.parse().map_err(|_| Error::Url)?;
        let host = uri.host().ok_or(Error::Url)?;
        // A URL leaves the port of its scheme out.
        let host = match uri.port() {
            Some(port) => HeaderValue::from_str(&format!("{host}:{port}")),
            None => HeaderValue::from_str(host),
        };
        request.headers_mut().insert(header::HOST, host.map_err(|_| Error::Url)?);
        Ok(request)
    }

    /// Opens a connection, with the handshake of TLS within the time limit for it.
    async fn connect(&self, uri: Uri, opening: Opening) -> Result<Connection, Error> {
        let Opening { turn, second, addresses } = opening;
        let mut http = HttpConnector::new_with_resolver(Found(addresses));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(15)));
        // It is divided among the addresses of a name.
        http.set_connect_timeout(Some(self.connect_timeout));
        if second.is_none() {
            http.set_happy_eyeballs_timeout(None);
        }
        let mut connector = HttpsConnector::from((http, Arc::clone(&self.tls)));
        let connected = timeout(self.connect_timeout, connector.call(uri));
        let late = |_| Error::Connect(io::Error::from(io::ErrorKind::TimedOut).into());
        let stream = connected.await.map_err(late)?.map_err(Error::Connect)?;
        drop(second);
        // HTTP/1.1 only: streams of one HTTP/2 connection share a window, so one body that waits for
        // room would starve the others, and what the window holds is in no ledger.
        let mut http = http1::Builder::new();
        http.max_buf_size(BUFFER_BYTES);
        let (sender, work) = http.handshake(Mended::new(stream)).await.map_err(Error::Request)?;
        let turn = Arc::new(turn);
        let of_task = Arc::clone(&turn);
        // It ends with its sender or its server; what goes wrong is said to who waits for an answer.
        TokioExecutor::new().execute(async move {
            drop(work.await);
            drop(of_task);
        });
        Ok(Connection { sender, turn })
    }
}

/// The body of an answer. With its end the connection is free for the next request.
#[derive(Debug)]
pub(super) struct Body {
    // In this order: the library then knows already that nobody reads on, and closes what is not over.
    incoming: Incoming,
    _after: After,
}

/// What becomes of a connection.
#[derive(Debug)]
struct After {
    origin: String,
    connection: Option<Connection>,
    idle: Idle,
    connections: Turns,
}

impl Drop for After {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        self.idle.put(std::mem::take(&mut self.origin), connection);
        // Only now: who asks for a turn first and looks for an idle connection then misses none.
        if self.connections.is_waited_for() {
            self.idle.close_oldest();
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
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

/// The addresses of a name, which were asked for, and checked, already.
#[derive(Debug, Clone)]
struct Found(Vec<SocketAddr>);

impl Service<Name> for Found {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(std::mem::take(&mut self.0).into_iter()))
    }
}

#[cfg(test)]
mod tests;
