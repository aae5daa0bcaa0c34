//! Each variable is accepted within its bounds and refused beyond them, with a line that says so.

use super::values::{CHUNKCTL, DEFAULTS, Doctor, HANDLER, NOWHERE, PORT, idle_handler, violations};
use std::path::Path;
use support::programs::run;

/// A numeric setting: the value below the least one, the least, the largest, and the one above.
struct Bounds(&'static str, [&'static str; 4]);

const NUMBERS: [Bounds; 22] = [
    Bounds("MAX_CONCURRENT_CHUNKS", ["0", "1", "100", "101"]),
    Bounds("MAX_TEMP_STORAGE_MB", ["99", "100", "100000", "100001"]),
    Bounds("CHUNK_SIZE_IMAGES", ["0", "1", "10000", "10001"]),
    Bounds("ESTIMATED_IMAGE_SIZE_MB", ["0.000999", "0.001", "10", "10.000001"]),
    Bounds("FLEET_MAX_CHUNKS", ["0", "1", "10000", "10001"]),
    Bounds("MAX_IMAGE_SIZE_MB", ["0.009999", "0.01", "1000", "1000.000001"]),
    Bounds("MAX_BUFFER_MB", ["15", "16", "100000", "100001"]),
    Bounds("DOWNLOAD_CONCURRENCY", ["0", "1", "1024", "1025"]),
    Bounds("PER_HOST_CONCURRENCY", ["0", "1", "1024", "1025"]),
    Bounds("CONNECT_TIMEOUT_SECONDS", ["0.09", "0.1", "300", "300.1"]),
    Bounds("FIRST_BYTE_TIMEOUT_SECONDS", ["0.09", "0.1", "300", "300.1"]),
    Bounds("TOTAL_TIMEOUT_SECONDS", ["0.09", "0.1", "3600", "3600.1"]),
    // No largest one is promised; this is the largest number there is.
    Bounds(
        "MIN_RATE_BYTES_PER_SECOND",
        ["-1", "0", "18446744073709551615", "18446744073709551616"],
    ),
    Bounds("LEASE_SECONDS", ["3.9", "4", "600", "600.1"]),
    Bounds("CHUNK_DEADLINE_SECONDS", ["0.9", "1", "1100", "1100.1"]),
    Bounds("DRAIN_SECONDS", ["-0.1", "0", "3600", "3600.1"]),
    Bounds("MAX_ATTEMPTS", ["0", "1", "100", "101"]),
    Bounds("HOST_BUSY_ROUNDS", ["-1", "0", "100", "101"]),
    Bounds("KEEP_HASHES_DAYS", ["-1", "0", "3650", "3651"]),
    Bounds("KEEP_HISTORY_DAYS", ["-1", "0", "3650", "3651"]),
    Bounds("KEEP_REJECTED_DAYS", ["-1", "0", "3650", "3651"]),
    Bounds("KEEP_JOBS_DAYS", ["-1", "0", "3650", "3651"]),
];

/// All numeric settings under a prefix, each with what `value` picks.
fn numbers(prefix: &str, value: impl Fn(&Bounds) -> &'static str) -> Vec<(String, &'static str)> {
    NUMBERS.iter().map(|bounds| (format!("{prefix}{}", bounds.0), value(bounds))).collect()
}

