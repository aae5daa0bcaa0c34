//! What the gate must name: each mistake once, in a snapshot and in the Bicep, and what else it looks at.
//!
//! Where the compiler or Node.js is missing a test is ignored, with the reason before its name.

use std::fs;
use std::path::PathBuf;

use libtest_mimic::{Arguments, Failed, Trial};

use anyhow::Context as _;

use super::*;

mod bicep;
mod parameters;
mod ruinous;
mod snapshot;

/// Runs the tests of this library.
pub fn run() -> ExitCode {
    let arguments = Arguments::from_args();
    // Finding out may mean to install the parser, which a mere list of the tests must not.
    let parser = arguments.list || block_on(kql::ready());
    let (nothing, compiler, parser) = (
        Ok(()),
        rpc::find().map(drop).ok_or("no Bicep compiler"),
        parser.then_some(()).ok_or("no Node.js"),
    );
    macro_rules! trials {
        ($($($module:ident)::+ needs $condition:ident;)*) => {
            vec![$(trial(stringify!($($module)::+), $condition, $($module)::+)),*]
        };
    }
    let trials = trials![
        expression::tests::references_become_examples needs nothing;
        facts::tests::metrics_are_found_in_their_source needs nothing;
        bicep::broken_bicep_is_named needs compiler;
        snapshot::a_broken_snapshot_is_named needs nothing;
        ruinous::the_ruinous_is_named needs nothing;
        self::azd_is_told_what_to_do needs nothing;
        parameters::parameters_are_cleaned_or_refused needs compiler;
        self::form_and_age_are_named needs compiler;
        self::kql_is_judged needs parser;
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, condition: Result<(), &str>, run: fn() -> Result<()>) -> Trial {
    let test = move || run().map_err(|error| Failed::from(format!("{error:#}")));
    let name = name.rsplit("::").next().unwrap_or(name);
    let trial = Trial::test(name.trim(), test).with_ignored_flag(condition.is_err());
    trial.with_kind(condition.err().unwrap_or_default())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// The compiler, of which the runner knows that it is there.
fn compiler() -> Result<Compiler> {
    let program: PathBuf = rpc::find().context("the Bicep compiler")?;
    Compiler::start(&program)
}

/// The role that the remediation has.
const SENDER: &str = "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a";

/// Public, with all receivers, as the platform would have it.
const VARIANT: Variant = Variant { profile: "azure_functions", network: false, receivers: true };

/// A file that is not in canonical form, and one that is newer than its snapshot, are named.
fn form_and_age_are_named() -> Result<()> {
    let mut compiler = compiler()?;
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
fn kql_is_judged() -> Result<()> {
    let queries = ["customMetrics | where nme == 'a'", "customMetrics | where name == 'a'"];
    let findings = kql::check(&queries.map(|query| ("query".to_owned(), query.to_owned())))?;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].starts_with("query:1: KS142"), "{findings:?}");
    Ok(())
}

/// What azd reads: each line that must stand at its place, taken away or put elsewhere.
fn azd_is_told_what_to_do() -> Result<()> {
    let good = fs::read_to_string(root().join("azure.yaml"))?;
    assert_eq!(parts::azure_yaml_text(&good), Vec::<String>::new());
    let breaks = [
        ("          run: cargo xtask package\n", "", "posix/run: cargo xtask package"),
        ("      prepackage:", "      postpackage:", "prepackage/posix/run"),
        ("    hooks:", "  hooks:", "services/api/hooks"),
        ("        posix:", "        # posix:", "posix/run"),
        ("  api:", "  web:", "services/api/dist"),
        ("language: custom", "language: python", "services/api/language: custom"),
    ];
    for (from, to, expected) in breaks {
        assert!(good.contains(from), "{from:?}");
        let findings = parts::azure_yaml_text(&good.replacen(from, to, 1));
        assert!(findings.iter().any(|one| one.contains(expected)), "{from:?}: {findings:?}");
    }
    Ok(())
}
