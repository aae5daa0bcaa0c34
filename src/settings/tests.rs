use super::*;

mod secrets;

fn minimal() -> Vec<(&'static str, &'static str)> {
    vec![
        ("DATABASE_URL", "postgres://u:secret@localhost/db"),
        ("ChunkStorage", "UseDevelopmentStorage=true"),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "4000"),
    ]
}

/// What Azure asks for.
const SAFE: (&str, &str) = ("DATABASE_URL", "postgres://u:secret@h/db?sslmode=verify-full");

fn parse(extra: &[(&'static str, &'static str)]) -> Result<Settings, Vec<Violation>> {
    let all = minimal().into_iter().chain(extra.iter().copied());
    let environment = all.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Settings::parse(Program::Handler, environment, BTreeMap::new())
}

/// P1 P2 P3 S1 S2 S3 S6 S7 S8 X1 X6
#[test]
fn profiles_give_the_limits_of_the_table() {
    for (name, chunks, temp, quota, materialized, streaming) in [
        ("local", 35, 20_000, 20_000, 35, 35),
        ("azure", 35, 8_000, 10_000, 32, 35),
        ("azure_functions", 10, 400, 500, 1, 10),
    ] {
        let settings = parse(&[("PIXCRAWLER_ENVIRONMENT", name)]).unwrap();
        assert_eq!(settings.profile.to_string(), name);
        assert_eq!(settings.profile.quota_mb(), quota);
        let limits = &settings.limits;
        assert_eq!(limits.max_concurrent_chunks, chunks, "{name}");
        assert_eq!(limits.temp_storage_mb, temp, "{name}");
        assert_eq!(limits.materialized_max_chunks(), materialized, "{name}");
        assert_eq!(limits.streaming_max_chunks(), streaming, "{name}");
        assert_eq!(limits.materialized_chunk_bytes(), 250 * MIB);
    }
    let functions = parse(&[("PIXCRAWLER_ENVIRONMENT", "azure_functions")]).unwrap().limits;
    assert_eq!(functions.chunk_temp_share_bytes(), 32 * MIB);
    assert_eq!(functions.block_bytes() * 10 + functions.body_buffer_bytes(), 96 * MIB);
}

/// X15: the guide's float floor makes int(550/1.1/500) zero.
#[test]
fn the_materialized_limit_is_exact() {
    let settings = parse(&[
        ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "550"),
        ("PIXCRAWLER_ESTIMATED_IMAGE_SIZE_MB", "1.1"),
    ]);
    assert_eq!(settings.unwrap().limits.max_chunks_by_storage(), 1);
}

/// X15 S7: only a streaming limit of 0 stops the start.
#[test]
fn a_streaming_limit_of_zero_is_refused_and_a_materialized_one_is_not() {
    let zero =
        parse(&[("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "100"), ("PIXCRAWLER_MAX_IMAGE_SIZE_MB", "81")]);
    let violations = zero.unwrap_err();
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].name, "PIXCRAWLER_MAX_IMAGE_SIZE_MB");
    let materialized = parse(&[
        ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "100"),
        ("PIXCRAWLER_CHUNK_SIZE_IMAGES", "10000"),
    ]);
    assert_eq!(materialized.unwrap().limits.max_chunks_by_storage(), 0);
}

/// X14
#[test]
fn all_violations_are_reported_at_once_without_secrets() {
    let violations = parse(&[
        ("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", "0"),
        ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "-5"),
        ("PIXCRAWLER_ESTIMATED_IMAGE_SIZE_MB", "0"),
        ("PIXCRAWLER_LEASE_SECONDS", "3"),
        ("PIXCRAWLER_KEEP_QUERY", "maybe"),
        ("PIXCRAWLER_SOURCE_CONTAINER", "UPPER"),
        ("ChunkStorage", "AccountName=x;AccountKey"),
        ("DATABASE_URL", "mysql://u:secret@h/db"),
    ])
    .unwrap_err();
    let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    assert_eq!(violations.len(), 8, "{text}");
    assert!(
        text.contains("PIXCRAWLER_MAX_CONCURRENT_CHUNKS=0: must be a whole number from 1 to 100")
    );
    assert!(!text.contains("secret"));
}

