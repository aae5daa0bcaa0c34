//! What only the compiled template shows: the order of the parts, and which parameters are secure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::snapshot::text;

/// What is wrong with the compiled `main.bicep`.
pub(super) fn check(template: &Value) -> Vec<String> {
    let mut findings = order(template);
    secure("main.bicep", template, &mut findings);
    findings
}

/// The app comes after its roles, and of the database's parts, which change one at a time, each but the
/// database itself after another one.
fn order(template: &Value) -> Vec<String> {
    const SERVER: &str = "Microsoft.DBforPostgreSQL/flexibleServers";
    let mut findings = Vec::new();
    let after = |resource: &Value| resource["dependsOn"].to_string();
    if !after(&template["resources"]["app"]).contains("\"rbac\"") {
        findings.push("main.bicep: the app is deployed before its roles".to_owned());
    }
    let parts = template.pointer("/resources/postgres/properties/template/resources");
    let parts = parts.and_then(Value::as_object);
    let child = |one: &Value| text(one, "/type").strip_prefix(SERVER).map(str::to_owned);
    for (name, part) in parts.into_iter().flatten() {
        let follows = parts.into_iter().flatten().any(|(other, of)| {
            child(of).is_some_and(|kind| !kind.is_empty())
                && after(part).contains(&format!("\"{other}\""))
        });
        let first = child(part).is_none_or(|kind| kind.is_empty() || kind == "/databases");
        if !first && !follows {
            findings.push(format!("postgres.bicep: {name} does not wait for another part"));
        }
    }
    if parts.is_none() {
        findings.push("main.bicep: no module postgres".to_owned());
    }
    findings
}

/// A parameter that is a URL is secure, here and in every module; what carries a secure one goes to a
/// secure parameter, and to no output.
fn secure(name: &str, template: &Value, findings: &mut Vec<String>) {
    let fields = |of: &str| template[of].as_object().into_iter().flatten();
    let is_secure = |parameter: &Value| text(parameter, "/type").starts_with("secure");
    for (parameter, of) in fields("parameters") {
        if parameter.ends_with("Url") && !is_secure(of) {
            findings.push(format!("{name}: parameter {parameter} is not secure"));
        }
    }
    let secret = fields("parameters").filter(|(_, of)| is_secure(of));
    let mut carriers: BTreeSet<String> =
        secret.map(|(parameter, _)| format!("parameters('{parameter}')")).collect();
    let carries = |carriers: &BTreeSet<String>, value: &Value| {
        let value = value.to_string();
        carriers.iter().any(|carrier| value.contains(carrier))
    };
    // A variable may carry another one: as many times as there are variables.
    for _ in fields("variables") {
        let more = fields("variables").filter(|(_, value)| carries(&carriers, value));
        let more: Vec<_> = more.map(|(name, _)| format!("variables('{name}')")).collect();
        carriers.extend(more);
    }
    for (output, value) in fields("outputs").filter(|(_, value)| carries(&carriers, value)) {
        if !is_secure(value) {
            findings.push(format!("{name}: output {output} carries a secure parameter"));
        }
    }
    for (module, resource) in fields("resources") {
        let inner = &resource["properties"]["template"];
        if inner.is_null() {
            continue;
        }
        let given = resource["properties"]["parameters"].as_object().into_iter().flatten();
        for (parameter, _) in given.filter(|(_, value)| carries(&carriers, value)) {
            if !is_secure(&inner["parameters"][parameter]) {
                findings.push(format!(
                    "{module}: parameter {parameter} carries a secure one, and is not secure"
                ));
            }
        }
        secure(module, inner, findings);
    }
}
