//! The app, its plan and its settings.

use serde_json::{Value, json};

use super::super::app::profile;
use super::super::snapshot::{Snapshot, id, text};
use super::Row;

/// Of the app itself.
pub(super) fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let identity = snapshot.identity();
    let blobs = Snapshot::reference(snapshot.host_account(), ".primaryEndpoints.blob");
    let mut of_identity = json!({});
    of_identity[text(identity, "/id")] = json!({});
    let properties = json!({
        "serverFarmId": id(snapshot.one("Microsoft.Web/serverfarms")),
        "httpsOnly": true,
        "virtualNetworkSubnetId": snapshot.subnet("app"),
        "siteConfig": { "minTlsVersion": "1.2" },
        "functionAppConfig": {
            "deployment": { "storage": {
                "type": "blobContainer",
                "value": format!("[format('{{0}}{{1}}', {blobs}, 'app-package')]"),
                "authentication": {
                    "type": "UserAssignedIdentity", "userAssignedIdentityResourceId": id(identity),
                },
            } },
            "runtime": { "name": "custom", "version": "1.0" },
            "scaleAndConcurrency": { "instanceMemoryMB": 2048, "maximumInstanceCount": 1 },
        },
    });
    let closed = json!({ "allow": false });
    vec![
        ("serverfarms", String::new(), "/sku", json!({ "name": "FC1", "tier": "FlexConsumption" })),
        ("serverfarms", String::new(), "/properties", json!({ "reserved": true })),
        ("sites", String::new(), "/kind", "functionapp,linux".into()),
        ("sites", String::new(), "/tags/azd-service-name", "api".into()),
        (
            "sites",
            String::new(),
            "/identity",
            json!({ "type": "UserAssigned", "userAssignedIdentities": of_identity }),
        ),
        ("sites", String::new(), "/properties", properties),
        ("basicPublishingCredentialsPolicies", "/ftp".to_owned(), "/properties", closed.clone()),
        ("basicPublishingCredentialsPolicies", "/scm".to_owned(), "/properties", closed),
        ("config", "/appsettings".to_owned(), "/properties", settings(snapshot)),
    ]
}

/// Every app setting, and no other. The platform refuses `FUNCTIONS_WORKER_RUNTIME` on this plan.
fn settings(snapshot: &Snapshot) -> Value {
    let (data, host, identity) =
        (snapshot.data_account(), snapshot.host_account(), snapshot.identity());
    let server = snapshot.one("Microsoft.DBforPostgreSQL/flexibleServers");
    let component = snapshot.one("Microsoft.Insights/components");
    let ask = |of: &Value, what: &str| format!("[{}]", Snapshot::reference(of, what));
    let client = Snapshot::reference(identity, ".clientId");
    let database_host = Snapshot::reference(server, ".fullyQualifiedDomainName");
    let (user, chunks) = (text(identity, "/name"), profile(snapshot).max_chunks().to_string());
    json!({
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING":
            format!("[format('ClientId={{0}};Authorization=AAD', {client})]"),
        "APPLICATIONINSIGHTS_CONNECTION_STRING": ask(component, ".ConnectionString"),
        "AzureWebJobsStorage__blobServiceUri": ask(host, ".primaryEndpoints.blob"),
        "AzureWebJobsStorage__clientId": format!("[{client}]"),
        "AzureWebJobsStorage__credential": "managedidentity",
        "AzureWebJobsStorage__tableServiceUri": ask(host, ".primaryEndpoints.table"),
        "ChunkStorage__blobServiceUri": ask(data, ".primaryEndpoints.blob"),
        "ChunkStorage__clientId": format!("[{client}]"),
        "ChunkStorage__credential": "managedidentity",
        "ChunkStorage__queueServiceUri": ask(data, ".primaryEndpoints.queue"),
        "DATABASE_URL": format!(
            "[format('postgres://{{0}}@{{1}}:5432/{{2}}?sslmode=verify-full', '{user}', {database_host}, 'pixcrawler')]"
        ),
        "PIXCRAWLER_DATABASE_CREDENTIAL": "entra",
        "PIXCRAWLER_ENVIRONMENT": snapshot.variant.profile,
        "PIXCRAWLER_FLEET_MAX_CHUNKS": chunks,
        "PIXCRAWLER_INSTANCE_MEMORY_MB": "2048",
        "PIXCRAWLER_MONITOR_POSTGRES_RESOURCE_ID": id(server),
        "PIXCRAWLER_MONITOR_RESOURCE_ID": id(snapshot.one("Microsoft.Web/sites")),
    })
}
