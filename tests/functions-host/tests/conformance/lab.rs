//! An app for one test: a queue, an app root, the fixture handler and what it wrote down.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use functions_host::client::{HostOptions, HostProcess};
use functions_host::storage::{Account, Queue};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::env;
use support::workdir::WorkDir;
use tokio::time::Instant;
use uuid::Uuid;

const FIXTURE: &str = env!("CARGO_BIN_EXE_fixture-handler");
const READY: Duration = Duration::from_secs(15);

/// A function app with one queue function, `process_chunk`, and a queue that no other test uses.
pub struct Lab {
    pub root: PathBuf,
    pub records: PathBuf,
    pub queue: Queue,
    pub poison: Queue,
    storage: String,
    _directory: WorkDir,
}

/// One POST as the handler received it.
#[derive(Debug, Clone)]
pub struct Post {
    pub pid: u32,
    pub number: u32,
    pub head: String,
    /// Without its chunk sizes.
    pub body: String,
    /// The chunk sizes; none with Content-Length.
    pub chunks: Option<Vec<usize>>,
    pub is_answered: bool,
}

impl Lab {
    /// Makes the app, with `changes` to its host.json (a JSON merge). Its binding is `message`.
    pub async fn new(changes: Value) -> Result<Self> {
        Self::with_binding("message", changes).await
    }

    /// Makes the app with another name for the binding.
    pub async fn with_binding(binding: &str, changes: Value) -> Result<Self> {
        let name = format!("lab-{}", Uuid::new_v4().simple());
        let storage = env::storage().await?;
        let directory = WorkDir::create("host")?;
        let account = Account::parse(&storage)?;
        let lab = Self {
            root: directory.join("app"),
            records: directory.join("records"),
            queue: account.queue(&name),
            poison: account.queue(&format!("{name}-poison")),
            storage,
            _directory: directory,
        };
        fs::create_dir_all(&lab.records)?;
        lab.queue.create().await?;
        let mut host = json!({
            "version": "2.0",
            "functionTimeout": "00:05:00",
            "customHandler": {"description": {"defaultExecutablePath": FIXTURE}},
            "extensions": {"queues": {
                "batchSize": 1,
                "newBatchThreshold": 9,
                "visibilityTimeout": "00:00:00",
                "maxPollingInterval": "00:00:00.5",
                "messageEncoding": "none",
            }},
        });
        merge(&mut host, changes);
        lab.write("host.json", &host)?;
        let values = json!({"FUNCTIONS_WORKER_RUNTIME": "custom", "ChunkStorage": lab.storage});
        lab.write("local.settings.json", &json!({"IsEncrypted": false, "Values": values}))?;
        lab.function(
            "process_chunk",
            &json!({"name": binding, "type": "queueTrigger", "queueName": name, "connection": "ChunkStorage"}),
        )?;
        Ok(lab)
    }

    /// Adds a function with this trigger.
    pub fn function(&self, name: &str, binding: &Value) -> Result<()> {
        self.write(&format!("{name}/function.json"), &json!({ "bindings": [binding] }))
    }

    /// Adds a function on the poison queue: `poison`.
    pub fn poison_function(&self) -> Result<()> {
        let queue = &self.poison.name;
        let binding = json!({"name": "message", "type": "queueTrigger", "queueName": queue, "connection": "ChunkStorage"});
        self.function("poison", &binding)
    }

