//! What must be exactly as it is written down here: how many resources of each type there are, and what
//! they say. What is not written down is not there: an open door is one property more.

mod app;
mod parts;
mod told;

use serde_json::{Map, Value};

use super::snapshot::{Snapshot, text};
use super::variant::Variant;

/// How a type's name ends, what the names of the resources meant have in them, what lies there, and what it
/// must be. A row is of every resource that fits, and there is one.
type Row = (&'static str, String, &'static str, Value);

/// How many resources of a type there are.
type Count = (&'static str, fn(Variant) -> usize);

/// All of them.
const COUNTS: [Count; 28] = [
    ("Microsoft.Authorization/roleAssignments", |one| if one.receivers { 11 } else { 9 }),
    ("Microsoft.DBforPostgreSQL/flexibleServers", |_| 1),
    ("Microsoft.DBforPostgreSQL/flexibleServers/administrators", |one| {
        1 + usize::from(one.receivers)
    }),
    ("Microsoft.DBforPostgreSQL/flexibleServers/configurations", |_| 0),
    ("Microsoft.DBforPostgreSQL/flexibleServers/databases", |_| 1),
    ("Microsoft.DBforPostgreSQL/flexibleServers/firewallRules", |one| usize::from(!one.network)),
    ("Microsoft.Insights/actionGroups", |_| 4),
    ("Microsoft.Insights/components", |_| 1),
    ("Microsoft.Insights/metricAlerts", |_| 2),
    ("Microsoft.Insights/scheduledQueryRules", |_| 8),
    ("Microsoft.Insights/workbooks", |_| 1),
    ("Microsoft.Logic/workflows", |one| 1 + usize::from(one.receivers)),
    ("Microsoft.ManagedIdentity/userAssignedIdentities", |_| 1),
    ("Microsoft.Network/privateDnsZones", |one| usize::from(one.network)),
    ("Microsoft.Network/privateDnsZones/virtualNetworkLinks", |one| usize::from(one.network)),
    ("Microsoft.Network/virtualNetworks", |one| usize::from(one.network)),
    ("Microsoft.Network/virtualNetworks/subnets", |_| 0),
    ("Microsoft.OperationalInsights/workspaces", |_| 1),
    ("Microsoft.Resources/resourceGroups", |_| 1),
    ("Microsoft.Storage/storageAccounts", |_| 2),
    ("Microsoft.Storage/storageAccounts/blobServices", |_| 2),
    ("Microsoft.Storage/storageAccounts/blobServices/containers", |_| 3),
    ("Microsoft.Storage/storageAccounts/queueServices", |_| 1),
    ("Microsoft.Storage/storageAccounts/queueServices/queues", |_| 4),
    ("Microsoft.Web/serverfarms", |_| 1),
    ("Microsoft.Web/sites", |_| 1),
    ("Microsoft.Web/sites/basicPublishingCredentialsPolicies", |_| 2),
    ("Microsoft.Web/sites/config", |_| 1),
];

/// What of a snapshot is not exactly as it must be.
pub(super) fn check(snapshot: &Snapshot) -> Vec<String> {
    let mut findings = Vec::new();
    for (kind, count) in COUNTS {
        let (found, wanted) = (snapshot.of(kind).count(), count(snapshot.variant));
        if found != wanted {
            findings.push(format!("{found} {kind}, and {wanted} are wanted"));
        }
    }
    let known = |one: &&Value| COUNTS.iter().any(|(kind, _)| *kind == text(one, "/type"));
    let others = snapshot.resources().filter(|one| !known(one));
    findings.extend(others.map(|one| format!("a {} is not wanted", text(one, "/type"))));
    for (kind, name, pointer, wanted) in
        [app::rows(snapshot), parts::rows(snapshot), told::rows(snapshot)].concat()
    {
        let fits = |one: &&Value| {
            text(one, "/type").ends_with(&format!("/{kind}")) && text(one, "/name").contains(&name)
        };
        let mut found = snapshot.resources().filter(fits).peekable();
        if found.peek().is_none() {
            findings.push(format!("{kind} {name}: missing"));
        }
        for one in found {
            let value = one.pointer(pointer).unwrap_or(&Value::Null);
            let differ = differences(pointer, value, &wanted);
            findings.extend(differ.into_iter().map(|differ| format!("{kind} {name}: {differ}")));
        }
    }
    findings.extend(told::relay_is_silent(snapshot));
    findings
}

/// Each place where a value is not what it must be; what is absent is null.
pub(super) fn differences(place: &str, found: &Value, wanted: &Value) -> Vec<String> {
    let nothing = Map::new();
    let inside = |found: &Map<String, Value>, wanted: &Map<String, Value>| {
        let more = found.keys().filter(|name| !wanted.contains_key(*name));
        let of = |fields: &Map<String, Value>, name| fields.get(name).cloned().unwrap_or_default();
        let differ = wanted.keys().chain(more).flat_map(|name| {
            differences(&format!("{place}/{name}"), &of(found, name), &of(wanted, name))
        });
        differ.collect()
    };
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => inside(found, wanted),
        (Value::Object(found), Value::Null) => inside(found, &nothing),
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            let pairs = found.iter().zip(wanted).enumerate();
            pairs
                .flat_map(|(at, (found, wanted))| {
                    differences(&format!("{place}/{at}"), found, wanted)
                })
                .collect()
        }
        _ if found == wanted => Vec::new(),
        _ => vec![format!("{place} is {found}, and must be {wanted}")],
    }
}
