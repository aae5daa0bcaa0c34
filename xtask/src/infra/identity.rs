//! Who may do what: exactly these roles, no key, no password.

use std::collections::BTreeSet;

use anyhow::Result;
use regex_lite::Regex;
use serde_json::Value;

use super::snapshot::{Snapshot, is_expression, last, text};
use super::variant::{DEPLOYER, ON_CALL_URL, RELAY_URL};

/// Role ids, from Azure's list of built-in roles.
const ROLES: [(&str, &str); 8] = [
    ("Blob Data Owner", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"),
    ("Blob Data Contributor", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"),
    ("Blob Data Reader", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"),
    ("Queue Data Contributor", "974c5e8b-45b9-4653-ba55-5f855dd0fb88"),
    ("Queue Data Message Sender", "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a"),
    ("Table Data Contributor", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"),
    ("Monitoring Metrics Publisher", "3913510d-42f4-4e42-8a64-420c390055eb"),
    ("Monitoring Reader", "43d0d8ad-25c7-4714-9337-8ba259a9fe05"),
];

/// Who, as what, on what.
const GRANTED: [(&str, &str, &str); 9] = [
    ("app", "Blob Data Owner", "host account"),
    ("app", "Table Data Contributor", "host account"),
    ("app", "Blob Data Reader", "chunk-sources"),
    ("app", "Blob Data Contributor", "pixcrawler-datasets"),
    ("app", "Queue Data Contributor", "data account"),
    ("app", "Monitoring Metrics Publisher", "component"),
    ("app", "Monitoring Reader", "app"),
    ("app", "Monitoring Reader", "server"),
    ("workflow", "Queue Data Message Sender", "chunk-control"),
];

/// Granted besides where a person who deploys is given.
const DEPLOYERS: [(&str, &str, &str); 2] = [
    ("deployer", "Blob Data Contributor", "data account"),
    ("deployer", "Queue Data Contributor", "data account"),
];

/// Where the value of a secret parameter goes, and nowhere else.
const SECRETS: [(&str, &str, &str); 2] = [
    ("onCallUrl", ON_CALL_URL, "/properties/webhookReceivers/0/serviceUri"),
    ("relayUrl", RELAY_URL, "/properties/parameters/relayUrl/value"),
];

/// What is wrong with the roles and secrets of a snapshot.
pub(super) fn check(snapshot: &Snapshot) -> Result<Vec<String>> {
    Ok([roles(snapshot), secrets(&snapshot.value)?].concat())
}

fn roles(snapshot: &Snapshot) -> Vec<String> {
    let mut findings = Vec::new();
    let mut granted = Vec::new();
    let mut ids = BTreeSet::new();
    let whole = Snapshot::reference(snapshot.remediation(), "");
    let principals = [
        ("app", format!("[{}]", Snapshot::reference(snapshot.identity(), ".principalId"))),
        ("workflow", format!("[{}, 'full').identity.principalId]", whole.trim_end_matches(')'))),
        ("deployer", DEPLOYER.to_owned()),
    ];
    for assignment in snapshot.of("Microsoft.Authorization/roleAssignments") {
        let id = text(assignment, "/id");
        if !ids.insert(id.to_owned()) {
            findings.push(format!("two role assignments are {id}"));
        }
        let role = last(text(assignment, "/properties/roleDefinitionId"))
            .trim_end_matches(['\'', ')', ']']);
        let name = ROLES.iter().find(|(_, id)| *id == role).map(|(name, _)| *name);
        let principal = text(assignment, "/properties/principalId");
        let known = principals.iter().find(|(_, known)| known == principal);
        let who = known.map_or("somebody", |(who, _)| *who);
        let kind = text(assignment, "/properties/principalType");
        if kind != (if who == "deployer" { "User" } else { "ServicePrincipal" }) {
            findings.push(format!("the principalType of a role of the {who} is {kind:?}"));
        }
        let scope = scope_of(id);
        // What Azure alone can evaluate must have the principal in it; what the compiler did is of a person.
        let seeded = format!("[guid('{scope}', {}, '{role}')]", principal.trim_matches(['[', ']']));
        if is_expression(principal) && text(assignment, "/name") != seeded {
            findings.push(format!(
                "the name of a role of the {who} is not of its scope, principal and role"
            ));
        }
        granted.push((who, name.unwrap_or(role).to_owned(), scope_name(snapshot, scope)));
    }
    let mut wanted = GRANTED.to_vec();
    if snapshot.variant.receivers {
        wanted.extend(DEPLOYERS);
    }
    for (who, role, scope) in wanted {
        let same = |one: &(&str, String, String)| one.0 == who && one.1 == role && one.2 == scope;
        match granted.iter().position(same) {
            Some(at) => drop(granted.swap_remove(at)),
            None => findings.push(format!("role missing: {who} as {role} on {scope}")),
        }
    }
    findings.extend(
        granted
            .iter()
            .map(|(who, role, scope)| format!("role too many: {who} as {role} on {scope}")),
    );
    findings
}

/// What a role assignment is of: its id is the scope's with more behind, or an expression with it.
fn scope_of(id: &str) -> &str {
    let scope = id.strip_prefix("[extensionResourceId('").and_then(|rest| rest.split('\'').next());
    scope.unwrap_or_else(|| {
        id.split("/providers/Microsoft.Authorization/").next().unwrap_or_default()
    })
}

/// The scope of a role by the name it has in the table above.
fn scope_name(snapshot: &Snapshot, id: &str) -> String {
    let is = |one: &Value| text(one, "/id").eq_ignore_ascii_case(id);
    let known = [
        ("host account", snapshot.host_account()),
        ("data account", snapshot.data_account()),
        ("component", snapshot.one("Microsoft.Insights/components")),
        ("app", snapshot.one("Microsoft.Web/sites")),
        ("server", snapshot.one("Microsoft.DBforPostgreSQL/flexibleServers")),
    ];
    let data = format!("{}/", text(snapshot.data_account(), "/id"));
    match known.iter().find(|(_, one)| is(one)) {
        Some((name, _)) => (*name).to_owned(),
        None if id.starts_with(&data) => last(id).to_owned(),
        None => id.to_owned(),
    }
}

/// Texts that look like a secret, or that fetch one.
fn secrets(value: &Value) -> Result<Vec<String>> {
    let looks = [
        "(?i)account_?key=",
        "(?i)shared_?access_?(signature|key)",
        "[?&]sig=",
        "://[^/@: ']+:[^/@ ']+@",
        "(?i)(password|pwd)=",
        "[A-Za-z0-9+/]{86}==",
        "(?i)list(Keys|AccountSas|ServiceSas|ConnectionStrings)\\(",
    ];
    let looks: Vec<Regex> = looks.iter().map(|one| Ok(Regex::new(one)?)).collect::<Result<_>>()?;
    let mut findings = Vec::new();
    walk(value, "", &mut |path, text| {
        let callback = text.contains("listCallbackUrl(") && !path.contains("logicAppReceivers");
        if callback || looks.iter().any(|one| one.is_match(text)) {
            findings.push(format!("a password or key in plain text, or a way to one: {path}"));
        }
        for (parameter, value, place) in SECRETS {
            if text.contains(value) {
                findings.push(format!("{parameter} is not secure: {path} shows it"));
            }
            if text.contains(&format!("parameters('{parameter}')"))
                && !path.ends_with(place)
                && !path.contains("/definition/")
            {
                findings.push(format!("{parameter} goes to {path}"));
            }
        }
    });
    Ok(findings)
}

/// Calls a function with the path and the text of every text.
pub(super) fn walk(value: &Value, path: &str, see: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::String(text) => see(path, text),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| walk(item, &format!("{path}/{at}"), see))
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| walk(field, &format!("{path}/{name}"), see))
        }
        _ => {}
    }
}
