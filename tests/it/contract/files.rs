//! Function folders, host.json, local.settings.json, README and code name the same things.

use chunk_handler::{
    settings::{Profile, Program, Settings},
    storage::Queue,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use support::rig::{Rig, envelope};

/// Just over the largest request.
const TOO_LARGE: usize = 1024 * 1024 + 1;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read_json(path: impl AsRef<Path>) -> Value {
    let text = fs::read_to_string(root().join(&path)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{:?}: {error}", path.as_ref()))
}

/// Every function folder with its function.json.
fn functions() -> BTreeMap<String, Value> {
    let entries = fs::read_dir(root()).unwrap().flatten().map(|entry| entry.path());
    let with_function = |folder: PathBuf| {
        let file = folder.join("function.json");
        let name = folder.file_name()?.to_string_lossy().into_owned();
        file.exists().then(|| (name, read_json(file)))
    };
    entries.filter_map(with_function).collect()
}

/// The one binding of a function; a second one would be an output (rule H15).
fn binding(function: &Value) -> &Value {
    let bindings = function["bindings"].as_array().unwrap();
    assert_eq!(bindings.len(), 1, "{function}");
    assert_eq!(bindings[0]["direction"], "in");
    &bindings[0]
}

/// The functions and their queues are those of the interface and of the code.
#[test]
fn functions_and_queues_have_the_names_of_the_code() {
    let functions = functions();
    let names: Vec<&str> = functions.keys().map(String::as_str).collect();
    assert_eq!(names, ["control", "health_check", "process_chunk"]);
    for (name, queue) in
        [("process_chunk", Queue::Chunks.name()), ("control", Queue::Control.name())]
    {
        let binding = binding(&functions[name]);
        let expected = json!({"name": "message", "type": "queueTrigger", "direction": "in",
            "queueName": queue, "connection": "ChunkStorage"});
        assert_eq!(*binding, expected, "{name}");
    }
    let names = Queue::ALL.map(|queue| (queue.name(), queue.poison_name()));
    assert_eq!(names.map(|(name, _)| name), ["chunks", "chunk-control"]);
    assert!(names.iter().all(|(name, poison)| *poison == format!("{name}-poison")));
    let timer = binding(&functions["health_check"]);
    let expected = json!({"name": "timer", "type": "timerTrigger", "direction": "in",
        "schedule": "0 */5 * * * *"});
    assert_eq!(*timer, expected);
    let with_retry = functions.iter().find(|(_, function)| function.get("retry").is_some());
    assert_eq!(with_retry, None, "no retry policy");
}

/// C4 C5: each folder's route, of the queues and of the timer, takes an invocation under the binding's name, and finds its message there.
#[tokio::test(flavor = "multi_thread")]
async fn every_function_has_a_route_that_finds_its_message() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let chunk = json!({"version": 1, "job_id": 1, "chunk_index": 0, "source": {"urls": []}});
    let sweep = json!({"version": 1, "action": "sweep"});
    for (name, function) in functions() {
        let binding = binding(&function)["name"].as_str().unwrap();
        let (message, said) = match name.as_str() {
            "process_chunk" => (chunk.to_string(), "chunk 1/0: completed, 0 of 0"),
            "control" => (sweep.to_string(), "every process sweeps"),
            _ => ("{}".to_owned(), "active_chunks 0"),
        };
        let body: Value = serde_json::from_str(&envelope(&message)).unwrap();
        let data = json!({ binding: body["Data"]["message"] });
        let body = json!({"Data": data, "Metadata": body["Metadata"]}).to_string();
        let (status, answer) = handler.post(&format!("/{name}"), "contract", body).await;
        assert_eq!(status, 200, "{name}: {answer}");
        assert!(answer["Logs"][0].as_str().unwrap().starts_with(said), "{name}: {answer}");
    }
    let rejected = "select count(*) from chunk_handler.rejected_message";
    assert_eq!(rig.value::<i64>(rejected).await, 0);
}

/// C3: the top level holds what a tool or a reader looks for there, and nothing else.
#[test]
fn the_top_level_holds_what_is_looked_for() {
    let functions = ["control", "health_check", "process_chunk"];
    let code = ["src", "crates", "tests", "xtask", "infra", "doc"];
    let files = [
        "Cargo.toml",
        "Cargo.lock",
        "deny.toml",
        "host.json",
        "local.settings.json",
        "azure.yaml",
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
    ];
    // Made here, and ignored by git.
    let made = ["target", "handler"];
    let known = [&functions[..], &code, &files, &made].concat();
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let other: Vec<String> =
        names.filter(|name| !name.starts_with('.') && !known.contains(&&**name)).collect();
    assert_eq!(other, Vec::<String>::new());
}

/// H6 H13: host.json has the values of the interface, and hands out no more than the profile takes.
#[test]
fn host_json_fits_the_interface_and_the_profile() {
    let host = read_json("host.json");
    let queues = &host["extensions"]["queues"];
    let expected = json!({"batchSize": 1, "newBatchThreshold": 9, "maxDequeueCount": 5,
        "visibilityTimeout": "00:00:30", "maxPollingInterval": "00:00:05",
        "messageEncoding": "none"});
    assert_eq!(*queues, expected);
    let at_once =
        queues["batchSize"].as_u64().unwrap() + queues["newBatchThreshold"].as_u64().unwrap();
    assert!(at_once <= Profile::AzureFunctions.max_chunks(), "{at_once} at once");
    assert_eq!(host["version"], "2.0");
    assert_eq!(host["functionTimeout"], "00:20:00");
    assert_eq!(host["concurrency"], json!({"dynamicConcurrencyEnabled": false}));
    // Its own requests to the queues, at Information, are 200 MB of logs a day for an idle instance.
    let levels = json!({"default": "Information", "Azure.Core": "Warning"});
    assert_eq!(host["logging"]["logLevel"], levels);
    assert_eq!(host.get("retry"), None, "no retry policy");
    let executable = &host["customHandler"]["description"]["defaultExecutablePath"];
    assert_eq!(executable, "handler", "the program itself, no wrapper (H13)");
    assert_ne!(host["customHandler"]["enableForwardingHttpRequest"], true);
}

fn with(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Every variable that src/settings shows; those of an identity count as the connection's.
fn variables() -> BTreeSet<String> {
    let environment =
        with(&[("DATABASE_URL", "postgres://h/d"), ("ChunkStorage", "UseDevelopmentStorage=true")]);
    let settings = Settings::parse(Program::Chunkctl, environment, BTreeMap::new()).unwrap();
    settings.table.into_iter().map(|setting| setting.name).collect()
}

/// C9: what `func start` reads in a checkout: local.settings.json has known names only, and nothing but loopback and the emulator.
#[test]
fn local_settings_are_known_and_local() {
    let file = read_json("local.settings.json");
    assert_eq!(file["IsEncrypted"], false);
    let values: BTreeMap<String, String> = serde_json::from_value(file["Values"].clone()).unwrap();
    let of_the_host = ["FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"].map(str::to_owned);
    let known: BTreeSet<String> = variables().into_iter().chain(of_the_host).collect();
    let unknown: Vec<&String> = values.keys().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "unknown names {unknown:?}");
    for (name, value) in &values {
        let is_local = match name.as_str() {
            "AzureWebJobsStorage" | "ChunkStorage" => value == "UseDevelopmentStorage=true",
            "DATABASE_URL" => {
                let url = reqwest::Url::parse(value).unwrap();
                url.host_str() == Some("127.0.0.1") && url.password().is_none()
            }
            "FUNCTIONS_WORKER_RUNTIME" => value == "custom",
            _ => !value.contains("://"),
        };
        assert!(is_local, "{name}={value}");
    }
    let settings = Settings::parse(Program::Chunkctl, BTreeMap::new(), values).unwrap();
    assert_eq!([settings.slips, settings.warnings].concat(), Vec::<String>::new());
}

/// First-column names of README's settings table, the table that has a row for `DATABASE_URL`.
fn readme_variables(readme: &str) -> BTreeSet<String> {
    let mut tables = vec![Vec::new()];
    for line in readme.lines().map(str::trim) {
        match line.strip_prefix('|') {
            Some(row) => tables.last_mut().unwrap().push(row.split('|').next().unwrap_or("")),
            None => tables.push(Vec::new()),
        }
    }
    let names = |cells: &Vec<&str>| -> BTreeSet<String> {
        // Between backticks; the variables of an identity count as the connection's.
        let quoted = cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2));
        quoted.map(|name| name.split("__").next().unwrap_or(name).to_owned()).collect()
    };
    let mut tables = tables.iter().map(names);
    tables.find(|names| names.contains("DATABASE_URL")).unwrap_or_default()
}

