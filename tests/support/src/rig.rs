//! What a test needs: a database and a storage account of its own, an origin, handler processes.

use crate::{
    azurite,
    blob::Blobs,
    checkout, env,
    origin::{Origin, OriginOptions},
    postgres::free_port,
    programs::{self, Output},
};
use serde_json::{Value, json};
use sqlx::{PgPool, Row, postgres::PgPoolOptions};
use std::{
    collections::BTreeMap,
    future::Future,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

pub const DATASETS: &str = "pixcrawler-datasets";

/// One test's world.
pub struct Rig {
    pub database_url: String,
    pub pool: PgPool,
    pub storage: String,
    pub temp: tempfile::TempDir,
    pub origin: Origin,
    pub blobs: Blobs,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Rig {
    pub async fn new() -> Self {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("it_{}_{n}", std::process::id());
        let postgres = env::postgres().await.expect("Postgres starts");
        let database_url = postgres.create_database(&name).await.expect("a database");
        let pool = PgPoolOptions::new().max_connections(3).connect(&database_url).await.unwrap();
        let storage = env::storage().await.expect("Azurite starts");
        let storage = azurite::with_account(&storage, account(n));
        let blobs = Blobs::new(&storage).unwrap();
        let origin = Origin::start(OriginOptions::default()).unwrap();
        let temp = tempfile::tempdir().unwrap();
        Self { database_url, pool, storage, temp, origin, blobs }
    }

    /// The environment of a handler or chunkctl in this world.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("DATABASE_URL", self.database_url.clone()),
            ("ChunkStorage", self.storage.clone()),
            ("PIXCRAWLER_TEMP_DIR", self.temp.path().display().to_string()),
            ("PIXCRAWLER_ENVIRONMENT", "azure_functions".into()),
            ("PIXCRAWLER_ALLOWED_ORIGINS", self.origin.address().to_string()),
            ("PIXCRAWLER_LEASE_SECONDS", "4".into()),
            // An origin that a test makes slow is not one that hangs, however busy the machine is.
            ("PIXCRAWLER_FIRST_BYTE_TIMEOUT_SECONDS", "60".into()),
            // A test that stops a handler does not wait long for its chunks.
            ("PIXCRAWLER_DRAIN_SECONDS", "2".into()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    pub async fn handler(&self) -> Handler {
        self.handler_with(&[]).await
    }

    /// A handler that answers, with its schema in place.
    pub async fn handler_with(&self, extra: &[(&str, &str)]) -> Handler {
        let handler = Handler::spawn(self.environment(), extra);
        handler.answers().await;
        handler.line("ready").await;
        handler
    }

    /// Runs chunkctl to its end.
    pub fn chunkctl(&self, arguments: &[&str]) -> Output {
        self.chunkctl_with(&[], arguments)
    }

    /// The same with some variables replaced.
    pub fn chunkctl_with(&self, replaced: &[(&str, &str)], arguments: &[&str]) -> Output {
        let environment = self.environment();
        let own = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Of two with one name the last one counts.
        let variables: Vec<_> = own.chain(replaced.iter().copied()).collect();
        programs::run(&programs::chunkctl(), arguments, &variables, self.temp.path())
    }

    /// The database's URL for a role that owns nothing and may not create anything, but use all tables
    /// that are there, and do what these statements say. `ROLE` and `DATABASE` stand for names.
    pub async fn limited_role(&self, statements: &[&str]) -> String {
        let database = self.database_url.rsplit('/').next().unwrap();
        let role = format!("limited_{database}");
        let fixed = [
            "create role ROLE login password 'limited'",
            "grant usage on schema chunk_handler to ROLE",
            "grant all on all tables in schema chunk_handler to ROLE",
            "revoke create on database DATABASE from public",
        ];
        for statement in fixed.iter().chain(statements) {
            let statement = statement.replace("ROLE", &role).replace("DATABASE", database);
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&self.pool).await.unwrap();
        }
        let (_, server) = self.database_url.rsplit_once('@').unwrap();
        format!("postgres://{role}:limited@{server}")
    }

    /// The database's URL for a role made as `infra/least-privilege.sql` says for any server.
    pub async fn least_privileged_role(&self) -> String {
        let database = self.database_url.rsplit('/').next().unwrap();
        let role = format!("id-{database}");
        let file = checkout::root().join("infra/least-privilege.sql");
        let file = std::fs::read_to_string(file).unwrap();
        let (_, statements) = file.split_once("-- Any server:").unwrap();
        let name = |name: &str| format!("\"{name}\"");
        let statements =
            statements.replace(":\"role\"", &name(&role)).replace(":\"database\"", &name(database));
        let all = format!("create role {} login; {statements}", name(&role));
        sqlx::raw_sql(sqlx::AssertSqlSafe(all)).execute(&self.pool).await.unwrap();
        let (_, server) = self.database_url.rsplit_once('@').unwrap();
        format!("postgres://{role}@{server}")
    }

    /// Writes a list of URLs and returns its path.
    pub fn list(&self, name: &str, urls: &[String]) -> PathBuf {
        let path = self.temp.path().join(name);
        std::fs::write(&path, urls.join("\n")).unwrap();
        path
    }

    /// Submits a job without starting anything.
    pub fn submit(&self, job_id: i64, urls: &[String], chunk_size: usize) {
        let list = self.list(&format!("{job_id}.txt"), urls);
        let output = self.chunkctl(&[
            "submit",
            "--job-id",
            &job_id.to_string(),
            "--urls",
            list.to_str().unwrap(),
            "--chunk-size",
            &chunk_size.to_string(),
        ]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
    }

    /// One value of the database.
    pub async fn value<T>(&self, sql: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let row = sqlx::query(sql).fetch_one(&self.pool).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
    }

    /// Waits until a query answers true.
    pub async fn until(&self, sql: &'static str) {
        let what = format!("{sql} becomes true");
        wait_for(&what, async || self.value::<Option<bool>>(sql).await == Some(true)).await;
    }

    pub async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.pool).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// What was sent and never arrived is sent again after a minute: the minute is over.
    pub async fn a_minute_passes(&self) {
        self.execute(
            "update chunk_handler.chunk set woken_at = woken_at - interval '1 minute'
            where state = 'pending'",
        )
        .await;
    }

    pub async fn manifest(&self, job_id: i64, index: i32) -> Value {
        let name = format!("job_{job_id}/chunks/chunk_{index:05}.manifest.json");
        serde_json::from_slice(&self.blobs.read(DATASETS, &name).await.unwrap()).unwrap()
    }

    pub async fn shard(&self, job_id: i64, index: i32) -> Vec<u8> {
        let name = format!("job_{job_id}/chunks/chunk_{index:05}.tar");
        self.blobs.read(DATASETS, &name).await.unwrap().to_vec()
    }

    /// URLs of distinct pictures.
    pub fn pictures(&self, n: u64) -> Vec<String> {
        (0..n).map(|i| self.origin.url(&format!("/img/{i}"))).collect()
    }
}

/// The number of the storage account of this process's rig number `n`.
///
/// Test programs use the same emulator, one after the other, and leave messages in its queues: each
/// has a range of accounts of its own, and starts somewhere else in it whenever it runs.
fn account(n: u32) -> u32 {
    const RANGE: u32 = 1000;
    let running = std::env::current_exe().expect("the path of the running program");
    let name = running.file_name().unwrap_or_default().to_string_lossy();
    let range = match name.split('-').next() {
        Some("it") => 0,
        Some("machine") => 1,
        Some("chaos") => 2,
        _ => 3,
    };
    range * RANGE + (std::process::id().wrapping_mul(97) + n) % RANGE
}

/// Waits for something that must happen, for a minute at most.
pub async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < end, "waited a minute: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A handler process without a host; killed when it is dropped.
pub struct Handler {
    child: Mutex<Child>,
    pub port: u16,
    pub pid: i32,
    lines: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

fn collect_lines(stream: impl std::io::Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            collected.lock().unwrap().push(line);
        }
    });
    lines
}

