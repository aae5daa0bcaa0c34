//! Each setting has the value that its variable, its profile or its default gives it.
//!
//! The ledger of row X7 is proven beside the code, in `src/spool`.

use serde_json::Value;
use std::{collections::BTreeMap, path::Path, sync::LazyLock};
use support::{env, programs::run, rig::Handler};

/// Nothing listens there: enough for a program that only has to start.
pub const NOWHERE: [(&str, &str); 2] = [
    ("DATABASE_URL", "postgres://someone:hush@127.0.0.1:1/nowhere"),
    ("ChunkStorage", "UseDevelopmentStorage=true"),
];
pub static HANDLER: LazyLock<String> = LazyLock::new(support::programs::handler);
pub static CHUNKCTL: LazyLock<String> = LazyLock::new(support::programs::chunkctl);
pub const PORT: (&str, &str) = ("FUNCTIONS_CUSTOMHANDLER_PORT", "7999");

/// Every setting with its default in profile `local`, as `doctor` shows it. Those of telemetry and
/// Azure Monitor come with their areas.
pub const DEFAULTS: [(&str, &str); 39] = [
    ("PIXCRAWLER_ENVIRONMENT", "local"),
    ("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", "35"),
    ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "20000"),
    ("PIXCRAWLER_CHUNK_SIZE_IMAGES", "500"),
    ("PIXCRAWLER_ESTIMATED_IMAGE_SIZE_MB", "0.5"),
    ("PIXCRAWLER_FLEET_MAX_CHUNKS", "35"),
    ("PIXCRAWLER_MAX_IMAGE_SIZE_MB", "10"),
    ("PIXCRAWLER_MAX_BUFFER_MB", "96"),
    ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "32"),
    ("PIXCRAWLER_PER_HOST_CONCURRENCY", "8"),
    ("PIXCRAWLER_CONNECT_TIMEOUT_SECONDS", "5"),
    ("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "10"),
    ("PIXCRAWLER_TOTAL_TIMEOUT_SECONDS", "60"),
    ("PIXCRAWLER_MIN_RATE_BYTES_PER_SECOND", "1024"),
    ("PIXCRAWLER_LEASE_SECONDS", "60"),
    ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "960"),
    ("PIXCRAWLER_DRAIN_SECONDS", "8"),
    ("PIXCRAWLER_MAX_ATTEMPTS", "5"),
    ("PIXCRAWLER_HOST_BUSY_ROUNDS", "10"),
    ("PIXCRAWLER_TEMP_DIR", "/tmp"),
    ("PIXCRAWLER_SOURCE_CONTAINER", "chunk-sources"),
    ("PIXCRAWLER_DATASET_CONTAINER", "pixcrawler-datasets"),
    (
        "PIXCRAWLER_USER_AGENT",
        concat!(
            "pixcrawler-chunk-handler/",
            env!("CARGO_PKG_VERSION"),
            " (+https://github.com/alaamer12/PixCrawler)"
        ),
    ),
    ("PIXCRAWLER_KEEP_QUERY", "true"),
    ("PIXCRAWLER_KEEP_HASHES_DAYS", "30"),
    ("PIXCRAWLER_KEEP_HISTORY_DAYS", "30"),
    ("PIXCRAWLER_KEEP_REJECTED_DAYS", "90"),
    ("PIXCRAWLER_KEEP_JOBS_DAYS", "0"),
    ("PIXCRAWLER_RESPECT_OPT_OUT", "true"),
    ("PIXCRAWLER_RESPECT_ROBOTS", "false"),
    ("PIXCRAWLER_ALLOWED_ORIGINS", ""),
    ("PIXCRAWLER_NAME_SERVERS", ""),
    ("PIXCRAWLER_BLOCKED_HOSTS", ""),
    ("PIXCRAWLER_DASHBOARD_PASSWORD", ""),
    ("PIXCRAWLER_BLOCKED_HASHES", ""),
    ("RUST_LOG", "info"),
    ("DATABASE_URL", ""),
    ("PIXCRAWLER_DATABASE_CREDENTIAL", "password"),
    ("ChunkStorage", "***"),
];