/// README's settings table lists exactly the variables that the code reads.
#[test]
fn the_readme_lists_every_setting() {
    let readme = fs::read_to_string(root().join("README.md"))
        .expect("README.md does not exist yet; its settings table must list every variable");
    let (listed, read) = (readme_variables(&readme), variables());
    assert!(!listed.is_empty(), "README.md has no table with a row for `DATABASE_URL`");
    let missing: Vec<_> = read.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&read).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

/// Case 125: wrong method, path and content type are told so.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_paths_and_types_are_refused() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |method: &str, path: &str, content_type: Option<&str>| {
        let mut request = client.request(method.parse().unwrap(), handler.url(path)).body("{}");
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let json = Some("application/json");
    for name in functions().keys() {
        let route = format!("/{name}");
        for method in ["GET", "PUT", "DELETE"] {
            assert_eq!(ask(method, &route, json).await, 405, "{method} {route}");
        }
        for content_type in [None, Some("text/plain"), Some("application/xml"), Some("")] {
            assert_eq!(ask("POST", &route, content_type).await, 415, "{content_type:?} {route}");
        }
        assert_eq!(ask("POST", &format!("{route}/more"), json).await, 404);
    }
    assert_eq!(ask("POST", "/", json).await, 405);
    assert_eq!(ask("POST", "/api/process_chunk", json).await, 404);
    assert_eq!(ask("GET", "/nothing", None).await, 404);
}

/// Case 124: a request over 1 MiB gets 413 from every function.
#[tokio::test(flavor = "multi_thread")]
async fn too_large_requests_are_refused() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    for name in functions().keys() {
        let body = " ".repeat(TOO_LARGE);
        assert_eq!(handler.post(&format!("/{name}"), "large", body).await.0, 413, "{name}");
    }
}
