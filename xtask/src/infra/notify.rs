//! Who is told: action groups, the workflows behind them, and the workbook one looks at.

use std::collections::BTreeSet;

use anyhow::Result;
use regex_lite::Regex;
use serde_json::Value;

use super::alerts::{named, query_problems};
use super::app::profile;
use super::expression::resolve;
use super::facts::Facts;
use super::identity::walk;
use super::snapshot::{Snapshot, last, text};

/// The groups, and the receivers that each has where all are given.
const GROUPS: [(&str, &[&str]); 4] = [
    ("notify", &["emailReceivers", "azureAppPushReceivers", "logicAppReceivers"]),
    ("storage", &["smsReceivers", "logicAppReceivers"]),
    ("oncall", &["webhookReceivers"]),
    ("manager", &["emailReceivers"]),
];

/// What is wrong with the groups, workflows and workbook of a snapshot; `kql` are the query files' texts.
pub(super) fn check(
    snapshot: &Snapshot,
    facts: &Facts,
    kql: &BTreeSet<String>,
) -> Result<Vec<String>> {
    Ok([groups(snapshot), workflows(snapshot)?, workbook(snapshot, facts, kql)?].concat())
}

fn groups(snapshot: &Snapshot) -> Vec<String> {
    let mut findings = Vec::new();
    let found: Vec<&Value> = snapshot.of("Microsoft.Insights/actionGroups").collect();
    let short: BTreeSet<&str> =
        found.iter().map(|one| text(one, "/properties/groupShortName")).collect();
    if found.len() != GROUPS.len() || short.len() != GROUPS.len() {
        findings.push(format!("{} action groups with the short names {short:?}", found.len()));
    }
    for (name, all) in GROUPS {
        let Some(group) = found.iter().find(|one| named(text(one, "/name"), name)) else {
            findings.push(format!("action group {name}: missing"));
            continue;
        };
        if !text(group, "/location").eq_ignore_ascii_case("global") {
            findings.push(format!("action group {name}: location is not Global"));
        }
        let lists = group["properties"].as_object().into_iter().flatten();
        let mut has: BTreeSet<&str> = BTreeSet::new();
        for (list, receivers) in lists.filter(|(list, _)| list.ends_with("Receivers")) {
            for receiver in receivers.as_array().into_iter().flatten() {
                has.insert(list);
                let takes_schema =
                    !["smsReceivers", "azureAppPushReceivers"].contains(&list.as_str());
                if takes_schema && receiver["useCommonAlertSchema"] != true {
                    findings.push(format!("action group {name}: {list} without the common schema"));
                }
            }
        }
        let always: &[&str] = if name == "storage" { &["logicAppReceivers"] } else { &[] };
        let wanted = if snapshot.variant.receivers { all } else { always };
        if has != wanted.iter().copied().collect() {
            findings.push(format!("action group {name}: has {has:?}, and {wanted:?} were given"));
        }
    }
    findings
}

fn workflows(snapshot: &Snapshot) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let found: Vec<&Value> = snapshot.of("Microsoft.Logic/workflows").collect();
    let wanted = if snapshot.variant.receivers { 2 } else { 1 };
    if found.len() != wanted {
        findings.push(format!("{} workflows, and {wanted} are wanted", found.len()));
    }
    for workflow in found {
        let definition = &workflow["properties"]["definition"];
        let name = last(text(workflow, "/name"));
        let mut problems = parameters(workflow)?;
        let mut http = Vec::new();
        actions(&definition["actions"], &mut http, &mut problems);
        let sends = http.iter().any(|one| text(one, "/inputs/uri").contains("/messages"));
        let more = if sends { remediation(workflow, &http) } else { relay(&http) };
        problems.extend(more);
        if definition["triggers"].as_object().is_none_or(|triggers| triggers.len() != 1) {
            problems.push("not one trigger".to_owned());
        }
        findings.extend(problems.into_iter().map(|problem| format!("workflow {name}: {problem}")));
    }
    Ok(findings)
}

/// Each parameter that is asked for is declared, and each declared one is supplied.
fn parameters(workflow: &Value) -> Result<Vec<String>> {
    let asked = Regex::new(r"parameters\('([^']+)'\)")?;
    let declared = &workflow["properties"]["definition"]["parameters"];
    let supplied = &workflow["properties"]["parameters"];
    let mut findings = Vec::new();
    walk(&workflow["properties"]["definition"], "", &mut |_, text| {
        for name in asked.captures_iter(text).map(|found| found[1].to_owned()) {
            if declared.get(&name).is_none() {
                findings.push(format!("parameter {name} is not declared"));
            }
        }
    });
    for (name, of) in declared.as_object().into_iter().flatten() {
        if supplied.get(name).is_none() && of.get("defaultValue").is_none() {
            findings.push(format!("parameter {name} is not supplied"));
        }
    }
    Ok(findings)
}