/// The violations that a handler with these variables ends with, beside the required ones.
pub fn violations(variables: &[(&str, &str)]) -> Vec<String> {
    let all = [NOWHERE.as_slice(), &[PORT], variables].concat();
    let output = run(&HANDLER, &[], &all, Path::new("/"));
    assert_eq!(output.code, Some(2), "{output:?}");
    assert_eq!(output.stdout, "", "only violations are said");
    output.stderr.lines().map(str::to_owned).collect()
}

/// A handler without dependencies that answers the host's probe.
pub async fn idle_handler(variables: &[(&str, &str)]) -> Handler {
    let handler = Handler::spawn(BTreeMap::new(), &[NOWHERE.as_slice(), variables].concat());
    handler.answers().await;
    handler
}

/// The profile that a running handler names.
async fn profile(handler: &Handler) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let text = client.get(handler.url("/")).send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["profile"].as_str().unwrap().to_owned()
}

/// What `chunkctl --json doctor` said.
pub struct Doctor {
    pub json: Value,
    pub stderr: String,
}

impl Doctor {
    /// Runs it with real dependencies and exactly these further variables.
    pub async fn run(variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::run_in(directory.path(), variables).await
    }

    async fn run_in(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let database = env::database_url().await.unwrap();
        let storage = env::storage().await.unwrap();
        let all = [&[("DATABASE_URL", database), ("ChunkStorage", &storage)], variables].concat();
        let output = run(&CHUNKCTL, &["--json", "doctor"], &all, directory);
        Self { json: output.json(), stderr: output.stderr }
    }

    pub fn names(&self) -> Vec<&str> {
        let settings = self.json["settings"].as_array().unwrap().iter();
        settings.map(|setting| setting["name"].as_str().unwrap()).collect()
    }

    /// Value and origin of a setting.
    pub fn setting(&self, name: &str) -> (&str, &str) {
        let mut settings = self.json["settings"].as_array().unwrap().iter();
        let setting = settings.find(|setting| setting["name"] == name);
        let setting = setting.unwrap_or_else(|| panic!("doctor shows no {name}"));
        (setting["value"].as_str().unwrap(), setting["from"].as_str().unwrap())
    }

    fn number(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap_or_else(|| panic!("doctor has no number {name}"))
    }
}

/// S1 S2 S3 S4 S5 P1 X13: every setting is shown with its default and where that came from.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_shows_every_setting_with_its_default() {
    let doctor = Doctor::run(&[]).await;
    for (name, value) in DEFAULTS {
        let origin = match name {
            "PIXCRAWLER_MAX_CONCURRENT_CHUNKS" | "PIXCRAWLER_MAX_TEMP_STORAGE_MB" => "profile",
            "DATABASE_URL" => "environment (DATABASE_URL)",
            "ChunkStorage" => "environment (ChunkStorage)",
            _ => "default",
        };
        let (shown, from) = doctor.setting(name);
        assert!(shown == value || name == "DATABASE_URL", "{name} is {shown}, not {value}");
        assert_eq!(from, origin, "{name}");
    }
}

/// P1 P2 P3 S1 S6 S7 S8 S9 X1 X13 F1 PR5: chunks and temp space of each profile, and what follows.
#[tokio::test(flavor = "multi_thread")]
async fn each_profile_has_the_limits_of_its_row() {
    for (name, chunks, temp, by_storage, materialized, streaming, share) in [
        ("local", "35", "20000", 80, 35, 35, 457),
        ("azure", "35", "8000", 32, 32, 35, 182),
        // The guide's formula: one chunk of 250 MB; ten that stream, of 32 MB each.
        ("azure_functions", "10", "400", 1, 1, 10, 32),
    ] {
        let doctor = Doctor::run(&[("PIXCRAWLER_ENVIRONMENT", name)]).await;
        assert_eq!(doctor.json["profile"], name);
        let origin = "environment (PIXCRAWLER_ENVIRONMENT)";
        assert_eq!(doctor.setting("PIXCRAWLER_ENVIRONMENT"), (name, origin));
        assert_eq!(doctor.setting("PIXCRAWLER_MAX_CONCURRENT_CHUNKS"), (chunks, "profile"));
        assert_eq!(doctor.setting("PIXCRAWLER_MAX_TEMP_STORAGE_MB"), (temp, "profile"));
        assert_eq!(doctor.setting("PIXCRAWLER_FLEET_MAX_CHUNKS").0, chunks);
        assert_eq!(doctor.number("max_chunks_by_storage"), by_storage, "{name}");
        assert_eq!(doctor.number("materialized_max_chunks"), materialized, "{name}");
        assert_eq!(doctor.number("streaming_max_chunks"), streaming, "{name}");
        assert_eq!(doctor.number("chunk_temp_share_mb"), share, "{name}");
        let handler = idle_handler(&[("PIXCRAWLER_ENVIRONMENT", name)]).await;
        assert_eq!(profile(&handler).await, name);
    }
}

