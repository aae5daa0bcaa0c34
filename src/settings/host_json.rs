//! `host.json` in the app's root: what the host reads there, and what of it would keep the work from
//! this handler.

use super::{Provenance, Violation, function_timeout::span, reader::Reader};
use crate::redact::masked;
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Before the name of a value, its parts joined by two underscores: the app setting that the host prefers
/// to its file. It asks for no case, neither here nor there
/// (<https://learn.microsoft.com/dotnet/core/extensions/configuration>).
const VARIABLE: &str = "AzureFunctionsJobHost";
/// Five tries of a message that has none of it are over within a second.
const LEAST_VISIBILITY: Duration = Duration::from_secs(30);

/// What the file says; none: it is not there, or cannot be read.
#[derive(Debug)]
pub(super) struct HostJson(Option<Value>);

/// What a value must be for this handler.
struct Rule {
    /// Where the value stands.
    path: &'static [&'static str],
    /// What the host takes where nothing is written.
    default: &'static str,
    is_right: fn(&str) -> bool,
    /// What is expected, and why.
    problem: &'static str,
}

/// Rules H6 and H8 of `doc/host.md`, and what the host needs to start this program at all.
const RULES: [Rule; 7] = [
    Rule {
        path: &["version"],
        default: "not set",
        is_right: |text| text == "2.0",
        problem: "must be 2.0, or the host does not start",
    },
    Rule {
        path: &["customHandler", "description", "defaultExecutablePath"],
        default: "not set",
        is_right: |text| Path::new(text).file_name().is_some_and(|name| name == "handler"),
        problem: "must be handler: the host starts what this names, and not this handler",
    },
    Rule {
        path: &["extensionBundle", "id"],
        default: "not set",
        is_right: |text| text.starts_with("Microsoft.Azure.Functions.ExtensionBundle"),
        problem: "must be Microsoft.Azure.Functions.ExtensionBundle: without it the host reads no queue",
    },
    Rule {
        path: &["extensions", "queues", "messageEncoding"],
        default: "base64",
        is_right: |text| text.eq_ignore_ascii_case("none"),
        problem: "must be none: messages are plain JSON, and any other text never reaches the handler",
    },
    Rule {
        path: &["extensions", "queues", "maxDequeueCount"],
        default: "5",
        is_right: |text| text.parse::<u64>().is_ok_and(|n| n >= 5),
        problem: "must be 5 or more: a message is given up after so many answers that something is away",
    },
    Rule {
        path: &["extensions", "queues", "visibilityTimeout"],
        default: "00:00:00",
        is_right: |text| matches!(span(text), Some(Some(pause)) if pause >= LEAST_VISIBILITY),
        problem: "must be 00:00:30 or more: all tries of a message would be over before a short outage is",
    },
    Rule {
        path: &["concurrency", "dynamicConcurrencyEnabled"],
        default: "false",
        is_right: |text| text.eq_ignore_ascii_case("false"),
        problem: "must be false: the host would deliver up to 500 messages at once",
    },
];

impl HostJson {
    /// Reads the file where the app is.
    pub(super) fn read(reader: &mut Reader) -> Self {
        parsed(&root(reader)).map_or_else(
            |problem| {
                reader.warn_of_handler(format!("host.json is left out: {problem}"));
                Self(None)
            },
            Self,
        )
    }

