//! Reads one variable at a time: both prefixes, bounds, provenance, violations collected.

use super::{
    Profile, Program, Provenance, Secret, Setting, Violation,
    bare::{bare, trimmed},
};
use crate::redact::{self, HIDDEN, masked};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};
use url::Url;

const PREFIX: &str = "PIXCRAWLER_";
/// PixCrawler itself uses this prefix; where both are set it wins (X12).
const RESOURCE_PREFIX: &str = "PIXCRAWLER_RESOURCE_";

pub(super) struct Reader {
    program: Program,
    environment: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
    /// Variables whose values are not UTF-8.
    unreadable: BTreeSet<String>,
    /// Names that somebody looked for.
    asked: RefCell<BTreeSet<String>>,
    known: BTreeSet<String>,
    table: Vec<Setting>,
    violations: Vec<Violation>,
    slips: Vec<String>,
    warnings: Vec<String>,
    of_handler: Vec<String>,
}

/// What was read without a violation.
pub(super) struct Read {
    pub(super) table: Vec<Setting>,
    pub(super) slips: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// What the handler would not start with, where another program reads.
    pub(super) of_handler: Vec<String>,
}

impl Reader {
    pub(super) fn new(
        program: Program,
        environment: BTreeMap<String, String>,
        local: BTreeMap<String, String>,
    ) -> Self {
        Self {
            program,
            environment,
            local,
            unreadable: BTreeSet::new(),
            asked: RefCell::default(),
            known: BTreeSet::new(),
            table: Vec::new(),
            violations: Vec::new(),
            slips: Vec::new(),
            warnings: Vec::new(),
            of_handler: Vec::new(),
        }
    }

    /// The same where some variables cannot be read. One of them that is looked for is a violation: as
    /// unset it would lead to another value without a word.
    pub(super) fn without(mut self, unreadable: BTreeSet<String>) -> Self {
        self.unreadable = unreadable;
        self
    }

    /// What was read, or every violation.
    pub(super) fn finish(mut self) -> Result<Read, Vec<Violation>> {
        let asked = self.asked.take();
        for name in std::mem::take(&mut self.unreadable) {
            if asked.contains(&name) || name.starts_with(PREFIX) {
                let problem = "is not UTF-8: it may have been written in another encoding";
                self.violation(&name, HIDDEN, problem.into());
            }
        }
        self.note_typos();
        self.warn_of_quotes();
        if self.violations.is_empty() {
            let Self { table, slips, warnings, of_handler, .. } = self;
            Ok(Read { table, slips, warnings, of_handler })
        } else {
            Err(self.violations)
        }
    }

    pub(super) fn violation(&mut self, name: &str, value: &str, problem: String) {
        self.violations.push(Violation { name: name.to_owned(), value: masked(value), problem });
    }

    /// A violation of what only the handler must keep to. Who only looks after it, perhaps in the
    /// directory of another app, goes on, and may tell.
    pub(super) fn violation_of_handler(&mut self, name: &str, value: &str, problem: String) {
        let violation = Violation { name: name.to_owned(), value: masked(value), problem };
        match self.program {
            Program::Handler => self.violations.push(violation),
            Program::Chunkctl => self.of_handler.push(violation.to_string()),
        }
    }

    /// The same of what is only odd.
    pub(super) fn warn_of_handler(&mut self, warning: String) {
        match self.program {
            Program::Handler => self.warnings.push(warning),
            Program::Chunkctl => self.of_handler.push(warning),
        }
    }

    /// A variable that the platform or the host defines, as it stands.
    pub(super) fn of_platform(&self, name: &str) -> Option<String> {
        self.asked.borrow_mut().insert(name.to_owned());
        self.environment.get(name).cloned()
    }

    /// Empty counts as unset.
    fn peek(&self, name: &str) -> Option<String> {
        let value = bare(self.raw(name)?);
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.asked.borrow_mut().insert(name.to_owned());
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

    /// A setting for the table, where it is shown as [`masked`].
    pub(super) fn record(&mut self, name: String, value: &str, provenance: Provenance) {
        self.record_shown(name, masked(value), provenance);
    }

    /// A setting for the table, where it is shown so.
    pub(super) fn record_shown(&mut self, name: String, value: String, provenance: Provenance) {
        self.table.push(Setting { name, value, provenance });
    }

    /// Looks up and parses; a bad value is a violation and yields the default.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        default: (T, String, Provenance),
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.parsed_and_shown(name, default, masked, parse)
    }