/// S8 P4 X6 PR4: people are told the same limits, and how much of the temp space will be used.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_people_what_a_chunk_needs() {
    let functions = [("PIXCRAWLER_ENVIRONMENT", "azure_functions")];
    let all = [NOWHERE.as_slice(), &functions, &[("PIXCRAWLER_LEASE_SECONDS", "4")]].concat();
    let output = run(&CHUNKCTL, &["doctor"], &all, Path::new("/"));
    assert_eq!(output.code, Some(1), "its dependencies are away");
    for text in [
        "profile azure_functions",
        "streaming: 10 chunks",
        "materialized: 1 chunks",
        "a chunk: 250 MB at its estimated size, 32 MB of temp space at once",
        "320 MB may be used",
        "PIXCRAWLER_MAX_TEMP_STORAGE_MB = 400   [profile]",
        "PIXCRAWLER_LEASE_SECONDS = 4   [environment (PIXCRAWLER_LEASE_SECONDS)]",
    ] {
        assert!(output.stdout.contains(text), "{text} is not in {}", output.stdout);
    }
    assert!(!output.stdout.contains("hush"), "the password is not shown");
}

/// S2 S3 S7 S10 S11 X13: an explicit variable wins over the profile; what it does not name stays.
#[tokio::test(flavor = "multi_thread")]
async fn explicit_variables_win_over_the_profile() {
    let functions = ("PIXCRAWLER_ENVIRONMENT", "azure_functions");
    let doctor = Doctor::run(&[functions, ("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", "7")]).await;
    let own = ("7", "environment (PIXCRAWLER_MAX_CONCURRENT_CHUNKS)");
    assert_eq!(doctor.setting("PIXCRAWLER_MAX_CONCURRENT_CHUNKS"), own);
    assert_eq!(doctor.setting("PIXCRAWLER_MAX_TEMP_STORAGE_MB"), ("400", "profile"));
    assert_eq!(doctor.setting("PIXCRAWLER_FLEET_MAX_CHUNKS").0, "7");
    assert_eq!(doctor.number("streaming_max_chunks"), 7);
    let doctor = Doctor::run(&[functions, ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "100")]).await;
    assert_eq!(doctor.setting("PIXCRAWLER_MAX_CONCURRENT_CHUNKS"), ("10", "profile"));
    assert_eq!(doctor.number("streaming_max_chunks"), 8, "80 MB hold eight images of 10 MB");
}

