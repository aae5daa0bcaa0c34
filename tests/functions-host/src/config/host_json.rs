//! host.json: what is used of it, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::QueueSettings;
use crate::log::{self, STAND_IN};

impl QueueSettings {
    /// The defaults of the real host.
    pub fn initial() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            batch_size: 16,
            new_batch_threshold: 8 * processors,
            max_dequeue_count: 5,
            visibility_timeout: Duration::ZERO,
            max_polling_interval: Duration::from_secs(60),
            base64: true,
        }
    }
}

/// Adds everything in host.json that would be ignored here but not there.
pub fn refuse_unsupported(host: &Map<String, Value>, problems: &mut Vec<String>) {
    let mut refuse = |text: String| problems.push(format!("host.json: {text}"));
    if host.get("version").and_then(Value::as_str) != Some("2.0") {
        refuse("version is not \"2.0\"".into());
    }
    for (key, value) in host {
        match key.as_str() {
            "version" | "functionTimeout" | "customHandler" | "telemetryMode" => {}
            "concurrency" if value["dynamicConcurrencyEnabled"] == true => {
                refuse("dynamic concurrency is not supported".into());
            }
            "extensions" => {}
            "extensionBundle" | "logging" | "concurrency" | "watchDirectories" => {
                log::info(STAND_IN, format!("host.json: '{key}' has no effect here"));
            }
            _ => refuse(format!("'{key}' is not supported")),
        }
    }
    let nested = |pointer: &[&str]| {
        let mut value = host.get(pointer[0])?;
        for key in &pointer[1..] {
            value = value.get(key)?;
        }
        value.as_object().cloned()
    };
    for (section, known) in [
        (&["extensions"][..], &["queues"][..]),
        (&["extensions", "queues"], &QUEUE_KEYS),
        (
            &["customHandler"],
            &["description", "initializationTimeout", "enableForwardingHttpRequest"],
        ),
        (
            &["customHandler", "description"],
            &["defaultExecutablePath", "workingDirectory", "arguments"],
        ),
    ] {
        for key in nested(section).unwrap_or_default().keys() {
            if !known.contains(&key.as_str()) {
                refuse(format!("'{}.{key}' is not supported", section.join(".")));
            }
        }
    }
}

const QUEUE_KEYS: [&str; 6] = [
    "batchSize",
    "newBatchThreshold",
    "maxDequeueCount",
    "visibilityTimeout",
    "maxPollingInterval",
    "messageEncoding",
];

fn at<'a>(host: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let (first, rest) = pointer[1..].split_once('/').unwrap_or((&pointer[1..], ""));
    let value = host.get(first)?;
    let found = if rest.is_empty() { Some(value) } else { value.pointer(&format!("/{rest}")) };
    found.filter(|value| !value.is_null())
}

/// The executable as an absolute path.
///
/// The real host shows a missing or non-executable file only after 135 s; here it is an error at once.
pub fn executable(root: &Path, host: &Map<String, Value>) -> Result<PathBuf> {
    let path = at(host, "/customHandler/description/defaultExecutablePath").and_then(Value::as_str);
    let path = root.join(
        path.context("host.json: customHandler.description.defaultExecutablePath is missing")?,
    );
    for (key, nothing) in
        [("workingDirectory", Value::from("")), ("arguments", Value::Array(vec![]))]
    {
        let given = at(host, &format!("/customHandler/description/{key}"));
        if given.is_some_and(|value| *value != nothing) {
            bail!("host.json: customHandler.description.{key} is not supported");
        }
    }
    let data = fs::metadata(&path).with_context(|| format!("executable {}", path.display()))?;
    if !data.is_file() || data.permissions().mode() & 0o111 == 0 {
        bail!("{} is not an executable file", path.display());
    }
    Ok(path)
}

/// `functionTimeout`; none: for ever.
pub fn function_timeout(host: &Map<String, Value>) -> Result<Option<Duration>> {
    if at(host, "/functionTimeout").and_then(Value::as_str) == Some("-1") {
        return Ok(None);
    }
    Ok(Some(duration_at(host, "/functionTimeout")?.unwrap_or(Duration::from_secs(30 * 60))))
}

/// A time span, where there is one.
pub fn duration_at(host: &Map<String, Value>, pointer: &str) -> Result<Option<Duration>> {
    let Some(value) = at(host, pointer) else { return Ok(None) };
    let span = value.as_str().and_then(time_span);
    span.map(Some)
        .with_context(|| format!("host.json: {pointer} is no time span hh:mm:ss: {value}"))
}

/// `[d.]hh:mm[:ss[.fff]]`.
fn time_span(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if !days.contains(':') => (days.parse::<u32>().ok()?, clock),
        _ => (0, text),
    };
    let mut parts = clock.split(':');
    let hours: u32 = parts.next()?.parse().ok().filter(|hours| *hours < 24)?;
    let minutes: u32 = parts.next()?.parse().ok().filter(|minutes| *minutes < 60)?;
    let seconds: f64 =
        parts.next().unwrap_or("0").parse().ok().filter(|seconds| *seconds < 60.0)?;
    let whole = Duration::from_secs(((days * 24 + hours) * 60 + minutes) as u64 * 60);
    (parts.next().is_none() && seconds >= 0.0).then(|| whole + Duration::from_secs_f64(seconds))
}