fn borrowed<'a>(pairs: &'a [(String, &'static str)]) -> Vec<(&'a str, &'a str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}

/// X14 X11 S2 S3 S4 S5: each bound is accepted, under either prefix, with its origin.
#[tokio::test(flavor = "multi_thread")]
async fn the_least_and_the_largest_value_are_accepted() {
    for (prefix, which) in [("PIXCRAWLER_", 1), ("PIXCRAWLER_RESOURCE_", 2)] {
        let mut pairs = numbers(prefix, |bounds| bounds.1[which]);
        // The host's patience is no part of the bounds.
        pairs.push(("AzureFunctionsJobHost__functionTimeout".to_owned(), "-1"));
        let doctor = Doctor::run(&borrowed(&pairs)).await;
        for Bounds(name, values) in &NUMBERS {
            let origin = format!("environment ({prefix}{name})");
            let shown = doctor.setting(&format!("PIXCRAWLER_{name}"));
            assert_eq!(shown, (values[which], origin.as_str()));
        }
        assert_eq!(doctor.stderr, "", "no warning");
        idle_handler(&borrowed(&pairs)).await;
    }
}

/// X14 X15: what lies outside is refused, all of it in one run, with name, value and bounds.
#[test]
fn the_values_beyond_are_refused_all_at_once() {
    for (prefix, which) in [("PIXCRAWLER_", 0), ("PIXCRAWLER_RESOURCE_", 3)] {
        let pairs = numbers(prefix, |bounds| bounds.1[which]);
        let lines = violations(&borrowed(&pairs));
        assert_eq!(lines.len(), NUMBERS.len(), "{lines:#?}");
        for Bounds(name, values) in &NUMBERS {
            let start = format!("{prefix}{name}={}: must be a ", values[which]);
            let line = lines.iter().find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("no line begins with {start:?}: {lines:#?}"));
            let range = format!("from {} to {}", values[1], values[2]);
            assert!(line.ends_with(&range), "{line} does not end with {range:?}");
        }
    }
}

/// X14: words, and numbers that are none, are refused for every number.
#[test]
fn what_is_no_number_is_refused() {
    for word in ["ten", "NaN", "inf", "-1", "1,5", "0x10", "1 2"] {
        let pairs = numbers("PIXCRAWLER_", |_| word);
        let lines = violations(&borrowed(&pairs));
        assert_eq!(lines.len(), NUMBERS.len(), "{word}: {lines:#?}");
    }
}

/// X14: settings that are no numbers have their bounds too; several forms of true and false are
/// taken.
#[tokio::test(flavor = "multi_thread")]
async fn words_names_and_addresses_have_bounds() {
    for (name, bad, good) in [
        ("ENVIRONMENT", ["azure_function", "prod"], ["azure", "AZURE_FUNCTIONS"]),
        ("KEEP_QUERY", ["maybe", "2"], ["off", "Yes"]),
        ("DATABASE_CREDENTIAL", ["token", "entra id"], ["password", "Password"]),
        ("RESPECT_OPT_OUT", ["maybe", "truee"], ["0", "on"]),
        ("SOURCE_CONTAINER", ["UPPER", "ab"], ["abc", "a-b-1"]),
        ("DATASET_CONTAINER", ["a--b", "-ab"], ["0ab", "with-63-characters"]),
        ("USER_AGENT", ["a\u{e9}b", "\u{1f980}"], ["me/1 (+https://example.org)", "x"]),
        ("BLOCKED_HOSTS", ["a//b", "../hosts"], ["hosts.txt", "lists/a b.txt"]),
        ("BLOCKED_HASHES", ["/hashes", "a/./b"], ["hashes.txt", "lists/2026/hashes"]),
        (
            "ALLOWED_ORIGINS",
            ["localhost:80", "127.0.0.1"],
            ["127.0.0.1:80, [::1]:81", "10.0.0.1:1"],
        ),
        (
            "NAME_SERVERS",
            ["10.0.0.2", "10.0.0.1:53,10.0.0.2:53,10.0.0.3:53,10.0.0.4:53"],
            ["10.0.0.2:53", "127.0.0.1:53, [::1]:53, 10.0.0.2:5353"],
        ),
    ] {
        let full = format!("PIXCRAWLER_{name}");
        for value in bad {
            let lines = violations(&[(&full, value)]);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].starts_with(&format!("{full}={value}: must be ")), "{lines:?}");
        }
        for value in good {
            let doctor = Doctor::run(&[(&full, value)]).await;
            assert_eq!(doctor.setting(&full), (value, format!("environment ({full})").as_str()));
        }
    }
}

/// X12: where both prefixes are set, RESOURCE_ wins, for every setting.
#[tokio::test(flavor = "multi_thread")]
async fn the_resource_prefix_wins() {
    let mut pairs = numbers("PIXCRAWLER_", |bounds| bounds.1[0]);
    pairs.extend(numbers("PIXCRAWLER_RESOURCE_", |bounds| bounds.1[1]));
    for (name, value) in [
        ("ENVIRONMENT", "azure"),
        ("TEMP_DIR", "/var/tmp"),
        ("SOURCE_CONTAINER", "other-sources"),
        ("DATASET_CONTAINER", "other-datasets"),
        ("USER_AGENT", "other/1"),
        ("KEEP_QUERY", "false"),
        ("DATABASE_CREDENTIAL", "password"),
        ("RESPECT_OPT_OUT", "false"),
        ("ALLOWED_ORIGINS", "127.0.0.1:81"),
        ("NAME_SERVERS", "127.0.0.1:53"),
        ("BLOCKED_HOSTS", "hosts.txt"),
        ("BLOCKED_HASHES", "hashes.txt"),
        ("DASHBOARD_PASSWORD", "***"),
    ] {
        pairs.push((format!("PIXCRAWLER_{name}"), "\u{e9}"));
        pairs.push((format!("PIXCRAWLER_RESOURCE_{name}"), value));
    }
    let doctor = Doctor::run(&borrowed(&pairs)).await;
    let ours = DEFAULTS.iter().filter_map(|(name, _)| name.strip_prefix("PIXCRAWLER_"));
    for name in ours {
        let resource = format!("PIXCRAWLER_RESOURCE_{name}");
        let (_, expected) = pairs.iter().find(|(given, _)| *given == resource).unwrap();
        let origin = format!("environment ({resource})");
        let shown = doctor.setting(&format!("PIXCRAWLER_{name}"));
        assert_eq!(shown, (*expected, origin.as_str()));
    }
}

