//! What the gate must name: each mistake once, in a snapshot and in the Bicep, and what else it looks at.

use std::fs;

use super::*;

mod bicep;
mod snapshot;

/// The role that the remediation has.
const SENDER: &str = "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a";

/// Public, with all receivers, as the platform would have it.
const VARIANT: Variant = Variant { profile: "azure_functions", network: false, receivers: true };

/// A file that is not in canonical form, and one that is newer than its snapshot, are named.
#[test]
fn form_and_age_are_named() -> Result<()> {
    let Some(program) = rpc::find() else {
        eprintln!("not run: form and age of the Bicep; there is no compiler");
        return Ok(());
    };
    let mut compiler = Compiler::start(&program)?;
    let copy = source::Copy::of(&mut compiler, &root().join("infra"))?;
    let file = copy.join("workbook.bicep");
    let changed = fs::read_to_string(&file)?.replace("displayName: '", "displayName:    'New ");
    fs::write(&file, changed)?;
    let findings = source::check_compiled(&mut compiler, &copy.join(""))?;
    assert_eq!(findings, ["workbook.bicep: not in canonical format (bicep format)"]);
    let variant = Variant { profile: "azure", network: true, receivers: false };
    assert_ne!(copy.snapshot(&mut compiler, variant)?, Snapshot::committed(variant)?);
    Ok(())
}

/// The parser of KQL names an unknown column, and passes the files.
#[tokio::test]
async fn kql_is_judged() -> Result<()> {
    if !kql::ready().await {
        eprintln!("not run: KQL by Microsoft's parser; node and npm are needed");
        return Ok(());
    }
    let queries = ["customMetrics | where nme == 'a'", "customMetrics | where name == 'a'"];
    let findings = kql::check(&queries.map(|query| ("query".to_owned(), query.to_owned())))?;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].starts_with("query:1: KS142"), "{findings:?}");
    Ok(())
}
