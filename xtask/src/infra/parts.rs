//! The database, the network, and what azd reads.

use std::fs;

use serde_json::Value;
use support::checkout::root;

use super::snapshot::{Snapshot, last, text};

/// What is wrong with the database and the network of a snapshot.
pub(super) fn check(snapshot: &Snapshot) -> Vec<String> {
    [database(snapshot), network(snapshot), outputs(snapshot)].concat()
}

fn database(snapshot: &Snapshot) -> Vec<String> {
    const SERVER: &str = "Microsoft.DBforPostgreSQL/flexibleServers";
    let mut findings = Vec::new();
    let server = snapshot.one(SERVER);
    let wanted: [(&str, Value); 5] = [
        ("/properties/version", "17".into()),
        ("/properties/storage/storageSizeGB", 32.into()),
        ("/properties/storage/autoGrow", "Enabled".into()),
        ("/properties/backup/backupRetentionDays", 7.into()),
        ("/sku/name", "Standard_B1ms".into()),
    ];
    for (pointer, wanted) in wanted {
        let found = server.pointer(pointer).unwrap_or(&Value::Null);
        if *found != wanted {
            findings.push(format!("database: {pointer} is {found}, and must be {wanted}"));
        }
    }
    let mut count = |child: &str, wanted: usize| {
        let found = snapshot.of(&format!("{SERVER}/{child}")).count();
        if found != wanted {
            findings.push(format!("database: {found} {child}, and {wanted} are wanted"));
        }
    };
    count("configurations", 0);
    count("databases", 1);
    count("administrators", if snapshot.variant.receivers { 2 } else { 1 });
    count("firewallRules", usize::from(!snapshot.variant.network));
    if last(text(snapshot.one(&format!("{SERVER}/databases")), "/name")) != "pixcrawler" {
        findings.push("database: its name is not pixcrawler".to_owned());
    }
    // Five connections of each process, and four processes that are no chunks'.
    let site = snapshot.one("Microsoft.Web/sites");
    let instances =
        &site["properties"]["functionAppConfig"]["scaleAndConcurrency"]["maximumInstanceCount"];
    if 5 * (instances.as_u64().unwrap_or(1000) + 4) > 35 {
        findings.push(format!("database: {instances} instances open more connections than it has"));
    }
    findings
}

fn network(snapshot: &Snapshot) -> Vec<String> {
    let mut findings = Vec::new();
    let networks = snapshot.of("Microsoft.Network/virtualNetworks").count();
    if networks != usize::from(snapshot.variant.network) {
        findings.push(format!("network: {networks} virtual networks"));
    }
    let site = snapshot.one("Microsoft.Web/sites");
    let joined = !text(site, "/properties/virtualNetworkSubnetId").is_empty();
    if joined != snapshot.variant.network {
        findings.push("network: the app's subnet is not as vnetEnabled says".to_owned());
    }
    let accounts = [("host", snapshot.host_account(), 0), ("data", snapshot.data_account(), 1)];
    for (name, account, workflows) in accounts {
        let rules = &account["properties"]["networkAcls"];
        let count = |list: &str| rules[list].as_array().map_or(0, Vec::len);
        let denied = text(rules, "/defaultAction") == "Deny";
        if denied != snapshot.variant.network {
            findings.push(format!(
                "network: defaultAction of the {name} account is {}",
                rules["defaultAction"]
            ));
        }
        if snapshot.variant.network
            && (count("virtualNetworkRules") != 1 || count("resourceAccessRules") != workflows)
        {
            findings.push(format!("network: the rules of the {name} account are {rules}"));
        }
    }
    if snapshot.variant.network {
        findings.extend(subnets(snapshot));
    }
    findings
}

fn subnets(snapshot: &Snapshot) -> Vec<String> {
    let mut findings = Vec::new();
    let network = snapshot.one("Microsoft.Network/virtualNetworks");
    let inline = network["properties"]["subnets"].as_array().into_iter().flatten();
    let subnets: Vec<&Value> =
        inline.chain(snapshot.of("Microsoft.Network/virtualNetworks/subnets")).collect();
    let delegated = |service: &str| {
        subnets.iter().find(|one| {
            let all = one["properties"]["delegations"].as_array().into_iter().flatten();
            all.into_iter().any(|one| text(one, "/properties/serviceName") == service)
        })
    };
    let app = delegated("Microsoft.App/environments");
    let database = delegated("Microsoft.DBforPostgreSQL/flexibleServers");
    if app.is_none() || database.is_none() || subnets.len() != 2 {
        findings
            .push("network: not two subnets, one for the app and one for the database".to_owned());
    }
    let endpoint = app.map_or("", |one| text(one, "/properties/serviceEndpoints/0/service"));
    if endpoint != "Microsoft.Storage" {
        findings.push(format!("network: the service endpoint of the app's subnet is {endpoint:?}"));
    }
    let ranges: Vec<Option<(u32, u32)>> =
        subnets.iter().map(|one| range(text(one, "/properties/addressPrefix"))).collect();
    match ranges.as_slice() {
        [Some(one), Some(other)] if one.1 < other.0 || other.1 < one.0 => {}
        _ => findings.push("network: the subnets overlap, or are none".to_owned()),
    }
    if subnets.iter().any(|one| text(one, "/name").contains('_')) {
        findings.push("network: a subnet's name has a _, which this plan refuses".to_owned());
    }
    let zone = text(snapshot.one("Microsoft.Network/privateDnsZones"), "/name");
    let links = snapshot.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks").count();
    if !zone.ends_with(".postgres.database.azure.com") || links != 1 {
        findings.push(format!("network: zone {zone:?} with {links} links"));
    }
    findings
}

/// First and last address of a CIDR range.
fn range(cidr: &str) -> Option<(u32, u32)> {
    let (address, bits) = cidr.split_once('/')?;
    let first = u32::from(address.parse::<std::net::Ipv4Addr>().ok()?);
    let rest = u32::MAX.checked_shr(bits.parse().ok()?).unwrap_or(0);
    Some((first & !rest, first | rest))
}

/// azd keeps them as environment variables.
fn outputs(snapshot: &Snapshot) -> Vec<String> {
    let upper = |name: &str| {
        name.chars()
            .all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
    };
    let names = snapshot.value["outputs"].as_object().into_iter().flatten().map(|(name, _)| name);
    names
        .filter(|name| !upper(name))
        .map(|name| format!("output {name} is no environment variable's name"))
        .collect()
}

/// What is wrong with `azure.yaml`: the few lines that must agree with the rest.
pub(super) fn azure_yaml() -> Vec<String> {
    let Ok(text) = fs::read_to_string(root().join("azure.yaml")) else {
        return vec!["azure.yaml: missing".to_owned()];
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let wanted = [
        "api:",
        "project: .",
        "host: function",
        "language: custom",
        "dist: ./target/package/handler.zip",
    ];
    let missing = wanted.into_iter().filter(|wanted| !lines.contains(wanted));
    missing.map(|wanted| format!("azure.yaml: no line {wanted:?}")).collect()
}
