//! How each kind of fault is done. A fault is counted when it really happened.

use crate::{
    birth, blobs, environment, extend,
    jobs::{BIG, CANCELLED, INLINE, big},
    machine::Machine,
    orders,
    plan::{Dice, Fault, Step},
    restore, rows,
    site::{Site, Trap},
    submit,
};
use anyhow::Result;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use support::{
    env,
    proxy::{Fate, Proxy},
    rig::{envelope, inline, wake_up},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Places of the services among proxies and turns.
const SERVICES: usize = 3;
pub const SERVER: usize = 3;
/// Places of the queues.
pub const CHUNKS: usize = 0;
pub const CONTROL: usize = 1;
/// Why nothing is done to a server.
pub const GIVEN: &str = "the server was given";
/// More than a private server gives.
const MOST_CONNECTIONS: usize = 250;

/// Does what a step says, from its beginning to its end.
pub async fn inject(site: Arc<Site>, step: Step) -> Result<()> {
    let Step { fault, mut dice, .. } = step;
    let dice = &mut dice;
    match fault {
        Fault::Kill | Fault::Terminate | Fault::KillHost => end_process(&site, fault, dice),
        // Longer than the lease, 4 s; and less than the 3 s that it is trusted for.
        Fault::Freeze => freeze(&site, fault, dice.millis(4500, 7000), dice).await,
        Fault::Nap => freeze(&site, fault, dice.millis(300, 2500), dice).await,
        Fault::RestartPostgres => return restart_postgres(&site).await,
        Fault::Crowd => return crowd(&site, dice).await,
        Fault::TerminateBackends => return terminate_backends(&site).await,
        Fault::LockTable => {
            // The server may be away or the table busy: then it did not happen.
            let _ = lock_table(&site, dice).await;
        }
        Fault::Cut | Fault::DropReply | Fault::Delay | Fault::Busy => set_trap(&site, fault, dice),
        Fault::Stall | Fault::Refuse => take_away(&site, fault, dice).await,
        Fault::FillTemp => return fill_temp(&site).await,
        Fault::Duplicate => duplicate(&site, dice).await,
        Fault::Lose => lose(&site).await,
        Fault::Cancel | Fault::Pause => return command(&site, fault, dice).await,
        Fault::Undecodable => return undecodable(&site, dice).await,
        Fault::Birth => birth::kill_at_birth(&site, dice).await,
        Fault::Descriptors => environment::descriptors(&site, dice).await,
        Fault::Revoke => environment::revoke(&site, dice).await,
        Fault::Forbid => environment::forbid(&site, dice).await,
        Fault::Rotate => environment::rotate(&site, dice).await,
        Fault::ReadOnly => environment::read_only(&site, dice).await,
        Fault::NewerSchema => environment::newer_schema(&site, dice).await,
        Fault::Lease => blobs::lease(&site, dice).await,
        Fault::Hold => blobs::hold(&site, dice).await,
        Fault::LoseBlobs => return blobs::lose(&site, dice).await,
        Fault::Restore => return restore::restore(&site, dice).await,
        Fault::DeleteRow => rows::delete(&site, dice).await,
        Fault::SubmitTwice => submit::twice(&site, dice).await,
        Fault::Extend => extend::at_once(&site, dice).await,
        Fault::Commands => return orders::shuffled(&site, dice).await,
        // What a round begins with is not dealt.
        Fault::Pooler | Fault::Clock => {}
    }
    Ok(())
}

/// The machines, in an order of the dice.
pub fn machines<'a>(
    site: &'a Site,
    dice: &mut Dice,
) -> impl Iterator<Item = &'a Machine> + use<'a> {
    let n = site.machines.len();
    let first = dice.below(n);
    (first..first + n).map(move |at| &site.machines[at % n])
}

fn end_process(site: &Site, fault: Fault, dice: &mut Dice) {
    for machine in machines(site, dice) {
        let Some(_turn) = machine.turn() else { continue };
        let is_done = match fault {
            Fault::Kill => machine.signal(Signal::SIGKILL).is_some(),
            Fault::Terminate => machine.signal(Signal::SIGTERM).is_some(),
            _ => machine.kill_host(),
        };
        if is_done {
            return site.tally.count(fault);
        }
    }
}

async fn freeze(site: &Site, fault: Fault, pause: Duration, dice: &mut Dice) {
    for machine in machines(site, dice) {
        let Some(_turn) = machine.turn() else { continue };
        let Some(pid) = machine.signal(Signal::SIGSTOP) else { continue };
        site.tally.count(fault);
        sleep(pause).await;
        // It may be gone with its host.
        let _ = kill(pid, Signal::SIGCONT);
        return;
    }
}

async fn restart_postgres(site: &Site) -> Result<()> {
    let Ok(_turn) = site.turns[SERVER].try_lock() else { return Ok(()) };
    let postgres = env::postgres().await?;
    if !postgres.is_private() {
        site.tally.leave_out(Fault::RestartPostgres, GIVEN);
        return Ok(());
    }
    postgres.restart_immediately().await?;
    site.tally.count(Fault::RestartPostgres);
    Ok(())
}

