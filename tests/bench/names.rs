//! A list of many hosts, as the web's are: what its names cost, and what they cost a chunk beside it.
//!
//! The whole bench runs once more in a network of its own, where the origin has public addresses and
//! `/etc/resolv.conf` names a server that answers after 30 ms: names that lead to loopback are refused.

use crate::{
    measure::{Measured, median},
    origin,
    part::{self, FLAG},
    world::{Bench, World},
};
use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use std::{
    fs,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};
use support::{
    names::{Act, NameServer, Question},
    rig::Handler,
    tool::works,
};

const LATENCY: Duration = Duration::from_millis(30);
const CHUNK: usize = 500;
/// URLs of a host.
const OF_HOST: usize = 5;
/// All of the list at once, so that the last name to fail is waited for once.
const AT_ONCE: usize = 20;
/// Hosts of the chunk that waits beside names that nobody answers for.
const LIVE: usize = 40;
const SILENT: usize = 300;

/// What a list's hosts are.
#[derive(Debug, Clone, Copy)]
enum Hosts {
    /// Addresses: no name is looked up.
    Addresses,
    /// Names that all lead somewhere.
    Live,
    /// The same, of which 5 % do not exist and 2 % are never answered for.
    Mixed,
}

/// Runs this in its own network; without the right to make one nothing is measured.
pub fn run(bench: &Bench) -> Result<Vec<Measured>> {
    if !works("unshare", &["--mount", "--net", "ip", "link", "set", "lo", "up"]) {
        eprintln!("  not run: it takes unshare, ip, and the right to make a network");
        return Ok(Vec::new());
    }
    let resolv = tempfile::NamedTempFile::new()?;
    fs::write(&resolv, "nameserver 127.0.0.1\n")?;
    let script = "mount --bind \"$1\" /etc/resolv.conf && ip link set lo up \
        && ip route add local 93.184.0.0/16 dev lo && exec \"$0\" \"$2\" names \"$3\"";
    let mut alone = Command::new("unshare");
    alone.args(["--mount", "--net", "sh", "-c"]).arg(script).arg(std::env::current_exe()?);
    alone.arg(resolv.path()).arg(FLAG).arg(if bench.quick { "2000" } else { "10000" });
    alone.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = alone.output();
    let output = output.context("unshare")?;
    ensure!(output.status.success(), "in its own network: {}", output.status);
    let said = String::from_utf8_lossy(&output.stdout);
    let figures: Value = said.lines().last().context("no figures")?.parse()?;
    let cases = ["names_live", "names_mixed", "names_beside"];
    let figure = |case: &&'static str| figures[*case].as_f64().map(|it| Measured::new(case, it));
    Ok(cases.iter().filter_map(figure).collect())
}

