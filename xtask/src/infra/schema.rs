//! Snapshots against the types of Azure's resources, with the enums closed that the compiler leaves open.
//!
//! `xtask/infra/resource-types.json` has one type a line: `t` is o object, s string, i integer, b boolean,
//! a array, d one of several objects told apart `by` a property; `p` properties, `req` required ones, `ro`
//! those that only Azure writes, `any` the type of other properties.

use anyhow::{Context as _, Result};
use regex_lite::Regex;
use serde_json::Value;

use super::snapshot::{Snapshot, is_expression};

const TYPES: &str = include_str!("../../infra/resource-types.json");

/// Formats that no type tells: a property's name, and what its text must match.
const FORMATS: [(&str, &str); 12] = [
    ("tenantId", GUID),
    ("roleDefinitionId", "/providers/Microsoft.Authorization/roleDefinitions/[0-9a-f-]{36}$"),
    ("windowSize", DURATION),
    ("evaluationFrequency", DURATION),
    ("startIpAddress", IPV4),
    ("endIpAddress", IPV4),
    ("addressPrefix", CIDR),
    ("serviceUri", "^https://[^ ]+$"),
    ("emailAddress", "^[^@ ]+@[^@ ]+\\.[^@ ]+$"),
    ("countryCode", "^[0-9]{1,3}$"),
    ("phoneNumber", "^[0-9]{4,15}$"),
    ("minimumTlsVersion", "^TLS1_[23]$"),
];
const GUID: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";
const DURATION: &str = "^P(T([0-9]+H)?([0-9]+M)?|[0-9]+D)$";
const IPV4: &str = "^([0-9]{1,3}\\.){3}[0-9]{1,3}$";
const CIDR: &str = "^([0-9]{1,3}\\.){3}[0-9]{1,3}/[0-9]{1,2}$";

/// The types that are known.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    types: Value,
    formats: Vec<(&'static str, Regex)>,
}

impl Schema {
    /// Reads the types.
    pub(super) fn load() -> Result<Self> {
        let types = serde_json::from_str(TYPES).context("xtask/infra/resource-types.json")?;
        let format = |(name, pattern): (&'static str, &str)| Ok((name, Regex::new(pattern)?));
        Ok(Self { types, formats: FORMATS.into_iter().map(format).collect::<Result<_>>()? })
    }

    /// What is wrong with the resources of a snapshot.
    pub(super) fn check(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut findings = Vec::new();
        for resource in snapshot.resources() {
            let [kind, version] =
                ["type", "apiVersion"].map(|name| resource[name].as_str().unwrap_or_default());
            let key = format!("{}@{version}", kind.to_lowercase());
            let place = format!("{kind} {}", resource["name"].as_str().unwrap_or_default());
            match self.types.get(&key) {
                None => findings.push(format!("{place}: the API version {version} is unknown")),
                Some(definition) => {
                    // A child is named with its parents; its type knows the last part only.
                    let mut resource = resource.clone();
                    let name = resource["name"].as_str().unwrap_or_default();
                    if !is_expression(name) {
                        resource["name"] = name.rsplit('/').next().unwrap_or_default().into();
                    }
                    // Of a snapshot, not of the type.
                    if let Some(fields) = resource.as_object_mut() {
                        fields.retain(|name, _| !["scope", "dependsOn"].contains(&name.as_str()));
                    }
                    self.value(definition, &resource, &place, "", &mut findings);
                }
            }
        }
        findings
    }

    fn value(
        &self,
        definition: &Value,
        value: &Value,
        place: &str,
        path: &str,
        findings: &mut Vec<String>,
    ) {
        if value.is_null() || value.as_str().is_some_and(is_expression) {
            return;
        }
        let mut wrong = |text: String| findings.push(format!("{place}: {path} {text}"));
        if let Some(values) = definition["enum"].as_array() {
            if !values.contains(value) {
                wrong(format!("is {value}, and may be {}", definition["enum"]));
            }
            return;
        }
        match (definition["t"].as_str(), value) {
            (Some("o"), Value::Object(_)) => self.object(definition, value, place, path, findings),
            (Some("a"), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(
                        &definition["items"],
                        item,
                        place,
                        &format!("{path}[{index}]"),
                        findings,
                    );
                }
            }
            (Some("d"), Value::Object(_)) => {
                let by = definition["by"].as_str().unwrap_or_default();
                let kind = value[by].as_str().unwrap_or_default();
                match definition["of"].get(kind) {
                    None => wrong(format!("has {by} {kind:?}, which is none of its kinds")),
                    Some(definition) => self.object(definition, value, place, path, findings),
                }
            }
            (Some("s"), Value::String(text)) => {
                if let Some(problem) = text_problem(definition, text) {
                    wrong(problem);
                }
            }
            (Some("i"), Value::Number(number)) => {
                let number = number.as_f64().unwrap_or_default();
                let bound = |name: &str| definition[name].as_f64();
                if bound("minValue").is_some_and(|min| number < min)
                    || bound("maxValue").is_some_and(|max| number > max)
                {
                    wrong(format!("is {number}, which is out of its bounds"));
                }
            }
            (Some("b"), Value::Bool(_)) | (None, _) => {}
            _ => wrong(format!("is {value}, which is not of its type")),
        }
    }

    fn object(
        &self,
        definition: &Value,
        value: &Value,
        place: &str,
        path: &str,
        findings: &mut Vec<String>,
    ) {
        let names = |list: &Value, name: &str| {
            list.as_array().into_iter().flatten().any(|listed| listed.as_str() == Some(name))
        };
        for required in definition["req"].as_array().into_iter().flatten().filter_map(Value::as_str)
        {
            if value.get(required).is_none() {
                findings.push(format!("{place}: {path} lacks {required}"));
            }
        }
        for (name, field) in value.as_object().into_iter().flatten() {
            let inner = format!("{path}.{name}");
            let known = definition["p"].get(name).or_else(|| definition.get("any"));
            match known {
                Some(known) => self.value(known, field, place, &inner, findings),
                None if names(&definition["ro"], name) => {
                    findings.push(format!("{place}: {inner} is written by Azure only"));
                }
                None => findings.push(format!("{place}: {inner} is no property of this type")),
            }
            let text = field.as_str().filter(|text| !is_expression(text) && !text.is_empty());
            for (_, format) in self.formats.iter().filter(|(of, _)| of == name) {
                if text.is_some_and(|text| !format.is_match(text)) {
                    findings
                        .push(format!("{place}: {inner} is {field}, which is not of its format"));
                }
            }
        }
    }
}

fn text_problem(definition: &Value, text: &str) -> Option<String> {
    let length = text.chars().count();
    let bound =
        |name: &str| definition[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
    if bound("minLength").is_some_and(|min| length < min)
        || bound("maxLength").is_some_and(|max| length > max)
    {
        return Some(format!("is {text:?}, which is too short or too long"));
    }
    let pattern = definition["pattern"].as_str()?;
    match Regex::new(pattern) {
        Ok(pattern) if pattern.is_match(text) => None,
        Ok(_) => Some(format!("is {text:?}, which does not match {pattern}")),
        Err(error) => Some(format!("has a pattern that cannot be read: {error}")),
    }
}
