//! The storage connection: identity-based or a connection string.

use super::{Program, Secret, connection_string, reader::Reader};
use crate::redact::HIDDEN;
use url::{Host, Url};

/// Where blob and queue are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageEndpoints {
    /// Base URL of the blob service.
    pub blob: Url,
    /// Base URL of the queue service.
    pub queue: Url,
}

/// How blob and queue are reached and who we are to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageConnection {
    /// An account key: each client gets a signature made from it.
    Key {
        /// Where.
        endpoints: StorageEndpoints,
        /// The account's name.
        account: String,
        /// Base64.
        key: Secret,
    },
    /// A shared access signature made elsewhere.
    Signature {
        /// Where.
        endpoints: StorageEndpoints,
        /// Without a leading question mark.
        signature: Secret,
    },
    /// Entra: managed identity in Azure, the developer's own elsewhere.
    Identity {
        /// Where.
        endpoints: StorageEndpoints,
        /// Of a user-assigned identity.
        client_id: Option<String>,
    },
}

impl StorageConnection {
    /// Where blob and queue are.
    pub fn endpoints(&self) -> &StorageEndpoints {
        match self {
            Self::Key { endpoints, .. }
            | Self::Signature { endpoints, .. }
            | Self::Identity { endpoints, .. } => endpoints,
        }
    }

    /// The account's name: of the key, else the first label of the blob endpoint's host, or its path
    /// where a host has several accounts, as the emulator does.
    pub(crate) fn account(&self) -> String {
        if let Self::Key { account, .. } = self {
            return account.clone();
        }
        let blob = &self.endpoints().blob;
        let path = blob.path().trim_matches('/');
        let host = blob.host_str().unwrap_or_default().split('.').next().unwrap_or_default();
        if path.is_empty() { host.to_owned() } else { path.to_owned() }
    }
}

pub(super) const NAME: &str = "ChunkStorage";
pub(super) const HINT: &str = "a storage connection string, UseDevelopmentStorage=true, or the \
    variables ChunkStorage__blobServiceUri and ChunkStorage__queueServiceUri";
const BLOB_URI: &str = "ChunkStorage__blobServiceUri";
const QUEUE_URI: &str = "ChunkStorage__queueServiceUri";

pub(super) fn read(reader: &mut Reader, program: Program) -> StorageConnection {
    let blob = reader.raw_text(BLOB_URI);
    let queue = reader.raw_text(QUEUE_URI);
    let only = match (blob, queue) {
        (Some(blob), Some(queue)) => return identity(reader, &blob, &queue),
        (Some(_), None) => Some((BLOB_URI, QUEUE_URI)),
        (None, Some(_)) => Some((QUEUE_URI, BLOB_URI)),
        (None, None) => None,
    };
    let fallback = (program == Program::Chunkctl).then_some("AzureWebJobsStorage");
    let Some(text) = reader.secret_text(NAME, fallback) else {
        let (name, problem) = match only {
            Some((there, missing)) => (missing, format!("is required beside {there}")),
            None if reader.found("ChunkStorage__accountName").is_some() => (
                BLOB_URI,
                format!("is required, and {QUEUE_URI}: ChunkStorage__accountName is not read"),
            ),
            None => (NAME, format!("is required: {HINT}")),
        };
        reader.violation(name, "not set", problem);
        return placeholder();
    };
    if let Some((there, missing)) = only {
        reader.warn(format!("{there} is left out, for there is no {missing}; {NAME} is used"));
    }
    match connection_string::parse(&text) {
        Ok(connection) => {
            let StorageEndpoints { blob, queue } = connection.endpoints();
            if blob.scheme() != queue.scheme() {
                let (blob, queue) = (blob.scheme(), queue.scheme());
                reader.warn(format!(
                    "{NAME} has an {blob} blob endpoint and an {queue} queue endpoint"
                ));
            }
            connection
        }
        Err(problem) => {
            reader.violation(NAME, HIDDEN, problem);
            placeholder()
        }
    }
}

/// A connection by identity. A query of an endpoint may be a signature: it is never shown.
fn identity(reader: &mut Reader, blob: &str, queue: &str) -> StorageConnection {
    let client_id = reader.raw_text("ChunkStorage__clientId");
    let credential = reader.raw_text("ChunkStorage__credential");
    if let Some(other) = credential.filter(|kind| kind != "managedidentity") {
        let problem = "must be managedidentity, or unset";
        reader.violation("ChunkStorage__credential", &other, problem.into());
    }
    let mut read = |name: &str, text: &str| {
        let url = endpoint(name, text);
        url.map_err(|problem| reader.violation(name, text, problem)).ok()
    };
    match (read(BLOB_URI, blob), read(QUEUE_URI, queue)) {
        (Some(blob), Some(queue)) => {
            let endpoints = StorageEndpoints { blob, queue };
            StorageConnection::Identity { endpoints, client_id }
        }
        _ => placeholder(),
    }
}

/// Stands in for an unreadable connection until all violations are reported.
fn placeholder() -> StorageConnection {
    #[expect(clippy::expect_used, reason = "a constant; a unit test parses it")]
    connection_string::parse("UseDevelopmentStorage=true").expect("the emulator's is well formed")
}

/// Host names of accounts end so, in Azure's clouds
/// (<https://learn.microsoft.com/azure/storage/common/storage-account-overview>).
const AZURE: [&str; 4] = [
    ".core.windows.net",
    ".core.chinacloudapi.cn",
    ".core.usgovcloudapi.net",
    ".storage.azure.net",
];

/// The endpoint of a service, from the setting or part of one that has this name.
///
/// # Errors
///
/// What it has that would be left out, or lead somewhere else.
pub(super) fn endpoint(name: &str, text: &str) -> Result<Url, String> {
    let none = || format!("has an endpoint that is no http or https URL ({name}); expected {HINT}");
    // The parser would encode quotes and blanks, and drop line ends.
    if text.contains(|c: char| c.is_control() || matches!(c, '"' | '\'' | ' ')) {
        return Err(none());
    }
    let url = Url::parse(text.trim_end_matches('/'))
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(none)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "has a query behind its endpoint ({name}), which would be left out: a signature goes \
             into {NAME}=BlobEndpoint=...;QueueEndpoint=...;SharedAccessSignature=..."
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("has a user before the host of its endpoint ({name})"));
    }
    let host = url.host_str().unwrap_or_default();
    let has_path = !url.path().trim_matches('/').is_empty();
    if AZURE.iter().any(|suffix| host.ends_with(suffix)) {
        if url.scheme() == "http" {
            return Err(format!("has http in its endpoint ({name}): Azure is spoken to by https"));
        }
        if has_path {
            return Err(format!(
                "has a path behind its endpoint ({name}): the account's is wanted"
            ));
        }
        let is_blob = name.to_ascii_lowercase().contains("blob");
        let others = if is_blob { ["queue", "dfs"] } else { ["blob", "dfs"] };
        if others.iter().any(|other| host.contains(&format!(".{other}."))) {
            return Err(format!("has the endpoint of another service ({name})"));
        }
    } else if !has_path && !matches!(url.host(), Some(Host::Domain(name)) if name != "localhost") {
        return Err(format!(
            "has no account in the path of its endpoint ({name}): http://127.0.0.1:PORT/ACCOUNT, \
             as {NAME}=UseDevelopmentStorage=true has it"
        ));
    }
    Ok(url)
}
