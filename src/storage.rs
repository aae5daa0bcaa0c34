//! Blob and queue clients: credentials, deadlines, and errors without secrets.

mod blob;
mod list;
mod listing;
mod queue;
mod range;
mod signature;

pub(crate) use blob::DOCUMENT_LIMIT;
pub use blob::{BlobHead, Condition, SOURCE_LIMIT};
pub(crate) use list::ListRead;
pub use listing::ListedBlob;
pub(crate) use queue::BATCH;
pub use queue::QueueMessage;
pub use range::RangeReader;

use crate::{
    identity,
    redact::{cause_chain, client_error, one_line, without_queries},
    settings::{Settings, StorageConnection, StorageEndpoints},
    stall::WATCH,
};
use azure_core::{
    credentials::TokenCredential,
    error::ErrorKind,
    http::{
        ClientOptions, ExponentialRetryOptions, HttpClient, RetryOptions, StatusCode, Transport,
        headers::HeaderName,
    },
};
use std::{future::Future, sync::Arc, time::Duration};
use url::Url;

/// A queue whose messages the host delivers, and the poison queue that it makes for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Chunk messages.
    Chunks,
    /// Control commands.
    Control,
}

impl Queue {
    /// Every queue.
    pub const ALL: [Self; 2] = [Self::Chunks, Self::Control];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chunks => "chunks",
            Self::Control => "chunk-control",
        }
    }

    /// The queue that the host moves its messages to after five failures.
    pub fn poison_name(self) -> &'static str {
        match self {
            Self::Chunks => "chunks-poison",
            Self::Control => "chunk-control-poison",
        }
    }
}

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
    /// There is no such blob or queue.
    #[error("the blob or queue does not exist ({doing}): {cause}")]
    Missing {
        /// The call.
        doing: &'static str,
        /// What the service said.
        cause: String,
    },
    /// There is no such container, or it is being removed.
    #[error("the container does not exist ({doing}): {cause}")]
    NoContainer {
        /// The call.
        doing: &'static str,
        /// What the service said.
        cause: String,
    },
    /// Something that was put on this one blob keeps it from being used: a lease, a legal
    /// hold, another type, the archive tier.
    #[error("{}", blocked(.doing, .blob, .cause))]
    Blocked {
        /// The call.
        doing: &'static str,
        /// The blob's name.
        blob: String,
        /// What the service said.
        cause: String,
    },
    /// The condition does not hold, or a block is gone: another writer was here.
    #[error("another writer was here ({doing}): {cause}")]
    Conflict {
        /// The call.
        doing: &'static str,
        /// What the service said.
        cause: String,
    },
    /// The blob is larger than what is read at once; no waiting makes it smaller.
    #[error("the blob is larger than what is read ({doing})")]
    TooLarge {
        /// The call.
        doing: &'static str,
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
/// A probe that hangs is an answer.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

impl Storage {
    /// Prepares clients; connects on first use.
    ///
    /// # Errors
    ///
    /// When no credential can be made from the settings.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let refused =
            |cause: String| Error::Refused { doing: "open", cause: without_queries(&cause) };
        // First: the identity's own client panics where none can be made.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| refused(client_error(&error)))?;
        let connection = &settings.storage;
        let (signature, credential) = match connection {
            StorageConnection::Key { account, key, .. } => {
                (Some(signature::account_signature(account, key).map_err(refused)?), None)
            }
            StorageConnection::Signature { signature, .. } => (Some(signature.clone()), None),
            StorageConnection::Identity { client_id, .. } => {
                let credential = identity::credential(&settings.host, client_id.clone());
                (None, Some(credential.map_err(|error| refused(cause_chain(&error)))?))
            }
        };
        Ok(Self {
            endpoints: connection.endpoints().clone(),
            signature,
            credential,
            http: Arc::new(http),
            source_container: settings.source_container.clone(),
            dataset_container: settings.dataset_container.clone(),
        })
    }

    /// Creates missing containers and queues. A missing right is no error: they may exist already.
    pub async fn create_containers_and_queues(&self) -> Result<(), Error> {
        for container in [&self.source_container, &self.dataset_container] {
            self.create_container(container).await?;
        }
        for queue in Queue::ALL {
            self.create_queue(queue.name()).await?;
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

/// Runs a call with a deadline and sorts its failure. Time in which the process stood still is not part
/// of it.
async fn call<T>(
    doing: &'static str,
    deadline: Duration,
    run: impl Future<Output = azure_core::Result<T>>,
) -> Result<T, Error> {
    match WATCH.timeout(deadline, run).await {
        Some(result) => result.map_err(|error| classify(doing, &error)),
        None => Err(Error::Away { doing, cause: format!("no answer within {deadline:?}") }),
    }
}

/// Sorts a failure by the service's own code, else by the status
/// (<https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>).
fn classify(doing: &'static str, error: &azure_core::Error) -> Error {
    let Some(status) = error.http_status() else {
        return Error::Away { doing, cause: one_line(&without_queries(&cause_chain(error))) };
    };
    let cause = refusal(status, error);
    match code(error) {
        "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled" => {
            return Error::NoContainer { doing, cause };
        }
        "ConditionNotMet"
        | "BlobAlreadyExists"
        | "ContainerAlreadyExists"
        | "QueueAlreadyExists" => return Error::Conflict { doing, cause },
        // Another writer's commit discarded our staged blocks.
        "InvalidBlockList" | "InvalidBlockId" | "InvalidBlobOrBlock" => {
            return Error::Conflict { doing, cause };
        }
        _ => {}
    }
    match status {
        StatusCode::NotFound => Error::Missing { doing, cause },
        StatusCode::Conflict | StatusCode::PreconditionFailed => {
            Error::Blocked { doing, blob: String::new(), cause }
        }
        StatusCode::RequestTimeout | StatusCode::TooManyRequests => Error::Away { doing, cause },
        status if u16::from(status) < 500 => Error::Refused { doing, cause },
        _ => Error::Away { doing, cause },
    }
}

/// Status, code and the id that support asks for, in one line: the body says the same in XML.
fn refusal(status: StatusCode, error: &azure_core::Error) -> String {
    let status = u16::from(status).to_string();
    let (code, id) = (code(error), request_id(error));
    // A proxy's answer has no code: the SDK puts the status there.
    let code = Some(code).filter(|code| !code.is_empty() && *code != status);
    let id = id.map(|id| format!("request id {id}"));
    let words = [Some(status.as_str()), code].into_iter().flatten().collect::<Vec<_>>().join(" ");
    one_line(&[Some(words), id].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// What of a blob's properties is in the way decides what to do: a message for each.
fn blocked(doing: &str, blob: &str, cause: &str) -> String {
    if cause.contains("BlobBeingRehydrated") {
        return format!(
            "blob {blob} comes back from the archive ({doing}), which takes hours; wait: {cause}"
        );
    }
    if cause.contains("BlobArchived") {
        return format!(
            "blob {blob} is archived ({doing}); move it to the tier Hot or Cool: {cause}"
        );
    }
    format!(
        "blob {blob} cannot be overwritten ({doing}); break its lease, lift its hold, or move it away: {cause}"
    )
}

fn request_id(error: &azure_core::Error) -> Option<&str> {
    let ErrorKind::HttpResponse { raw_response: Some(answer), .. } = error.kind() else {
        return None;
    };
    answer.headers().get_optional_str(&HeaderName::from_static("x-ms-request-id"))
}

/// The service's own code of a failure.
fn code(error: &azure_core::Error) -> &str {
    match error.kind() {
        ErrorKind::HttpResponse { error_code: Some(code), .. } => code,
        _ => "",
    }
}

impl Error {
    /// Whether any other blob or queue would be refused as well.
    pub(crate) fn concerns_all_blobs(&self) -> bool {
        match self {
            Self::Away { .. }
            | Self::Missing { .. }
            | Self::NoContainer { .. }
            | Self::Refused { .. } => true,
            Self::Conflict { .. } | Self::Blocked { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// The same error, with the blob that it is about.
    fn about(self, name: &str) -> Self {
        match self {
            Self::Blocked { doing, cause, .. } => {
                Self::Blocked { doing, blob: name.to_owned(), cause }
            }
            Self::Away { .. }
            | Self::Missing { .. }
            | Self::NoContainer { .. }
            | Self::Conflict { .. }
            | Self::TooLarge { .. }
            | Self::Refused { .. } => self,
        }
    }
}

#[cfg(test)]
pub(crate) mod fake;
