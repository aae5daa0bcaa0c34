//! Who may ask, from where, and what an answer's headers say. Every request comes by here first.

use super::{answer, listen::Hosts};
use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{self, AsHeaderName},
        uri::Authority,
    },
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chunk_handler::settings::Secret;
use sha2::{Digest as _, Sha256};
use std::{sync::Arc, time::Duration};
use subtle::ConstantTimeEq as _;
use tokio::{sync::Mutex, time::sleep};

/// What is asked of a request.
#[derive(Clone)]
pub(super) struct Guard(Arc<Rules>);

struct Rules {
    hosts: Hosts,
    /// Of the password; none: nobody is asked for one.
    digest: Option<[u8; 32]>,
    allow_control: bool,
    /// One wrong password at a time is answered, and slowly.
    guesses: Mutex<u64>,
}

/// Where a request comes from, as browsers say it.
const SITE: &str = "sec-fetch-site";
/// Until a wrong password is answered.
const GUESS_TIME: Duration = Duration::from_secs(1);

/// What may be loaded, and from where: our own style, script and pictures, and nothing inline.
const POLICY: &str = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: then a browser says `Origin: null` for our own forms, too.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // Asked each time: what is shown changes, and what a shared browser keeps may be read by others.
    (header::CACHE_CONTROL, "no-cache, private"),
];

impl Guard {
    pub(super) fn new(hosts: Hosts, password: Option<&Secret>, allow_control: bool) -> Self {
        let digest = password.map(|password| Sha256::digest(password.expose()).into());
        Self(Arc::new(Rules { hosts, digest, allow_control, guesses: Mutex::default() }))
    }
}

/// Answers what may not be asked, lets the rest pass, and writes the headers of every answer.
pub(super) async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut answer = match guard.0.refusal(&request) {
        Some(refusal) => {
            if refusal.status() == StatusCode::UNAUTHORIZED
                && request.headers().contains_key(header::AUTHORIZATION)
            {
                guard.0.wrong_password().await;
            }
            refusal
        }
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

impl Rules {
    fn refusal(&self, request: &Request) -> Option<Response> {
        let (method, headers) = (request.method(), request.headers());
        if !self.is_meant(request) {
            let text = "This address is not the one that the dashboard listens on. For a name of its own start it \
                        with --listen NAME:PORT.";
            return Some(answer::plain(StatusCode::MISDIRECTED_REQUEST, text));
        }
        if !self.knows_password(headers) {
            let mut refusal = answer::plain(StatusCode::UNAUTHORIZED, "The password is needed.");
            let ask =
                HeaderValue::from_static("Basic realm=\"chunkctl dashboard\", charset=\"UTF-8\"");
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
            return Some(refusal);
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let acts = *method == Method::POST && self.allow_control;
        if !reads && !acts {
            let (allowed, text) = if self.allow_control {
                ("GET, HEAD, POST", "There are only pages and forms here.")
            } else {
                (
                    "GET, HEAD",
                    "Nothing can be changed here; start the dashboard with --allow-control.",
                )
            };
            let mut refusal = answer::plain(StatusCode::METHOD_NOT_ALLOWED, text);
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return Some(refusal);
        }
        if reads && !is_opened_or_ours(headers) {
            return Some(answer::plain(StatusCode::FORBIDDEN, "Another site may only link here."));
        }
        if acts && !is_from_here(headers) {
            let text = "Only a page of this dashboard may send this; reload it and try again.";
            return Some(answer::plain(StatusCode::FORBIDDEN, text));
        }
        None
    }

    /// Nobody tries many passwords, and nobody tries one without a word.
    async fn wrong_password(&self) {
        let mut guesses = self.guesses.lock().await;
        *guesses += 1;
        if guesses.is_power_of_two() {
            eprintln!("dashboard: a wrong password was sent ({guesses} so far)");
        }
        sleep(GUESS_TIME).await;
    }

    /// One `Host`, which is ours; a target in absolute form comes before it (RFC 9112, section 3.2.2).
    fn is_meant(&self, request: &Request) -> bool {
        let host = only(request.headers(), header::HOST).unwrap_or_default();
        let target = request.uri().authority().map(Authority::as_str);
        self.hosts.have(host) && target.is_none_or(|target| self.hosts.have(target))
    }

    /// Any user with the password. Digests are compared, so that its length takes no time, either.
    fn knows_password(&self, headers: &HeaderMap) -> bool {
        let Some(digest) = &self.digest else { return true };
        let said = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let said = said.and_then(|value| value.split_once(' '));
        let said = said.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let said = said.and_then(|(_, text)| STANDARD.decode(text.trim()).ok()).unwrap_or_default();
        let colon = said.iter().position(|byte| *byte == b':');
        let password = colon.and_then(|at| said.get(at + 1..)).unwrap_or_default();
        let told: [u8; 32] = Sha256::digest(password).into();
        colon.is_some() & bool::from(told.ct_eq(digest))
    }
}

/// Browsers say where a request comes from, and no page can say it in their place. Over plain HTTP from
/// another machine they leave `Sec-Fetch-Site` out (W3C Fetch Metadata, section 2), but not `Origin`; the
/// `Host` was found to be ours.
fn is_from_here(headers: &HeaderMap) -> bool {
    if headers.contains_key(SITE) {
        return only(headers, SITE) == Some("same-origin");
    }
    let origin = only(headers, header::ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
    origin.is_some() && origin == only(headers, header::HOST)
}

/// A page of another site may lead people here. What it loads by itself, many times a second, would keep
/// the database busy. Browsers leave both headers out, or say both.
fn is_opened_or_ours(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let is_other = matches!(said(SITE), Some(b"cross-site" | b"same-site"));
    !is_other || said("sec-fetch-mode") == Some(b"navigate")
}

/// The text of a header that is there once.
fn only(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    value.and_then(|value| value.to_str().ok())
}