/// X12 X11 X13
#[test]
fn the_resource_prefix_wins_and_provenance_is_kept() {
    let settings = parse(&[
        ("PIXCRAWLER_ENVIRONMENT", "azure_functions"),
        ("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", "7"),
        ("PIXCRAWLER_RESOURCE_MAX_CONCURRENT_CHUNKS", "8"),
    ])
    .unwrap();
    assert_eq!(settings.limits.max_concurrent_chunks, 8);
    assert_eq!(settings.fleet_max_chunks, 8);
    let origin = |name: &str| {
        settings.table.iter().find(|s| s.name == name).map(|s| s.provenance.clone()).unwrap()
    };
    assert_eq!(
        origin("PIXCRAWLER_MAX_CONCURRENT_CHUNKS"),
        Provenance::Environment("PIXCRAWLER_RESOURCE_MAX_CONCURRENT_CHUNKS".into())
    );
    assert_eq!(origin("PIXCRAWLER_MAX_TEMP_STORAGE_MB"), Provenance::Profile);
    assert_eq!(origin("PIXCRAWLER_LEASE_SECONDS"), Provenance::Default);
}

/// X12 X10 S14
#[test]
fn foreign_environment_words_warn_and_the_profile_is_detected() {
    for word in ["production", "development", "testing"] {
        let here = parse(&[("PIXCRAWLER_ENVIRONMENT", word)]).unwrap();
        assert_eq!(here.profile, Profile::Local);
        assert_eq!(here.warnings.len(), 1);
        let azure = parse(&[("PIXCRAWLER_ENVIRONMENT", word), ("WEBSITE_INSTANCE_ID", "x"), SAFE]);
        assert_eq!(azure.unwrap().profile, Profile::AzureFunctions);
    }
    let laptop = parse(&[("FUNCTIONS_WORKER_RUNTIME", "custom")]).unwrap();
    assert_eq!(laptop.profile, Profile::Local, "func start counts as local");
    let explicit =
        parse(&[("PIXCRAWLER_ENVIRONMENT", "azure"), ("WEBSITE_INSTANCE_ID", "x"), SAFE]);
    assert_eq!(explicit.unwrap().profile, Profile::Azure, "the explicit setting comes first");
}

/// S13 X8
#[test]
fn the_temp_root_is_looked_up_in_order() {
    let root = |extra: &[(&'static str, &'static str)]| parse(extra).unwrap().temp_root;
    let all = [("PIXCRAWLER_TEMP_DIR", "/a"), ("TMPDIR", "/b"), ("TEMP", "/c")];
    assert_eq!(root(&all), PathBuf::from("/a"));
    assert_eq!(root(&all[1..]), PathBuf::from("/b"));
    assert_eq!(root(&all[2..]), PathBuf::from("/c"));
    assert_eq!(root(&[]), PathBuf::from("/tmp"));
}

#[test]
fn the_address_guard_cannot_be_opened_in_azure() {
    let origins = ("PIXCRAWLER_ALLOWED_ORIGINS", "127.0.0.1:80, [::1]:81");
    assert_eq!(parse(&[origins]).unwrap().download.allowed_origins.len(), 2);
    let violations = parse(&[origins, ("WEBSITE_INSTANCE_ID", "x"), SAFE]).unwrap_err();
    assert!(violations[0].problem.contains("refused in Azure"));
}

#[test]
fn likely_typos_warn() {
    let settings = parse(&[("PIXCRAWLER_LEASE_SECOND", "9"), ("PIXCRAWLER_OTHER", "1")]).unwrap();
    assert_eq!(settings.slips.len(), 1);
    assert!(settings.slips[0].contains("did you mean PIXCRAWLER_LEASE_SECONDS"));
}

/// X14 I11: with a token as the password, one in the URL is a violation, wherever it stands.
#[test]
fn a_password_beside_a_token_is_a_violation() {
    let entra = ("PIXCRAWLER_DATABASE_CREDENTIAL", "Entra");
    for url in [
        "postgres://u:secret@h/db?sslmode=verify-full",
        "postgres://u@h/db?sslmode=verify-full&password=secret",
    ] {
        let violations = parse(&[entra, ("DATABASE_URL", url)]).unwrap_err();
        let [violation] = violations.as_slice() else { panic!("{violations:?}") };
        assert_eq!((violation.name.as_str(), violation.value.as_str()), ("DATABASE_URL", "***"));
        assert!(violation.problem.contains("remove it"), "{violation}");
    }
    let url = ("DATABASE_URL", "postgres://u@h/db?sslmode=verify-full");
    assert_eq!(parse(&[entra, url]).unwrap().database_credential, DatabaseCredential::Entra);
    assert_eq!(parse(&[]).unwrap().database_credential, DatabaseCredential::Password);
}