    /// The text of a value, and where it came from; none: the host takes its default.
    pub(super) fn found(&self, reader: &Reader, path: &[&str]) -> Option<(String, Provenance)> {
        let variable = format!("{VARIABLE}__{}", path.join("__"));
        if let Some(found) = reader.found_in_any_case(&variable) {
            return Some(found);
        }
        let value = path.iter().try_fold(self.0.as_ref()?, |value, name| {
            let mut pairs = value.as_object()?.iter();
            pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        let text = match value? {
            Value::Null => return None,
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        Some((text, Provenance::HostJson))
    }

    /// Names each value under which the handler would be there, and get no message or lose some. Where
    /// there is no file nothing is known of the app.
    pub(super) fn check(&self, reader: &mut Reader) {
        if self.0.is_none() {
            return;
        }
        for Rule { path, default, is_right, problem } in RULES {
            let (text, place) = match self.found(reader, path) {
                None => (default.to_owned(), "host.json, which does not have it".to_owned()),
                Some((text, provenance)) => (text, provenance.to_string()),
            };
            if !is_right(&text) {
                let name = path.join(".");
                let problem = format!("{problem} [{place}]");
                let violation = Violation { name, value: masked(&text), problem };
                reader.warn_of_handler(violation.to_string());
            }
        }
    }
}

/// Where the app is: what the host says, else where it starts its handler.
fn root(reader: &Reader) -> PathBuf {
    reader.found("FUNCTIONS_APP_ROOT_PATH").map_or_else(PathBuf::new, |(root, _)| root.into())
}

/// The host takes comments and a byte order mark.
fn parsed(root: &Path) -> Result<Option<Value>, String> {
    let text = match std::fs::read_to_string(root.join("host.json")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let options = jsonc_parser::ParseOptions::default();
    let parsed: Value =
        jsonc_parser::parse_to_serde_value(text.trim_start_matches('\u{feff}'), &options)
            .map_err(|error| error.to_string())?;
    Ok(Some(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Program;

    /// What is said of this file with these variables, a name before each `=`.
    fn said(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("host.json"), text).unwrap();
        let root = ("FUNCTIONS_APP_ROOT_PATH", root.path().to_str().unwrap());
        let all = variables.iter().chain([&root]);
        let environment = all.map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut reader = Reader::new(Program::Chunkctl, environment, [].into());
        HostJson::read(&mut reader).check(&mut reader);
        reader.finish().unwrap().of_handler
    }

    /// H6 H8: each value that this handler cannot work with is named, with what is expected; a variable
    /// of the host comes before its file, in any case.
    #[test]
    fn what_the_handler_cannot_work_with_is_named() {
        let own = include_str!("../../host.json");
        assert_eq!(said(own, &[]), Vec::<String>::new());
        for (from, to, words) in [
            ("\"2.0\"", "\"3.0\"", "version=3.0: must be 2.0"),
            ("\"handler\"", "\"bin/other\"", "defaultExecutablePath=bin/other: must be handler"),
            (
                "Functions.ExtensionBundle",
                "Other",
                "extensionBundle.id=Microsoft.Azure.Other: must",
            ),
            ("\"none\"", "\"base64\"", "extensions.queues.messageEncoding=base64: must be none"),
            ("\"messageEncoding\"", "\"x\"", "messageEncoding=base64: must be none"),
            ("Count\": 5", "Count\": 1", "extensions.queues.maxDequeueCount=1: must be 5 or more"),
            (
                "Timeout\": \"00:00:30\"",
                "Timeout\": \"00:00:05\"",
                "visibilityTimeout=00:00:05: must",
            ),
            (
                "Enabled\": false",
                "Enabled\": true",
                "dynamicConcurrencyEnabled=true: must be false",
            ),
        ] {
            assert!(own.contains(from), "{from}");
            let said = said(&own.replace(from, to), &[]);
            assert!(matches!(&*said, [one] if one.contains(words)), "{to}: {said:?}");
        }
        assert_eq!(said("{}", &[]).len(), 5, "those with a default that does not do");
        let encoding = "azurefunctionsjobhost__Extensions__Queues__MESSAGEENCODING";
        let by_variable = said(own, &[(encoding, "base64")]);
        assert!(by_variable[0].contains(&format!("environment ({encoding})")), "{by_variable:?}");
        let shouted = own.replace("messageEncoding", "MessageEncoding");
        assert_eq!(said(&shouted, &[]), Vec::<String>::new());
        let secret = own.replace("\"none\"", "\"AccountKey=hush;\\n\"");
        assert!(!said(&secret, &[]).concat().contains("hush"));
    }
}
