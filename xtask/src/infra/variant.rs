//! The twelve deployments that are looked at: each profile, with the network and with all receivers or not.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// The example's tenant.
pub(super) const TENANT: &str = "11111111-1111-4111-8111-111111111111";
/// The example's subscription.
pub(super) const SUBSCRIPTION: &str = "22222222-2222-4222-8222-222222222222";
/// The example's region.
pub(super) const LOCATION: &str = "westeurope";
/// Who deploys, in the variants where somebody is given.
pub(super) const DEPLOYER: &str = "33333333-3333-4333-8333-333333333333";
/// A secret: where notifications are repeated.
pub(super) const RELAY_URL: &str = "https://hooks.example.net/relay";
/// A secret: the on-call service.
pub(super) const ON_CALL_URL: &str = "https://oncall.example.net/azure";
/// What the disk of the database has grown to, in the variants with a person who deploys.
pub(super) const DISK_GB: u32 = 64;
/// The profiles, by the names that the settings have for them.
const PROFILES: [&str; 3] = ["local", "azure", "azure_functions"];

/// One deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variant {
    /// As in `PIXCRAWLER_ENVIRONMENT`.
    pub(super) profile: &'static str,
    /// Whether the parts lie in a virtual network.
    pub(super) network: bool,
    /// Whether every optional receiver, and a person who deploys, is given.
    pub(super) receivers: bool,
}

impl Variant {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        PROFILES.into_iter().flat_map(|profile| {
            [(false, false), (false, true), (true, false), (true, true)]
                .map(|(network, receivers)| Self { profile, network, receivers })
        })
    }

    /// Its name, also that of its snapshot.
    pub(super) fn name(self) -> String {
        let network = if self.network { "private" } else { "public" };
        let receivers = if self.receivers { "all" } else { "quiet" };
        format!("{}-{network}-{receivers}", self.profile)
    }

    /// What differs from the parameters file's own values.
    pub(super) fn parameters(self) -> Value {
        let mut given = json!({
            "environmentName": "example", "location": LOCATION,
            "profile": self.profile, "vnetEnabled": self.network,
        });
        if self.receivers {
            let all = json!({
                "principalId": DEPLOYER, "principalType": "User", "principalName": "person@example.net",
                "postgresStorageGb": DISK_GB,
                // One person twice: receivers of a group need different names.
                "notifyEmails": ["team@example.net"], "pushEmails": ["team@example.net"],
                "managerEmails": ["manager@example.net"],
                "smsReceivers": [{ "countryCode": "1", "phoneNumber": "5550100" }],
                "relay": "slack", "relayUrl": RELAY_URL, "onCallEnabled": true, "onCallUrl": ON_CALL_URL,
            });
            if let (Some(given), Value::Object(all)) = (given.as_object_mut(), all) {
                given.extend(all);
            }
        }
        given
    }
}

/// A parameters file for the `main.bicep` beside it: the values of its own file, some of them replaced.
pub(super) fn parameters_file(own: &Value, replaced: &Value) -> String {
    let mut file = "using './main.bicep'\n".to_owned();
    for (name, parameter) in own["parameters"].as_object().into_iter().flatten() {
        let value = replaced.get(name).unwrap_or(&parameter["value"]);
        let _ = writeln!(file, "param {name} = {}", literal(value));
    }
    file
}

/// A value as Bicep writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let text = text.replace('\\', "\\\\").replace('\'', "\\'").replace("${", "\\${");
            format!("'{}'", text.replace('\n', "\\n"))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| format!("  {}\n", literal(item))).collect();
            format!("[\n{}]", items.concat())
        }
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("'{name}': {}\n", literal(value));
            format!("{{\n{}}}", fields.iter().map(field).collect::<String>())
        }
        other => other.to_string(),
    }
}