/// The bench in its own network.
pub fn main(arguments: &[String]) -> ExitCode {
    let n_urls = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(2000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let figures = runtime.block_on(measure(n_urls)).unwrap();
    println!("{figures}");
    ExitCode::SUCCESS
}

async fn measure(n_urls: usize) -> Result<Value> {
    let _names = NameServer::start_at(53, say)?;
    origin::start_on_port_80()?;
    let bench = Bench::new(true);
    let world = World::new(&bench, "names", 0).await?;
    let mut walls = Vec::new();
    for hosts in [Hosts::Addresses, Hosts::Live, Hosts::Mixed] {
        let (wall, cpu) = list(&world, hosts, n_urls).await?;
        let n_hosts = n_urls / OF_HOST;
        eprintln!("  {n_urls} URLs on {n_hosts} hosts, {hosts:?}: {wall:.1} s, of CPU {cpu:.1} s");
        walls.push(wall);
    }
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let handler = world.handler(&[]).await;
    for sample in 0..3 {
        alone.push(live(&world, &handler, sample * 2).await?);
        beside.push(beside_silent(&world, &handler, sample).await?);
    }
    eprintln!(
        "  a chunk of {LIVE} hosts: alone {:.2} s, beside {SILENT} silent names {:.2} s",
        median(&alone),
        median(&beside)
    );
    Ok(json!({
        "names_live": walls[1] / walls[0],
        "names_mixed": walls[2] - walls[0],
        "names_beside": median(&beside) / median(&alone),
    }))
}

/// `PICTURES-H.live`, `.dead` and `.silent`: an address for each H, none, no word.
fn say(question: &Question) -> Act {
    let Some((host, kind)) = question.name.rsplit_once('.') else {
        return Act::Send(question.denied());
    };
    let n = host.rsplit_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
    match kind {
        "live" => Act::After(LATENCY, question.addresses(300, &[&address(n)])),
        "silent" => Act::Silence,
        _ => Act::After(LATENCY, question.denied()),
    }
}

fn address(host: usize) -> String {
    format!("93.184.{}.{}", host / 250, host % 250 + 1)
}

/// Seconds that a fresh handler needs for a list in chunks, all at once, and of CPU.
async fn list(world: &World, hosts: Hosts, n_urls: usize) -> Result<(f64, f64)> {
    let at_once = AT_ONCE.to_string();
    let extra = [
        ("PIXCRAWLER_MAX_CONCURRENT_CHUNKS", at_once.as_str()),
        ("PIXCRAWLER_MAX_TEMP_STORAGE_MB", "2000"),
    ];
    let handler = world.handler(&extra).await;
    let n_hosts = n_urls / OF_HOST;
    let url = |n: usize| {
        // Next to each other in no chunk.
        let host = n % n_hosts;
        let name = match (hosts, host % 100) {
            (Hosts::Addresses, _) => address(host),
            (Hosts::Mixed, 0..5) => format!("pictures-{host}.dead"),
            (Hosts::Mixed, 5..7) => format!("pictures-{host}.silent"),
            (Hosts::Live | Hosts::Mixed, _) => format!("pictures-{host}.live"),
        };
        format!("http://{name}/slow/20000/{n}")
    };
    let urls: Vec<String> = (0..n_urls).map(url).collect();
    let mut messages = Vec::new();
    for chunk in urls.chunks(CHUNK) {
        messages.push(world.message_of(chunk).await?);
    }
    let since = Instant::now();
    let runs = stream::iter(&messages).map(|message| world.deliver(&handler, message));
    let runs: Vec<_> = runs.buffer_unordered(AT_ONCE).try_collect().await?;
    let wall = since.elapsed().as_secs_f64();
    let cpu = part::cpu_time(handler.pid)?.as_secs_f64();
    let n_valid: u64 = runs.iter().map(|run| run.n_valid).sum();
    let n_dead = urls.iter().filter(|url| url.contains(".dead/") || url.contains(".silent/"));
    let expected = n_urls - n_dead.count();
    ensure!(n_valid == expected as u64, "{n_valid} of {expected} images are valid");
    Ok((wall, cpu))
}

/// Seconds that a chunk of live names takes.
async fn live(world: &World, handler: &Handler, sample: usize) -> Result<f64> {
    let url = |n: usize| {
        let host = n % LIVE;
        format!("http://s{sample}-{host}.live/slow/20000/{}", sample * 1000 + n)
    };
    let urls: Vec<String> = (0..LIVE * OF_HOST).map(url).collect();
    let run = world.deliver(handler, &world.message_of(&urls).await?).await?;
    ensure!(run.n_valid == urls.len() as u64, "{} images are valid", run.n_valid);
    Ok(run.wall.as_secs_f64())
}

/// The same while another chunk of the handler waits for names that nobody answers for.
async fn beside_silent(world: &World, handler: &Handler, sample: usize) -> Result<f64> {
    let silent = (0..SILENT).map(|n| format!("http://s{sample}-{n}.silent/{n}"));
    let silent = world.message_of(&silent.collect::<Vec<_>>()).await?;
    let id = format!("silent-{sample}");
    tokio::select! {
        _ = handler.deliver(&id, &silent) => {
            anyhow::bail!("names that nobody answers for were done first");
        }
        wall = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            live(world, handler, sample * 2 + 1).await
        } => wall,
    }
}
