//! Who is told: the groups with their receivers, and the workflows behind them.

use serde_json::{Value, json};

use super::super::snapshot::{Snapshot, id, text};
use super::Row;

/// Of the groups and the workflows.
pub(super) fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = [groups(snapshot), workflows(snapshot)].concat();
    rows.push(("actionGroups", String::new(), "/location", "Global".into()));
    rows.push(("workflows", String::new(), "/properties/state", "Enabled".into()));
    rows
}

/// Of one group no two receivers have one name: Azure refuses them.
fn groups(snapshot: &Snapshot) -> Vec<Row> {
    let given = |receiver: Value| {
        if snapshot.variant.receivers { json!([receiver]) } else { json!([]) }
    };
    let mail = |address: &str| {
        let name = format!("email-{address}");
        given(json!({ "name": name, "emailAddress": address, "useCommonAlertSchema": true }))
    };
    let calls = |name: &str, workflow: &Value| {
        let url = format!(
            "[listCallbackUrl('{}/triggers/alert', '2019-05-01').value]",
            text(workflow, "/id")
        );
        json!({
            "name": name, "resourceId": id(workflow), "callbackUrl": url, "useCommonAlertSchema": true,
        })
    };
    let push = json!({ "name": "push-team@example.net", "emailAddress": "team@example.net" });
    let telephone = json!({ "name": "1-5550100", "countryCode": "1", "phoneNumber": "5550100" });
    let on_call = json!({
        "name": "on-call", "serviceUri": "[parameters('onCallUrl')]", "useCommonAlertSchema": true,
    });
    let row = |name: &str, receivers: Value| {
        let mut properties = receivers;
        properties["groupShortName"] = format!("pix-{name}").into();
        properties["enabled"] = true.into();
        ("actionGroups", name.to_owned(), "/properties", properties)
    };
    vec![
        row(
            "notify",
            json!({
                "emailReceivers": mail("team@example.net"),
                "azureAppPushReceivers": given(push),
                "logicAppReceivers": given(calls("slack", snapshot.relay())),
            }),
        ),
        row(
            "storage",
            json!({
                "smsReceivers": given(telephone),
                "logicAppReceivers": [calls("remediation", snapshot.remediation())],
            }),
        ),
        row("oncall", json!({ "webhookReceivers": given(on_call) })),
        row("manager", json!({ "emailReceivers": mail("manager@example.net") })),
    ]
}

fn workflows(snapshot: &Snapshot) -> Vec<Row> {
    let account = text(snapshot.data_account(), "/name");
    let queue = format!(
        "[format('https://{{0}}.queue.{{1}}/chunk-control', '{account}', environment().suffixes.storage)]"
    );
    let name = |workflow: &Value| text(workflow, "/name").to_owned();
    let remediation = name(snapshot.remediation());
    let place = "/properties/parameters";
    let mut rows = vec![
        ("workflows", remediation.clone(), place, json!({ "queueUri": { "value": queue } })),
        ("workflows", remediation.clone(), "/identity", json!({ "type": "SystemAssigned" })),
        (
            "workflows",
            remediation,
            "/properties/definition",
            definition("queueUri", "String", cure()),
        ),
    ];
    if snapshot.variant.receivers {
        let relay = snapshot.relay();
        let url = json!({ "relayUrl": { "value": "[parameters('relayUrl')]" } });
        let body = &relay["properties"]["definition"]["actions"]["post"]["inputs"]["body"];
        rows.push(("workflows", name(relay), place, url));
        rows.push((
            "workflows",
            name(relay),
            "/properties/definition",
            definition("relayUrl", "SecureString", post(body)),
        ));
    }
    rows
}

/// A relay that does not say which alert it is, and whether it fires.
pub(super) fn relay_is_silent(snapshot: &Snapshot) -> Option<String> {
    let body = snapshot.relay()["properties"]["definition"]["actions"]["post"]["inputs"]["body"]
        .to_string();
    let says = |what: &str| body.contains(&format!("?['essentials']?['{what}']"));
    let silent = snapshot.variant.receivers && !(says("monitorCondition") && says("alertRule"));
    silent.then(|| "the relay does not say which alert it is, and whether it fires".to_owned())
}

/// A workflow that an alert calls.
fn definition(parameter: &str, kind: &str, actions: Value) -> Value {
    json!({
        "$schema": "https://schema.management.azure.com/providers/Microsoft.Logic/schemas/2016-06-01/workflowdefinition.json#",
        "contentVersion": "1.0.0.0",
        "parameters": { parameter: { "type": kind } },
        "triggers": { "alert": {
            "type": "Request", "kind": "Http", "inputs": { "schema": { "type": "object" } },
        } },
        "actions": actions,
        "outputs": {},
    })
}

/// To the relay's URL alone, which is a secret: hidden from the history of runs.
fn post(body: &Value) -> Value {
    json!({ "post": {
        "type": "Http",
        "inputs": {
            "method": "POST",
            "uri": "@parameters('relayUrl')",
            "headers": { "Content-Type": "application/json" },
            "body": body,
        },
        "runtimeConfiguration": { "secureData": { "properties": ["inputs"] } },
        "runAfter": {},
    } })
}

/// Two control messages, for an alert that fires and for nothing else.
fn cure() -> Value {
    let message = |text: &str| {
        json!({
            "type": "Http",
            "inputs": {
                "method": "POST",
                "uri": "@concat(parameters('queueUri'), '/messages')",
                // Seconds: a sweep that is late is of no use.
                "queries": { "messagettl": "900" },
                "headers": {
                    "Content-Type": "application/xml",
                    "x-ms-date": "@utcNow('R')",
                    "x-ms-version": "2021-12-02",
                },
                "body": format!(
                    "@concat('<QueueMessage><MessageText>', base64('{text}'), '</MessageText></QueueMessage>')"
                ),
                "authentication": {
                    "type": "ManagedServiceIdentity", "audience": "https://storage.azure.com/",
                },
            },
            "runAfter": {},
        })
    };
    json!({ "when_fired": {
        "type": "If",
        "expression": "@equals(triggerBody()?['data']?['essentials']?['monitorCondition'], 'Fired')",
        "actions": {
            "sweep": message(r#"{"version":1,"action":"sweep"}"#),
            "pause": message(r#"{"version":1,"action":"pause","minutes":15}"#),
        },
        "else": { "actions": {} },
        "runAfter": {},
    } })
}
