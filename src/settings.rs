//! Environment to [`Settings`]: profiles, limits, bounds, and where each value came from.
//!
//! The only reader of environment variables. All violations are reported at once.

mod addresses;
mod bare;
mod blocked;
mod connection;
mod connection_string;
mod function_timeout;
mod host_json;
mod numbers;
mod platform;
mod database;
mod database_url;
mod profile;
mod reader;
mod setting;

pub use blocked::BlockedSettings;
pub use connection::{StorageConnection, StorageEndpoints};
pub use database::DatabaseCredential;
pub use function_timeout::FunctionTimeout;
pub use profile::{Limits, Profile};
pub use setting::{Provenance, Setting, Violation};

use crate::redact::{self, HIDDEN};
use host_json::HostJson;
use platform::Platform;
use reader::{Read, Reader};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

/// The guide's MB.
pub const MIB: u64 = 1024 * 1024;

/// Text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps text that must not be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, to be sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What the Functions host tells its child.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// The port to listen on, on loopback.
    pub port: Option<u16>,
    /// True when a host started this process (rules H1, H2).
    pub has_parent_host: bool,
    /// True on Azure's own machines.
    pub on_azure: bool,
    /// Host and port of the managed identity's endpoint, which no URL may name.
    pub identity_endpoint: Option<String>,
    /// What the platform calls this instance, else the machine's name: who owns a lease.
    pub instance: String,
    /// `WEBSITE_SITE_NAME` or this program's: the role in telemetry.
    pub app_name: String,
}

/// Time and concurrency limits of downloads.
#[derive(Debug, Clone)]
pub struct DownloadSettings {
    /// Downloads at once, for each chunk.
    pub concurrency: usize,
    /// Downloads at once, for each host and port, over all chunks of the process.
    pub per_host_concurrency: usize,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// From the request to the answer's head, connecting included.
    pub first_byte_timeout: Duration,
    /// One image with its redirects, our own waits excluded.
    pub total_timeout: Duration,
    /// Over 10 s, our own waits excluded; 0 is no minimum.
    pub min_rate_bytes_per_second: u64,
    /// Sent with each request.
    pub user_agent: String,
    /// Whether `X-Robots-Tag` opt-outs are respected.
    pub respect_opt_out: bool,
    /// Exempt from the address guard and the port list.
    pub allowed_origins: Vec<SocketAddr>,
    /// Name servers to ask, three at most; none: those of the system.
    pub name_servers: Vec<SocketAddr>,
}

/// Where an operator's instruments are.
#[derive(Debug, Clone)]
pub struct MonitorSettings {
    /// The app, to be asked for CPU and memory.
    pub resource_id: Option<String>,
    /// The database, to be asked for CPU and memory.
    pub postgres_resource_id: Option<String>,
    /// Azure Resource Manager.
    pub endpoint: String,
    /// Memory of an instance, in MB.
    pub instance_memory_mb: u64,
    /// S12: Application Insights; none: telemetry is off.
    pub telemetry: Option<Secret>,
    /// How to authenticate there: `Authorization=AAD`, with a client id or without.
    pub telemetry_authentication: Option<Secret>,
}

/// For how many days what is over is kept; 0: for ever.
#[derive(Debug, Clone, Copy)]
pub struct KeepSettings {
    /// Hashes of a job's images, after its end.
    pub hashes_days: i32,
    /// Attempts, after the end of their job, and health rows.
    pub history_days: i32,
    /// Rejected messages.
    pub rejected_days: i32,
    /// Jobs with their chunks, after their end.
    pub jobs_days: i32,
}

