//! The handler as a process: its start, its size, and a message that it refuses.

use crate::{
    measure::{Measured, median, ms},
    world::{Bench, World},
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};
use support::{
    proxy::{Calls, Fate, Proxy, Wire},
    rig::{Handler, wake_up},
};

/// Each sample takes milliseconds.
const STARTS: usize = 20;
const REFUSALS: usize = 40;

/// From the start of the process to its first answer to the host's probe.
pub async fn start(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "start", 0).await?;
    let mut samples = Vec::new();
    for _ in 0..STARTS {
        let since = Instant::now();
        let handler = Handler::spawn(world.environment(), &[]);
        let port = handler.port;
        tokio::task::spawn_blocking(move || probe(port)).await??;
        samples.push(ms(since.elapsed()));
    }
    Ok(vec![Measured::median_of("start", &samples)])
}

fn probe(port: u16) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => ensure!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    ensure!(answer == *b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Built with the tests' features of its dependencies, which make it no smaller than the release.
pub fn binary() -> Result<Vec<Measured>> {
    let bytes = fs::metadata(support::programs::handler())?.len();
    Ok(vec![Measured::new("binary", bytes as f64 / 1e6)])
}

/// Round trips to the database of a message that finds the fleet full: of a chunk that is
/// registered, and of one that nobody knows.
pub async fn refused(bench: &Bench) -> Result<Vec<Measured>> {
    let world = World::new(bench, "refused", 0).await?;
    let calls = Calls::default();
    let address = world.database_address();
    let proxy = Proxy::start("postgres", Wire::Postgres, &address, &calls).await?;
    let url = world.database_url.replace(&address, &proxy.address().to_string());
    let extra = [("DATABASE_URL", url.as_str()), ("PIXCRAWLER_FLEET_MAX_CHUNKS", "1")];
    let handler = world.handler(&extra).await;
    fill_the_fleet(&world).await?;
    let known = |_| wake_up(2, 0);
    let unknown = |n: usize| {
        json!({"version": 1, "job_id": 3, "chunk_index": n, "total_chunks": 1000,
            "source": {"blob": format!("{n}.txt")}})
    };
    let known = refusals(&handler, &calls, known).await?;
    let unknown = refusals(&handler, &calls, unknown).await?;
    Ok(vec![Measured::median_of("refused", &known), Measured::median_of("refused_new", &unknown)])
}

/// Calls of each refusal, the connection pool's own pings included (`sync`). What the background asks meanwhile is rare, and the median without it.
async fn refusals(
    handler: &Handler,
    calls: &Calls,
    message: impl Fn(usize) -> Value,
) -> Result<Vec<f64>> {
    let (mut counts, mut walls) = (Vec::new(), Vec::new());
    for n in 0..REFUSALS {
        calls.restart(|_| Fate::Pass);
        let since = Instant::now();
        let (status, answer) = handler.deliver(&n.to_string(), &message(n)).await;
        walls.push(ms(since.elapsed()));
        let said = answer["Logs"][0].as_str().unwrap_or_default();
        ensure!(status == 200 && said.contains("all slots are taken"), "{status} {answer}");
        counts.push(calls.seen().len() as f64);
    }
    let names: Vec<String> = calls.seen().into_iter().map(|call| call.what).collect();
    eprintln!("  {:.2} ms (through a proxy): {}", median(&walls), names.join(", "));
    Ok(counts)
}

/// One chunk holds the only slot, and another is registered.
async fn fill_the_fleet(world: &World) -> Result<()> {
    let jobs = "insert into chunk_handler.job (job_id) values (1), (2)";
    let running = "insert into chunk_handler.chunk (job_id, chunk_index, state, priority, message,
            attempt, fence, slot_no, owner, invocation_id, lease_until)
        values (1, 0, 'processing', 5, '{}', 1, 1, 1, 'bench', 'bench',
            clock_timestamp() + interval '1 hour')";
    let slot = "update chunk_handler.slot set job_id = 1, chunk_index = 0 where slot_no = 1";
    // Woken in the future: no background pass picks it.
    let waiting = "insert into chunk_handler.chunk (job_id, chunk_index, priority, message,
            woken_at)
        values (2, 0, 5, '{\"version\":1,\"job_id\":2,\"chunk_index\":0,\"source\":{\"blob\":\"x.txt\"}}',
            clock_timestamp() + interval '1 hour')";
    for sql in [jobs, running, slot, waiting] {
        sqlx::query(sql).execute(&world.pool).await?;
    }
    Ok(())
}
