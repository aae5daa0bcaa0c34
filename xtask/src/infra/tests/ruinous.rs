//! Each of what would be ruinous once: an open door, a secret that shows, a cure that does not cure.

use serde_json::{Value, json};

use super::snapshot::{Break, Broken, each_is_named};
use super::*;

impl Broken {
    /// Puts another text in the place of one, wherever it stands.
    fn replace(&mut self, from: &str, to: &str) {
        let text = self.snapshot.value.to_string();
        assert!(text.contains(from), "no {from:?} in the snapshot");
        self.snapshot.value = serde_json::from_str(&text.replace(from, to)).expect("JSON");
    }

    /// One more of a type.
    fn again(&mut self, kind: &str, name: &str) {
        let mut more = self.one(kind, name).clone();
        for field in ["id", "name"] {
            more[field] = (text(&more, &format!("/{field}")).to_owned() + "2").into();
        }
        let all = self.snapshot.value["predictedResources"].as_array_mut().expect("resources");
        all.push(more);
    }

    fn definition(&mut self, workflow: &str) -> &mut Value {
        let all = self.snapshot.value["predictedResources"].as_array_mut().expect("resources");
        let wanted = |one: &&mut Value| text(one, "/name").starts_with(workflow);
        &mut all.iter_mut().find(wanted).expect("a workflow")["properties"]["definition"]
    }
}