/// X14: each program names all that is wrong, what is required included, and shows no secret.
#[test]
fn every_violation_is_one_line_without_secrets() {
    let bad = [
        ("DATABASE_URL", "mysql://someone:hush@h/db"),
        ("ChunkStorage", "AccountName=a;AccountKey=hush;BlobEndpoint=ftp://hush"),
        ("PIXCRAWLER_LEASE_SECONDS", "3"),
        ("PIXCRAWLER_RESOURCE_MAX_ATTEMPTS", "0"),
        ("PIXCRAWLER_ENVIRONMENT", "prod"),
    ];
    for (program_path, port, names) in [
        (HANDLER.as_str(), "70000", ["FUNCTIONS_CUSTOMHANDLER_PORT=70000: "].as_slice()),
        (CHUNKCTL.as_str(), "70000", &[]),
    ] {
        let all = [bad.as_slice(), &[("FUNCTIONS_CUSTOMHANDLER_PORT", port)]].concat();
        let arguments: &[&str] = if program_path == CHUNKCTL.as_str() { &["doctor"] } else { &[] };
        let output = run(program_path, arguments, &all, Path::new("/"));
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{output:?}");
        assert!(!output.stderr.contains("hush"), "{}", output.stderr);
        let starts = [
            "DATABASE_URL=***: must be postgres://",
            "ChunkStorage=***: has an endpoint",
            "PIXCRAWLER_LEASE_SECONDS=3: must be a number of seconds from 4 to 600",
            "PIXCRAWLER_RESOURCE_MAX_ATTEMPTS=0: must be a whole number from 1 to 100",
            "PIXCRAWLER_ENVIRONMENT=prod: must be local, azure or azure_functions",
        ];
        assert_eq!(output.stderr.lines().count(), starts.len() + names.len(), "{}", output.stderr);
        for start in starts.iter().chain(names) {
            assert!(output.stderr.lines().any(|line| line.starts_with(start)), "no line {start}");
        }
    }
    let nothing = run(&HANDLER, &[], &[], Path::new("/"));
    let names: Vec<&str> = nothing.stderr.lines().filter_map(|l| l.split('=').next()).collect();
    assert_eq!(nothing.code, Some(2));
    assert_eq!(names, ["FUNCTIONS_CUSTOMHANDLER_PORT", "DATABASE_URL", "ChunkStorage"]);
}

