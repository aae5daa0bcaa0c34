//! What the host reads: host.json, local.settings.json, the environment, every function.json.
//!
//! Everything the stand-in cannot do is refused here, all of it at once.

mod host_json;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::cron::Schedule;
use crate::log;
use host_json::{
    duration_at, executable, function_timeout, queue_settings, refuse_unsupported, trace_flags,
};

/// One function app as it is to be run.
#[derive(Debug, Clone)]
pub struct App {
    pub root: PathBuf,
    pub executable: PathBuf,
    /// How long the handler may take to answer the probe.
    pub initialization: Duration,
    /// How long an invocation may take; none: for ever.
    pub function_timeout: Option<Duration>,
    pub queues: QueueSettings,
    pub functions: Vec<Function>,
    /// The handler's environment before the host's own variables.
    pub env: BTreeMap<OsString, OsString>,
    /// The flags of `traceparent`; none without telemetry.
    pub trace_flags: Option<&'static str>,
    /// The port that local.settings.json names for the host.
    pub local_port: Option<u16>,
}

/// `extensions.queues`.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueSettings {
    pub batch_size: u32,
    pub new_batch_threshold: usize,
    pub max_dequeue_count: u64,
    /// When a failed message is visible again.
    pub visibility_timeout: Duration,
    pub max_polling_interval: Duration,
    pub base64: bool,
}

/// One function folder.
#[derive(Debug, Clone)]
pub struct Function {
    pub name: String,
    pub binding: String,
    pub trigger: Trigger,
}

/// What calls a function.
#[derive(Debug, Clone)]
pub enum Trigger {
    Queue { queue: String, connection: String },
    Timer { schedule: Schedule, use_monitor: bool, run_on_startup: bool },
}

impl App {
    /// Reads the app; the error names everything that is wrong or not supported.
    pub fn load(root: &Path) -> Result<Self> {
        let root = root.canonicalize().with_context(|| format!("app root {}", root.display()))?;
        let host = read_object(&root.join("host.json"))?.context("there is no host.json")?;
        let local = read_object(&root.join("local.settings.json"))?.unwrap_or_default();
        let env = merged_environment(&local)?;
        let variable = |name: &str| env.get(&OsString::from(name)).and_then(|value| value.to_str());
        let mut problems = Problems::default();
        refuse_unsupported(&host, &mut problems.0);
        let executable = problems.take(executable(&root, &host));
        let initialization = duration_at(&host, "/customHandler/initializationTimeout");
        let function_timeout = problems.take(function_timeout(&host));
        let queues = problems.take(queue_settings(&host, variable("AZURE_FUNCTIONS_ENVIRONMENT")));
        let functions = functions(&root, &variable, &mut problems)?;
        let app = Self {
            executable: executable.unwrap_or_default(),
            initialization: problems
                .take(initialization)
                .flatten()
                .unwrap_or(Duration::from_secs(30)),
            function_timeout: function_timeout.flatten(),
            queues: queues.unwrap_or_else(QueueSettings::initial),
            functions,
            trace_flags: trace_flags(&host, &variable),
            local_port: local
                .get("Host")
                .and_then(|host| host["LocalHttpPort"].as_u64()?.try_into().ok()),
            root,
            env,
        };
        problems.done().map(|()| app)
    }
}

/// What is wrong with the app, collected.
#[derive(Debug, Default)]
struct Problems(Vec<String>);

impl Problems {
    fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(format!("{error:#}"))).ok()
    }

    fn done(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        bail!("the stand-in cannot run this app:\n- {}", self.0.join("\n- "))
    }
}

fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let object = serde_json::from_str(text.trim_start_matches('\u{feff}'));
    object.map(Some).with_context(|| path.display().to_string())
}

/// The environment, then what `Values` adds to it.
fn merged_environment(local: &Map<String, Value>) -> Result<BTreeMap<OsString, OsString>> {
    let mut env: BTreeMap<_, _> = std::env::vars_os().collect();
    let Some(values) = local.get("Values").and_then(Value::as_object) else { return Ok(env) };
    if local.get("IsEncrypted") == Some(&Value::Bool(true)) {
        bail!("local.settings.json is encrypted; the stand-in cannot read it");
    }
    for (name, value) in values {
        let value =
            value.as_str().with_context(|| format!("local.settings.json: {name} is no string"))?;
        if env.contains_key(&OsString::from(name)) {
            let text = format!("Skipping '{name}' from local settings as it's already defined");
            log::info(log::HOST, text);
        } else {
            env.insert(name.into(), value.into());
        }
    }
    Ok(env)
}

fn functions<'a>(
    root: &Path,
    variable: &impl Fn(&str) -> Option<&'a str>,
    problems: &mut Problems,
) -> Result<Vec<Function>> {
    let mut functions = Vec::new();
    let mut folders: Vec<_> = fs::read_dir(root)?.collect::<Result<_, _>>()?;
    folders.sort_by_key(fs::DirEntry::file_name);
    for folder in folders {
        let name = folder.file_name().to_string_lossy().into_owned();
        let Some(settings) =
            read_object(&folder.path().join("function.json")).or_else(|error| {
                // A file is no folder of a function.
                if folder.path().is_dir() { Err(error) } else { Ok(None) }
            })?
        else {
            continue;
        };
        let switch = variable(&format!("AzureWebJobs.{name}.Disabled"));
        let disabled = settings.get("disabled") == Some(&Value::Bool(true))
            || switch.is_some_and(|value| matches!(value.to_lowercase().as_str(), "true" | "1"));
        if disabled {
            log::info(log::HOST, format!("Function {name} is disabled"));
            continue;
        }
        let function = crate::binding::function(&name, &settings, variable);
        functions.extend(problems.take(function.with_context(|| format!("{name}/function.json"))));
    }
    Ok(functions)
}
