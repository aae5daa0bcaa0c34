//! `cargo xtask infra`: the infrastructure, as far as it can be judged without a subscription.
//!
//! The compiler evaluates twelve deployments; their snapshots are held against Azure's types with closed
//! enums and against what the rest of the project says. Without the compiler the committed snapshots are.

mod alerts;
mod app;
mod exact;
mod expression;
mod facts;
mod identity;
mod kql;
mod parts;
mod rpc;
mod schema;
mod snapshot;
mod source;
mod template;
mod variant;
mod workbook;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use support::checkout::root;

use facts::Facts;
use rpc::Compiler;
use schema::Schema;
use snapshot::{Snapshot, text};
use variant::Variant;

const EXAMPLES: &str = "\
Examples:
  cargo xtask infra            everything that can be checked on this machine
  cargo xtask infra --write    write the snapshots anew, after the Bicep has changed";

/// Check the infrastructure: Bicep, its evaluated snapshots, queries.
#[derive(Debug, Default, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Write infra/snapshots from the Bicep, then check them
    #[arg(long)]
    write: bool,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let begin = Instant::now();
    let parser = kql::ready().await;
    let (findings, what) = tokio::task::spawn_blocking(move || gate(&options, parser)).await??;
    for finding in &findings {
        eprintln!("infra: {finding}");
    }
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!("infra: {what}; {} findings in {seconds:.1} s", findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every finding, and what was looked at.
fn gate(options: &Options, parser: bool) -> Result<(BTreeSet<String>, String)> {
    let infra = root().join("infra");
    let variants: Vec<Variant> = Variant::all().collect();
    let mut findings: BTreeSet<String> = source::check_text(&infra)?.into_iter().collect();
    let (snapshots, mut what) = match rpc::find() {
        Some(program) => (
            compiled(&program, options.write, &variants, &mut findings)?,
            "checked with the compiler".to_owned(),
        ),
        None if options.write => {
            bail!("the Bicep compiler is neither on the PATH nor at ../shared/tools/bicep")
        }
        None => {
            eprintln!(
                "infra: not checked: diagnostics, format and evaluation of the Bicep, and whether the snapshots \
                 are its; no Bicep {} on the PATH or at ../shared/tools/bicep",
                rpc::VERSION
            );
            let committed =
                variants.iter().copied().map(Snapshot::committed).collect::<Result<_>>()?;
            (committed, "checked the committed snapshots".to_owned())
        }
    };
    let rules = Rules::read(&infra)?;
    for snapshot in &snapshots {
        findings.extend(rules.check(snapshot)?);
    }
    findings.extend(parts::azure_yaml());
    if parser {
        findings.extend(kql::check(&queries(&infra, &snapshots)?)?);
    } else {
        eprintln!("infra: not checked: KQL by Microsoft's parser; node and npm are needed");
        what += " without KQL";
    }
    Ok((findings, what))
}

/// Snapshots from the Bicep; findings are what the compiler says, and committed snapshots that are older.
fn compiled(
    program: &Path,
    write: bool,
    variants: &[Variant],
    findings: &mut BTreeSet<String>,
) -> Result<Vec<Snapshot>> {
    let infra = root().join("infra");
    let mut compiler = Compiler::start(program)?;
    findings.extend(source::check_compiled(&mut compiler, &infra)?);
    let copy = source::Copy::of(&mut compiler, &infra)?;
    let snapshots = variants.iter().map(|variant| copy.snapshot(&mut compiler, *variant));
    let snapshots: Vec<Snapshot> = snapshots.collect::<Result<_>>()?;
    for snapshot in &snapshots {
        if write {
            snapshot.write()?;
        } else if !Snapshot::committed(snapshot.variant)
            .is_ok_and(|committed| committed == *snapshot)
        {
            let name = snapshot.variant.name();
            findings.insert(format!("infra/snapshots/{name}.json is not what the Bicep makes (cargo xtask infra --write)"));
        }
    }
    Ok(snapshots)
}

/// What a snapshot is held against.
#[derive(Debug, Clone)]
struct Rules {
    schema: Schema,
    facts: Facts,
    kql: BTreeSet<String>,
}

impl Rules {
    fn read(infra: &Path) -> Result<Self> {
        Ok(Self { schema: Schema::load()?, facts: Facts::read()?, kql: kql::texts(infra)? })
    }

    /// Each finding with the name of the snapshot before it.
    fn check(&self, snapshot: &Snapshot) -> Result<Vec<String>> {
        let Self { schema, facts, kql } = self;
        let findings = [
            schema.check(snapshot),
            app::check(snapshot, facts),
            identity::check(snapshot)?,
            alerts::check(snapshot, facts)?,
            workbook::check(snapshot, facts, kql)?,
            exact::check(snapshot),
            parts::check(snapshot),
        ]
        .concat();
        let name = snapshot.variant.name();
        Ok(findings.into_iter().map(|finding| format!("{name}: {finding}")).collect())
    }
}

/// Every query of the rules and of the workbook, once, by the name of its file where it is one.
fn queries(infra: &Path, snapshots: &[Snapshot]) -> Result<Vec<(String, String)>> {
    let files = kql::files(infra)?.into_iter().filter(|(_, query)| !query.contains("__"));
    let mut found: BTreeMap<String, String> = files.map(|(name, query)| (query, name)).collect();
    for snapshot in snapshots {
        let rules = snapshot.of("Microsoft.Insights/scheduledQueryRules");
        let of_rules =
            rules.map(|rule| text(rule, "/properties/criteria/allOf/0/query").to_owned());
        for query in of_rules.chain(workbook::shown_queries(snapshot)) {
            found.entry(query).or_insert_with(|| snapshot.variant.name());
        }
    }
    Ok(found.into_iter().map(|(query, name)| (name, query)).collect())
}

#[cfg(test)]
pub mod tests;