/// Takes every connection that the server has to give; those that were there stay.
async fn crowd(site: &Site, dice: &mut Dice) -> Result<()> {
    let Ok(_turn) = site.turns[SERVER].try_lock() else { return Ok(()) };
    if !env::postgres().await?.is_private() {
        site.tally.leave_out(Fault::Crowd, GIVEN);
        return Ok(());
    }
    let mut taken = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        match PgConnection::connect(&site.rig.database_url).await {
            Ok(connection) => taken.push(connection),
            // Too many clients.
            Err(error) => {
                if error.as_database_error().is_some_and(|e| e.code().as_deref() == Some("53300")) {
                    site.tally.count(Fault::Crowd);
                    sleep(dice.millis(500, 3000)).await;
                }
                break;
            }
        }
    }
    Ok(())
}

async fn terminate_backends(site: &Site) -> Result<()> {
    let ended = "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and application_name = 'chunk-handler'";
    if site.look::<i64>(ended).await.is_ok_and(|ended| ended > 0) {
        site.tally.count(Fault::TerminateBackends);
    }
    Ok(())
}

async fn lock_table(site: &Site, dice: &mut Dice) -> Result<()> {
    let table = dice.pick(&["chunk", "slot", "attempt", "job", "image_hash", "fleet", "waker"]);
    let mut lock = site.pool.begin().await?;
    sqlx::raw_sql("set local lock_timeout = '2s'").execute(&mut *lock).await?;
    let statement = format!("lock table chunk_handler.{table} in access exclusive mode");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *lock).await?;
    site.tally.count(Fault::LockTable);
    sleep(dice.millis(500, 3000)).await;
    Ok(lock.rollback().await?)
}

/// Calls whose fate matters most, and any call of each service.
const CALLS: [(&str, &str); 16] = [
    ("postgres", " claim"),
    ("postgres", " complete"),
    ("postgres", " give_up"),
    ("postgres", " renew"),
    ("postgres", " register"),
    ("postgres", " pick_to_wake"),
    ("postgres", ""),
    ("postgres", ""),
    ("blob", "comp=block"),
    ("blob", "comp=blocklist"),
    ("blob", ".manifest.json"),
    ("blob", "dataset.json"),
    ("blob", ".jsonl"),
    ("blob", ""),
    ("queue", "POST messages"),
    ("queue", ""),
];

fn set_trap(site: &Site, fault: Fault, dice: &mut Dice) {
    let storage = CALLS.iter().position(|(proxy, _)| *proxy == "blob").unwrap_or_default();
    let calls = if fault == Fault::Busy { &CALLS[storage..] } else { &CALLS[..] };
    let (proxy, ends_with) = dice.pick(calls);
    let fate = match fault {
        Fault::Cut => Fate::Cut,
        Fault::DropReply => Fate::DropReply,
        Fault::Busy => Fate::Busy,
        _ => Fate::Delay(Duration::from_millis(dice.pick(&[300, 1500, 3000, 6000]))),
    };
    site.arm(Trap { fault, proxy, ends_with, fate });
}

async fn take_away(site: &Site, fault: Fault, dice: &mut Dice) {
    let service = dice.below(SERVICES);
    let Ok(_turn) = site.turns[service].try_lock() else { return };
    let proxies = || site.machines.iter().map(|machine| &machine.lane.proxies[service]);
    if fault == Fault::Stall {
        proxies().for_each(Proxy::stall);
    } else {
        proxies().for_each(|proxy| {
            proxy.refuse();
            proxy.cut();
        });
    }
    site.tally.count(fault);
    sleep(dice.millis(500, 5000)).await;
    proxies().for_each(Proxy::resume);
}

/// Sends a chunk that memory cannot hold, and lets no file grow until one met that.
async fn fill_temp(site: &Site) -> Result<()> {
    let met = "select count(*) from chunk_handler.attempt where error_code = 'disk_full'";
    // The server may be away.
    let Ok(before) = site.look::<i64>(met).await else { return Ok(()) };
    let index = site.number() as i32;
    let urls = big(&site.rig, index);
    let mut message = inline(BIG, index, &urls);
    message["priority"] = json!(9);
    site.send(CHUNKS, (BIG, index), message.to_string()).await?;
    site.expect([((BIG, index), urls)].into());
    let (end, mut full) = (Instant::now() + Duration::from_secs(12), BTreeSet::new());
    while Instant::now() < end {
        for (pid, _) in site.machines.iter().filter_map(Machine::handler) {
            if full.insert(pid) && !prlimit(pid, "--fsize=65536:") {
                full.remove(&pid);
            }
        }
        sleep(Duration::from_millis(100)).await;
        if site.look::<i64>(met).await.is_ok_and(|now| now > before) {
            site.tally.count(Fault::FillTemp);
            break;
        }
    }
    for pid in full {
        prlimit(pid, "--fsize=unlimited:");
    }
    Ok(())
}

/// False where there is no such process, or no such program.
pub fn prlimit(pid: Pid, limit: &str) -> bool {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid.to_string(), limit]);
    prlimit.stdout(Stdio::null()).stderr(Stdio::null());
    prlimit.status().is_ok_and(|status| status.success())
}