/// What is broken, and what the finding must say.
const IN_A_SNAPSHOT: [(&str, Break, &str); 48] = [
    (
        "the whole internet at the database",
        |b| b.properties("firewallRules", "")["endIpAddress"] = "255.255.255.255".into(),
        "firewallRules : /properties/endIpAddress is \"255.255.255.255\"",
    ),
    (
        "one firewall rule too many",
        |b| b.again("firewallRules", ""),
        "2 Microsoft.DBforPostgreSQL/flexibleServers/firewallRules, and 1 are wanted",
    ),
    (
        "the relay's URL in plain text",
        |b| b.replace("[parameters('relayUrl')]", "https://hooks.example.net/relay"),
        "relayUrl is not secure",
    ),
    (
        "the on-call URL in plain text",
        |b| b.replace("[parameters('onCallUrl')]", "https://oncall.example.net/azure"),
        "onCallUrl is not secure",
    ),
    (
        "an output with a secret",
        |b| b.snapshot.value["outputs"]["RELAY"] = "[parameters('relayUrl')]".into(),
        "relayUrl goes to /outputs/RELAY",
    ),
    (
        "a tag with a secret",
        |b| b.one("Web/sites", "")["tags"]["relay"] = "[parameters('relayUrl')]".into(),
        "relayUrl goes to",
    ),
    (
        "another user of the database",
        |b| b.replace("sslmode=verify-full', 'id-", "sslmode=verify-full', 'admin-"),
        "config /appsettings: /properties/DATABASE_URL is",
    ),
    (
        "another administrator",
        |b| b.properties("administrators", "]")["principalName"] = "id-other".into(),
        "/properties/principalName is \"id-other\"",
    ),
    (
        "the app as a user",
        |b| b.properties("administrators", "]")["principalType"] = "User".into(),
        "/properties/principalType is \"User\", and must be \"ServicePrincipal\"",
    ),
    (
        "another principal as administrator",
        |b| {
            b.one("administrators", "]")["name"] =
                "server/44444444-4444-4444-8444-444444444444".into()
        },
        "administrators reference(",
    ),
    (
        "an administrator too many",
        |b| b.again("administrators", "3333"),
        "3 Microsoft.DBforPostgreSQL/flexibleServers/administrators, and 2 are wanted",
    ),
    (
        "a client id of somebody else",
        |b| b.setting("ChunkStorage__clientId", "[reference('other', '2024-11-30').clientId]"),
        "/properties/ChunkStorage__clientId is \"[reference('other'",
    ),
    (
        "the principal for the client id",
        |b| b.replace(".clientId", ".principalId"),
        "/properties/APPLICATIONINSIGHTS_AUTHENTICATION_STRING is",
    ),
    (
        "a role of somebody else",
        |b| {
            b.role(SENDER)["properties"]["principalId"] =
                "55555555-5555-4555-8555-555555555555".into()
        },
        "role too many: somebody as Queue Data Message Sender",
    ),
    (
        "a role's name without its principal",
        |b| b.role(SENDER)["name"] = "674aeb3c-2432-5842-9f32-eaf54ed6fcbb".into(),
        "the name of a role of the workflow is not of its scope, principal and role",
    ),
    (
        "a workflow switched off",
        |b| b.replace("\"state\":\"Enabled\"", "\"state\":\"Disabled\""),
        "/properties/state is \"Disabled\"",
    ),
    (
        "a group switched off",
        |b| b.properties("actionGroups", "oncall")["enabled"] = false.into(),
        "actionGroups oncall: /properties/enabled is false",
    ),
    (
        "two receivers of one name",
        |b| b.replace("\"push-team@example.net\"", "\"email-team@example.net\""),
        "/properties/azureAppPushReceivers/0/name is",
    ),
    (
        "on-call calls somebody else",
        |b| b.replace("[parameters('onCallUrl')]", "https://example.org/"),
        "/properties/webhookReceivers/0/serviceUri is \"https://example.org/\"",
    ),
    (
        "Azure's services around the network rules",
        |b| b.properties("storageAccounts", "")["networkAcls"]["bypass"] = "AzureServices".into(),
        "/properties/networkAcls/bypass is \"AzureServices\"",
    ),
    (
        "a public container",
        |b| b.one("containers", "/chunk-sources")["properties"] = json!({ "publicAccess": "Blob" }),
        "containers : /properties/publicAccess is \"Blob\"",
    ),
    (
        "an account too many",
        |b| b.again("storageAccounts", ""),
        "3 Microsoft.Storage/storageAccounts, and 2 are wanted",
    ),
    (
        "a type that nobody expects",
        |b| b.one("serverfarms", "")["type"] = "Microsoft.Compute/virtualMachines".into(),
        "a Microsoft.Compute/virtualMachines is not wanted",
    ),
    (
        "a database alert that is seldom evaluated",
        |b| b.properties("metricAlerts", "database-storage")["evaluationFrequency"] = "PT1H".into(),
        "alert database-storage: /evaluationFrequency is \"PT1H\"",
    ),
    (
        "a database alert with another window",
        |b| b.properties("metricAlerts", "database-connections")["windowSize"] = "PT1M".into(),
        "alert database-connections: /windowSize is \"PT1M\"",
    ),
    (
        "a database alert that is off",
        |b| b.properties("metricAlerts", "database-storage")["enabled"] = false.into(),
        "alert database-storage: /enabled is false",
    ),
    (
        "a database alert of another server's metric",
        |b| {
            b.properties("metricAlerts", "database-storage")["criteria"]["allOf"][0]["metricNamespace"] =
                "Microsoft.Sql/servers".into()
        },
        "/metricNamespace is",
    ),
    (
        "a log alert that is off",
        |b| b.properties("scheduledQueryRules", "failed")["enabled"] = false.into(),
        "alert failed: /enabled is false",
    ),
    (
        "a log alert that is muted",
        |b| b.properties("scheduledQueryRules", "failed")["muteActionsDuration"] = "P1D".into(),
        "alert failed: /muteActionsDuration is \"P1D\"",
    ),
    (
        "a log alert that is seldom evaluated",
        |b| b.properties("scheduledQueryRules", "silent")["evaluationFrequency"] = "PT1H".into(),
        "alert silent: /evaluationFrequency is \"PT1H\"",
    ),
    (
        "every instance left out",
        |b| b.criteria("temp")["dimensions"][0]["operator"] = "Exclude".into(),
        "alert temp: /criteria/allOf/0/dimensions/0/operator is \"Exclude\"",
    ),
    (
        "one instance alone",
        |b| b.criteria("temp-lasting")["dimensions"][0]["values"] = json!(["pod"]),
        "alert temp-lasting: /criteria/allOf/0/dimensions/0/values/0 is \"pod\"",
    ),
    (
        "a measured query that chooses nothing",
        |b| {
            b.criteria("failed")["query"] =
                "customMetrics\n| where name == \"failed_chunks\" and valueSum > 1000\n".into();
        },
        "and failed_chunks alone is wanted",
    ),
    (
        "telemetry that is kept for a day",
        |b| b.properties("workspaces", "")["retentionInDays"] = 4.into(),
        "workspaces : /properties/retentionInDays is 4",
    ),
    (
        "no limit of telemetry",
        |b| b.properties("workspaces", "")["workspaceCapping"]["dailyQuotaGb"] = (-1).into(),
        "/properties/workspaceCapping/dailyQuotaGb is -1",
    ),
    (
        "a relay that posts elsewhere",
        |b| {
            b.definition("logic-relay")["actions"]["post"]["inputs"]["uri"] =
                "https://example.org/".into()
        },
        "/actions/post/inputs/uri is \"https://example.org/\"",
    ),
    (
        "a relay that posts elsewhere, too",
        |b| {
            let actions = &mut b.definition("logic-relay")["actions"];
            actions["more"] = actions["post"].clone();
        },
        "/properties/definition/actions/more",
    ),
    (
        "a relay that shows its URL",
        |b| b.definition("logic-relay")["actions"]["post"]["runtimeConfiguration"] = Value::Null,
        "/actions/post/runtimeConfiguration is null",
    ),
    (
        "a relay whose parameter is readable",
        |b| b.definition("logic-relay")["parameters"]["relayUrl"]["type"] = "String".into(),
        "/parameters/relayUrl/type is \"String\"",
    ),
    (
        "a relay that says nothing",
        |b| {
            b.definition("logic-relay")["actions"]["post"]["inputs"]["body"] =
                json!({ "text": "an alert" })
        },
        "the relay does not say",
    ),
    (
        "messages that stay for a week",
        |b| b.replace("\"messagettl\":\"900\"", "\"messagettl\":\"604800\""),
        "/inputs/queries/messagettl is \"604800\"",
    ),
    (
        "the cure of a resolved alert",
        |b| {
            let fired = &mut b.definition("logic-remediation")["actions"]["when_fired"];
            fired["else"]["actions"] = fired["actions"].take();
        },
        "/when_fired/else/actions/",
    ),
    (
        "the condition turned round",
        |b| b.replace("\"@equals(triggerBody()", "\"@not(equals(triggerBody()"),
        "/when_fired/expression is",
    ),
    (
        "the cure into the poison queue",
        |b| b.replace("/chunk-control', 'st", "/chunk-control-poison', 'st"),
        "/properties/parameters/queueUri/value is",
    ),
    (
        "a longer pause",
        |b| b.replace("\\\"minutes\\\":15", "\\\"minutes\\\":1500"),
        "/actions/pause/inputs/body is",
    ),
    (
        "an app that nobody may reach",
        |b| b.properties("Web/sites", "")["publicNetworkAccess"] = "Disabled".into(),
        "sites : /properties/publicNetworkAccess is \"Disabled\"",
    ),
    (
        "FTP",
        |b| b.properties("basicPublishingCredentialsPolicies", "ftp")["allow"] = true.into(),
        "/properties/allow is true",
    ),
    (
        "a disk that is smaller than it has grown to",
        |b| b.properties("flexibleServers", "")["storage"]["storageSizeGB"] = 32.into(),
        "/properties/storage/storageSizeGB is 32, and must be 64",
    ),
];

