use super::*;
use anyhow::Context as _;

fn coded() -> anyhow::Result<()> {
    bail_as!(JobUnknown, "job {} is unknown; see `chunkctl status`", 7)
}

/// What is wrong and what to do stand apart, also with causes below; as text they are the line that they
/// were.
#[test]
fn an_error_is_told_with_its_code_and_what_to_do() {
    let failure = Failure::of(&coded().unwrap_err());
    assert_eq!(failure.as_text(), "error: job 7 is unknown; see `chunkctl status`");
    let expected = r#"{"error":{"code":"job_unknown","hint":"see `chunkctl status`","message":"job 7 is unknown"}}"#;
    assert_eq!(failure.as_json().to_string(), expected);
    let context = coded().context("not all came; go on from here").unwrap_err();
    let failure = Failure::of(&context);
    assert_eq!(failure.code, Code::JobUnknown);
    assert_eq!(failure.message, "not all came: job 7 is unknown; see `chunkctl status`");
    assert_eq!(failure.hint.as_deref(), Some("go on from here"));
    let plain = Failure::of(&anyhow::anyhow!("no way"));
    assert_eq!((plain.code, plain.hint), (Code::Failed, None));
}

/// What the database and storage say has a code however deep it lies, and sends people to `doctor`.
#[test]
fn errors_of_dependencies_are_known_through_every_wrap() {
    let away = || state::Error::Away { doing: "status", source: None };
    let process = || process::Error::State(away());
    for error in [
        anyhow::Error::from(away()),
        process().into(),
        SubmitError::Failed(process()).into(),
        ExtendError::Failed(process()).into(),
        anyhow::Error::from(process()).context("while it ran"),
    ] {
        let failure = Failure::of(&error);
        assert_eq!(failure.code, Code::DatabaseAway, "{error:?}");
        assert_eq!(failure.hint.as_deref(), Some(ASK_DOCTOR));
    }
    let refused = storage::Error::Refused { doing: "list", cause: "403".to_owned() };
    let failure = Failure::of(&SubmitError::Failed(refused.into()).into());
    assert_eq!(failure.code, Code::StorageRefused);
    assert!(failure.as_text().ends_with("list: 403; `chunkctl doctor` says what to do"));
}

/// The document of codes is for programs: it has each of them.
#[test]
fn each_code_has_its_row_in_the_formats() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../doc/formats.md");
    let formats = std::fs::read_to_string(path).unwrap();
    for code in Code::value_variants() {
        let row = format!("| `{}` | ", code.word());
        assert!(formats.contains(&row), "no row {row} in doc/formats.md");
    }
}