impl Handler {
    /// Starts the program with exactly this environment.
    pub fn spawn(environment: BTreeMap<String, String>, extra: &[(&str, &str)]) -> Self {
        Self::spawn_by(Command::new(programs::handler()), environment, extra)
    }

    /// The same by a command that becomes the program.
    pub fn spawn_by(
        mut command: Command,
        environment: BTreeMap<String, String>,
        extra: &[(&str, &str)],
    ) -> Self {
        let port = free_port().unwrap();
        command
            .env_clear()
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .envs(environment)
            .envs(extra.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = collect_lines(child.stdout.take().unwrap());
        let errors = collect_lines(child.stderr.take().unwrap());
        let pid = i32::try_from(child.id()).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { child: Mutex::new(child), port, pid, lines, errors, client }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Waits for the first answer to the host's probe.
    pub async fn answers(&self) {
        wait_for("the handler answers", async || {
            assert!(self.exit().is_none(), "the handler ended: {:#?}", self.lines());
            self.client.get(self.url("/")).send().await.is_ok()
        })
        .await;
    }

    /// Waits for a log line with this text.
    pub async fn line(&self, text: &str) {
        wait_for(text, async || self.lines().iter().any(|line| line.contains(text))).await;
    }

    /// What it wrote to stdout.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// What it wrote to stderr.
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap().clone()
    }

    /// Posts an invocation as the host does; status and answer.
    pub async fn post(&self, route: &str, invocation: &str, body: String) -> (u16, Value) {
        let answer = self
            .client
            .post(self.url(route))
            .header("Content-Type", "application/json; charset=utf-8")
            .header("X-Azure-Functions-InvocationId", invocation)
            .body(body)
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let text = answer.text().await.unwrap_or_default();
                (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
            }
            Err(_) => (0, Value::Null),
        }
    }

    /// Delivers a chunk message.
    pub async fn deliver(&self, invocation: &str, message: &Value) -> (u16, Value) {
        self.post("/process_chunk", invocation, envelope(&message.to_string())).await
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), signal).unwrap();
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn kill9(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }

    pub fn exit(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits for the end of the process.
    pub async fn ended(&self) -> ExitStatus {
        wait_for("the handler ends", async || self.exit().is_some()).await;
        self.exit().unwrap()
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            for line in self.lines().into_iter().chain(self.errors()) {
                eprintln!("handler: {line}");
            }
        }
    }
}

/// The host's envelope around a queue text: a JSON string inside a JSON string.
pub fn envelope(text: &str) -> String {
    let doubled = Value::String(text.to_owned()).to_string();
    json!({"Data": {"message": doubled}, "Metadata": {"DequeueCount": "1"}}).to_string()
}

/// A chunk message with an inline source.
pub fn inline(job_id: i64, index: i32, urls: &[String]) -> Value {
    json!({"version": 1, "job_id": job_id, "chunk_index": index, "source": {"urls": urls}})
}

/// A wake-up for a registered chunk.
pub fn wake_up(job_id: i64, index: i32) -> Value {
    json!({"version": 1, "job_id": job_id, "chunk_index": index})
}

/// Runs futures side by side and collects their results.
pub async fn all<T, F: Future<Output = T>>(futures: impl IntoIterator<Item = F>) -> Vec<T> {
    futures_util::future::join_all(futures).await
}
