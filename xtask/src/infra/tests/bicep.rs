//! Each mistake once, in the Bicep itself.

use super::*;

/// What is wrong, the file, the text there and what stands in its place, and what must be named.
const IN_THE_BICEP: [(&str, &str, &str, &str, &str); 19] = [
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
        "ChunkStorage__clientId is missing",
    ),
    (
        "FUNCTIONS_WORKER_RUNTIME",
        "app/function.bicep",
        "PIXCRAWLER_ENVIRONMENT: profile",
        "PIXCRAWLER_ENVIRONMENT: profile\n      FUNCTIONS_WORKER_RUNTIME: 'custom'",
        "FUNCTIONS_WORKER_RUNTIME does not belong",
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
        "alert temp: threshold is 400, and must be 450",
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
        findings.extend(compiler.compile(&copy.join("main.bicep"))?.1);
        let snapshot = copy.snapshot(&mut compiler, VARIANT)?;
        findings.extend(Rules::read(&copy.join(""))?.check(&snapshot)?);
        assert!(findings.iter().any(|finding| finding.contains(expected)), "{what}: {findings:#?}");
    }
    Ok(())
}
