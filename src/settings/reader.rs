//! Reads one variable at a time: both prefixes, bounds, provenance, violations collected.

use super::{
    Profile, Provenance, Setting, Violation,
    bare::{bare, trimmed},
};
use crate::redact;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};
use url::Url;

const PREFIX: &str = "PIXCRAWLER_";
/// PixCrawler itself uses this prefix; where both are set it wins (X12).
const RESOURCE_PREFIX: &str = "PIXCRAWLER_RESOURCE_";

#[derive(Debug)]
pub(super) struct Reader {
    environment: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
    known: BTreeSet<String>,
    table: Vec<Setting>,
    violations: Vec<Violation>,
    warnings: Vec<String>,
}

impl Reader {
    pub(super) fn new(
        environment: BTreeMap<String, String>,
        local: BTreeMap<String, String>,
    ) -> Self {
        Self {
            environment,
            local,
            known: BTreeSet::new(),
            table: Vec::new(),
            violations: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The table and the warnings, or every violation.
    pub(super) fn finish(mut self) -> Result<(Vec<Setting>, Vec<String>), Vec<Violation>> {
        self.warn_of_typos();
        self.warn_of_quotes();
        if self.violations.is_empty() {
            Ok((self.table, self.warnings))
        } else {
            Err(self.violations)
        }
    }

    pub(super) fn violation(&mut self, name: &str, value: String, problem: String) {
        self.violations.push(Violation { name: name.to_owned(), value, problem });
    }

    /// The variables that other programs define, as a struct of optional texts.
    pub(super) fn foreign_variables<T: serde::de::DeserializeOwned + Default>(&self) -> T {
        // envy ignores case: a second variable that differs only in case must hide nothing.
        let exact = self.environment.iter().filter(|(name, _)| **name == name.to_uppercase());
        let pairs = exact.map(|(name, value)| (name.clone(), value.clone()));
        envy::from_iter(pairs).unwrap_or_default()
    }

    /// Empty counts as unset.
    fn peek(&self, name: &str) -> Option<String> {
        let value = bare(self.raw(name)?);
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn raw(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name).or_else(|| self.local.get(name))?;
        Some(trimmed(value))
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// A value under this very name, and where it came from; empty counts as unset.
    pub(super) fn found(&self, name: &str) -> Option<(String, Provenance)> {
        let provenance = if self.environment.contains_key(name) {
            Provenance::Environment(name.to_owned())
        } else {
            Provenance::LocalSettings(name.to_owned())
        };
        Some((self.peek(name)?, provenance))
    }

    /// As [`Self::found`], for a name that its owner reads in any case.
    pub(super) fn found_in_any_case(&self, name: &str) -> Option<(String, Provenance)> {
        let names = self.environment.keys().chain(self.local.keys());
        let name = names.into_iter().find(|other| other.eq_ignore_ascii_case(name))?;
        self.found(name)
    }

    /// A setting's value as it was recorded, for a message about it.
    pub(super) fn shown(&self, full: &str) -> String {
        let setting = self.table.iter().find(|setting| setting.name == full);
        setting.map(|setting| setting.value.clone()).unwrap_or_default()
    }

    /// Looks a setting up under both prefixes.
    fn lookup(&mut self, name: &str) -> (String, Option<(String, Provenance)>) {
        let full = format!("{PREFIX}{name}");
        let resource = format!("{RESOURCE_PREFIX}{name}");
        let found = self.found(&resource).or_else(|| self.found(&full));
        self.known.extend([full.clone(), resource]);
        (full, found)
    }

    pub(super) fn record(&mut self, name: String, value: String, provenance: Provenance) {
        self.table.push(Setting { name, value, provenance });
    }

    /// Looks up and parses; a bad value is a violation and yields the default.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        default: (T, String, Provenance),
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let (full, found) = self.lookup(name);
        let (default, shown, provenance) = default;
        let Some((text, source)) = found else {
            self.record(full, shown, provenance);
            return default;
        };
        match parse(&text) {
            Ok(value) => {
                self.record(full, text, source);
                value
            }
            Err(problem) => {
                let name = match source {
                    Provenance::Environment(name) | Provenance::LocalSettings(name) => name,
                    Provenance::Default | Provenance::Profile | Provenance::HostJson => full,
                };
                self.violation(&name, text, problem);
                default
            }
        }
    }

    /// A whole number with bounds. `T` must hold the bounds.
    pub(super) fn number<T>(&mut self, name: &str, default: u64, min: u64, max: u64) -> T
    where
        T: TryFrom<u64> + Default,
    {
        self.whole(name, default, min, max, Provenance::Default)
    }

    /// A whole number whose default is the profile's.
    pub(super) fn profiled<T>(&mut self, name: &str, default: u64, min: u64, max: u64) -> T
    where
        T: TryFrom<u64> + Default,
    {
        self.whole(name, default, min, max, Provenance::Profile)
    }

    fn whole<T>(&mut self, name: &str, default: u64, min: u64, max: u64, from: Provenance) -> T
    where
        T: TryFrom<u64> + Default,
    {
        let default = (default, default.to_string(), from);
        let value = self.parsed(name, default, |text| match text.parse::<u64>() {
            Ok(value) if (min..=max).contains(&value) => Ok(value),
            _ => Err(format!("must be a whole number from {min} to {max}")),
        });
        T::try_from(value).unwrap_or_default()
    }

    /// Decimal MB as integer bytes; bounds in millionths of a MB.
    pub(super) fn megabytes(
        &mut self,
        name: &str,
        default: &str,
        min_millionths: u64,
        max_millionths: u64,
    ) -> u64 {
        let bytes = |millionths: u64| millionths * 1_048_576 / 1_000_000;
        let default =
            (millionths(default).map_or(0, bytes), default.to_owned(), Provenance::Default);
        self.parsed(name, default, |text| match millionths(text) {
            Some(value) if (min_millionths..=max_millionths).contains(&value) => Ok(bytes(value)),
            _ => Err(format!(
                "must be a number of MB from {} to {}",
                shown_millionths(min_millionths),
                shown_millionths(max_millionths)
            )),
        })
    }

    /// Seconds, fractions allowed.
    pub(super) fn seconds(&mut self, name: &str, default: u64, min: f64, max: f64) -> Duration {
        let default = (Duration::from_secs(default), default.to_string(), Provenance::Default);
        self.parsed(name, default, |text| match text.parse::<f64>() {
            Ok(value) if value >= min && value <= max => Ok(Duration::from_secs_f64(value)),
            _ => Err(format!("must be a number of seconds from {min} to {max}")),
        })
    }

    pub(super) fn boolean(&mut self, name: &str, default: bool) -> bool {
        let default = (default, default.to_string(), Provenance::Default);
        self.parsed(name, default, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("must be true or false".into()),
        })
    }

    /// Text that goes into an HTTP header.
    pub(super) fn header_text(&mut self, name: &str, default: &str) -> String {
        let default = (default.to_owned(), default.to_owned(), Provenance::Default);
        self.parsed(name, default, |text| {
            if text.chars().all(|c| (' '..='~').contains(&c)) {
                Ok(text.to_owned())
            } else {
                Err("must be printable ASCII".into())
            }
        })
    }

    /// An Azure resource id; none when unset.
    pub(super) fn resource_id(&mut self, name: &str) -> Option<String> {
        self.parsed(name, (None, String::new(), Provenance::Default), |text| {
            let rule = "must be a resource id: /subscriptions/…/providers/…";
            text.starts_with("/subscriptions/").then(|| Some(text.to_owned())).ok_or(rule.into())
        })
    }

    /// An http or https URL without a path.
    pub(super) fn endpoint(&mut self, name: &str, default: &str) -> String {
        let default = (default.to_owned(), default.to_owned(), Provenance::Default);
        self.parsed(name, default, |text| match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(text.to_owned()),
            _ => Err("must be an http or https URL".into()),
        })
    }