/// Everything the environment decides. For a log it is its table, which shows no secret.
#[derive(Clone)]
pub struct Settings {
    /// The selected profile.
    pub profile: Profile,
    /// Chunks and bytes.
    pub limits: Limits,
    /// The fleet's slot count.
    pub fleet_max_chunks: i32,
    /// Root of the temp directories; each process makes its own inside.
    pub temp_root: PathBuf,
    /// The database.
    pub database_url: Secret,
    /// What a login to it shows.
    pub database_credential: DatabaseCredential,
    /// Blob and queue.
    pub storage: StorageConnection,
    /// Container of URL lists.
    pub source_container: String,
    /// Container of shards and manifests.
    pub dataset_container: String,
    /// Download limits.
    pub download: DownloadSettings,
    /// How long a claim holds without renewal.
    pub lease: Duration,
    /// How long a chunk may take.
    pub chunk_deadline: Duration,
    /// How long the host lets an invocation run.
    pub function_timeout: FunctionTimeout,
    /// How long a drain waits for chunks.
    pub drain: Duration,
    /// Charged attempts before a chunk fails.
    pub max_attempts: i32,
    /// How often a chunk is released because all of its hosts are busy.
    pub host_busy_rounds: i32,
    /// Whether manifests keep query strings and user info of URLs.
    pub keep_query: bool,
    /// How long what is over is kept.
    pub keep: KeepSettings,
    /// Instruments.
    pub monitor: MonitorSettings,
    /// What the dashboard of `chunkctl` asks for; none: nothing.
    pub dashboard_password: Option<Secret>,
    /// Lists of what is never wanted.
    pub blocked: BlockedSettings,
    /// The host's facts.
    pub host: HostFacts,
    /// Log filter.
    pub log_filter: String,
    /// Every setting with its value and where it came from, for `doctor`.
    pub table: Vec<Setting>,
    /// What was written for this run and is left out: likely typos, a file that cannot be read. Each
    /// program says so each time.
    pub slips: Vec<String>,
    /// What is odd about a set-up that works. The handler's log and `doctor` say it, not each command.
    pub warnings: Vec<String>,
    /// What a handler would not start with, or warn of, where another program reads the settings.
    pub of_handler: Vec<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("table", &self.table).finish_non_exhaustive()
    }
}

/// Which program reads the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Needs the port that the host gives it.
    Handler,
    /// Falls back to `local.settings.json` and to `AzureWebJobsStorage`.
    Chunkctl,
}

impl Settings {
    /// Where all blobs of the fleet are: storage account, dataset container, source container.
    pub fn place(&self) -> String {
        let account = self.storage.account();
        format!("{account}/{}/{}", self.dataset_container, self.source_container)
    }

    /// Reads the process environment.
    ///
    /// # Errors
    ///
    /// All violations, each naming its variable, value and bound.
    pub fn load(program: Program) -> Result<Self, Vec<Violation>> {
        // Not `vars`: what is not UTF-8 must not stop anything that does not look for it.
        let (mut environment, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(environment.insert(name, value)),
                Err(_) => drop(unreadable.insert(name)),
            }
        }
        let (local, slip) = match program {
            Program::Handler => (BTreeMap::new(), None),
            Program::Chunkctl => setting::local_settings_values(),
        };
        let reader = Reader::new(program, environment, local).without(unreadable);
        let mut settings = Self::read(program, reader)?;
        settings.slips.extend(slip);
        Ok(settings)
    }

    /// Reads the given environment, then `local` for what it does not have.
    ///
    /// # Errors
    ///
    /// All violations, each naming its variable, value and bound.
    pub fn parse(
        program: Program,
        environment: BTreeMap<String, String>,
        local: BTreeMap<String, String>,
    ) -> Result<Self, Vec<Violation>> {
        Self::read(program, Reader::new(program, environment, local))
    }

    fn read(program: Program, mut reader: Reader) -> Result<Self, Vec<Violation>> {
        let host = host_facts(&mut reader, program);
        let profile = Profile::read(&mut reader, host.on_azure);
        let limits = Limits::read(&mut reader, profile);
        let fleet = u64::from(limits.max_concurrent_chunks);
        let host_json = HostJson::read(&mut reader);
        host_json.check(&mut reader);
        let function_timeout = FunctionTimeout::read(&mut reader, &host_json);
        let (database_url, database_credential) = database::read(&mut reader, host.on_azure);
        let settings = Self {
            profile,
            fleet_max_chunks: reader.number("FLEET_MAX_CHUNKS", fleet, 1, 10_000),
            limits,
            temp_root: reader.temp_root(),
            database_url,
            database_credential,
            storage: connection::read(&mut reader, program),
            source_container: reader.container("SOURCE_CONTAINER", "chunk-sources"),
            dataset_container: reader.container("DATASET_CONTAINER", "pixcrawler-datasets"),
            download: download_settings(&mut reader, host.on_azure),
            lease: reader.seconds("LEASE_SECONDS", 60, 4.0, 600.0),
            chunk_deadline: reader.seconds("CHUNK_DEADLINE_SECONDS", 960, 1.0, 1100.0),
            function_timeout,
            drain: reader.seconds("DRAIN_SECONDS", 8, 0.0, 3600.0),
            max_attempts: reader.number("MAX_ATTEMPTS", 5, 1, 100),
            host_busy_rounds: reader.number("HOST_BUSY_ROUNDS", 10, 0, 100),
            keep_query: reader.boolean("KEEP_QUERY", true),
            keep: keep_settings(&mut reader),
            monitor: monitor_settings(&mut reader),
            dashboard_password: reader.hidden("DASHBOARD_PASSWORD"),
            blocked: reader.blocked(),
            host,
            log_filter: reader.log_filter("RUST_LOG", "info"),
            table: Vec::new(),
            slips: Vec::new(),
            warnings: Vec::new(),
            of_handler: Vec::new(),
        };
        function_timeout.check_deadline(&mut reader, settings.chunk_deadline);
        let Read { table, slips, warnings, of_handler } = reader.finish()?;
        Ok(Self { table, slips, warnings, of_handler, ..settings })
    }
}