/// Delivers one message many times at once, to all handlers, some of a handler's under one invocation.
async fn duplicate(site: &Site, dice: &mut Dice) {
    let chunks = site.chunks();
    let known: Vec<_> = chunks.keys().collect();
    let &(job, index) = dice.pick(&known);
    let sent = site.sent((job, index)).unwrap_or_else(|| wake_up(job, index).to_string());
    let body = envelope(&sent);
    let (n, round) = (20 + dice.below(30), site.number());
    let http = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
    let handlers: Vec<_> = machines(site, dice).filter_map(Machine::handler).collect();
    let mut deliveries = JoinSet::new();
    for (i, (_, port)) in handlers.iter().cycle().take(n).enumerate() {
        let request = http
            .post(format!("http://127.0.0.1:{port}/process_chunk"))
            .header("Content-Type", "application/json; charset=utf-8")
            // A host gives a number to one invocation of its own handler only.
            .header(
                "X-Azure-Functions-InvocationId",
                format!("duplicate-{round}-{port}-{}", i / (2 * handlers.len())),
            )
            .body(body.clone());
        // What is no longer waited for goes on in the handler.
        deliveries.spawn(timeout(Duration::from_secs(4), request.send()));
    }
    let arrived = deliveries.join_all().await.iter().flatten().filter(|sent| sent.is_ok()).count();
    if arrived > 1 {
        site.tally.count(Fault::Duplicate);
    }
}

/// A message of the job that is made of messages.
pub fn of_inline(index: i32, urls: &[String]) -> Value {
    let mut message = inline(INLINE, index, urls);
    message["total_chunks"] = json!(8);
    message
}

/// Takes a message from the queue; only a wake-up may get lost, since its chunk is a row.
async fn lose(site: &Site) {
    let queue = &site.queues[CHUNKS];
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let taken =
            queue.receive(1, Duration::from_secs(30)).await.ok().flatten().unwrap_or_default();
        let Some(message) = taken.first() else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let json: Value = serde_json::from_str(&message.text).unwrap_or_default();
        let id = json["job_id"].as_i64().zip(json["chunk_index"].as_i64());
        let is_row = id.is_some_and(|(job, index)| {
            site.chunks().contains_key(&(job, index as i32)) && json.get("source").is_none()
        });
        if is_row && json["version"] == 1 {
            if queue.delete(message).await.is_ok() {
                site.tally.count(Fault::Lose);
            }
            break;
        }
        // Or it comes back by itself.
        let _ = queue.update(message, Duration::ZERO).await;
    }
}

/// A command and, after a while, its opposite, by message or by chunkctl.
async fn command(site: &Site, fault: Fault, dice: &mut Dice) -> Result<()> {
    let job = CANCELLED.to_string();
    let (messages, arguments): ([Value; 2], [Vec<&str>; 2]) = if fault == Fault::Cancel {
        let message = |action| json!({"version": 1, "action": action, "job_id": CANCELLED});
        let arguments = |action| vec!["control", action, "--job-id", &job];
        (["cancel", "retry"].map(message), ["cancel", "retry"].map(arguments))
    } else {
        let message = |action| json!({"version": 1, "action": action, "minutes": 1});
        let pause = vec!["control", "pause", "--minutes", "1"];
        (["pause", "resume"].map(message), [pause, vec!["control", "resume"]])
    };
    let mut is_first = true;
    for (message, arguments) in messages.iter().zip(&arguments) {
        let is_sent = if dice.below(2) == 0 {
            site.put(CONTROL, &message.to_string()).await.is_ok()
        } else {
            // The server may be away: an operator would see that.
            site.chunkctl(arguments).code == Some(0)
        };
        if std::mem::take(&mut is_first) {
            if !is_sent {
                return Ok(());
            }
            site.tally.count(fault);
            sleep(dice.millis(500, 3000)).await;
        }
    }
    Ok(())
}

/// Messages that can never work, on the queues and on those of what the host gave up on.
async fn undecodable(site: &Site, dice: &mut Dice) -> Result<()> {
    let n = site.number();
    let bodies = [
        (0, format!("not JSON {n}")),
        (0, format!(r#"{{"version":9,"job_id":1,"chunk_index":{n}}}"#)),
        (0, format!(r#"{{"version":1,"job_id":"'; drop table chunk","chunk_index":{n}}}"#)),
        (0, BASE64_STANDARD.encode(format!("not JSON either, number {n}"))),
        (0, wake_up(900_000 + n as i64, 0).to_string()),
        (1, format!(r#"{{"version":1,"action":"dance","minutes":{n}}}"#)),
        (2, format!("given up {n}")),
        // An old command must not undo anything.
        (3, format!(r#"{{"version":1,"action":"cancel","job_id":1,"chunk_index":{n}}}"#)),
    ];
    let (queue, body) = &bodies[dice.below(bodies.len())];
    site.put_unreadable(*queue, body.clone()).await?;
    site.tally.count(Fault::Undecodable);
    Ok(())
}
