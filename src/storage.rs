//! Blob and queue clients: credentials, deadlines, and errors without secrets.

mod blob;
mod queue;
mod signature;

pub use blob::{BlobHead, Condition};
pub use queue::{BATCH, QueueMessage};

use crate::{
    identity,
    settings::{Settings, StorageConnection, StorageEndpoints},
};
use azure_core::{
    credentials::TokenCredential,
    http::{
        ClientOptions, ExponentialRetryOptions, HttpClient, RetryOptions, StatusCode, Transport,
    },
};
use std::{future::Future, sync::Arc, time::Duration};
use url::Url;

/// Queue of chunk messages.
pub const CHUNKS: &str = "chunks";
/// Queue of control commands.
pub const CONTROL: &str = "chunk-control";
/// Queues that the host moves messages to after five failures.
pub const POISON: [&str; 2] = ["chunks-poison", "chunk-control-poison"];

/// Why storage did not do what was asked. Carries no URL: a signature may be part of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked right now; nothing is known of the effect.
    #[error("storage is away ({doing}): {cause}")]
    Away {
        /// The call.
        doing: &'static str,
        /// What the SDK said, without URLs.
        cause: String,
    },
    /// There is no such blob, container or queue.
    #[error("storage has no such thing ({doing})")]
    Missing {
        /// The call.
        doing: &'static str,
    },
    /// The condition does not hold, or a block is gone: another writer was here.
    #[error("another writer was here ({doing}): {cause}")]
    Conflict {
        /// The call.
        doing: &'static str,
        /// What the service said.
        cause: String,
    },
    /// It refused the call: permissions or a defect.
    #[error("storage refused {doing}: {cause}")]
    Refused {
        /// The call.
        doing: &'static str,
        /// What the service said.
        cause: String,
    },
}

/// Blob and queue as this process uses them.
#[derive(Debug, Clone)]
pub struct Storage {
    endpoints: StorageEndpoints,
    /// Query of every URL, when the connection has a key or a signature.
    signature: Option<crate::settings::Secret>,
    credential: Option<Arc<dyn TokenCredential>>,
    /// One client for all: making a TLS context costs 45 ms of CPU.
    http: Arc<dyn HttpClient>,
    source_container: String,
    dataset_container: String,
}

/// A call with its retries ends within this; staging 8 MiB needs the most.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

impl Storage {
    /// Prepares clients; connects on first use.
    ///
    /// # Errors
    ///
    /// When no credential can be made from the settings.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let refused = |cause: String| Error::Refused { doing: "open", cause: scrub(&cause) };
        let connection = &settings.storage;
        let (signature, credential) = match connection {
            StorageConnection::Key { account, key, .. } => {
                (Some(signature::account_signature(account, key).map_err(refused)?), None)
            }
            StorageConnection::Signature { signature, .. } => (Some(signature.clone()), None),
            StorageConnection::Identity { client_id, .. } => {
                let credential = identity::credential(settings, client_id.clone());
                (None, Some(credential.map_err(|e| refused(e.to_string()))?))
            }
        };
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|e| refused(e.to_string()))?;
        Ok(Self {
            endpoints: connection.endpoints().clone(),
            signature,
            credential,
            http: Arc::new(http),
            source_container: settings.source_container.clone(),
            dataset_container: settings.dataset_container.clone(),
        })
    }

    /// Creates missing containers and queues.
    ///
    /// # Errors
    ///
    /// When storage is away. A missing permission is none: the places may exist already.
    pub async fn create_places(&self) -> Result<(), Error> {
        for container in [&self.source_container, &self.dataset_container] {
            self.create_container(container).await?;
        }
        for queue in [CHUNKS, CONTROL] {
            self.create_queue(queue).await?;
        }
        Ok(())
    }

    /// A URL below an endpoint, signed when the connection has a signature.
    fn url(&self, endpoint: &Url, path: &str) -> Url {
        let mut url = endpoint.clone();
        // Segment by segment: a name with %2e%2e in it is a name, not a way up. It fails only for
        // URLs without a host, which no endpoint is.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        url.set_query(self.signature.as_ref().map(crate::settings::Secret::expose));
        url
    }

    fn client_options(&self) -> ClientOptions {
        ClientOptions {
            transport: Some(Transport::new(Arc::clone(&self.http))),
            // The one retry layer of storage calls.
            retry: RetryOptions::exponential(ExponentialRetryOptions {
                initial_delay: azure_core::time::Duration::milliseconds(200),
                max_retries: 3,
                max_total_elapsed: azure_core::time::Duration::seconds(20),
                ..ExponentialRetryOptions::default()
            }),
            ..ClientOptions::default()
        }
    }
}

/// Runs a call with a deadline and sorts its failure.
async fn call<T>(
    doing: &'static str,
    deadline: Duration,
    run: impl Future<Output = azure_core::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, run).await {
        Ok(result) => result.map_err(|error| classify(doing, &error)),
        Err(_) => Err(Error::Away { doing, cause: format!("no answer within {deadline:?}") }),
    }
}

fn classify(doing: &'static str, error: &azure_core::Error) -> Error {
    let cause = || scrub(&chain(error));
    match error.http_status() {
        Some(StatusCode::NotFound) => Error::Missing { doing },
        Some(StatusCode::Conflict | StatusCode::PreconditionFailed) => {
            Error::Conflict { doing, cause: cause() }
        }
        // InvalidBlockList: another writer's commit discarded our staged blocks.
        Some(StatusCode::BadRequest) if cause().contains("InvalidBlock") => {
            Error::Conflict { doing, cause: cause() }
        }
        Some(status)
            if u16::from(status) < 500
                && !matches!(status, StatusCode::RequestTimeout | StatusCode::TooManyRequests) =>
        {
            Error::Refused { doing, cause: cause() }
        }
        Some(_) | None => Error::Away { doing, cause: cause() },
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Cuts every query string: a signature may be in it.
fn scrub(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// I11
    #[test]
    fn queries_are_cut_from_errors() {
        let text = "GET (http://a/b?sig=SECRET&x=1) failed for \"http://c?sv=2\" twice";
        assert_eq!(scrub(text), "GET (http://a/b) failed for \"http://c\" twice");
    }
}