/// What became of a value: "taken" with what `shown` says of it, words of the only warning, or the problem.
fn outcome(name: &str, value: &str, shown: impl Fn(&Settings) -> String) -> (String, Vec<String>) {
    let mut all: BTreeMap<String, String> =
        minimal().into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    all.insert(name.to_owned(), value.to_owned());
    match Settings::parse(Program::Handler, all, BTreeMap::new()) {
        Ok(mut settings) => {
            // About the name that a server proves, which has a test of its own.
            settings.warnings.retain(|warning| !warning.contains("whoever answers"));
            (format!("taken {}", shown(&settings)), settings.warnings)
        }
        Err(violations) => {
            let [violation] = violations.as_slice() else { panic!("{value}: {violations:?}") };
            assert_eq!((&*violation.name, &*violation.value), (name, "***"), "{value}");
            (violation.problem.clone(), Vec::new())
        }
    }
}

/// Runs a table of values of a setting; what is said of one never holds the secret.
fn run_table(
    table: &str,
    name: &str,
    secret: &str,
    prepare: impl Fn(&str) -> String,
    shown: impl Fn(&Settings) -> String,
) {
    for row in support::cases::rows(table) {
        let (outcome, warnings) = outcome(name, &prepare(&row.input), &shown);
        let said = format!("{outcome} {warnings:?}");
        assert!(!said.contains(secret), "{}: {said}", row.input);
        match row.outcome.strip_prefix("warned ") {
            Some(words) => {
                assert!(outcome.starts_with("taken "), "{}: {said}", row.input);
                assert!(
                    matches!(&*warnings, [one] if one.contains(words)),
                    "{}: {said}",
                    row.input
                );
            }
            None if row.outcome.starts_with("taken ") => {
                assert_eq!((&outcome, warnings.len()), (&row.outcome, 0), "{}", row.input);
            }
            None => assert!(outcome.contains(&row.outcome), "{}: {said}", row.input),
        }
    }
}

/// Cases 200-205, X14 I11: every spelling of a database URL is taken as it is meant, or is called what it is.
#[test]
fn spellings_of_a_database_url_are_taken_or_named() {
    let shown = |settings: &Settings| {
        settings.table.iter().find(|s| s.name == "DATABASE_URL").unwrap().value.clone()
    };
    run_table("database_urls", "DATABASE_URL", "hush", str::to_owned, shown);
}

/// Cases 206-211, X14 I11: every spelling of a storage connection string is taken as it is meant, or is
/// called what it is.
#[test]
fn spellings_of_a_storage_connection_string_are_taken_or_named() {
    let prepare = |input: &str| {
        let here = "BlobEndpoint=http://127.0.0.1:1/a;QueueEndpoint=http://127.0.0.1:2/a";
        let key = "AccountName=a;AccountKey=aHVzaA==";
        input.replace("{key}", key).replace("{here}", here)
    };
    let shown = |settings: &Settings| {
        let StorageEndpoints { blob, queue } = settings.storage.endpoints();
        format!("{blob} {queue}")
    };
    run_table("storage_strings", "ChunkStorage", "aHVzaA", prepare, shown);
}

