//! What the cases are measured in: a durable Postgres, an origin, a sink, a handler process.

use crate::{
    measure::ms,
    origin,
    part::Part,
    photo::{Album, Scheme, Way},
};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};
use support::{
    azurite::{ACCOUNT, ACCOUNT_KEY},
    postgres::{Postgres, PostgresOptions},
    rig::Handler,
};
use tokio::sync::OnceCell;

/// One run of the benchmarks.
pub struct Bench {
    pub quick: bool,
    postgres: OnceCell<Postgres>,
}

impl Bench {
    pub fn new(quick: bool) -> Self {
        Self { quick, postgres: OnceCell::new() }
    }

    /// How many samples a median is made of.
    pub fn samples(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    /// Always a server of our own, whose commits reach the disk: a given one may be anybody's.
    async fn postgres(&self) -> Result<&Postgres> {
        let start =
            || Postgres::start(PostgresOptions { durable: true, ..PostgresOptions::default() });
        self.postgres.get_or_try_init(start).await
    }

    /// An empty database.
    pub async fn database(&self, name: &str) -> Result<String> {
        self.drop_database(name).await?;
        self.postgres().await?.create_database(name).await
    }

    pub async fn drop_database(&self, name: &str) -> Result<()> {
        self.postgres().await?.drop_database(name).await
    }
}

/// Everything around a handler.
pub struct World {
    pub pool: PgPool,
    pub database_url: String,
    pub temp: tempfile::TempDir,
    pub sink: [SocketAddr; 2],
    hosts: Vec<SocketAddr>,
    client: reqwest::Client,
    next_job: AtomicI64,
    _origin: Part,
    _sink: Part,
}

impl World {
    /// A world whose sink takes blocks at so many bytes a second; 0: as they come.
    pub async fn new(bench: &Bench, name: &str, sink_rate: u64) -> Result<Self> {
        let database_url = bench.database(&format!("bench_{name}")).await?;
        let pool = PgPoolOptions::new().max_connections(2).connect(&database_url).await?;
        let mut origin = Part::start(&["origin"])?;
        let mut sink = Part::start(&["sink", &sink_rate.to_string()])?;
        let hosts = origin.addresses()?;
        let addresses = sink.addresses()?;
        Ok(Self {
            pool,
            database_url,
            temp: tempfile::tempdir()?,
            sink: addresses.try_into().ok().context("blobs and queues")?,
            hosts,
            client: reqwest::Client::builder().no_proxy().build()?,
            next_job: AtomicI64::new(1),
            _origin: origin,
            _sink: sink,
        })
    }

    /// The connection string of a storage at these addresses.
    pub fn storage([blob, queue]: [SocketAddr; 2]) -> String {
        format!(
            "AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};\
             BlobEndpoint=http://{blob}/{ACCOUNT};QueueEndpoint=http://{queue}/{ACCOUNT};"
        )
    }

    /// A handler that is ready, under the profile of the real platform.
    pub async fn handler(&self, extra: &[(&str, &str)]) -> Handler {
        let handler = Handler::spawn(self.environment(), extra);
        handler.answers().await;
        handler.line("ready").await;
        handler
    }

    /// The variables of the programs of this world.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let origins: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        let pairs = [
            ("DATABASE_URL", self.database_url.clone()),
            ("ChunkStorage", Self::storage(self.sink)),
            ("PIXCRAWLER_TEMP_DIR", self.temp.path().display().to_string()),
            ("PIXCRAWLER_ENVIRONMENT", "azure_functions".into()),
            ("PIXCRAWLER_ALLOWED_ORIGINS", origins.join(",")),
            ("SSL_CERT_FILE", origin::certificate("ca.pem").display().to_string()),
            // It then ends with its parent, as under a host.
            ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "bench".into()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Leaves so many numbers of jobs to others.
    pub fn leave_jobs(&self, n: i64) {
        self.next_job.fetch_add(n, Ordering::Relaxed);
    }

    /// Pictures that no other chunk has, from so many hosts.
    pub fn album(&self, way: Way, mean_bytes: u64, n: u64, hosts: usize) -> Album {
        self.secure_album(Scheme::Http, way, mean_bytes, n, hosts)
    }

    pub fn secure_album(
        &self,
        scheme: Scheme,
        way: Way,
        mean_bytes: u64,
        n: u64,
        hosts: usize,
    ) -> Album {
        let from = if scheme == Scheme::Http { 0 } else { origin::HOSTS };
        let hosts = self.hosts[from..from + hosts].to_vec();
        Album { scheme, way, mean_bytes, first: 0, n, hosts }
    }

    /// Stores the list of an album, and has a handler do it as a chunk; how long that took.
    pub async fn chunk(&self, handler: &Handler, album: &Album) -> Result<Run> {
        let message = self.message(album).await?;
        self.deliver(handler, &message).await
    }

    /// Has a handler do the chunk of a message.
    pub async fn deliver(&self, handler: &Handler, message: &Value) -> Result<Run> {
        let since = Instant::now();
        let id = uuid::Uuid::new_v4().to_string();
        let (status, answer) = handler.deliver(&id, message).await;
        let wall = since.elapsed();
        let said = answer["Logs"][0].as_str().unwrap_or_default();
        ensure!(status == 200 && said.contains("completed, "), "{status} {answer}");
        let n_valid = said.split("completed, ").nth(1).and_then(|text| text.split(' ').next());
        Ok(Run { wall, n_valid: n_valid.context("how many images")?.parse()? })
    }

    /// The message of a new chunk whose list is a blob, as jobs have it.
    pub async fn message(&self, album: &Album) -> Result<Value> {
        self.message_of(&album.urls()).await
    }

    /// The same of any URLs.
    pub async fn message_of(&self, urls: &[String]) -> Result<Value> {
        let job_id = self.next_job.fetch_add(1, Ordering::Relaxed);
        let name = format!("job_{job_id}.txt");
        self.put_list(&name, urls.join("\n")).await?;
        // Of a job with more chunks: its end is not the chunk's.
        Ok(json!({"version": 1, "job_id": job_id, "chunk_index": 0, "total_chunks": 1000,
            "source": {"blob": name}}))
    }

    /// Stores a blob where lists are.
    pub async fn put_list(&self, name: &str, text: String) -> Result<()> {
        let list = self.client.put(self.blob(&format!("chunk-sources/{name}")));
        let answer = list.body(text).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        Ok(())
    }

    /// Registers the chunk of a message, as a submit does.
    pub async fn register(&self, message: &Value) -> Result<()> {
        let job_id = message["job_id"].as_i64().context("a job")?;
        let sql = "select chunk_handler.register($1, 0, 1000, 5::smallint, $2)";
        let mut connection = self.pool.acquire().await?;
        sqlx::query("set search_path = chunk_handler").execute(&mut *connection).await?;
        sqlx::query(sql).bind(job_id).bind(message.to_string()).execute(&mut *connection).await?;
        Ok(())
    }

    /// Host and port of the database.
    pub fn database_address(&self) -> String {
        let rest = self.database_url.split('@').nth(1).unwrap_or_default();
        rest.split('/').next().unwrap_or_default().to_owned()
    }

    /// The URL of a blob.
    pub fn blob(&self, name: &str) -> String {
        format!("http://{}/{ACCOUNT}/{name}", self.sink[0])
    }
}

/// How a chunk went.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub wall: Duration,
    pub n_valid: u64,
}

impl Run {
    pub fn wall_ms(&self) -> f64 {
        ms(self.wall)
    }
}