fn host_facts(reader: &mut Reader, program: Program) -> HostFacts {
    let port = match program {
        Program::Handler => Some(reader.handler_port()),
        Program::Chunkctl => None,
    };
    let platform = Platform::read(reader);
    HostFacts {
        port,
        has_parent_host: reader.of_platform("FUNCTIONS_CUSTOMHANDLER_WORKER_ID").is_some(),
        on_azure: platform.is_azure,
        identity_endpoint: platform::identity_endpoint(reader),
        instance: platform.instance,
        app_name: reader
            .of_platform("WEBSITE_SITE_NAME")
            .unwrap_or_else(|| env!("CARGO_PKG_NAME").into()),
    }
}

fn monitor_settings(reader: &mut Reader) -> MonitorSettings {
    let telemetry = reader.optional("APPLICATIONINSIGHTS_CONNECTION_STRING", |_| HIDDEN.to_owned());
    MonitorSettings {
        resource_id: reader.resource_id("MONITOR_RESOURCE_ID"),
        postgres_resource_id: reader.resource_id("MONITOR_POSTGRES_RESOURCE_ID"),
        endpoint: reader.endpoint("MONITOR_ENDPOINT", "https://management.azure.com"),
        instance_memory_mb: reader.number("INSTANCE_MEMORY_MB", 2048, 128, 1_000_000),
        telemetry,
        telemetry_authentication: reader
            .optional("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", redact::authentication),
    }
}

fn keep_settings(reader: &mut Reader) -> KeepSettings {
    let mut days = |name, default| reader.number(name, default, 0, 3650);
    KeepSettings {
        hashes_days: days("KEEP_HASHES_DAYS", 30),
        history_days: days("KEEP_HISTORY_DAYS", 30),
        rejected_days: days("KEEP_REJECTED_DAYS", 90),
        jobs_days: days("KEEP_JOBS_DAYS", 0),
    }
}

fn download_settings(reader: &mut Reader, on_azure: bool) -> DownloadSettings {
    let agent = concat!(
        "pixcrawler-chunk-handler/",
        env!("CARGO_PKG_VERSION"),
        " (+https://github.com/alaamer12/PixCrawler)"
    );
    DownloadSettings {
        concurrency: reader.number("DOWNLOAD_CONCURRENCY", 32, 1, 1024),
        per_host_concurrency: reader.number("PER_HOST_CONCURRENCY", 8, 1, 1024),
        connect_timeout: reader.seconds("CONNECT_TIMEOUT_SECONDS", 5, 0.1, 300.0),
        first_byte_timeout: reader.seconds("FIRST_BYTE_TIMEOUT_SECONDS", 10, 0.1, 300.0),
        total_timeout: reader.seconds("TOTAL_TIMEOUT_SECONDS", 60, 0.1, 3600.0),
        min_rate_bytes_per_second: reader.number("MIN_RATE_BYTES_PER_SECOND", 1024, 0, u64::MAX),
        user_agent: reader.header_text("USER_AGENT", agent),
        respect_opt_out: reader.boolean("RESPECT_OPT_OUT", true),
        allowed_origins: reader.allowed_origins(on_azure),
        name_servers: reader.name_servers(),
    }
}

#[cfg(test)]
mod tests;