/// Case 212, X14 I11: a query of a service URI is refused and never shown; one URI alone is not enough.
#[test]
fn service_uris_are_whole_and_without_a_signature() {
    let (blob, queue) = ("ChunkStorage__blobServiceUri", "ChunkStorage__queueServiceUri");
    let good = "https://a.blob.core.windows.net";
    let other = "https://a.queue.core.windows.net/";
    for (pairs, name, words) in [
        (
            vec![(blob, "https://a.blob.core.windows.net?sv=1&sig=hush"), (queue, other)],
            blob,
            "query",
        ),
        (vec![(blob, good), (queue, "https://a.queue.core.windows.net/?sig=hush")], queue, "query"),
        (vec![(blob, "https://a.blob.core.windows.net/#hush"), (queue, other)], blob, "query"),
        (vec![(blob, "https://u:hush@a.blob.core.windows.net"), (queue, other)], blob, "user"),
        (vec![(blob, "http://a.blob.core.windows.net"), (queue, other)], blob, "https"),
        (vec![(blob, "https://a.blob.core.windows.net/sources"), (queue, other)], blob, "path"),
        (vec![(blob, other), (queue, other)], blob, "another service"),
        (vec![(blob, good)], queue, "is required beside"),
        (vec![(queue, other)], blob, "is required beside"),
        (vec![("ChunkStorage__accountName", "a")], blob, "accountName is not read"),
    ] {
        let all = minimal().into_iter().filter(|(name, _)| *name != "ChunkStorage");
        let environment =
            all.chain(pairs.clone()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let problems = Settings::parse(Program::Handler, environment, BTreeMap::new()).unwrap_err();
        let [violation] = problems.as_slice() else { panic!("{pairs:?}: {problems:?}") };
        assert_eq!(violation.name, name, "{violation}");
        assert!(violation.problem.contains(words), "{violation}");
        assert!(!violation.to_string().contains("hush"), "{violation}");
    }
    // Left out, and not shown either.
    let both = parse(&[(blob, "https://a.blob.core.windows.net?sig=hush")]).unwrap();
    assert!(!format!("{:?}", both.table).contains("hush"));
    assert!(both.warnings[0].contains("is left out"), "{:?}", both.warnings);
}

/// What the driver takes from elsewhere is said.
#[test]
fn variables_of_libpq_that_count_are_named() {
    let url = ("DATABASE_URL", "postgres://u:secret@localhost/db");
    for (name, counts) in
        [("PGOPTIONS", true), ("PGSSLMODE", true), ("PGHOST", false), ("PGUSER", false)]
    {
        let warnings = parse(&[url, (name, "x")]).unwrap().warnings;
        assert_eq!(warnings.iter().any(|w| w.starts_with(name)), counts, "{name}: {warnings:?}");
    }
    let full = ("DATABASE_URL", "postgres://u:secret@localhost/db?sslmode=require");
    assert_eq!(parse(&[full, ("PGSSLMODE", "disable")]).unwrap().warnings, Vec::<String>::new());
}

/// A fuzz target: whatever the variables hold, settings are taken within their bounds or every violation is
/// named by its variable, in one line without the secret.
#[test]
fn fuzz_settings() {
    let names: Vec<String> = parse(&[]).unwrap().table.into_iter().map(|row| row.name).collect();
    let mut seeds: Vec<Vec<u8>> =
        ["7", "0.5", "-1", "1e9", "true", "local", "127.0.0.1:80,[::1]:443"]
            .map(|seed| seed.as_bytes().to_vec())
            .to_vec();
    for table in ["database_urls", "storage_strings"] {
        seeds.extend(support::cases::rows(table).into_iter().map(|row| row.input.into_bytes()));
    }
    fuzz::target::run("settings", &seeds, |bytes| {
        let value = String::from_utf8_lossy(bytes).into_owned();
        // Which one follows from the input, so that it can be run again.
        let at =
            bytes.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
        for name in [&names[at % names.len()], "DATABASE_URL", "ChunkStorage"] {
            let all = minimal().into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
            let mut environment: BTreeMap<String, String> = all.collect();
            environment.insert(name.to_owned(), value.clone());
            match Settings::parse(Program::Handler, environment, BTreeMap::new()) {
                Ok(settings) => {
                    assert!((1..=100).contains(&settings.limits.max_concurrent_chunks), "{name}");
                    assert!((1..=1024).contains(&settings.download.concurrency), "{name}");
                    assert!((1..=1024).contains(&settings.download.per_host_concurrency), "{name}");
                    assert!(
                        settings.lease.as_secs() >= 4 && settings.chunk_deadline.as_secs() <= 1100
                    );
                }
                Err(violations) => {
                    assert!(!violations.is_empty());
                    for violation in violations {
                        let said = violation.to_string();
                        assert!(!said.contains(['\n', '\r', '\u{1b}']), "{name}: {said:?}");
                    }
                }
            }
        }
    });
}