    /// Writes a file of the app.
    pub fn write(&self, name: &str, content: &Value) -> Result<()> {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().context("a file name")?)?;
        Ok(fs::write(path, serde_json::to_vec_pretty(content)?)?)
    }

    /// How to run the host with a handler that answers like this.
    pub fn options(&self, answer: &str) -> HostOptions {
        let mut options = HostOptions::new(&self.root)
            .env("FIXTURE_RECORDS", &self.records)
            .env("FIXTURE_ANSWER", answer)
            .env("ChunkStorage", &self.storage)
            .env("APPLICATIONINSIGHTS_CONNECTION_STRING", "")
            .env("APPINSIGHTS_INSTRUMENTATIONKEY", "");
        options.program = Some(env!("CARGO_BIN_EXE_host-stand-in").into());
        options.status_dir = Some(self.root.join("timer-status"));
        options
    }

    /// Starts the host and waits until it is ready.
    pub async fn start(&self, answer: &str) -> Result<HostProcess> {
        self.start_with(self.options(answer)).await
    }

    /// Starts the host with these options and waits until it is ready.
    pub async fn start_with(&self, options: HostOptions) -> Result<HostProcess> {
        let host = HostProcess::start(options)?;
        host.ready(READY).await?;
        Ok(host)
    }

    /// The processes of the handler that were started.
    pub fn n_starts(&self) -> usize {
        self.names().iter().filter(|name| name.starts_with("start-")).count()
    }

    /// The POSTs for one function so far, in order for each process.
    pub fn calls(&self, function: &str) -> Result<Vec<Post>> {
        let line = format!("POST /{function} HTTP/1.1\r\n");
        Ok(self.posts()?.into_iter().filter(|post| post.head.starts_with(&line)).collect())
    }

    /// Waits until a function was called so often, and returns the last of these calls.
    pub async fn nth_call(&self, function: &str, n: usize, limit: Duration) -> Result<Post> {
        let what = format!("call {n} of {function}");
        until(&what, limit, async || Ok(self.calls(function)?.len() >= n)).await?;
        self.calls(function)?.into_iter().nth(n - 1).context(what)
    }

    /// Every POST so far, in order for each process.
    pub fn posts(&self) -> Result<Vec<Post>> {
        let mut posts: Vec<Post> =
            self.requests()?.into_iter().filter(|post| post.head.starts_with("POST")).collect();
        posts.sort_by_key(|post| (post.pid, post.number));
        Ok(posts)
    }

    /// Every request so far.
    pub fn requests(&self) -> Result<Vec<Post>> {
        let names = self.names();
        let stems = names.iter().filter_map(|name| name.strip_suffix(".request"));
        stems.map(|stem| self.request(stem, names.contains(&format!("{stem}.answered")))).collect()
    }

    fn request(&self, stem: &str, is_answered: bool) -> Result<Post> {
        let raw = fs::read(self.records.join(format!("{stem}.request")))?;
        let end =
            raw.windows(4).position(|four| four == b"\r\n\r\n").context("a head without an end")?;
        let (head, rest) = (String::from_utf8(raw[..end].to_vec())?, &raw[end + 4..]);
        let (pid, number) = stem.split_once('-').context("a record's name")?;
        let is_chunked = head.contains("\r\nTransfer-Encoding: chunked");
        let (body, chunks) = if is_chunked { unchunk(rest)? } else { (rest.to_vec(), None) };
        let body = String::from_utf8(body).context("a body that is not UTF-8")?;
        let (pid, number) = (pid.parse()?, number.parse()?);
        Ok(Post { pid, number, head, body, chunks, is_answered })
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.records).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Waits until there are this many POSTs.
    pub async fn until_posts(&self, n: usize, limit: Duration) -> Result<Vec<Post>> {
        let what = format!("{n} calls of the handler");
        until(&what, limit, async || Ok(self.posts()?.len() >= n)).await?;
        self.posts()
    }

    /// Waits until the message has gone over to the poison queue, and returns its text there.
    pub async fn until_poisoned(&self, limit: Duration) -> Result<String> {
        let texts = async || {
            let messages = self.poison.peek().await?.unwrap_or_default();
            anyhow::Ok(messages.into_iter().map(|message| message.text).collect::<Vec<_>>())
        };
        until("a message in the poison queue", limit, async || Ok(!texts().await?.is_empty()))
            .await?;
        until("its end in the other queue", limit, async || Ok(self.queue.count().await? == 0))
            .await?;
        texts().await?.pop().context("a message")
    }
}

impl Post {
    /// The `DequeueCount` of its `Metadata`.
    pub fn dequeue_count(&self) -> Result<String> {
        let body: Value = serde_json::from_str(&self.body)?;
        Ok(body["Metadata"]["DequeueCount"].as_str().context("no DequeueCount")?.into())
    }
}

/// Waits until a condition holds.
pub async fn until(
    what: &str,
    limit: Duration,
    holds: impl AsyncFn() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + limit;
    while !holds().await? {
        if Instant::now() > end {
            bail!("not within {limit:?}: {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Whether a process runs; one that ended and was not waited for does not.
pub fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    match state {
        Some(state) => !matches!(state, 'Z' | 'X'),
        // Without /proc.
        None => {
            !Path::new("/proc/self").exists()
                && kill(Pid::from_raw(pid.cast_signed()), None).is_ok()
        }
    }
}

/// Ends a process that a test has left on purpose.
pub fn end_process(pid: u32) -> Result<()> {
    Ok(kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?)
}

/// A body and the sizes of its chunks, which may end within a character.
fn unchunk(mut rest: &[u8]) -> Result<(Vec<u8>, Option<Vec<usize>>)> {
    let (mut body, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let end =
            rest.windows(2).position(|two| two == b"\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end])?, 16)?;
        sizes.push(size);
        if size == 0 {
            return Ok((body, Some(sizes)));
        }
        rest = &rest[end + 2..];
        body.extend_from_slice(rest.get(..size).context("a chunk that is cut short")?);
        rest = &rest[size + 2..];
    }
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value,
    }
}
