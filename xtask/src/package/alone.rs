//! The package in a root where there is nothing else: it starts, resolves a name, and trusts a bundle.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;
use support::child::run_ok;
use support::postgres::free_port;
use support::raw::{Act, Raw, answer, tls_fixture};
use support::rig::{Rig, envelope, inline};
use support::workdir::WorkDir;

/// A name that the server of this check alone knows.
const NAME: &str = "pictures.test";
/// Where that server listens; an address of loopback that nobody else uses.
const DNS: &str = "127.77.0.53";
const STARTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(20);
/// A static getrandom opens them; without them the start panics.
const DEVICES: [(&str, &str); 3] = [("null", "3"), ("random", "8"), ("urandom", "9")];

/// Runs it, when this is root: only root may make such a place.
pub(super) async fn runs(app: &Path) -> Result<()> {
    if !geteuid().is_root() {
        eprintln!("  not checked: the package in a bare root, which takes root to make");
        return Ok(());
    }
    let work = WorkDir::create("bare-root")?;
    let place = work.path();
    bare_root(app, place).await?;
    let rig = Rig::new().await;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(Alone::start(place, &rig, &[]).await?.started_in);
    }
    times.sort();
    let median = times.get(STARTS / 2).copied().unwrap_or_default();
    eprintln!("  the first answer came after {} ms (median of {STARTS})", median.as_millis());
    works(place, &rig).await
}

/// A chunk of two pictures: one by a name, one over TLS.
async fn works(place: &Path, rig: &Rig) -> Result<()> {
    let names = UdpSocket::bind((DNS, 53)).with_context(|| format!("listening on {DNS}:53"))?;
    std::thread::spawn(move || serve_names(&names));
    let picture =
        fs::read(support::checkout::root().join("tests/fixtures/images/03-gray-16-bit.png"))?;
    let secure = Raw::tls("good.pem", move |_, _| {
        Act::Send(answer(200, "Content-Type: image/png\r\n", &picture))
    });
    let port = rig.origin.address().port();
    let origins = format!("127.0.0.1:{port},{}", secure.address);
    let alone = Alone::start(place, rig, &[("PIXCRAWLER_ALLOWED_ORIGINS", &origins)]).await?;
    let urls = [format!("http://{NAME}:{port}/img/1"), secure.url("/picture.png")];
    let body = envelope(&inline(1, 0, &urls).to_string());
    let post = reqwest::Client::new().post(alone.url("/process_chunk")).body(body);
    let post = post.header("content-type", "application/json");
    let said = post.header("x-azure-functions-invocationid", "alone").send().await?.text().await?;
    ensure!(said.contains("2 of 2 images valid"), "the chunk was not done: {said}");
    eprintln!("  a chunk: one picture by a name of DNS, one over TLS by the bundle");
    Ok(())
}

/// The unpacked zip, a resolver, a bundle of certificates, three devices, and a place for temp files.
async fn bare_root(app: &Path, place: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(app.join(".")).arg(place);
    run_ok("cp", copy).await?;
    for folder in ["etc/ssl/certs", "dev", "tmp"] {
        fs::create_dir_all(place.join(folder))?;
    }
    fs::write(place.join("etc/resolv.conf"), format!("nameserver {DNS}\n"))?;
    fs::copy(tls_fixture("ca.pem"), place.join("etc/ssl/certs/ca-certificates.crt"))?;
    for (name, minor) in DEVICES {
        let mut make = Command::new("mknod");
        make.arg(place.join("dev").join(name)).args(["c", "1", minor, "-m", "666"]);
        run_ok("mknod", make).await?;
    }
    Ok(())
}

/// The handler of the package, in its root.
struct Alone {
    process: Child,
    port: u16,
    started_in: Duration,
}

impl Alone {
    async fn start(place: &Path, rig: &Rig, extra: &[(&str, &str)]) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("chroot");
        command.arg(place).arg("/handler").env_clear().envs(rig.environment());
        // Where `chroot` is; what it starts has its whole path.
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("PIXCRAWLER_TEMP_DIR", "/tmp").envs(extra.iter().copied());
        command.env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        // Made before the clock runs: it reads the certificates of this machine.
        let client = reqwest::Client::new();
        let begin = Instant::now();
        let process = command.spawn().context("starting chroot")?;
        let mut alone = Self { process, port, started_in: Duration::ZERO };
        while client.get(alone.url("/")).send().await.is_err() {
            if let Some(status) = alone.process.try_wait()? {
                bail!("the handler ended: {status}");
            }
            ensure!(begin.elapsed() < PATIENCE, "the handler did not answer within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        alone.started_in = begin.elapsed();
        Ok(alone)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Answers every question for an IPv4 address with 127.0.0.1, and any other with nothing (RFC 1035).
fn serve_names(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((n, client)) = socket.recv_from(&mut buffer) {
        let Some(question) = buffer.get(..n).filter(|bytes| bytes.len() > 16) else { continue };
        // Id; a response, recursion available; one question.
        let mut reply = [&question[..2], &[0x81, 0x80, 0, 1]].concat();
        let name = question[12..].iter().position(|byte| *byte == 0).unwrap_or(0);
        let end = (12 + name + 5).min(n);
        let is_v4 = question[12 + name + 1..end].starts_with(&[0, 1]);
        reply.extend([0, u8::from(is_v4), 0, 0, 0, 0]);
        reply.extend(&question[12..end]);
        if is_v4 {
            // The name of the question, type A, class IN, 60 s, four bytes.
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        let _sent = socket.send_to(&reply, client);
    }
}
