//! Each mistake once, in the Bicep itself.

use super::*;

/// What is wrong, the file, the text there and what stands in its place, and what must be named.
const IN_THE_BICEP: [(&str, &str, &str, &str, &str); 26] = [
    ("property name", "app/function.bicep", "httpsOnly: true", "httpOnly: true", "BCP089"),
    (
        "misspelt open enum",
        "app/storage.bicep",
        "'TLS1_2'",
        "'TLS12'",
        "minimumTlsVersion is \"TLS12\"",
    ),
    (
        "memory 777",
        "app/function.bicep",
        "instanceMemoryMB: instanceMemoryMb",
        "instanceMemoryMB: 777",
        "instanceMemoryMB is 777",
    ),
    (
        "queue with a capital",
        "app/storage.bicep",
        "'chunk-control-poison'",
        "'Chunk-control-poison'",
        "which does not match",
    ),
    (
        "queue unlike function.json",
        "app/storage.bicep",
        "'chunks-poison'",
        "'chunk-poison'",
        "the queues are",
    ),
    (
        "unknown app setting",
        "app/function.bicep",
        "PIXCRAWLER_ENVIRONMENT: profile",
        "PIXCRAWLER_PROFILE: profile",
        "PIXCRAWLER_PROFILE is unknown to the handler",
    ),
    (
        "app setting out of its bounds",
        "app/function.bicep",
        "string(fleetMaxChunks)",
        "string(fleetMaxChunks * 10000)",
        "from 1 to 10000",
    ),
    (
        "app setting missing",
        "app/function.bicep",
        "      ChunkStorage__clientId: identityClientId\n",
        "",
        "/properties/ChunkStorage__clientId is null, and must be",
    ),
    (
        "FUNCTIONS_WORKER_RUNTIME",
        "app/function.bicep",
        "PIXCRAWLER_ENVIRONMENT: profile",
        "PIXCRAWLER_ENVIRONMENT: profile\n      FUNCTIONS_WORKER_RUNTIME: 'custom'",
        "FUNCTIONS_WORKER_RUNTIME is \"custom\", and must be null",
    ),
    (
        "role id",
        "roles.json",
        SENDER,
        "8a0f0c08-91a1-4084-bc3d-661d67233fed",
        "role missing: workflow",
    ),
    (
        "role scope",
        "app/rbac.bicep",
        "scope: data::queues::control",
        "scope: data",
        "role too many: workflow",
    ),
    (
        "threshold",
        "alerts.bicep",
        "tempQuotaMb * 9 / 10",
        "tempQuotaMb * 8 / 10",
        "alert temp: /criteria/allOf/0/threshold is 400, and must be 450",
    ),
    (
        "unknown metric",
        "kql/failed.kql",
        "failed_chunks",
        "failed_chunk",
        "no metric is named failed_chunk",
    ),
    (
        "bin in a measured query",
        "kql/failed.kql",
        "customMetrics",
        "customMetrics | summarize valueSum = sum(valueSum) by name, bin(timestamp, 10m)",
        "in a measured query",
    ),
    (
        "window of active",
        "alerts.bicep",
        "windowSize: 'PT10M'\n    aggregation: 'Maximum'",
        "windowSize: 'PT5M'\n    aggregation: 'Maximum'",
        "alert active: window of 5 min",
    ),
    ("port 6432", "app/function.bicep", ":5432/", ":6432/", "a port other than 5432"),
    (
        "a password",
        "app/function.bicep",
        "${databaseUser}@",
        "${databaseUser}:secret@",
        "a password",
    ),
    ("API version", "workbook.bicep", "workbooks@2023-06-01", "workbooks@2023-06-31", "BCP081"),
    (
        "a #disable line",
        "workbook.bicep",
        "resource workbook",
        "#disable-next-line BCP037\nresource workbook",
        "a #disable line",
    ),
    (
        "a URL that everybody may read",
        "main.bicep",
        "@secure()\nparam relayUrl",
        "param relayUrl",
        "main.bicep: parameter relayUrl is not secure",
    ),
    (
        "a module that lets everybody read a URL",
        "alerts.bicep",
        "@secure()\nparam onCallUrl",
        "param onCallUrl",
        "alerts: parameter onCallUrl carries a secure one, and is not secure",
    ),
    (
        "a secret under another name",
        "main.bicep",
        "relayName: relayName",
        "relayName: relayUrl",
        "alerts: parameter relayName carries a secure one, and is not secure",
    ),
    (
        "an output with a secret",
        "main.bicep",
        "output POSTGRES_APP_USER string = identityName",
        "var found = relayUrl\noutput POSTGRES_APP_USER string = found",
        "output POSTGRES_APP_USER carries a secure parameter",
    ),
    (
        "a role's name without its principal",
        "app/rbac.bicep",
        "guid(data::queues::control.id, remediationPrincipalId,",
        "guid(data::queues::control.id, 'remediation',",
        "the name of a role of the workflow is not of its scope, principal and role",
    ),
    (
        "a disk that never grows",
        "app/postgres.bicep",
        "storageSizeGB: storageGb",
        "storageSizeGB: 32",
        "storageSizeGB is 32, and must be 64",
    ),
    (
        "two receivers of one name",
        "alerts.bicep",
        "'push-${address}'",
        "'email-${address}'",
        "/properties/azureAppPushReceivers/0/name is",
    ),
];

/// A4 F14: the same for the Bicep itself.
pub fn broken_bicep_is_named() -> Result<()> {
    let mut compiler = compiler()?;
    let infra = root().join("infra");
    for (what, file, from, to, expected) in IN_THE_BICEP {
        // A new one for each: what a text is loaded from is read once for its path.
        let copy = source::Copy::of(&mut compiler, &infra)?;
        let file = copy.join(file);
        let good = fs::read_to_string(&file)?;
        assert!(good.contains(from), "{what}: {} has no {from:?}", file.display());
        fs::write(&file, good.replacen(from, to, 1))?;
        let mut findings = source::check_text(&copy.join(""))?;
        let (template, said) = compiler.compile(&copy.join("main.bicep"))?;
        findings.extend(said);
        findings.extend(template.iter().flat_map(template::check));
        let snapshot = copy.snapshot(&mut compiler, VARIANT)?;
        findings.extend(Rules::read(&copy.join(""))?.check(&snapshot)?);
        assert!(findings.iter().any(|finding| finding.contains(expected)), "{what}: {findings:#?}");
    }
    Ok(())
}