/// X14: what only a client would refuse is a violation like any other.
#[test]
fn what_the_clients_refuse_is_a_violation() {
    let key = "AccountName=a;AccountKey=no base64!;BlobEndpoint=http://127.0.0.1:1/a;\
               QueueEndpoint=http://127.0.0.1:1/a";
    for (name, value) in
        [("ChunkStorage", key), ("DATABASE_URL", "postgres://u@127.0.0.1:1/x?sslmode=sometimes")]
    {
        let all = [NOWHERE.as_slice(), &[PORT, (name, value)]].concat();
        let output = run(&HANDLER, &[], &all, Path::new("/"));
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.starts_with(&format!("{name}=***: ")), "{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    }
}

/// X14: a line break in a value makes no second line, which could look like any other.
#[test]
fn a_violation_is_one_line_whatever_the_value() {
    let lines = violations(&[("PIXCRAWLER_LEASE_SECONDS", "x\nDATABASE_URL=fine")]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

/// A variable one edit away from a known one warns, of either prefix, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn likely_typos_warn() {
    let typos = [
        ("PIXCRAWLER_LEASE_SECOND", "9", Some("PIXCRAWLER_LEASE_SECONDS")),
        ("PIXCRAWLER_RESOURCE_MAX_ATEMPTS", "9", Some("PIXCRAWLER_RESOURCE_MAX_ATTEMPTS")),
        ("PIXCRAWLER_KEEP_QEURY", "x", Some("PIXCRAWLER_KEEP_QUERY")),
        ("PIXCRAWLER_SOMETHING_ELSE", "1", None),
    ];
    let variables = typos.map(|(name, value, _)| (name, value));
    let doctor = Doctor::run(&variables).await;
    let handler = idle_handler(&variables).await;
    for (name, _, meant) in typos {
        let warning = meant.map(|known| format!("{name} is unknown; did you mean {known}?"));
        match &warning {
            Some(text) => handler.line(text).await,
            None => assert!(!handler.lines().iter().any(|line| line.contains(name))),
        }
        let said = doctor.stderr.lines().find(|line| line.contains(name)).map(str::to_owned);
        assert_eq!(said, warning.map(|text| format!("warning: {text}")));
    }
    assert_eq!(doctor.setting("PIXCRAWLER_LEASE_SECONDS"), ("60", "default"));
}

/// Only chunkctl falls back to the host's own account; an identity is named by its endpoints; no
/// secret is shown.
#[tokio::test(flavor = "multi_thread")]
async fn storage_is_named_in_several_ways() {
    let account = "AccountName=a;AccountKey=aHVzaA==;BlobEndpoint=http://127.0.0.1:1/a;\
                   QueueEndpoint=http://127.0.0.1:1/a";
    let database = [NOWHERE[0], ("PIXCRAWLER_LEASE_SECONDS", "4"), PORT];
    let doctor = |variables: &[(&str, &str)]| {
        let all = [database.as_slice(), variables].concat();
        let output = run(&CHUNKCTL, &["--json", "doctor"], &all, Path::new("/"));
        assert!(!output.stdout.contains("aHVzaA"), "{}", output.stdout);
        Doctor { json: output.json(), stderr: output.stderr }
    };
    let fallback = doctor(&[("AzureWebJobsStorage", account)]);
    assert_eq!(fallback.setting("ChunkStorage"), ("***", "environment (AzureWebJobsStorage)"));
    let all = [database.as_slice(), &[("AzureWebJobsStorage", account)]].concat();
    let handler = run(&HANDLER, &[], &all, Path::new("/"));
    assert_eq!(handler.code, Some(2));
    assert!(handler.stderr.starts_with("ChunkStorage=not set: is required"), "{}", handler.stderr);

    let identity = [
        ("ChunkStorage__blobServiceUri", "https://127.0.0.1:1/blob"),
        ("ChunkStorage__queueServiceUri", "https://127.0.0.1:1/queue"),
        ("ChunkStorage__credential", "managedidentity"),
        ("ChunkStorage__clientId", "0000-client"),
    ];
    let named = doctor(&identity);
    for (name, value) in [identity[0], identity[1], identity[3]] {
        assert_eq!(named.setting(name), (value, format!("environment ({name})").as_str()));
    }
    assert!(!named.names().contains(&"ChunkStorage"));
}
/// Case 275: a variable that is not UTF-8 is named and not shown, where it would be read; any other stops
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_not_utf8_is_no_unset_one() {
    use std::os::unix::ffi::OsStrExt as _;
    let broken = std::ffi::OsStr::from_bytes(b"hush\xff");
    // A handler without a violation ends, too: its port is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (name, is_ours) in [
        ("DATABASE_URL", true),
        ("ChunkStorage", true),
        ("PIXCRAWLER_LEASE_SECONDS", true),
        ("PIXCRAWLER_RESOURCE_LEASE_SECONDS", true),
        ("PIXCRAWLER_LEASE_SECOND", true),
        ("WEBSITE_POD_NAME", true),
        ("IDENTITY_ENDPOINT", true),
        ("TMPDIR", true),
        ("LS_COLORS", false),
    ] {
        for program in [&*HANDLER, &*CHUNKCTL] {
            let mut command = std::process::Command::new(program);
            command.env_clear().envs(NOWHERE).env(name, broken).args(["status"]).current_dir("/");
            let output = command.env(PORT.0, &port).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let named = said.contains(&format!("{name}=***: is not UTF-8"));
            assert_eq!(named, is_ours, "{program} {name}: {said}");
            assert_eq!(output.status.code() == Some(2), is_ours, "{program} {name}: {said}");
            assert!(!said.contains("hush"), "{said}");
        }
    }
}
