//! One function.json: a queue or timer trigger, and nothing else.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::config::{Function, Trigger};
use crate::cron::Schedule;
use crate::log::{self, STAND_IN};
use crate::storage::Account;

/// Reads the settings of one function.
pub fn function<'a>(
    name: &str,
    settings: &Map<String, Value>,
    variable: &impl Fn(&str) -> Option<&'a str>,
) -> Result<Function> {
    for key in settings.keys() {
        let known = ["bindings", "disabled", "scriptFile", "entryPoint", "language", "$schema"];
        ensure!(known.contains(&key.as_str()), "'{key}' is not supported");
    }
    let bindings = settings.get("bindings").and_then(Value::as_array).context("no bindings")?;
    let [binding] = &bindings[..] else {
        bail!("exactly one binding is supported, the trigger; here are {}", bindings.len());
    };
    let text = |key: &str| binding.get(key).and_then(Value::as_str);
    let needed = |key: &str| text(key).with_context(|| format!("the binding has no '{key}'"));
    ensure!(text("direction").unwrap_or("in") == "in", "only direction 'in' is supported");
    let kind = needed("type")?;
    let trigger = match kind.to_lowercase().as_str() {
        "queuetrigger" => {
            allow_only(binding, &["queueName", "connection", "dataType"])?;
            ensure!(
                matches!(text("dataType"), None | Some("string")),
                "only dataType 'string' is supported"
            );
            let queue = expand(needed("queueName")?, variable)?;
            let connection =
                connection(text("connection").unwrap_or("AzureWebJobsStorage"), variable)?;
            Account::parse(&connection)?;
            Trigger::Queue { queue, connection }
        }
        "timertrigger" => {
            allow_only(binding, &["schedule", "useMonitor", "runOnStartup"])?;
            let flag = |key: &str| binding.get(key).and_then(Value::as_bool);
            Trigger::Timer {
                schedule: Schedule::parse(&expand(needed("schedule")?, variable)?)?,
                use_monitor: flag("useMonitor").unwrap_or(true),
                run_on_startup: flag("runOnStartup").unwrap_or(false),
            }
        }
        _ => bail!("binding type '{kind}' is not supported"),
    };
    Ok(Function { name: name.into(), binding: needed("name")?.into(), trigger })
}

fn allow_only(binding: &Value, own: &[&str]) -> Result<()> {
    let keys = binding.as_object().into_iter().flat_map(Map::keys);
    for key in keys {
        let known =
            ["name", "type", "direction"].contains(&key.as_str()) || own.contains(&key.as_str());
        ensure!(known, "'{key}' in the binding is not supported");
    }
    Ok(())
}

/// Replaces `%NAME%` by the variable's value.
fn expand<'a>(text: &str, variable: &impl Fn(&str) -> Option<&'a str>) -> Result<String> {
    let parts: Vec<&str> = text.split('%').collect();
    ensure!(parts.len() % 2 == 1, "'{text}' has a single %");
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        match at % 2 {
            0 => out.push_str(part),
            _ => out.push_str(variable(part).with_context(|| format!("%{part}% is not set"))?),
        }
    }
    Ok(out)
}

fn connection<'a>(name: &str, variable: &impl Fn(&str) -> Option<&'a str>) -> Result<String> {
    if let Some(value) = variable(name).or_else(|| variable(&format!("AzureWebJobs{name}"))) {
        return Ok(value.into());
    }
    for part in ["serviceUri", "queueServiceUri", "accountName"] {
        if variable(&format!("{name}__{part}")).is_some() {
            bail!("connection '{name}' is by identity; only connection strings are supported");
        }
    }
    let fallback = variable("AzureWebJobsStorage")
        .with_context(|| format!("connection '{name}' is not set"))?;
    let text =
        format!("'{name}' is not set: using AzureWebJobsStorage; the real host would refuse");
    log::warn(STAND_IN, text);
    Ok(fallback.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Function> {
        let variable = |name: &str| match name {
            "AzureWebJobsStorage" => Some("UseDevelopmentStorage=true"),
            "NAME" => Some("work"),
            "Other__queueServiceUri" => Some("https://x"),
            _ => None,
        };
        function("f", &serde_json::from_str(json).unwrap(), &variable)
    }

    fn binding(json: &str) -> Result<Function> {
        read(&format!(r#"{{"bindings":[{json}]}}"#))
    }

    #[test]
    fn names_are_expanded_and_connections_found() {
        let read = binding(
            r#"{"name":"m","type":"queueTrigger","queueName":"a-%NAME%","connection":"Mine"}"#,
        );
        let Trigger::Queue { queue, connection } = read.unwrap().trigger else { panic!("a queue") };
        assert_eq!((queue.as_str(), connection.as_str()), ("a-work", "UseDevelopmentStorage=true"));
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for json in [
            r#"{"name":"m","type":"httpTrigger"}"#,
            r#"{"name":"m","type":"queueTrigger"}"#,
            r#"{"name":"m","type":"queueTrigger","queueName":"q","dataType":"binary"}"#,
            r#"{"name":"m","type":"queueTrigger","queueName":"q","direction":"out"}"#,
            r#"{"name":"m","type":"queueTrigger","queueName":"q","connection":"Other"}"#,
            r#"{"name":"m","type":"queueTrigger","queueName":"%GONE%"}"#,
            r#"{"name":"t","type":"timerTrigger","schedule":"00:05:00"}"#,
            r#"{"name":"m","type":"queueTrigger","queueName":"q"},{"name":"o","type":"queue"}"#,
        ] {
            assert!(binding(json).is_err(), "{json}");
        }
        assert!(read(r#"{"bindings":[{"name":"t","type":"timerTrigger","schedule":"* * * * * *"}],"retry":{}}"#).is_err());
    }
}
