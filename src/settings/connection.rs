//! The storage connection: identity-based or a connection string.

use super::{Program, Secret, reader::Reader};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::Url;

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

/// Azurite's well-known account, the same on every machine.
const EMULATOR: &str = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;\
    AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
    BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;\
    QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1";

const NAME: &str = "ChunkStorage";
const HINT: &str = "a storage connection string, UseDevelopmentStorage=true, or the variables \
    ChunkStorage__blobServiceUri and ChunkStorage__queueServiceUri";

pub(super) fn read(reader: &mut Reader, program: Program) -> StorageConnection {
    if let (Some(blob), Some(queue)) = (
        reader.raw_text("ChunkStorage__blobServiceUri"),
        reader.raw_text("ChunkStorage__queueServiceUri"),
    ) {
        let client_id = reader.raw_text("ChunkStorage__clientId");
        let credential = reader.raw_text("ChunkStorage__credential");
        if let Some(other) = credential.filter(|kind| kind != "managedidentity") {
            let problem = "must be managedidentity, or unset";
            reader.violation("ChunkStorage__credential", other, problem.into());
        }
        return match endpoints(&blob, &queue) {
            Ok(endpoints) => StorageConnection::Identity { endpoints, client_id },
            Err(problem) => {
                reader.violation("ChunkStorage__blobServiceUri", blob, problem);
                placeholder()
            }
        };
    }
    let fallback = (program == Program::Chunkctl).then_some("AzureWebJobsStorage");
    let Some(text) = reader.secret_text(NAME, fallback) else {
        reader.violation(NAME, "not set".into(), format!("is required: {HINT}"));
        return placeholder();
    };
    parse(&text).unwrap_or_else(|problem| {
        reader.violation(NAME, "***".into(), problem);
        placeholder()
    })
}

/// Stands in for an unreadable connection until all violations are reported.
fn placeholder() -> StorageConnection {
    #[expect(clippy::expect_used, reason = "a constant; a unit test parses it")]
    parse(EMULATOR).expect("the emulator's connection string is well formed")
}

fn parse(text: &str) -> Result<StorageConnection, String> {
    if text.trim().trim_end_matches(';').eq_ignore_ascii_case("UseDevelopmentStorage=true") {
        return parse(EMULATOR);
    }
    let field = |name: &str| {
        text.split(';').find_map(|part| {
            let (key, value) = part.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let account = field("AccountName");
    let endpoint = |service: &str, name: &str| {
        field(name).or_else(|| {
            let scheme = field("DefaultEndpointsProtocol").unwrap_or_else(|| "https".into());
            let suffix = field("EndpointSuffix").unwrap_or_else(|| "core.windows.net".into());
            Some(format!("{scheme}://{}.{service}.{suffix}", account.as_ref()?))
        })
    };
    let missing = |what: &str| format!("has no {what}; expected {HINT}");
    let blob = endpoint("blob", "BlobEndpoint").ok_or_else(|| missing("BlobEndpoint"))?;
    let queue = endpoint("queue", "QueueEndpoint").ok_or_else(|| missing("QueueEndpoint"))?;
    let endpoints = endpoints(&blob, &queue)?;
    if let Some(signature) = field("SharedAccessSignature") {
        let signature = Secret::new(signature.trim_start_matches('?'));
        return Ok(StorageConnection::Signature { endpoints, signature });
    }
    let key = field("AccountKey").ok_or_else(|| missing("AccountKey"))?;
    if STANDARD.decode(&key).is_err() {
        return Err("has an AccountKey that is not Base64".into());
    }
    Ok(StorageConnection::Key {
        endpoints,
        account: account.ok_or_else(|| missing("AccountName"))?,
        key: Secret::new(key),
    })
}

fn endpoints(blob: &str, queue: &str) -> Result<StorageEndpoints, String> {
    let parse = |text: &str| {
        Url::parse(text.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| format!("has an endpoint that is no http or https URL; expected {HINT}"))
    };
    Ok(StorageEndpoints { blob: parse(blob)?, queue: parse(queue)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_of_every_kind_parse() {
        let StorageConnection::Key { endpoints, account, .. } =
            parse("UseDevelopmentStorage=true").unwrap()
        else {
            panic!("the emulator has a key");
        };
        assert_eq!(account, "devstoreaccount1");
        assert_eq!(endpoints.queue.as_str(), "http://127.0.0.1:10001/devstoreaccount1");
        let azure = parse("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=aaaa").unwrap();
        assert_eq!(azure.endpoints().blob.as_str(), "https://a.blob.core.windows.net/");
        let sas = "BlobEndpoint=https://a.b/;QueueEndpoint=https://a.q/;SharedAccessSignature=?sv=1&sig=x%3D";
        let StorageConnection::Signature { signature, .. } = parse(sas).unwrap() else {
            panic!("a signature");
        };
        assert_eq!(signature.expose(), "sv=1&sig=x%3D");
        assert!(!format!("{signature:?}").contains("sig"));
        assert!(parse("nonsense").unwrap_err().contains("BlobEndpoint"));
    }
}
