//! `chunkctl doctor` before anything works: with nothing set, and while the database cannot be asked.

use serde_json::Value;
use support::{
    doctor::{doctor, failures, names},
    programs::{chunkctl, run},
    rig::Rig,
};

/// With nothing set `doctor` runs, says what to set first, and ends as wrong settings do; what is set and
/// wrong is named beside it.
#[test]
fn doctor_runs_with_nothing_set_and_says_what_to_set_first() {
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str], variables: &[(&str, &str)]| {
        run(&chunkctl(), arguments, variables, directory.path())
    };
    let text = ask(&["doctor"], &[]);
    assert_eq!(text.code, Some(2), "{text:?}");
    let (_, first) = text.stdout.split_once("\nset first\n").unwrap_or_else(|| panic!("{text:?}"));
    let named: Vec<&str> =
        first.lines().filter_map(|line| line.trim().split(": ").next()).collect();
    assert_eq!(named[..2], ["DATABASE_URL", "ChunkStorage"], "{first}");
    assert!(first.contains("local.settings.json"), "{first}");
    assert!(!text.stdout.contains("migrate"), "no advice about a schema: {text:?}");

    let json = ask(&["doctor", "--json"], &[("PIXCRAWLER_LEASE_SECONDS", "9999")]);
    assert_eq!(json.code, Some(2), "{json:?}");
    let problems: Vec<String> = json.json()["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| format!("{} {} {}", check["what"], check["ok"], check["problem"]))
        .collect();
    for (name, n) in [("DATABASE_URL", 1), ("ChunkStorage", 1), ("PIXCRAWLER_LEASE_SECONDS", 1)] {
        let start = format!("\"settings\" false \"{name}=");
        assert_eq!(problems.iter().filter(|p| p.starts_with(&start)).count(), n, "{problems:?}");
    }
    let error: Value = serde_json::from_str(json.stderr.trim()).unwrap();
    assert_eq!(error["error"]["code"], "settings", "{error}");

    // Any other command sends people there.
    let status = ask(&["status", "--json"], &[]);
    let error: Value = serde_json::from_str(status.stderr.trim()).unwrap();
    assert!(error["error"]["hint"].as_str().unwrap().contains("chunkctl doctor"), "{error}");
}

/// A database that is away, or does not answer, says nothing about its schema: nobody is told to migrate.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_gets_no_advice_about_its_schema() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let away = doctor(&rig, &[("DATABASE_URL", "postgres://u:p@127.0.0.1:1/db")], &["--json"]);
    names(&away, "Postgres", &["127.0.0.1:1, database db: nobody listens there"]);
    names(&away, "schema", &["not asked"]);
    let mut lock = rig.pool.begin().await.unwrap();
    let statement = "lock table chunk_handler._sqlx_migrations in access exclusive mode";
    sqlx::query(statement).execute(&mut *lock).await.unwrap();
    let locked = tokio::task::block_in_place(|| doctor(&rig, &[], &["--json"]));
    names(&locked, "schema", &["somebody holds a lock"]);
    for answer in [&away, &locked] {
        let of_database = ["Postgres", "schema", "rights", "handlers", "jobs"];
        let said = failures(answer);
        let said = said.iter().filter(|(what, _)| of_database.contains(&&**what));
        let advice: Vec<_> = said.filter(|(_, said)| said.contains("chunkctl migrate`")).collect();
        assert_eq!(advice, Vec::<&(String, String)>::new());
    }
}

/// The profile and the limits in force are those that handlers announced: they stand beside one's own.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_shows_the_limits_of_the_fleet_beside_its_own() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    assert!(doctor(&rig, &[], &["--json"]).json()["fleet"].is_null(), "no handler was there");
    let handler = rig.handler_with(&[("PIXCRAWLER_FLEET_MAX_CHUNKS", "3")]).await;
    handler.line("ready").await;
    rig.until("select storage is not null from chunk_handler.fleet").await;
    let document = doctor(&rig, &[], &["--json"]).json();
    let of = |key: &str| (document["fleet"][key].clone(), document["own"][key].clone());
    assert_eq!(of("max_chunks"), (3.into(), 10.into()));
    assert_eq!(of("profile"), ("azure_functions".into(), "azure_functions".into()));
    let text = doctor(&rig, &[], &[]).stdout;
    assert!(text.contains("\n  chunks at once: 3 (here 10)\n"), "{text}");
    assert!(text.contains("\n  profile: azure_functions (as here)\n"), "{text}");
}