/// S6 X15: limits are exact where floats are not, and a materialized 0 is only reported.
#[tokio::test(flavor = "multi_thread")]
async fn limits_are_integers() {
    let temp = |mb| ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", mb);
    let doctor = Doctor::run(&[temp("550"), ("PIXCRAWLER_ESTIMATED_IMAGE_SIZE_MB", "1.1")]).await;
    assert_eq!(doctor.number("max_chunks_by_storage"), 1, "int(550 / 1.1 / 500) is 0 in floats");
    let doctor = Doctor::run(&[temp("100"), ("PIXCRAWLER_CHUNK_SIZE_IMAGES", "10000")]).await;
    assert_eq!(doctor.number("materialized_max_chunks"), 0);
    assert_eq!(doctor.number("streaming_max_chunks"), 8);
    let lines = violations(&[temp("100"), ("PIXCRAWLER_MAX_IMAGE_SIZE_MB", "80.5")]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = "PIXCRAWLER_MAX_IMAGE_SIZE_MB=80.5: no chunk could ever start";
    assert!(lines[0].starts_with(line), "{lines:?}");
}

/// X13: chunkctl reads Values of local.settings.json after the environment, the handler does not.
#[tokio::test(flavor = "multi_thread")]
async fn chunkctl_reads_local_settings_after_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let values = serde_json::json!({
        "PIXCRAWLER_ENVIRONMENT": "azure_functions", "PIXCRAWLER_MAX_ATTEMPTS": "3",
        "PIXCRAWLER_RESOURCE_LEASE_SECONDS": "9", "FUNCTIONS_WORKER_RUNTIME": "custom",
    });
    let file = serde_json::json!({"IsEncrypted": false, "Values": values, "Host": {"CORS": "*"}});
    std::fs::write(directory.path().join("local.settings.json"), file.to_string()).unwrap();
    let attempts = ("PIXCRAWLER_MAX_ATTEMPTS", "4");
    let doctor = Doctor::run_in(directory.path(), &[attempts]).await;
    let from_file = |name: &str| format!("local.settings.json ({name})");
    assert_eq!(doctor.json["profile"], "azure_functions");
    let environment = doctor.setting("PIXCRAWLER_ENVIRONMENT");
    assert_eq!(environment.1, from_file("PIXCRAWLER_ENVIRONMENT"));
    let lease = doctor.setting("PIXCRAWLER_LEASE_SECONDS");
    assert_eq!(lease, ("9", from_file("PIXCRAWLER_RESOURCE_LEASE_SECONDS").as_str()));
    let own = ("4", "environment (PIXCRAWLER_MAX_ATTEMPTS)");
    assert_eq!(doctor.setting("PIXCRAWLER_MAX_ATTEMPTS"), own);
    let handler = run(&HANDLER, &[], &[PORT], directory.path());
    assert!(handler.stderr.contains("DATABASE_URL=not set"), "{}", handler.stderr);
}

/// X13: a `local.settings.json` with a byte order mark or a number is read, or it is said that it
/// was not.
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

/// `--json` prints JSON and nothing else, whatever `RUST_LOG` says.
#[tokio::test(flavor = "multi_thread")]
async fn logs_do_not_mix_with_json() {
    let directory = tempfile::tempdir().unwrap();
    for filter in ["trace", "a=b=c"] {
        let quick = ("PIXCRAWLER_LEASE_SECONDS", "4");
        let all = [NOWHERE.as_slice(), &[quick, ("RUST_LOG", filter)]].concat();
        let output = run(&CHUNKCTL, &["--json", "doctor"], &all, directory.path());
        let parsed: Result<Value, _> = serde_json::from_str(&output.stdout);
        assert!(parsed.is_ok(), "{filter}: {}", output.stdout);
    }
}

/// S14 X10 S1 F2 PR7: Azure is where the platform names an instance or a pod; `func` on a laptop and a plain
/// container are not, and an explicit setting comes before both.
#[tokio::test(flavor = "multi_thread")]
async fn only_azure_itself_counts_as_azure() {
    let runtime = ("FUNCTIONS_WORKER_RUNTIME", "custom");
    // Azure asks for it.
    let safe = ("DATABASE_URL", "postgres://someone:hush@127.0.0.1:1/nowhere?sslmode=verify-full");
    let instance = ("WEBSITE_INSTANCE_ID", "0a1b2c");
    let explicit = ("PIXCRAWLER_ENVIRONMENT", "azure");
    let [pod, sku] = [("WEBSITE_POD_NAME", "0a1b"), ("WEBSITE_SKU", "FlexConsumption")];
    for (variables, expected) in [
        (vec![], "local"),
        (vec![runtime], "local"),
        (vec![("WEBSITE_INSTANCE_ID", "")], "local"),
        (vec![instance], "azure_functions"),
        (vec![runtime, instance], "azure_functions"),
        (vec![instance, explicit], "azure"),
        (vec![pod, sku], "azure_functions"),
        (vec![("CONTAINER_NAME", "c")], "local"),
    ] {
        let handler = idle_handler(&[&[safe], &variables[..]].concat()).await;
        assert_eq!(profile(&handler).await, expected, "{variables:?}");
    }
    let origins = ("PIXCRAWLER_ALLOWED_ORIGINS", "127.0.0.1:80");
    for place in [instance, pod] {
        let lines = violations(&[place, sku, origins, safe]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("PIXCRAWLER_ALLOWED_ORIGINS=127.0.0.1:80: "), "{lines:?}");
        assert!(lines[0].contains("refused in Azure"), "{lines:?}");
    }
    assert_eq!(profile(&idle_handler(&[origins]).await).await, "local");
}