/// The HTTP actions, also those inside of conditions; names in `runAfter` are actions beside.
fn actions<'a>(beside: &'a Value, http: &mut Vec<&'a Value>, findings: &mut Vec<String>) {
    for (name, action) in beside.as_object().into_iter().flatten() {
        match text(action, "/type") {
            "Http" => http.push(action),
            "If" => {
                actions(&action["actions"], http, findings);
                actions(&action["else"]["actions"], http, findings);
            }
            other => findings.push(format!("action {name} has the type {other:?}")),
        }
        for after in action["runAfter"].as_object().into_iter().flatten().map(|(name, _)| name) {
            if beside.get(after).is_none() {
                findings.push(format!("action {name} runs after {after}, which is none"));
            }
        }
    }
}

/// Puts two control messages on the queue, for an alert that has fired only.
fn remediation(workflow: &Value, http: &[&Value]) -> Vec<String> {
    let mut findings = Vec::new();
    let top = workflow["properties"]["definition"]["actions"].as_object();
    let on_fired = |action: &Value| {
        let condition = action["expression"].to_string();
        text(action, "/type") == "If"
            && condition.contains("monitorCondition")
            && condition.contains("Fired")
    };
    if !top.is_some_and(|actions| actions.values().all(on_fired)) {
        findings.push("acts on more than monitorCondition Fired".to_owned());
    }
    let sent: BTreeSet<String> =
        http.iter().map(|one| message(text(one, "/inputs/body"))).collect();
    let wanted =
        [r#"{"version":1,"action":"sweep"}"#, r#"{"version":1,"action":"pause","minutes":15}"#];
    if sent != wanted.map(str::to_owned).into() {
        findings.push(format!("sends {sent:?}"));
    }
    for action in http {
        let right = text(action, "/inputs/method") == "POST"
            && text(action, "/inputs/authentication/type") == "ManagedServiceIdentity"
            && text(action, "/inputs/authentication/audience") == "https://storage.azure.com/"
            && !text(action, "/inputs/headers/x-ms-version").is_empty();
        if !right {
            findings.push(
                "method, authentication, audience or x-ms-version of a message are not right"
                    .to_owned(),
            );
        }
    }
    let queue = text(workflow, "/properties/parameters/queueUri/value");
    if !resolve(queue).ends_with("/chunk-control") && !queue.contains("chunk-control") {
        findings.push(format!("its queue is {queue}"));
    }
    if text(workflow, "/identity/type") != "SystemAssigned" {
        findings.push("has no identity of its own".to_owned());
    }
    findings
}

/// The text that a body puts in Base64.
fn message(body: &str) -> String {
    let inside = body.split_once("base64('").and_then(|(_, rest)| rest.split_once("')"));
    inside.map_or(body, |(message, _)| message).to_owned()
}

/// Hides its URL, which is a secret, from the history of runs.
fn relay(http: &[&Value]) -> Vec<String> {
    let hides = |action: &&&Value| {
        let hidden = &action["runtimeConfiguration"]["secureData"]["properties"];
        hidden.as_array().is_some_and(|hidden| hidden.iter().any(|one| one == "inputs"))
    };
    let all = !http.is_empty() && http.iter().filter(hides).count() == http.len();
    if all { Vec::new() } else { vec!["shows its URL in the history of runs".to_owned()] }
}

fn workbook(snapshot: &Snapshot, facts: &Facts, kql: &BTreeSet<String>) -> Result<Vec<String>> {
    let Some(workbook) = snapshot.of("Microsoft.Insights/workbooks").next() else {
        return Ok(vec!["workbook: missing".to_owned()]);
    };
    let mut findings = Vec::new();
    let name = text(workbook, "/name");
    if name.len() != 36 || name.chars().any(|letter| !letter.is_ascii_hexdigit() && letter != '-') {
        findings.push(format!("its name {name} is no GUID"));
    }
    let Some(shown) = shown(workbook) else {
        findings.push("serializedData is no JSON".to_owned());
        return Ok(findings);
    };
    let queries = queries(&shown);
    if queries.len() < 5 {
        findings.push(format!("{} queries", queries.len()));
    }
    let profile = profile(snapshot);
    let (temp, quota) = (profile.temp_mb().to_string(), profile.quota_mb().to_string());
    let filled = |text: &String| {
        text.replace("__TEMP_LIMIT_MB__", &temp).replace("__TEMP_QUOTA_MB__", &quota)
    };
    let kql: BTreeSet<String> = kql.iter().map(filled).collect();
    for query in queries {
        if !kql.contains(query.trim()) {
            findings.push(format!("a query is of no file below kql: {query:?}"));
        }
        findings.extend(query_problems(&query, facts, false)?);
    }
    Ok(findings.into_iter().map(|finding| format!("workbook: {finding}")).collect())
}

/// The queries of the workbook of a snapshot.
pub(super) fn workbook_queries(snapshot: &Snapshot) -> Vec<String> {
    let shown = snapshot.of("Microsoft.Insights/workbooks").find_map(shown);
    shown.map(|shown| queries(&shown)).unwrap_or_default()
}

/// What a workbook shows: JSON in a text, or, where a reference is inside, an expression that makes one.
fn shown(workbook: &Value) -> Option<Value> {
    let data = resolve(text(workbook, "/properties/serializedData"));
    serde_json::from_str(&data).ok()
}

fn queries(shown: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(shown, "", &mut |path, text| {
        if path.ends_with("/query") && text.contains("customMetrics") {
            found.push(text.to_owned());
        }
    });
    found
}