    /// The name of a blob container.
    pub(super) fn container(&mut self, name: &str, default: &str) -> String {
        let default = (default.to_owned(), default.to_owned(), Provenance::Default);
        self.parsed(name, default, |text| {
            let good = (3..=63).contains(&text.len())
                && !text.starts_with('-')
                && !text.ends_with('-')
                && !text.contains("--")
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            let rule = "must be 3 to 63 lower-case letters, digits and single dashes";
            good.then(|| text.to_owned()).ok_or_else(|| rule.to_owned())
        })
    }

    pub(super) fn profile(&mut self, detected: Profile) -> Profile {
        let default = (detected, detected.to_string(), Provenance::Default);
        let mut foreign = None;
        let profile = self.parsed("ENVIRONMENT", default, |text| {
            match text.to_ascii_lowercase().as_str() {
                "local" => Ok(Profile::Local),
                "azure" => Ok(Profile::Azure),
                "azure_functions" => Ok(Profile::AzureFunctions),
                // PixCrawler uses the variable for its logging too.
                other @ ("production" | "development" | "testing") => {
                    foreign = Some(other.to_owned());
                    Ok(detected)
                }
                _ => Err("must be local, azure or azure_functions".into()),
            }
        });
        if let Some(value) = foreign {
            self.warnings.push(format!(
                "PIXCRAWLER_ENVIRONMENT={value} is no profile; using the detected profile {detected}"
            ));
        }
        profile
    }

