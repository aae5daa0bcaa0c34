//! Each mistake once, in a snapshot.

use serde_json::json;

use super::*;

/// A snapshot and what it is held against, to be broken.
pub(super) struct Broken {
    pub(super) snapshot: Snapshot,
    rules: Rules,
}

impl Broken {
    /// The resource of a type whose name ends like this.
    pub(super) fn one(&mut self, kind: &str, name: &str) -> &mut serde_json::Value {
        let resources =
            self.snapshot.value["predictedResources"].as_array_mut().expect("resources");
        let wanted = |one: &&mut serde_json::Value| {
            text(one, "/type").ends_with(kind) && text(one, "/name").ends_with(name)
        };
        resources.iter_mut().find(wanted).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    pub(super) fn properties(&mut self, kind: &str, name: &str) -> &mut serde_json::Value {
        &mut self.one(kind, name)["properties"]
    }

    pub(super) fn setting(&mut self, name: &str, value: &str) {
        self.properties("sites/config", "appsettings")[name] = value.into();
    }

    pub(super) fn criteria(&mut self, rule: &str) -> &mut serde_json::Value {
        &mut self.properties("scheduledQueryRules", rule)["criteria"]["allOf"][0]
    }

    pub(super) fn role(&mut self, id: &str) -> &mut serde_json::Value {
        let resources =
            self.snapshot.value["predictedResources"].as_array_mut().expect("resources");
        let wanted =
            |one: &&mut serde_json::Value| text(one, "/properties/roleDefinitionId").ends_with(id);
        resources.iter_mut().find(wanted).expect("a role")
    }
}

pub(super) type Break = fn(&mut Broken);

/// What is broken, and what the finding must say.
const IN_A_SNAPSHOT: [(&str, Break, &str); 36] = [
    (
        "property name",
        |b| b.properties("Web/sites", "")["httpOnly"] = true.into(),
        ".httpOnly is no property",
    ),
    (
        "misspelt open enum",
        |b| b.properties("storageAccounts", "")["minimumTlsVersion"] = "TLS12".into(),
        "minimumTlsVersion is \"TLS12\"",
    ),
    (
        "memory 777",
        |b| {
            b.properties("Web/sites", "")["functionAppConfig"]["scaleAndConcurrency"]["instanceMemoryMB"] =
                777.into()
        },
        "instanceMemoryMB is 777",
    ),
    (
        "no instance",
        |b| {
            b.properties("Web/sites", "")["functionAppConfig"]["scaleAndConcurrency"]["maximumInstanceCount"] =
                0.into()
        },
        "maximumInstanceCount is 0",
    ),
    (
        "queue with a capital",
        |b| b.one("queues", "/chunk-control")["name"] = "a/default/Chunk-control".into(),
        "\"Chunk-control\", which does not match",
    ),
    ("queue missing", |b| b.one("queues", "/chunks-poison")["type"] = "x".into(), "the queues are"),
    ("queue unlike function.json", |b| b.rules.facts.queues[0] = "other".into(), "the queues are"),
    (
        "unknown app setting",
        |b| b.setting("PIXCRAWLER_FLEET", "10"),
        "PIXCRAWLER_FLEET is unknown to the handler",
    ),
    (
        "app setting out of its bounds",
        |b| b.setting("PIXCRAWLER_FLEET_MAX_CHUNKS", "10001"),
        "from 1 to 10000",
    ),
    (
        "app setting missing",
        |b| {
            drop(
                b.properties("sites/config", "appsettings")
                    .as_object_mut()
                    .map(|all| all.remove("ChunkStorage__clientId")),
            )
        },
        "/properties/ChunkStorage__clientId is null, and must be",
    ),
    (
        "required setting missing",
        |b| {
            drop(
                b.properties("sites/config", "appsettings")
                    .as_object_mut()
                    .map(|all| all.remove("DATABASE_URL")),
            )
        },
        "app setting DATABASE_URL=not set",
    ),
    (
        "FUNCTIONS_WORKER_RUNTIME",
        |b| b.setting("FUNCTIONS_WORKER_RUNTIME", "custom"),
        "FUNCTIONS_WORKER_RUNTIME is \"custom\", and must be null",
    ),
    (
        "wrong profile",
        |b| b.setting("PIXCRAWLER_ENVIRONMENT", "azure"),
        "the handler reads profile azure",
    ),
    (
        "accounts exchanged",
        |b| b.setting("ChunkStorage__blobServiceUri", "https://other.blob.core.windows.net/"),
        "ChunkStorage__blobServiceUri is \"https://other",
    ),
    (
        "role id",
        |b| {
            b.role(SENDER)["properties"]["roleDefinitionId"] =
                "/x/00000000-0000-0000-0000-000000000000".into()
        },
        "role missing: workflow as Queue Data Message Sender",
    ),
    (
        "role scope",
        |b| {
            let role = b.role(SENDER);
            role["id"] =
                text(role, "/id").replace("/queueServices/default/queues/chunk-control", "").into();
        },
        "workflow as Queue Data Message Sender on data account",
    ),
    (
        "one role too many",
        |b| {
            let mut more = b.role(SENDER).clone();
            more["id"] = (text(&more, "/id").to_owned() + "2").into();
            b.snapshot.value["predictedResources"].as_array_mut().expect("resources").push(more);
        },
        "role too many: workflow",
    ),
    (
        "threshold unlike the profile",
        |b| b.criteria("temp")["threshold"] = 9000.into(),
        "alert temp: /criteria/allOf/0/threshold is 9000, and must be 450",
    ),
    (
        "unknown metric",
        |b| {
            b.criteria("failed")["query"] = "customMetrics\n| where name == \"failed_chunk\"".into()
        },
        "no metric is named failed_chunk",
    ),
    (
        "valueMax of a counter",
        |b| b.criteria("rejected")["metricMeasureColumn"] = "valueMax".into(),
        "/metricMeasureColumn is \"valueMax\"",
    ),
    (
        "valueMax in a query",
        |b| {
            b.criteria("rejected")["query"] =
                "customMetrics | where name == \"rejected_messages\" | where valueMax > 0".into()
        },
        "valueMax is empty for a counter",
    ),
    (
        "bin in a measured query",
        |b| {
            b.criteria("failed")["query"] = "customMetrics | where name == \"failed_chunks\" | summarize valueSum = sum(valueSum) by bin(timestamp, 10m)".into()
        },
        "in a measured query",
    ),
    (
        "window of active",
        |b| b.properties("scheduledQueryRules", "active")["windowSize"] = "PT5M".into(),
        "alert active: window of 5 min: shorter than twice",
    ),
    (
        "action group",
        |b| b.properties("scheduledQueryRules", "silent")["actions"]["actionGroups"] = json!([]),
        "alert silent: /actions/actionGroups is []",
    ),
    (
        "duration",
        |b| b.properties("scheduledQueryRules", "silent")["windowSize"] = "15 minutes".into(),
        "which is not of its format",
    ),
    (
        "concurrency of the host",
        |b| b.rules.facts.host["extensions"]["queues"]["newBatchThreshold"] = 8.into(),
        "host.json takes 9 messages",
    ),
    (
        "port 6432",
        |b| b.setting("DATABASE_URL", "postgres://id@host:6432/pixcrawler?sslmode=verify-full"),
        "a port other than 5432",
    ),
    (
        "password in plain text",
        |b| {
            b.setting(
                "DATABASE_URL",
                "postgres://id:secret@host:5432/pixcrawler?sslmode=verify-full",
            )
        },
        "a password or key in plain text",
    ),
    (
        "key in plain text",
        |b| b.one("storageAccounts", "")["tags"]["key"] = format!("{}==", "A".repeat(86)).into(),
        "a password or key in plain text",
    ),
    (
        "listKeys",
        |b| b.setting("AzureWebJobsStorage__blobServiceUri", "[listKeys('a', '1').keys[0].value]"),
        "a way to one",
    ),
    (
        "shared keys",
        |b| b.properties("storageAccounts", "")["allowSharedKeyAccess"] = true.into(),
        "allowSharedKeyAccess is true",
    ),
    (
        "API version",
        |b| b.one("workbooks", "")["apiVersion"] = "2023-06-31".into(),
        "the API version 2023-06-31 is unknown",
    ),
    (
        "PgBouncer",
        |b| {
            b.one("flexibleServers/databases", "")["type"] =
                "Microsoft.DBforPostgreSQL/flexibleServers/configurations".into()
        },
        "flexibleServers/configurations, and 0 are wanted",
    ),
    (
        "remediation when resolved",
        |b| {
            let text = b.snapshot.value.to_string().replace("'Fired')", "'Resolved')");
            b.snapshot.value = serde_json::from_str(&text).expect("JSON");
        },
        "/when_fired/expression is",
    ),
    (
        "workbook's own query",
        |b| {
            b.properties("workbooks", "")["serializedData"] =
                r#"{"items":[{"content":{"query":"customMetrics | take 1"}}]}"#.into()
        },
        "is of no file below kql",
    ),
    (
        "receiver that nobody gave",
        |b| {
            b.properties("actionGroups", "manager")["smsReceivers"] =
                json!([{"name": "a", "countryCode": "1", "phoneNumber": "5550100"}])
        },
        "actionGroups manager: /properties/smsReceivers is",
    ),
];

/// A4 A5 F14 X21 X27 P1 P2 P3: rules, groups with their receivers, relays and limits are code, and each
/// mistake in it is named.
pub fn a_broken_snapshot_is_named() -> Result<()> {
    each_is_named(VARIANT, &IN_A_SNAPSHOT)
}

/// The snapshot itself has no finding, and each way to break it the one that it must have.
pub(super) fn each_is_named(variant: Variant, breaks: &[(&str, Break, &str)]) -> Result<()> {
    let rules = Rules::read(&root().join("infra"))?;
    let snapshot = Snapshot::committed(variant)?;
    assert_eq!(rules.check(&snapshot)?, Vec::<String>::new(), "the snapshot itself");
    for (what, broken, expected) in breaks {
        let mut it = Broken { snapshot: snapshot.clone(), rules: rules.clone() };
        broken(&mut it);
        let findings = it.rules.check(&it.snapshot)?;
        assert!(findings.iter().any(|finding| finding.contains(expected)), "{what}: {findings:#?}");
    }
    Ok(())
}
