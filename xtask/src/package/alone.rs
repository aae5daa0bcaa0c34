//! The package in a root where there is nothing else: it starts, resolves a name, and trusts a bundle.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;
use serde_json::Value;
use support::checkout::root;
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

/// A chunk of three URLs: a picture over TLS, a name that DNS knows, and one that it does not. What the
/// first name leads to is loopback, which the address guard refuses: that is how it is seen that the
/// answer was understood.
async fn works(place: &Path, rig: &Rig) -> Result<()> {
    let names = UdpSocket::bind((DNS, 53)).with_context(|| format!("listening on {DNS}:53"))?;
    std::thread::spawn(move || serve_names(&names));
    let picture = fs::read(root().join("tests/fixtures/images/01-photo.jpg"))?;
    let secure = Raw::tls("good.pem", move |_, _| {
        Act::Send(answer(200, "Content-Type: image/jpeg\r\n", &picture))
    });
    let origins = secure.address.to_string();
    let alone = Alone::start(place, rig, &[("PIXCRAWLER_ALLOWED_ORIGINS", &origins)]).await?;
    let urls = [
        secure.url("/picture.jpg"),
        format!("http://{NAME}/picture.jpg"),
        "http://nobody.test/picture.jpg".to_owned(),
    ];
    let body = envelope(&inline(1, 0, &urls).to_string());
    let post = reqwest::Client::new().post(alone.url("/process_chunk")).body(body);
    let post = post.header("content-type", "application/json");
    let said = post.header("x-azure-functions-invocationid", "alone").send().await?.text().await?;
    ensure!(said.contains("completed"), "the chunk was not done: {said}");
    let manifest = rig.manifest(1, 0).await;
    let items = manifest["items"].as_array().context("a manifest has items")?;
    let verdict = |item: &Value| item["reason"].as_str().unwrap_or("valid").to_owned();
    let verdicts: Vec<String> = items.iter().map(verdict).collect();
    ensure!(
        verdicts == ["valid", "url_refused", "name_not_resolved"],
        "the URLs ended as {verdicts:?}"
    );
    eprintln!(
        "  a chunk: a picture over TLS by the bundle, a name by DNS, and one that DNS denies"
    );
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

/// Says that the name is 127.0.0.1, and that there is no other (RFC 1035).
fn serve_names(socket: &UdpSocket) {
    let known: Vec<u8> = NAME.split('.').flat_map(label).chain([0]).collect();
    let mut buffer = [0; 512];
    while let Ok((n, client)) = socket.recv_from(&mut buffer) {
        let Some((head, question)) = buffer.get(..n).and_then(|bytes| bytes.split_at_checked(12))
        else {
            continue;
        };
        let Some(name_len) = question.iter().position(|byte| *byte == 0) else { continue };
        let Some(question) = question.get(..name_len + 5) else { continue };
        let is_known = question.starts_with(&known);
        let is_v4 = question.get(name_len + 1..).is_some_and(|rest| rest.starts_with(&[0, 1]));
        let n_answers = u8::from(is_known && is_v4);
        // A response, recursion available; "no such name" for all others. One question.
        let code = if is_known { 0x80 } else { 0x83 };
        let mut reply =
            [&head[..2], &[0x81, code, 0, 1, 0, n_answers, 0, 0, 0, 0], question].concat();
        if n_answers == 1 {
            // The name of the question, type A, class IN, 60 s, four bytes.
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        let _sent = socket.send_to(&reply, client);
    }
}

/// Its length, then its letters.
fn label(text: &str) -> Vec<u8> {
    u8::try_from(text.len()).into_iter().chain(text.bytes()).collect()
}