    /// Row S13: our own variable, then TMPDIR, TEMP, the system's directory.
    pub(super) fn temp_root(&mut self) -> PathBuf {
        let fallback = ["TMPDIR", "TEMP"].iter().find_map(|name| self.found(name));
        let (text, provenance) =
            fallback.unwrap_or_else(|| ("/tmp".to_owned(), Provenance::Default));
        let default = (PathBuf::from(&text), text, provenance);
        self.parsed("TEMP_DIR", default, |text| Ok(PathBuf::from(text)))
    }

    /// The port the host gives its child.
    pub(super) fn handler_port(&mut self) -> u16 {
        let name = "FUNCTIONS_CUSTOMHANDLER_PORT";
        let value = self.peek(name);
        let port = value.as_ref().and_then(|text| text.parse::<u16>().ok()).filter(|p| *p > 0);
        port.unwrap_or_else(|| {
            let shown = value.unwrap_or_else(|| "not set".into());
            let problem = "must be a port from 1 to 65535; the Functions host sets it: start the \
                           handler with `func start` or `cargo xtask dev`";
            self.violation(name, shown, problem.into());
            0
        })
    }

    /// A variable of another program's namespace, shown as it is.
    pub(super) fn foreign(&mut self, name: &str, default: &str) -> String {
        let (text, provenance) =
            self.found(name).unwrap_or_else(|| (default.to_owned(), Provenance::Default));
        self.record(name.to_owned(), text.clone(), provenance);
        text
    }

    /// Text without a default; a URL is shown without its query.
    pub(super) fn raw_text(&mut self, name: &str) -> Option<String> {
        let (text, provenance) = self.found(name)?;
        self.record(name.to_owned(), redact::bare_url(&text), provenance);
        Some(text)
    }

    /// Text that is shown as unset too, and never as it is when it is a secret.
    pub(super) fn optional(&mut self, name: &str, is_secret: bool) -> Option<String> {
        let Some((text, provenance)) = self.found(name) else {
            self.record(name.to_owned(), String::new(), Provenance::Default);
            return None;
        };
        let shown = if is_secret { "***".to_owned() } else { text.clone() };
        self.record(name.to_owned(), shown, provenance);
        Some(text)
    }

    /// Text that is never shown, under its name or a second one.
    pub(super) fn secret_text(&mut self, name: &str, second: Option<&str>) -> Option<String> {
        let (text, provenance) =
            self.found(name).or_else(|| second.and_then(|second| self.found(second)))?;
        self.record(name.to_owned(), "***".into(), provenance);
        Some(text)
    }

    /// The Functions host reads some of them, too, and leaves nothing out.
    fn warn_of_quotes(&mut self) {
        for Setting { provenance, .. } in &self.table {
            if let Provenance::Environment(name) | Provenance::LocalSettings(name) = provenance
                && self.raw(name).is_some_and(|value| bare(value) != value)
            {
                self.warnings.push(format!(
                    "{name} stands in quotes: they are left out here, and perhaps not by other \
                     programs that read it"
                ));
            }
        }
    }

    fn warn_of_typos(&mut self) {
        let unknown = self.environment.keys().chain(self.local.keys());
        let unknown: BTreeSet<&String> =
            unknown.filter(|n| n.starts_with(PREFIX) && !self.known.contains(*n)).collect();
        for name in unknown {
            if let Some(known) =
                self.known.iter().find(|known| strsim::osa_distance(name, known) == 1)
            {
                self.warnings.push(format!("{name} is unknown; did you mean {known}?"));
            }
        }
    }
}

/// Decimal text with at most six fraction digits as whole millionths.
fn millionths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 6 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)
}

fn shown_millionths(value: u64) -> String {
    let text = format!("{}.{:06}", value / 1_000_000, value % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
