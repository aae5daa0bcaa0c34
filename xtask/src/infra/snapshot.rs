//! The evaluated snapshot of one deployment, and how its parts are found.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use support::checkout::root;

use super::variant::Variant;

/// What one deployment would make.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Snapshot {
    /// Which deployment.
    pub(super) variant: Variant,
    /// `predictedResources` and `outputs`, in one order.
    pub(super) value: Value,
}

/// Whether Azure alone knows a text's value.
pub(super) fn is_expression(text: &str) -> bool {
    text.starts_with('[') && !text.starts_with("[[") && text.ends_with(']')
}

impl Snapshot {
    /// From the compiler's answer: resources in the order of their ids, keys sorted.
    pub(super) fn new(variant: Variant, answer: &Value) -> Self {
        let mut resources = answer["predictedResources"].as_array().cloned().unwrap_or_default();
        resources.sort_by_cached_key(|one| format!("{} {}", one["type"], one["id"]));
        let value = json!({ "predictedResources": resources, "outputs": answer["outputs"] });
        Self { variant, value }
    }

    /// The committed one.
    pub(super) fn committed(variant: Variant) -> Result<Self> {
        let place = Self::place(variant);
        let text =
            fs::read_to_string(&place).with_context(|| format!("reading {}", place.display()))?;
        Ok(Self { variant, value: serde_json::from_str(&text)? })
    }

    /// Writes it where the committed one lies.
    pub(super) fn write(&self) -> Result<()> {
        let place = Self::place(self.variant);
        fs::create_dir_all(place.parent().context("a snapshot lies in a folder")?)?;
        Ok(fs::write(place, serde_json::to_string_pretty(&self.value)? + "\n")?)
    }

    fn place(variant: Variant) -> PathBuf {
        root().join("infra/snapshots").join(variant.name() + ".json")
    }

    /// Every resource.
    pub(super) fn resources(&self) -> impl Iterator<Item = &Value> {
        self.value["predictedResources"].as_array().into_iter().flatten()
    }

    /// The resources of a type, written as Azure writes it.
    pub(super) fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.resources().filter(move |one| text(one, "/type").eq_ignore_ascii_case(kind))
    }

    /// The only resource of a type, or nothing at all to read from.
    pub(super) fn one(&self, kind: &str) -> &Value {
        self.of(kind).next().unwrap_or(&Value::Null)
    }

    /// The account that has the queues.
    pub(super) fn data_account(&self) -> &Value {
        let queues = self.one("Microsoft.Storage/storageAccounts/queueServices/queues");
        let of_queues =
            |one: &&Value| text(queues, "/id").starts_with(&format!("{}/", text(one, "/id")));
        self.of("Microsoft.Storage/storageAccounts").find(of_queues).unwrap_or(&Value::Null)
    }

    /// The account that the host keeps its own things in.
    pub(super) fn host_account(&self) -> &Value {
        let data = self.data_account();
        self.of("Microsoft.Storage/storageAccounts")
            .find(|one| *one != data)
            .unwrap_or(&Value::Null)
    }

    /// The identity of the app.
    pub(super) fn identity(&self) -> &Value {
        self.one("Microsoft.ManagedIdentity/userAssignedIdentities")
    }

    /// The workflow that answers the alert of a full disk.
    pub(super) fn remediation(&self) -> &Value {
        self.workflow("queueUri")
    }

    /// The workflow that repeats notifications elsewhere.
    pub(super) fn relay(&self) -> &Value {
        self.workflow("relayUrl")
    }

    /// The one whose definition takes this parameter.
    fn workflow(&self, parameter: &str) -> &Value {
        let place = format!("/properties/definition/parameters/{parameter}");
        let mut workflows = self.of("Microsoft.Logic/workflows");
        workflows.find(|one| one.pointer(&place).is_some()).unwrap_or(&Value::Null)
    }

    /// The id of a subnet, where there is a network.
    pub(super) fn subnet(&self, name: &str) -> Value {
        let network = self.one("Microsoft.Network/virtualNetworks");
        match self.variant.network {
            true => format!("{}/subnets/{name}", text(network, "/id")).into(),
            false => Value::Null,
        }
    }

    /// The expression, without its brackets, that asks Azure for something of a resource.
    pub(super) fn reference(of: &Value, what: &str) -> String {
        format!("reference('{}', '{}'){what}", text(of, "/id"), text(of, "/apiVersion"))
    }

    /// The app's settings, expressions as they are.
    pub(super) fn app_settings(&self) -> BTreeMap<String, Value> {
        let mut settings = self
            .of("Microsoft.Web/sites/config")
            .filter(|one| last(text(one, "/name")) == "appsettings");
        let settings = settings.next().and_then(|one| one["properties"].as_object());
        settings.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// The text at a JSON pointer, or none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The id of a resource, or null.
pub(super) fn id(resource: &Value) -> Value {
    resource["id"].clone()
}

/// The last part of a name or an id.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
