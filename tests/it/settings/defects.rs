//! What the product does not do yet as the documents say. A test moves out of here when it passes.

use super::{CHUNKCTL, Doctor, HANDLER, NOWHERE, PORT, idle_handler, profile, program, violations};
use crate::rig::{Rig, inline};
use std::path::Path;

/// "Invalid settings: one line for each violation ... exit code 2": of two values that only the
/// clients refuse, the handler says `Error: ...` without the variable and ends with 1.
#[test]
fn what_the_clients_refuse_is_a_violation() {
    let key = "AccountName=a;AccountKey=no base64!;BlobEndpoint=http://127.0.0.1:1/a;\
               QueueEndpoint=http://127.0.0.1:1/a";
    for (name, value) in
        [("ChunkStorage", key), ("DATABASE_URL", "postgres://u@127.0.0.1:1/x?sslmode=sometimes")]
    {
        let all = [NOWHERE.as_slice(), &[PORT, (name, value)]].concat();
        let output = program(HANDLER, &[], &all, Path::new("/"));
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.starts_with(&format!("{name}=")), "{output:?}");
    }
}

/// One line for each violation: a value with a line break makes two, of which the second may look
/// like any other line.
#[test]
fn a_line_break_in_a_value_makes_no_second_line() {
    let lines = violations(&[("PIXCRAWLER_LEASE_SECONDS", "x\nDATABASE_URL=fine")]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

/// "naming the variable, its value": the streaming limit of 0 shows 80.5 as 80.
#[test]
fn a_streaming_limit_of_zero_shows_the_value_as_it_was_set() {
    let lines = violations(&[
        ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "100"),
        ("PIXCRAWLER_MAX_IMAGE_SIZE_MB", "80.5"),
    ]);
    assert!(lines[0].starts_with("PIXCRAWLER_MAX_IMAGE_SIZE_MB=80.5"), "{lines:?}");
}

/// S14: two variables that differ only in case (`hostname`, `HOSTNAME`) hide WEBSITE_INSTANCE_ID, so
/// that the address guard can be opened in Azure, and hide the host from the drain (H1).
#[tokio::test(flavor = "multi_thread")]
async fn names_that_differ_in_case_do_not_hide_the_platform() {
    let azure = [("WEBSITE_INSTANCE_ID", "x"), ("HOSTNAME", "a"), ("hostname", "b")];
    assert_eq!(profile(&idle_handler(&azure).await).await, "azure_functions");
}

/// X13: a `local.settings.json` that `func` takes (a byte order mark, a number) or that is broken is
/// left out without a word.
#[tokio::test(flavor = "multi_thread")]
async fn local_settings_that_cannot_be_read_are_mentioned() {
    for text in [
        "\u{feff}{\"Values\":{\"PIXCRAWLER_MAX_ATTEMPTS\":\"3\"}}",
        "{\"Values\":{\"PIXCRAWLER_MAX_ATTEMPTS\":3}}",
        "{\"Values\":{\"PIXCRAWLER_MAX_ATTEMPTS\":\"3\"",
    ] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("local.settings.json"), text).unwrap();
        let doctor = Doctor::run_in(directory.path(), &[]).await;
        let is_read = doctor.setting("PIXCRAWLER_MAX_ATTEMPTS").0 == "3";
        assert!(is_read || doctor.stderr.contains("local.settings.json"), "{text}");
    }
}

/// FIRST_BYTE_TIMEOUT_SECONDS is "from the request to the answer's head": the connect timeout is added
/// to it, also when the connection already stands.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_timeout_is_not_lengthened_by_the_connect_timeout() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "0.5")]).await;
    let urls = [rig.origin.url("/slow/1?ms=3000"), rig.origin.url("/img/1")];
    assert_eq!(handler.deliver("one", &inline(1, 0, &urls)).await.0, 200);
    assert_eq!(rig.manifest(1, 0).await["items"][0]["reason"], "timeout");
}

/// `--json` prints JSON: with RUST_LOG set, logs go to the same stream.
#[tokio::test(flavor = "multi_thread")]
async fn logs_do_not_mix_with_json() {
    let rig = Rig::new().await;
    let environment = rig.environment();
    let common = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: Vec<(&str, &str)> = common.chain([("RUST_LOG", "trace")]).collect();
    let output = program(CHUNKCTL, &["--json", "migrate"], &variables, rig.temp.path());
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(&output.stdout);
    assert!(parsed.is_ok(), "{}", output.stdout);
}
