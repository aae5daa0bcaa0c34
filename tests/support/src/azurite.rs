//! Azurite, the storage emulator, pinned in `xtask/package.json`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::{Child, Launch};
use crate::postgres::free_port;
use crate::tool::{ensure_node, npm_ci, tools};
use crate::workdir::WorkDir;

/// The account that every emulator has.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key, which is public knowledge.
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const START_LIMIT: Duration = Duration::from_secs(60);

/// What kind of emulator is wanted.
#[derive(Debug, Default, Clone)]
pub struct AzuriteOptions {
    /// Where the data is kept from start to start; none: in memory.
    pub dir: Option<PathBuf>,
    /// The ports for blobs, queues and tables; none: free ones.
    pub ports: Option<[u16; 3]>,
    /// Where its log goes (appended); none: a temporary file.
    pub log: Option<PathBuf>,
}

/// A running emulator; dropping it stops it.
#[derive(Debug)]
pub struct Azurite {
    ports: [u16; 3],
    child: Child,
    // After the child: removed when nothing uses it any more.
    _temporary: WorkDir,
}

impl Azurite {
    /// Installs the emulator when it is missing, and starts it on loopback.
    pub async fn start(options: AzuriteOptions) -> Result<Self> {
        ensure_node().await?;
        let program =
            npm_ci("xtask", &tools().join("azurite")).await?.join("azurite/dist/src/azurite.js");
        let mut tries = if options.ports.is_none() { 5 } else { 1 };
        loop {
            let ports = match options.ports {
                Some(ports) => ports,
                None => [free_port()?, free_port()?, free_port()?],
            };
            let mut azurite = Self::launch(&program, ports, &options)?;
            tries -= 1;
            match azurite.ready().await {
                Ok(()) => return Ok(azurite),
                // Somebody may have taken a free port between its choice and its use.
                Err(_) if tries > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How clients reach it.
    pub fn connection_string(&self) -> String {
        connection_string(self.ports)
    }

    /// The ports of blobs, queues and tables.
    pub fn ports(&self) -> [u16; 3] {
        self.ports
    }

    /// Fails with the end of its log when it is no longer running.
    pub fn check(&mut self) -> Result<()> {
        self.child.check()
    }

    /// Stops it.
    pub async fn stop(self) -> Result<()> {
        Ok(tokio::task::spawn_blocking(move || drop(self)).await?)
    }

    fn launch(program: &PathBuf, ports: [u16; 3], options: &AzuriteOptions) -> Result<Self> {
        let temporary = WorkDir::create("azurite")?;
        let log = options.log.clone().unwrap_or_else(|| temporary.join("log"));
        let mut node = Command::new("node");
        node.arg(program).args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
        for (service, port) in ["blob", "queue", "table"].iter().zip(ports) {
            node.arg(format!("--{service}Host")).arg("127.0.0.1");
            node.arg(format!("--{service}Port")).arg(port.to_string());
        }
        match &options.dir {
            Some(dir) => {
                fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
                node.arg("--location").arg(dir);
            }
            None => {
                node.arg("--inMemoryPersistence");
            }
        }
        node.current_dir(temporary.path()).env("AZURITE_ACCOUNTS", accounts());
        let child = Launch::new("Azurite").log(log).start(node)?;
        Ok(Self { ports, child, _temporary: temporary })
    }

    async fn ready(&mut self) -> Result<()> {
        let client =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let end = Instant::now() + START_LIMIT;
        for port in &self.ports[..2] {
            // Any answer will do: without credentials it is a refusal.
            while client
                .get(format!("http://127.0.0.1:{port}/{ACCOUNT}?comp=list"))
                .send()
                .await
                .is_err()
            {
                self.child.check()?;
                if Instant::now() > end {
                    bail!("Azurite does not answer on port {port}{}", self.child.log_tail());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // Another program may have answered on a port that Azurite could not have.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.child.check()
    }
}

/// Accounts beside the usual one, so that each test has queues and containers of its own.
const EXTRA_ACCOUNTS: u32 = 4000;

fn accounts() -> String {
    let extra = (0..EXTRA_ACCOUNTS).map(|n| format!("t{n:04}:a2V5"));
    let usual = std::iter::once(format!("{ACCOUNT}:{ACCOUNT_KEY}"));
    usual.chain(extra).collect::<Vec<_>>().join(";")
}

/// The connection string of another account of the same emulator; numbers wrap around.
pub fn with_account(connection: &str, n: u32) -> String {
    let account = format!("t{:04}", n % EXTRA_ACCOUNTS);
    connection.replace(ACCOUNT_KEY, "a2V5").replace(ACCOUNT, &account)
}

/// How clients reach an emulator on these ports.
pub fn connection_string([blob, queue, table]: [u16; 3]) -> String {
    let endpoint =
        |name: &str, port: u16| format!("{name}Endpoint=http://127.0.0.1:{port}/{ACCOUNT};");
    format!(
        "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};{}{}{}",
        endpoint("Blob", blob),
        endpoint("Queue", queue),
        endpoint("Table", table)
    )
}
