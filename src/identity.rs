//! The process's identity in Azure: the credential that gets tokens.

use crate::settings::{HostFacts, Settings, StorageConnection};
use azure_core::{
    credentials::TokenCredential,
    http::{ClientOptions, RetryOptions},
};
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential,
};
use std::sync::Arc;

/// The client id of the storage connection's identity, which Azure Monitor is asked with and the
/// database logged in to.
pub(crate) fn storage_client_id(settings: &Settings) -> Option<String> {
    match &settings.storage {
        StorageConnection::Identity { client_id, .. } => client_id.clone(),
        StorageConnection::Key { .. } | StorageConnection::Signature { .. } => None,
    }
}

/// The first that there is: managed identity, workload identity, the developer's own.
///
/// # Errors
///
/// When the environment names an identity that cannot be used.
pub(crate) fn credential(
    host: &HostFacts,
    client_id: Option<String>,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    credential_with(host, client_id, RetryOptions::default())
}

/// The same of a managed identity whose endpoint is asked once, by somebody who asks again himself: the
/// SDK's repetitions take longer than he waits, and hide what the endpoint said.
///
/// # Errors
///
/// As [`credential`].
pub(crate) fn credential_asked_once(
    host: &HostFacts,
    client_id: Option<String>,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    credential_with(host, client_id, RetryOptions::none())
}

fn credential_with(
    host: &HostFacts,
    client_id: Option<String>,
    retry: RetryOptions,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    if host.identity_endpoint.is_some() || host.on_azure {
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: client_id.map(UserAssignedId::ClientId),
            client_options: ClientOptions { retry, ..ClientOptions::default() },
        };
        return Ok(ManagedIdentityCredential::new(Some(options))?);
    }
    if let Ok(workload) = WorkloadIdentityCredential::new(None) {
        return Ok(workload);
    }
    Ok(DeveloperToolsCredential::new(None)?)
}
