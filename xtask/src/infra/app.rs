//! The function app: its plan, its settings read by the handler's own parser, and the names it shares.

use std::collections::{BTreeMap, BTreeSet};

use chunk_handler::settings::{Profile, Program, Provenance, Settings};
use serde_json::Value;

use super::expression::resolve;
use super::facts::Facts;
use super::snapshot::{Snapshot, last, text};

/// The profile of a snapshot, as the handler has it.
pub(super) fn profile(snapshot: &Snapshot) -> Profile {
    match snapshot.variant.profile {
        "local" => Profile::Local,
        "azure" => Profile::Azure,
        _ => Profile::AzureFunctions,
    }
}

/// The app setting that says how many chunks the fleet may hold.
pub(super) fn fleet(snapshot: &Snapshot) -> u64 {
    let settings = snapshot.app_settings();
    let fleet = settings.get("PIXCRAWLER_FLEET_MAX_CHUNKS").and_then(Value::as_str);
    fleet.and_then(|fleet| fleet.parse().ok()).unwrap_or_default()
}

/// What is wrong with the app of a snapshot.
pub(super) fn check(snapshot: &Snapshot, facts: &Facts) -> Vec<String> {
    [scale(snapshot), parsed(snapshot), storage(snapshot, facts), host(facts)].concat()
}

fn scale(snapshot: &Snapshot) -> Vec<String> {
    let mut findings = Vec::new();
    let site = snapshot.one("Microsoft.Web/sites");
    let scale = &site["properties"]["functionAppConfig"]["scaleAndConcurrency"];
    let memory = scale["instanceMemoryMB"].as_u64().unwrap_or_default();
    if ![512, 2048, 4096].contains(&memory) {
        findings.push(format!(
            "function app: instanceMemoryMB is {memory}, and may be 512, 2048, 4096"
        ));
    }
    let setting =
        snapshot.app_settings().get("PIXCRAWLER_INSTANCE_MEMORY_MB").cloned().unwrap_or_default();
    if setting.as_str() != Some(&memory.to_string()) {
        findings.push(format!(
            "PIXCRAWLER_INSTANCE_MEMORY_MB is {setting}, and instanceMemoryMB {memory}"
        ));
    }
    let instances = scale["maximumInstanceCount"].as_u64().unwrap_or_default();
    let needed = fleet(snapshot).div_ceil(profile(snapshot).max_chunks());
    if !(needed..=1000).contains(&instances) || instances == 0 {
        findings.push(format!("maximumInstanceCount is {instances}, and may be {needed} to 1000"));
    }
    findings
}

/// The settings as the handler of this checkout reads them on the platform.
fn parsed(snapshot: &Snapshot) -> Vec<String> {
    let given = snapshot.app_settings();
    let mut environment: BTreeMap<String, String> = given
        .iter()
        .map(|(name, value)| (name.clone(), resolve(value.as_str().unwrap_or_default())))
        .collect();
    let of_the_platform = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "7071"),
        ("WEBSITE_POD_NAME", "pod"),
        ("WEBSITE_SKU", "FlexConsumption"),
    ];
    environment.extend(of_the_platform.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let settings = match Settings::parse(Program::Handler, environment, BTreeMap::new()) {
        Ok(settings) => settings,
        Err(violations) => {
            return violations.iter().map(|one| format!("app setting {one}")).collect();
        }
    };
    let mut findings = settings.warnings.clone();
    let read = |name: &String| {
        let from = Provenance::Environment(name.clone());
        name.starts_with("AzureWebJobsStorage__")
            || settings.table.iter().any(|one| one.provenance == from)
    };
    let unread = given.keys().filter(|name| !read(name));
    findings.extend(unread.map(|name| format!("app setting {name} is unknown to the handler")));
    let profile = profile(snapshot);
    let mut is = |what: &str, found: String, wanted: String| {
        if found != wanted {
            findings
                .push(format!("the handler reads {what} {found}, and the profile says {wanted}"));
        }
    };
    is("profile", settings.profile.to_string(), profile.to_string());
    is(
        "chunks",
        settings.limits.max_concurrent_chunks.to_string(),
        profile.max_chunks().to_string(),
    );
    is("temp storage", settings.limits.temp_storage_mb.to_string(), profile.temp_mb().to_string());
    is("fleet", settings.fleet_max_chunks.to_string(), profile.max_chunks().to_string());
    is("database", database_problem(&settings), String::new());
    findings
}

fn database_problem(settings: &Settings) -> String {
    let url = settings.database_url.expose();
    let authority =
        url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let (user, host) = authority.split_once('@').unwrap_or_default();
    let problems = [
        (!host.ends_with(":5432"), "a port other than 5432"),
        (user.is_empty(), "no user"),
        (user.contains(':'), "a password"),
        (!url.ends_with("/pixcrawler?sslmode=verify-full"), "another database or sslmode"),
    ];
    let found: Vec<_> =
        problems.iter().filter(|(wrong, _)| *wrong).map(|(_, what)| *what).collect();
    found.join(", ")
}

/// Queues and containers by name.
fn storage(snapshot: &Snapshot, facts: &Facts) -> Vec<String> {
    let mut findings = Vec::new();
    let names = |kind: &str, account: &Value| -> BTreeSet<String> {
        let inside = format!("{}/", text(account, "/id"));
        let of = snapshot.of(kind).filter(|one| text(one, "/id").starts_with(&inside));
        of.map(|one| last(text(one, "/name")).to_owned()).collect()
    };
    let (data, host) = (snapshot.data_account(), snapshot.host_account());
    let wanted =
        facts.queues.iter().flat_map(|queue| [queue.clone(), format!("{queue}-poison")]).collect();
    let queues = names("Microsoft.Storage/storageAccounts/queueServices/queues", data);
    if queues != wanted {
        findings.push(format!("the queues are {queues:?}, and the functions need {wanted:?}"));
    }
    let containers = "Microsoft.Storage/storageAccounts/blobServices/containers";
    let found = names(containers, data);
    if found != ["chunk-sources", "pixcrawler-datasets"].map(str::to_owned).into() {
        findings.push(format!("the containers are {found:?}, and the settings' defaults others"));
    }
    let package = names(containers, host);
    let site = snapshot.one("Microsoft.Web/sites");
    let place = text(site, "/properties/functionAppConfig/deployment/storage/value");
    if package.len() != 1 || !package.iter().all(|name| place.contains(name.as_str())) {
        findings.push(format!(
            "the package lies at {place}, and the host's containers are {package:?}"
        ));
    }
    findings
}

/// As many messages at once as an instance of this plan may hold chunks.
fn host(facts: &Facts) -> Vec<String> {
    let queues = &facts.host["extensions"]["queues"];
    let number = |name: &str| queues[name].as_u64().unwrap_or_default();
    let at_once = number("batchSize") + number("newBatchThreshold");
    let wanted = Profile::AzureFunctions.max_chunks();
    let wrong = number("batchSize") != 1 || at_once != wanted;
    wrong
        .then(|| {
            format!("host.json takes {at_once} messages at once, and the profile {wanted} chunks")
        })
        .into_iter()
        .collect()
}