    /// The same where a good value is shown otherwise.
    fn parsed_and_shown<T>(
        &mut self,
        name: &str,
        default: (T, String, Provenance),
        show: fn(&str) -> String,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let (full, found) = self.lookup(name);
        let (default, shown, provenance) = default;
        let Some((text, source)) = found else {
            self.record_shown(full, show(&shown), provenance);
            return default;
        };
        match parse(&text) {
            Ok(value) => {
                self.record_shown(full, show(&text), source);
                value
            }
            Err(problem) => {
                let name = match source {
                    Provenance::Environment(name) | Provenance::LocalSettings(name) => name,
                    Provenance::Default | Provenance::Profile | Provenance::HostJson => full,
                };
                self.violation(&name, &text, problem);
                default
            }
        }
    }

    pub(super) fn boolean(&mut self, name: &str, default: bool) -> bool {
        let default = (default, default.to_string(), Provenance::Default);
        self.parsed(name, default, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("must be true or false".into()),
        })
    }

    /// Text that goes into an HTTP header, which strangers read.
    pub(super) fn header_text(&mut self, name: &str, default: &str) -> String {
        let default = (default.to_owned(), default.to_owned(), Provenance::Default);
        self.parsed_and_shown(name, default, str::to_owned, |text| {
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

    /// An http or https URL without user or query.
    pub(super) fn endpoint(&mut self, name: &str, default: &str) -> String {
        let default = (default.to_owned(), default.to_owned(), Provenance::Default);
        self.parsed(name, default, |text| match Url::parse(text) {
            Ok(url)
                if matches!(url.scheme(), "http" | "https")
                    && !text.contains(['@', '?', '#', '\\']) =>
            {
                Ok(text.to_owned())
            }
            _ => Err("must be an http or https URL, without user or query".into()),
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
        self.parsed("TEMP_DIR", default, |text| {
            // It stands in errors of the file system.
            let is_path = !text.contains("://");
            is_path.then(|| PathBuf::from(text)).ok_or_else(|| "must be a directory".into())
        })
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
            self.violation(name, &shown, problem.into());
            0
        })
    }

    /// The log filter.
    pub(super) fn log_filter(&mut self, name: &str, default: &str) -> String {
        let (text, provenance) =
            self.found(name).unwrap_or_else(|| (default.to_owned(), Provenance::Default));
        self.record_shown(name.to_owned(), redact::log_filter(&text), provenance);
        text
    }

    /// Text without a default.
    pub(super) fn raw_text(&mut self, name: &str) -> Option<String> {
        let (text, provenance) = self.found(name)?;
        self.record(name.to_owned(), &text, provenance);
        Some(text)
    }

    /// Text that is shown as unset too.
    pub(super) fn optional(&mut self, name: &str, show: fn(&str) -> String) -> Option<Secret> {
        let Some((text, provenance)) = self.found(name) else {
            self.record(name.to_owned(), "", Provenance::Default);
            return None;
        };
        self.record_shown(name.to_owned(), show(&text), provenance);
        Some(Secret::new(text))
    }

    /// Text of ours that is never shown; none when unset.
    pub(super) fn hidden(&mut self, name: &str) -> Option<Secret> {
        let (full, found) = self.lookup(name);
        let Some((text, provenance)) = found else {
            self.record(full, "", Provenance::Default);
            return None;
        };
        self.record_shown(full, HIDDEN.to_owned(), provenance);
        Some(Secret::new(text))
    }

    /// Text that is never shown, under its name or a second one.
    pub(super) fn secret_text(&mut self, name: &str, second: Option<&str>) -> Option<String> {
        let (text, provenance) =
            self.found(name).or_else(|| second.and_then(|second| self.found(second)))?;
        self.record(name.to_owned(), HIDDEN, provenance);
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

    fn note_typos(&mut self) {
        let unknown = self.environment.keys().chain(self.local.keys());
        let unknown: BTreeSet<&String> =
            unknown.filter(|n| n.starts_with(PREFIX) && !self.known.contains(*n)).collect();
        for name in unknown {
            if let Some(known) =
                self.known.iter().find(|known| strsim::osa_distance(name, known) == 1)
            {
                self.slips.push(format!("{name} is unknown; did you mean {known}?"));
            }
        }
    }
}
