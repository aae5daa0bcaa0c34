//! `functionTimeout`: after it the host kills the process with everything in it.
//!
//! Two invocations that time out in the same instant end the host itself. So all work ends well
//! before, and a limit that would not is a violation.

use super::{Provenance, host_json::HostJson, reader::Reader};
use std::{fmt, time::Duration};

/// The name that the host gives it.
const NAME: &str = "functionTimeout";
/// The host's own, everywhere but in the old Consumption plan.
const DEFAULT: Duration = Duration::from_secs(30 * 60);
/// A message waits for the database for 180 s, and the timer works for 30 s at most. Both end 120 s
/// before the host's patience.
const LEAST: Duration = Duration::from_secs(300);
/// What lies between the end of a chunk's work and the host's patience: the last call to a database
/// that does not answer, the next wake-up, and room for a machine that is slow.
const MARGIN: Duration = Duration::from_secs(120);

/// How long an invocation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionTimeout(Option<Duration>);

impl FunctionTimeout {
    /// When the work of an invocation must be over, counted from its arrival; none: the host waits for
    /// ever.
    pub fn work_limit(self) -> Option<Duration> {
        self.0.map(|limit| limit.saturating_sub(MARGIN))
    }

    /// From the setting, else `host.json` in the app's root, else the host's default.
    pub(super) fn read(reader: &mut Reader, host_json: &HostJson) -> Self {
        let found = host_json.found(reader, &[NAME]);
        let (text, provenance) =
            found.unwrap_or_else(|| (Self(Some(DEFAULT)).to_string(), Provenance::Default));
        let parsed = span(&text);
        let is_long_enough = parsed.is_some_and(|limit| limit.is_none_or(|limit| limit >= LEAST));
        if !is_long_enough {
            let problem = format!(
                "must be -1 or a time such as 00:20:00, {} at least: a message waits up to 180 s \
                 for the database",
                Self(Some(LEAST))
            );
            reader.violation_of_handler(NAME, &text, problem);
        }
        reader.record(NAME.to_owned(), &text, provenance);
        Self(parsed.unwrap_or(Some(DEFAULT)))
    }

    /// A chunk that starts when its message arrives must be able to end in time.
    pub(super) fn check_deadline(self, reader: &mut Reader, deadline: Duration) {
        let Some(limit) = self.work_limit() else { return };
        if deadline > limit {
            let name = "PIXCRAWLER_CHUNK_DEADLINE_SECONDS";
            let problem = format!(
                "must end 120 s before functionTimeout ({self}), in which the host kills the process: \
                 {} at most",
                limit.as_secs()
            );
            let shown = reader.shown(name);
            reader.violation_of_handler(name, &shown, problem);
        }
    }
}

impl fmt::Display for FunctionTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(limit) = self.0 else { return f.write_str("-1") };
        let s = limit.as_secs();
        write!(f, "{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }
}

/// A .NET time span, `[d.]hh:mm[:ss[.fff]]`; inside, none: -1, without end. Outside, none: not
/// understood.
pub(super) fn span(text: &str) -> Option<Option<Duration>> {
    if text == "-1" {
        return Some(None);
    }
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if clock.contains(':') => (days.parse::<u64>().ok()?, clock),
        _ => (0, text),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let (hours, minutes, seconds) = match *parts.as_slice() {
        [hours, minutes] => (hours, minutes, "0"),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let below = |text: &str, end: u64| text.parse::<u64>().ok().filter(|n| *n < end);
    let whole = seconds.split_once('.').map_or(seconds, |(whole, _)| whole);
    let seconds = below(whole, 60)? + 60 * below(minutes, 60)? + 3600 * below(hours, 24)?;
    Some(Some(Duration::from_secs(days.checked_mul(86_400)?.checked_add(seconds)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Program;

    const VARIABLE: &str = "AzureFunctionsJobHost__functionTimeout";

    #[test]
    fn a_time_is_read_as_the_host_reads_it() {
        let seconds = |n| Some(Some(Duration::from_secs(n)));
        let cases = [
            ("00:20:00", seconds(1200)),
            ("1.00:00:30", seconds(86_430)),
            ("00:05:00.5", seconds(300)),
            ("01:30", seconds(5400)),
            ("-1", Some(None)),
            ("20", None),
            ("00:60:00", None),
            ("24:00:00", None),
            ("", None),
            ("a.00:01:00", None),
        ];
        for (text, expected) in cases {
            assert_eq!(span(text), expected, "{text}");
        }
    }

    fn read(host_json: Option<&str>, variables: &[(&str, &str)]) -> (String, String, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        if let Some(text) = host_json {
            std::fs::write(root.path().join("host.json"), text).unwrap();
        }
        let root = ("FUNCTIONS_APP_ROOT_PATH", root.path().to_str().unwrap());
        let all = variables.iter().chain([&root]);
        let environment = all.map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut reader = Reader::new(Program::Handler, environment, [].into());
        let host_json = HostJson::read(&mut reader);
        let timeout = FunctionTimeout::read(&mut reader, &host_json);
        timeout.check_deadline(&mut reader, Duration::from_secs(960));
        let shown = timeout.to_string();
        match reader.finish() {
            Ok(read) => (shown, read.table[0].provenance.to_string(), read.warnings),
            Err(violations) => {
                (shown, String::new(), violations.iter().map(ToString::to_string).collect())
            }
        }
    }

    /// H5: the setting comes before the file, the file may have comments, and what does not leave a
    /// chunk or a message its time is refused.
    #[test]
    fn the_function_timeout_is_the_hosts() {
        let (shown, from, _) = read(None, &[]);
        assert_eq!((&*shown, &*from), ("00:30:00", "default"));
        let file = "\u{feff}{\n// ours\n\"functionTimeout\": \"00:20:00\",}";
        assert_eq!(read(Some(file), &[]), ("00:20:00".into(), "host.json".into(), vec![]));
        let shouted = file.replace("functionTimeout", "FUNCTIONTIMEOUT");
        assert_eq!(read(Some(&shouted), &[]).0, "00:20:00");
        let other = VARIABLE.to_uppercase();
        assert_eq!(read(Some(file), &[(&other, "00:25:00")]).0, "00:25:00");
        let (shown, from, _) = read(Some(file), &[(VARIABLE, "-1")]);
        assert_eq!(
            (&*shown, &*from),
            ("-1", "environment (AzureFunctionsJobHost__functionTimeout)")
        );
        let (_, _, said) = read(Some("{"), &[]);
        assert!(said[0].starts_with("host.json is left out: "), "{said:?}");
        let (_, _, said) = read(Some("{\"functionTimeout\":\"00:17:59\"}"), &[]);
        assert!(said[0].starts_with("PIXCRAWLER_CHUNK_DEADLINE_SECONDS="), "{said:?}");
        assert!(said[0].contains("959 at most"), "{said:?}");
        for bad in ["00:04:59", "twenty"] {
            let (_, _, said) = read(None, &[(VARIABLE, bad)]);
            assert!(said[0].starts_with(&format!("functionTimeout={bad}: must be")), "{said:?}");
        }
    }
}
