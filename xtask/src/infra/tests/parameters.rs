//! What people write into the variables: cleaned where it is clear what is meant, else refused in words.

use serde_json::Value;

use super::*;

/// Variables with their values.
type Given = &'static [(&'static str, &'static str)];

/// What is given, and a parameter with what it is then.
const TAKEN: [(Given, &str, &str); 9] = [
    (
        &[("NOTIFY_EMAILS", " Ann@Example.net, bob@example.net,,ann@example.net ")],
        "notifyEmails",
        r#"["ann@example.net","bob@example.net"]"#,
    ),
    (&[("PUSH_EMAILS", "")], "pushEmails", "[]"),
    (
        &[("SMS_RECEIVERS", "+49:170 1234567, 49:1701234567")],
        "smsReceivers",
        r#"[{"countryCode":"49","phoneNumber":"1701234567"}]"#,
    ),
    (&[("POSTGRES_STORAGE_GB", "128")], "postgresStorageGb", "128"),
    (&[("POSTGRES_STORAGE_GB", "32767")], "postgresStorageGb", "32767"),
    (&[("INSTANCE_MEMORY_MB", "4096")], "instanceMemoryMb", "4096"),
    (&[("RELAY", "slack"), ("RELAY_URL", "https://hooks.example.net/")], "relay", "\"slack\""),
    (
        &[("ON_CALL_ENABLED", "true"), ("ON_CALL_URL", "https://a.example.net/")],
        "onCallEnabled",
        "true",
    ),
    (&[("RELAY_URL", "kept for later")], "relay", "\"none\""),
];

/// What is given, and the words of the refusal.
const REFUSED: [(Given, &str); 14] = [
    (&[("NOTIFY_EMAILS", "ann.example.net")], "not a mail address: ann.example.net"),
    (&[("MANAGER_EMAILS", "a@example.net b@example.net")], "not a mail address"),
    (&[("PUSH_EMAILS", "a@example.net;b@example.net")], "not a mail address"),
    (&[("SMS_RECEIVERS", "1701234")], "1701234, which is not COUNTRY:NUMBER"),
    (&[("SMS_RECEIVERS", "49:")], "which is not COUNTRY:NUMBER"),
    (&[("SMS_RECEIVERS", "49:170:1234")], "which is not COUNTRY:NUMBER"),
    (&[("SMS_RECEIVERS", "0049:1701234567")], "which is not COUNTRY:NUMBER"),
    (&[("SMS_RECEIVERS", "49:0170/1234567")], "which is not COUNTRY:NUMBER"),
    (&[("RELAY", "teams")], "RELAY is teams, and RELAY_URL does not begin with https://"),
    (
        &[("RELAY", "slack"), ("RELAY_URL", "http://example.net")],
        "RELAY_URL does not begin with https://",
    ),
    (
        &[("ON_CALL_ENABLED", "true")],
        "ON_CALL_ENABLED is true, and ON_CALL_URL does not begin with https://",
    ),
    (&[("POSTGRES_STORAGE_GB", "33")], "POSTGRES_STORAGE_GB is 33, and may be 1024, 128"),
    (&[("POSTGRES_STORAGE_GB", "64 GB")], "POSTGRES_STORAGE_GB is 64 GB"),
    (&[("INSTANCE_MEMORY_MB", "1024")], "INSTANCE_MEMORY_MB is 1024, and may be 512, 2048 or 4096"),
];

/// Parameters, and the words with which the deployment refuses them; without words it takes them.
const TOGETHER: [(&str, &str); 8] = [
    (r#"{"maximumInstanceCount": 40, "postgresSku": "Standard_B2s"}"#, ""),
    (
        r#"{"maximumInstanceCount": 40}"#,
        "40 instances may open 220 connections, Standard_B1ms has 35",
    ),
    (r#"{"fleetMaxChunks": 10000}"#, "take a larger postgresSku or a smaller fleet"),
    (r#"{"environmentName": "Dev"}"#, "the environment is named Dev: take small letters"),
    (r#"{"environmentName": "dev."}"#, "no dot or dash at the end"),
    (r#"{"environmentName": "dev-"}"#, "no dot or dash at the end"),
    (r#"{"environmentName": "dev-2.a"}"#, ""),
    (r#"{"postgresStorageGb": 33}"#, "Compilation failed"),
];

/// The parameters file with other variables: its own reads them once, when the compiler starts.
fn with(variables: &[(&str, &str)], file: &str) -> String {
    variables.iter().fold(file.to_owned(), |file, (name, value)| {
        let begin = format!("readEnvironmentVariable('{name}', '");
        let (before, rest) = file.split_once(&begin).unwrap_or_else(|| panic!("no {name}"));
        let (_, after) = rest.split_once("')").expect("the end of a call");
        format!("{before}{begin}{value}'){after}")
    })
}

/// A5: what is given is what is meant, or is refused before anything is deployed.
pub fn parameters_are_cleaned_or_refused() -> Result<()> {
    let mut compiler = compiler()?;
    let copy = source::Copy::of(&mut compiler, &root().join("infra"))?;
    let own = fs::read_to_string(copy.join("main.bicepparam"))?;
    let mut given = |at: usize, variables| {
        let file = copy.join(&format!("given{at}.bicepparam"));
        fs::write(&file, with(variables, &own))?;
        compiler.parameters(&file)
    };
    for (at, (variables, parameter, expected)) in TAKEN.into_iter().enumerate() {
        let (parameters, said) = given(at, variables)?;
        assert_eq!(said, Vec::<String>::new(), "{variables:?}");
        let value = parameters.context("parameters")?["parameters"][parameter]["value"].clone();
        assert_eq!(value, serde_json::from_str::<Value>(expected)?, "{variables:?}");
    }
    for (at, (variables, expected)) in REFUSED.into_iter().enumerate() {
        let (_, said) = given(TAKEN.len() + at, variables)?;
        assert!(said.iter().any(|line| line.contains(expected)), "{variables:?}: {said:?}");
        let secret = variables.iter().find(|(name, _)| name.ends_with("_URL"));
        assert!(!secret.is_some_and(|(_, url)| said.concat().contains(url)), "{said:?}");
    }
    for (given, expected) in TOGETHER {
        let made = copy.snapshot_of(&mut compiler, "together", &serde_json::from_str(given)?);
        match made {
            Ok(made) => assert_eq!((expected, made["outputs"].is_null()), ("", false), "{given}"),
            Err(error) => {
                let error = format!("{error:#}");
                assert!(!expected.is_empty() && error.contains(expected), "{given}: {error}");
            }
        }
    }
    Ok(())
}