/// H5: a chunk that may take as long as the host's patience is refused before it starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_meets_the_function_timeout_is_refused() {
    let deadline = ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "1081");
    let timeout = ("AzureFunctionsJobHost__functionTimeout", "00:20:00");
    let lines = violations(&[deadline, timeout]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("PIXCRAWLER_CHUNK_DEADLINE_SECONDS=1081: must end"), "{lines:?}");
    assert!(lines[0].contains("functionTimeout (00:20:00)"), "{lines:?}");
    let enough = ("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "1080");
    idle_handler(&[enough, timeout]).await;
}

/// S14: a variable that differs from another only in case hides nothing of the platform.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_differ_in_case_do_not_hide_the_platform() {
    let safe = ("DATABASE_URL", "postgres://u:p@127.0.0.1:1/x?sslmode=verify-full");
    let azure = [("WEBSITE_INSTANCE_ID", "x"), ("HOSTNAME", "a"), ("hostname", "b"), safe];
    assert_eq!(profile(&idle_handler(&azure).await).await, "azure_functions");
}

/// X12: the origin's words for its logging warn, and the profile is detected.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_environment_words_warn_and_detect() {
    for word in ["production", "development", "testing"] {
        let warning = format!("PIXCRAWLER_ENVIRONMENT={word} is no profile");
        let variable = ("PIXCRAWLER_ENVIRONMENT", word);
        let handler = idle_handler(&[variable]).await;
        handler.line(&warning).await;
        assert_eq!(profile(&handler).await, "local");
        let safe = ("DATABASE_URL", "postgres://u:p@127.0.0.1:1/x?sslmode=verify-full");
        let azure = idle_handler(&[variable, ("WEBSITE_INSTANCE_ID", "x"), safe]).await;
        assert_eq!(profile(&azure).await, "azure_functions");
        let doctor = Doctor::run(&[variable]).await;
        assert_eq!(doctor.stderr, "");
        let said = doctor.json["warnings"].as_array().unwrap();
        assert!(
            matches!(&**said, [one] if one.as_str().unwrap().starts_with(&warning)),
            "{said:?}"
        );
    }
}

/// S13 X8: the temp root is the first of four, seen as the directory that the process makes.
#[tokio::test(flavor = "multi_thread")]
async fn the_temp_root_is_the_first_of_four() {
    let roots: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let names = ["PIXCRAWLER_TEMP_DIR", "TMPDIR", "TEMP"];
    let variables: Vec<(&str, &str)> = names
        .into_iter()
        .zip(&roots)
        .map(|(name, root)| (name, root.path().to_str().unwrap()))
        .collect();
    let has_directory = |root: &Path, pid: i32| {
        let entries = std::fs::read_dir(root.join("pixcrawler-chunks")).into_iter().flatten();
        let name = format!("{pid}-");
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(&name))
    };
    for (first, root) in roots.iter().enumerate() {
        let handler = idle_handler(&variables[first..]).await;
        assert!(has_directory(root.path(), handler.pid), "{} is used", names[first]);
        let others = roots.iter().filter(|other| other.path() != root.path());
        assert!(!others.into_iter().any(|other| has_directory(other.path(), handler.pid)));
    }
    let handler = idle_handler(&[]).await;
    assert!(has_directory(Path::new("/tmp"), handler.pid), "the system's own comes last");
}
