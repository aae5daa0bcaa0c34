use super::*;

fn minimal() -> Vec<(&'static str, &'static str)> {
    vec![
        ("DATABASE_URL", "postgres://u:secret@h/db"),
        ("ChunkStorage", "UseDevelopmentStorage=true"),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "4000"),
    ]
}

fn parse(extra: &[(&'static str, &'static str)]) -> Result<Settings, Vec<Violation>> {
    let all = minimal().into_iter().chain(extra.iter().copied());
    let environment = all.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Settings::parse(Program::Handler, environment, BTreeMap::new())
}

/// P1 P2 P3 S1 S2 S3 S6 S7 S8 X1
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
        let azure = parse(&[("PIXCRAWLER_ENVIRONMENT", word), ("WEBSITE_INSTANCE_ID", "x")]);
        assert_eq!(azure.unwrap().profile, Profile::AzureFunctions);
    }
    let laptop = parse(&[("FUNCTIONS_WORKER_RUNTIME", "custom")]).unwrap();
    assert_eq!(laptop.profile, Profile::Local, "func start counts as local");
    let explicit = parse(&[("PIXCRAWLER_ENVIRONMENT", "azure"), ("WEBSITE_INSTANCE_ID", "x")]);
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
    let violations = parse(&[origins, ("WEBSITE_INSTANCE_ID", "x")]).unwrap_err();
    assert!(violations[0].problem.contains("refused in Azure"));
}

#[test]
fn likely_typos_warn() {
    let settings = parse(&[("PIXCRAWLER_LEASE_SECOND", "9"), ("PIXCRAWLER_OTHER", "1")]).unwrap();
    assert_eq!(settings.warnings.len(), 1);
    assert!(settings.warnings[0].contains("did you mean PIXCRAWLER_LEASE_SECONDS"));
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
