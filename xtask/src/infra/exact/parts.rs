//! Storage, the database, the network, and where telemetry goes.

use serde_json::{Value, json};

use super::super::snapshot::{Snapshot, id, text};
use super::super::variant::{DEPLOYER, DISK_GB, TENANT};
use super::Row;

/// Of what the app uses.
pub(super) fn rows(snapshot: &Snapshot) -> Vec<Row> {
    [storage(snapshot), database(snapshot), network(snapshot), telemetry(snapshot)].concat()
}

fn storage(snapshot: &Snapshot) -> Vec<Row> {
    let network = snapshot.variant.network;
    let subnet = json!([{ "id": snapshot.subnet("app"), "action": "Allow" }]);
    let acls = json!({
        "defaultAction": if network { "Deny" } else { "Allow" },
        "bypass": "None",
        "virtualNetworkRules": if network { subnet } else { json!([]) },
    });
    // `publicNetworkAccess` is not there: switched off it would shut the service endpoint, too.
    let properties = |acls: Value| {
        json!({
            "allowSharedKeyAccess": false,
            "allowBlobPublicAccess": false,
            "defaultToOAuthAuthentication": true,
            "minimumTlsVersion": "TLS1_2",
            "supportsHttpsTrafficOnly": true,
            "networkAcls": acls,
        })
    };
    let workflow = json!([{ "tenantId": TENANT, "resourceId": id(snapshot.remediation()) }]);
    let mut of_data = acls.clone();
    of_data["resourceAccessRules"] = if network { workflow } else { json!([]) };
    let name = |account: &Value| text(account, "/name").to_owned();
    let (host, data) = (name(snapshot.host_account()), name(snapshot.data_account()));
    vec![
        ("storageAccounts", String::new(), "/kind", "StorageV2".into()),
        ("storageAccounts", String::new(), "/sku", json!({ "name": "Standard_LRS" })),
        ("storageAccounts", host, "/properties", properties(acls)),
        ("storageAccounts", data, "/properties", properties(of_data)),
        ("blobServices", String::new(), "/properties", Value::Null),
        ("containers", String::new(), "/properties", Value::Null),
        ("queueServices", String::new(), "/properties", Value::Null),
        ("queues", String::new(), "/properties", Value::Null),
    ]
}

fn database(snapshot: &Snapshot) -> Vec<Row> {
    let variant = snapshot.variant;
    let access = if variant.network {
        json!({
            "delegatedSubnetResourceId": snapshot.subnet("postgres"),
            "privateDnsZoneArmResourceId": id(snapshot.one("Microsoft.Network/privateDnsZones")),
            "publicNetworkAccess": "Disabled",
        })
    } else {
        json!({ "publicNetworkAccess": "Enabled" })
    };
    let server = json!({
        "version": "17",
        "authConfig": {
            "activeDirectoryAuth": "Enabled", "passwordAuth": "Disabled", "tenantId": TENANT,
        },
        "storage": {
            "storageSizeGB": if variant.receivers { DISK_GB } else { 32 }, "autoGrow": "Enabled",
        },
        "backup": { "backupRetentionDays": 7, "geoRedundantBackup": "Disabled" },
        "highAvailability": { "mode": "Disabled" },
        "network": access,
    });
    let administrator = |name: &str, kind: &str| json!({ "principalName": name, "principalType": kind, "tenantId": TENANT });
    let identity = snapshot.identity();
    let app = Snapshot::reference(identity, ".principalId");
    let mut rows = vec![
        (
            "flexibleServers",
            String::new(),
            "/sku",
            json!({ "name": "Standard_B1ms", "tier": "Burstable" }),
        ),
        ("flexibleServers", String::new(), "/properties", server),
        (
            "databases",
            "/pixcrawler".to_owned(),
            "/properties",
            json!({ "charset": "UTF8", "collation": "en_US.utf8" }),
        ),
        (
            "administrators",
            app,
            "/properties",
            administrator(text(identity, "/name"), "ServicePrincipal"),
        ),
    ];
    if variant.receivers {
        let person = administrator("person@example.net", "User");
        rows.push(("administrators", DEPLOYER.to_owned(), "/properties", person));
    }
    if !variant.network {
        // Which stands for the addresses of Azure, and no other.
        let azure = json!({ "startIpAddress": "0.0.0.0", "endIpAddress": "0.0.0.0" });
        rows.push(("firewallRules", String::new(), "/properties", azure));
    }
    rows
}

fn network(snapshot: &Snapshot) -> Vec<Row> {
    if !snapshot.variant.network {
        return Vec::new();
    }
    let delegated = |name: &str, service: &str| json!([{ "name": name, "properties": { "serviceName": service } }]);
    let network = json!({
        "addressSpace": { "addressPrefixes": ["10.40.0.0/16"] },
        "subnets": [
            { "name": "app", "properties": {
                "addressPrefix": "10.40.0.0/24",
                "delegations": delegated("flex-consumption", "Microsoft.App/environments"),
                "serviceEndpoints": [{ "service": "Microsoft.Storage" }],
            } },
            { "name": "postgres", "properties": {
                "addressPrefix": "10.40.1.0/28",
                "delegations": delegated("postgres", "Microsoft.DBforPostgreSQL/flexibleServers"),
            } },
        ],
    });
    let joined = id(snapshot.one("Microsoft.Network/virtualNetworks"));
    let link = json!({ "registrationEnabled": false, "virtualNetwork": { "id": joined } });
    vec![
        ("virtualNetworks", String::new(), "/properties", network),
        ("privateDnsZones", ".postgres.database.azure.com".to_owned(), "/properties", Value::Null),
        ("virtualNetworkLinks", String::new(), "/properties", link),
    ]
}

fn telemetry(snapshot: &Snapshot) -> Vec<Row> {
    let workspace = json!({
        "sku": { "name": "PerGB2018" },
        "retentionInDays": 30,
        "features": { "disableLocalAuth": true },
        "workspaceCapping": { "dailyQuotaGb": 1 },
    });
    let component = json!({
        "Application_Type": "web",
        "WorkspaceResourceId": id(snapshot.one("Microsoft.OperationalInsights/workspaces")),
        "IngestionMode": "LogAnalytics",
        "DisableLocalAuth": true,
    });
    vec![
        ("workspaces", String::new(), "/properties", workspace),
        ("components", String::new(), "/properties", component),
    ]
}