/// With a network of its own.
const IN_A_NETWORK: [(&str, Break, &str); 11] = [
    (
        "the app in the database's subnet",
        |b| b.replace("/subnets/app", "/subnets/postgres"),
        "sites : /properties/virtualNetworkSubnetId is",
    ),
    (
        "the database in the app's subnet",
        |b| b.replace("/subnets/postgres", "/subnets/app"),
        "/properties/network/delegatedSubnetResourceId is",
    ),
    (
        "storage open to the database's subnet",
        |b| {
            b.properties("storageAccounts", "")["networkAcls"]["virtualNetworkRules"][0]["id"] =
                "/subnets/postgres".into();
        },
        "/properties/networkAcls/virtualNetworkRules/0/id is",
    ),
    (
        "storage that takes everybody",
        |b| b.properties("storageAccounts", "")["networkAcls"]["defaultAction"] = "Allow".into(),
        "/properties/networkAcls/defaultAction is \"Allow\"",
    ),
    (
        "storage that takes nobody",
        |b| b.properties("storageAccounts", "")["publicNetworkAccess"] = "Disabled".into(),
        "/properties/publicNetworkAccess is \"Disabled\"",
    ),
    (
        "storage that takes an address",
        |b| {
            b.properties("storageAccounts", "")["networkAcls"]["ipRules"] =
                json!([{ "value": "203.0.113.1", "action": "Allow" }]);
        },
        "/properties/networkAcls/ipRules is",
    ),
    (
        "storage without the cure",
        |b| {
            b.properties("storageAccounts", "")["networkAcls"]["resourceAccessRules"] = json!([]);
        },
        "/properties/networkAcls/resourceAccessRules is []",
    ),
    (
        "a database with a public address",
        |b| {
            b.properties("flexibleServers", "")["network"]["publicNetworkAccess"] = "Enabled".into()
        },
        "/properties/network/publicNetworkAccess is \"Enabled\"",
    ),
    (
        "bulk data without the service endpoint",
        |b| {
            b.properties("virtualNetworks", "")["subnets"][0]["properties"]["serviceEndpoints"] =
                json!([])
        },
        "/subnets/0/properties/serviceEndpoints is []",
    ),
    (
        "subnets that overlap",
        |b| {
            b.properties("virtualNetworks", "")["subnets"][1]["properties"]["addressPrefix"] =
                "10.40.0.0/28".into()
        },
        "/subnets/1/properties/addressPrefix is \"10.40.0.0/28\"",
    ),
    (
        "a name that is not found",
        |b| b.properties("virtualNetworkLinks", "")["virtualNetwork"]["id"] = "/other".into(),
        "/properties/virtualNetwork/id is \"/other\"",
    ),
];

/// A4 F14: what would ruin a deployment is named, in each kind of network.
pub fn the_ruinous_is_named() -> Result<()> {
    each_is_named(VARIANT, &IN_A_SNAPSHOT)?;
    each_is_named(Variant { network: true, ..VARIANT }, &IN_A_NETWORK)
}
