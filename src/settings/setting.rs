//! A setting, where it came from, and what may be wrong with it.

use serde::Deserialize;
use std::{collections::BTreeMap, fmt};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// Built in.
    Default,
    /// The selected profile.
    Profile,
    /// This environment variable.
    Environment(String),
    /// `Values` of `local.settings.json`, under this name.
    LocalSettings(String),
    /// The host's own file.
    HostJson,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile => f.write_str("profile"),
            Self::Environment(name) => write!(f, "environment ({name})"),
            Self::LocalSettings(name) => write!(f, "local.settings.json ({name})"),
            Self::HostJson => f.write_str("host.json"),
        }
    }
}

/// A setting as `doctor` shows it.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The variable's full name.
    pub name: String,
    /// Its value; never a secret.
    pub value: String,
    /// Where the value came from.
    pub provenance: Provenance,
}

/// A value that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The variable's full name.
    pub name: String,
    /// Its value; never a secret.
    pub value: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line for each violation, whatever the value holds.
        write!(f, "{}={}: {}", self.name, self.value.escape_debug(), self.problem)
    }
}

/// `Values` of `local.settings.json` in the working directory, and what is wrong with the file;
/// nothing at all when there is none.
pub(super) fn local_settings_values() -> (BTreeMap<String, String>, Option<String>) {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct LocalSettings {
        #[serde(default)]
        values: BTreeMap<String, serde_json::Value>,
    }
    let Ok(text) = std::fs::read_to_string("local.settings.json") else {
        return (BTreeMap::new(), None);
    };
    match serde_json::from_str::<LocalSettings>(text.trim_start_matches('\u{feff}')) {
        Ok(local) => {
            let text = |value| match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            (local.values.into_iter().map(|(name, value)| (name, text(value))).collect(), None)
        }
        Err(error) => (BTreeMap::new(), Some(format!("local.settings.json is left out: {error}"))),
    }
}
