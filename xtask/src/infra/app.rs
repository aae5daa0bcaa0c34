//! The function app: its plan, its settings read by the handler's own parser, and the names it shares.

use std::collections::{BTreeMap, BTreeSet};

use chunk_handler::settings::{Profile, Program, Provenance, Settings};
use serde_json::Value;

use super::expression::resolve;
use super::facts::Facts;
use super::snapshot::{Snapshot, is_expression, last, text};

/// Every app setting, and no other. The platform refuses `FUNCTIONS_WORKER_RUNTIME` on this plan.
const SETTINGS: [&str; 17] = [
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__tableServiceUri",
    "ChunkStorage__blobServiceUri",
    "ChunkStorage__clientId",
    "ChunkStorage__credential",
    "ChunkStorage__queueServiceUri",
    "DATABASE_URL",
    "PIXCRAWLER_DATABASE_CREDENTIAL",
    "PIXCRAWLER_ENVIRONMENT",
    "PIXCRAWLER_FLEET_MAX_CHUNKS",
    "PIXCRAWLER_INSTANCE_MEMORY_MB",
    "PIXCRAWLER_MONITOR_POSTGRES_RESOURCE_ID",
    "PIXCRAWLER_MONITOR_RESOURCE_ID",
];

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
    [plan(snapshot), settings(snapshot), parsed(snapshot), storage(snapshot, facts), host(facts)]
        .concat()
}

fn plan(snapshot: &Snapshot) -> Vec<String> {
    let mut findings = Vec::new();
    let farm = snapshot.one("Microsoft.Web/serverfarms");
    let site = snapshot.one("Microsoft.Web/sites");
    let mut is = |value: &Value, pointer: &str, wanted: Value| {
        let found = value.pointer(pointer).unwrap_or(&Value::Null);
        if *found != wanted {
            findings.push(format!("function app: {pointer} is {found}, and must be {wanted}"));
        }
    };
    is(farm, "/sku/name", "FC1".into());
    is(farm, "/sku/tier", "FlexConsumption".into());
    is(site, "/kind", "functionapp,linux".into());
    is(site, "/properties/httpsOnly", true.into());
    is(site, "/tags/azd-service-name", "api".into());
    is(site, "/properties/siteConfig/minTlsVersion", "1.2".into());
    let config = "/properties/functionAppConfig";
    is(site, &format!("{config}/runtime/name"), "custom".into());
    is(site, &format!("{config}/runtime/version"), "1.0".into());
    is(site, &format!("{config}/deployment/storage/type"), "blobContainer".into());
    is(
        site,
        &format!("{config}/deployment/storage/authentication/type"),
        "UserAssignedIdentity".into(),
    );
    for policy in ["ftp", "scm"] {
        let of = "Microsoft.Web/sites/basicPublishingCredentialsPolicies";
        let found = snapshot.of(of).find(|one| last(text(one, "/name")) == policy);
        is(found.unwrap_or(&Value::Null), "/properties/allow", false.into());
    }
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
    if scale["alwaysReady"].as_array().is_some_and(|ready| !ready.is_empty()) {
        findings.push("function app: alwaysReady is not empty".to_owned());
    }
    findings
}

fn settings(snapshot: &Snapshot) -> Vec<String> {
    let found: BTreeSet<String> = snapshot.app_settings().into_keys().collect();
    let wanted: BTreeSet<String> = SETTINGS.map(str::to_owned).into();
    let missing = wanted.difference(&found).map(|name| format!("app setting {name} is missing"));
    let unknown =
        found.difference(&wanted).map(|name| format!("app setting {name} does not belong there"));
    missing.chain(unknown).collect()
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

/// Queues and containers by name, and each connection at its account.
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
    let settings = snapshot.app_settings();
    for (prefix, account) in [("AzureWebJobsStorage__", host), ("ChunkStorage__", data)] {
        let name = text(account, "/name");
        for (setting, value) in settings.iter().filter(|(setting, _)| setting.starts_with(prefix)) {
            let value = value.as_str().unwrap_or_default();
            let points = !setting.ends_with("ServiceUri") || value.contains(name);
            if !points || (setting.ends_with("credential") && value != "managedidentity") {
                findings.push(format!(
                    "app setting {setting} is {value}, which is not of account {name}"
                ));
            }
            if setting.ends_with("clientId") && !is_expression(value) {
                findings.push(format!("app setting {setting} is no reference to the identity"));
            }
        }
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