/// `extensions.queues` over the defaults.
pub fn queue_settings(
    host: &Map<String, Value>,
    environment: Option<&str>,
) -> Result<QueueSettings> {
    let mut settings = QueueSettings::initial();
    let number = |key: &str, low: u64, high: u64| -> Result<Option<u64>> {
        let Some(value) = at(host, &format!("/extensions/queues/{key}")) else { return Ok(None) };
        let number = value.as_u64().filter(|number| (low..=high).contains(number));
        number
            .map(Some)
            .with_context(|| format!("host.json: queues.{key} is not within {low}-{high}: {value}"))
    };
    if let Some(batch_size) = number("batchSize", 1, 32)? {
        settings.batch_size = batch_size as u32;
        settings.new_batch_threshold = settings.new_batch_threshold / 8 * (batch_size as usize / 2);
    }
    if let Some(threshold) = number("newBatchThreshold", 0, 10_000)? {
        settings.new_batch_threshold = threshold as usize;
    }
    if let Some(count) = number("maxDequeueCount", 1, u64::MAX)? {
        settings.max_dequeue_count = count;
    }
    if let Some(delay) = duration_at(host, "/extensions/queues/visibilityTimeout")? {
        settings.visibility_timeout = delay;
    }
    match duration_at(host, "/extensions/queues/maxPollingInterval")? {
        Some(interval) if interval < Duration::from_millis(100) => {
            bail!("host.json: queues.maxPollingInterval is under 100 ms");
        }
        Some(interval) => settings.max_polling_interval = interval,
        None if environment.is_some_and(|name| name.eq_ignore_ascii_case("Development")) => {
            settings.max_polling_interval = Duration::from_secs(2);
        }
        None => {}
    }
    settings.base64 = match at(host, "/extensions/queues/messageEncoding").map(Value::as_str) {
        None => true,
        Some(Some(name)) if name.eq_ignore_ascii_case("base64") => true,
        Some(Some(name)) if name.eq_ignore_ascii_case("none") => false,
        Some(other) => {
            bail!("host.json: queues.messageEncoding is neither none nor base64: {other:?}")
        }
    };
    Ok(settings)
}

/// Under Application Insights the trace is not sampled (00), under OpenTelemetry it is (01).
pub fn trace_flags<'a>(
    host: &Map<String, Value>,
    variable: &impl Fn(&str) -> Option<&'a str>,
) -> Option<&'static str> {
    if host.get("telemetryMode").and_then(Value::as_str) == Some("OpenTelemetry") {
        return Some("01");
    }
    let names = ["APPLICATIONINSIGHTS_CONNECTION_STRING", "APPINSIGHTS_INSTRUMENTATIONKEY"];
    names.iter().any(|name| variable(name).is_some_and(|value| !value.is_empty())).then_some("00")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str, environment: Option<&str>) -> Result<QueueSettings> {
        queue_settings(&serde_json::from_str(json).unwrap(), environment)
    }

    #[test]
    fn time_spans() {
        let seconds = |text| time_span(text).map(|span| span.as_secs_f64());
        assert_eq!(seconds("00:20:00"), Some(1200.0));
        assert_eq!(seconds("1.02:03:04.5"), Some(93_784.5));
        assert_eq!(seconds("00:00:00.1"), Some(0.1));
        assert_eq!(
            (seconds("30"), seconds("24:00:00"), seconds("0:0:60"), seconds("-1")),
            (None, None, None, None)
        );
    }

    #[test]
    fn development_shortens_only_the_default_interval() {
        let interval =
            |json, environment| settings(json, environment).unwrap().max_polling_interval.as_secs();
        assert_eq!(interval("{}", None), 60);
        assert_eq!(interval("{}", Some("Development")), 2);
        let given = r#"{"extensions":{"queues":{"maxPollingInterval":"00:00:05"}}}"#;
        assert_eq!(interval(given, Some("Development")), 5);
    }

    #[test]
    fn the_projects_own_settings_are_read_as_the_real_host_read_them() {
        let text = fs::read_to_string(support::checkout::root().join("host.json")).unwrap();
        let read = settings(&text, None).unwrap();
        let seconds = |seconds| Duration::from_secs(seconds);
        let seen = QueueSettings {
            batch_size: 1,
            new_batch_threshold: 9,
            max_dequeue_count: 5,
            visibility_timeout: seconds(30),
            max_polling_interval: seconds(5),
            base64: false,
        };
        assert_eq!(read, seen);
    }

    #[test]
    fn queue_settings_out_of_bounds_are_refused() {
        for queues in [r#"{"batchSize":33}"#, r#"{"batchSize":"1"}"#, r#"{"messageEncoding":"x"}"#]
        {
            assert!(
                settings(&format!(r#"{{"extensions":{{"queues":{queues}}}}}"#), None).is_err(),
                "{queues}"
            );
        }
    }
}
