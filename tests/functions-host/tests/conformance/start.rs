//! How the handler is started, and what becomes of its output.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use functions_host::storage::Account;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use support::env;
use uuid::Uuid;

use crate::lab::{Lab, until};
use crate::{SOON, TEXT};

/// What a process of the fixture wrote down about its own start.
fn start_record(lab: &Lab, pid: u32) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(lab.records.join(format!("start-{pid}")))?;
    let pairs = text.lines().flat_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// A child of the host in its process group, in the app root, without arguments, with the host's
/// variables and seven of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_handler_is_a_child_of_the_host_in_the_app_root() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    let host = lab.start("ok").await?;
    let record = start_record(&lab, host.handler_pid().context("no handler")?)?;
    let given = |name: &str| record.get(name).cloned().with_context(|| format!("no {name}"));
    let root = lab.root.canonicalize()?.display().to_string();
    ensure!(given("cwd")? == root && given("FUNCTIONS_APP_ROOT_PATH")? == root, "{record:?}");
    let (fixture, pid) = (env!("CARGO_BIN_EXE_fixture-handler"), host.pid());
    ensure!(given("argv")? == format!("[{fixture:?}]"), "{record:?}");
    ensure!(given("ppid")? == format!("{pid} pgrp={pid}"), "{record:?}");
    ensure!(given("FIXTURE_ANSWER")? == "ok", "{record:?}");
    let port = host.handler_port().context("no port")?.to_string();
    for name in ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"] {
        ensure!(given(name)? == port, "{name}: {record:?}");
    }
    let id = given("FUNCTIONS_CUSTOMHANDLER_WORKER_ID")?;
    ensure!(Uuid::parse_str(&id).is_ok() && given("FUNCTIONS_HTTPWORKER_ID")? == id, "{record:?}");
    Ok(())
}

/// Another process gets the same port and another worker id.
#[tokio::test(flavor = "multi_thread")]
async fn the_port_stays_over_a_restart_of_the_handler() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    let host = lab.start("ok").await?;
    let (pid, port) = (host.handler_pid().context("no handler")?, host.handler_port());
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
    until("another process", SOON, async || {
        Ok(host.handler_pid() != Some(pid) && lab.n_starts() == 2)
    })
    .await?;
    ensure!(host.handler_port() == port, "another port: {:?}", host.handler_port());
    let id = |pid| -> Result<Option<String>> {
        Ok(start_record(&lab, pid)?.remove("FUNCTIONS_CUSTOMHANDLER_WORKER_ID"))
    };
    let second = host.handler_pid().context("no handler")?;
    ensure!(id(pid)? != id(second)?, "the same worker id");
    Ok(())
}

/// A handler that takes its time costs a waiting message nothing.
#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_a_handler_that_is_not_ready() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    lab.queue.put(TEXT).await?;
    let host = lab.start_with(lab.options("ok").env("FIXTURE_START_MILLISECONDS", "2500")).await?;
    let post = lab.nth_call("process_chunk", 1, SOON).await?;
    ensure!(post.dequeue_count()? == "1", "it was delivered before: {}", post.body);
    let lines = host.lines();
    let at = |text: &str| lines.iter().position(|line| line.contains(text));
    let (taken, ready) = (at("Executing 'Functions.process_chunk'"), at("Host started"));
    ensure!(taken.is_some() && taken < ready, "it was taken after the start: {lines:#?}");
    Ok(())
}

/// stdout is Information, stderr Error or, with "warn" in the line, Warning; `Logs` are Information.
#[tokio::test(flavor = "multi_thread")]
async fn output_is_logged_by_its_stream() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    let host = lab.start("ok").await?;
    lab.queue.put(TEXT).await?;
    for line in [
        "Information Host.Function.Console: the fixture listens",
        "Warning Host.Function.Console: a Warning of the fixture",
        "Error Host.Function.Console: a complaint of the fixture",
        "Information Function.process_chunk.User: the fixture did it",
    ] {
        host.line(SOON, |logged| logged.ends_with(line)).await.context(line)?;
    }
    Ok(())
}

/// A redirect with a Location is followed by a GET, whose answer counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_followed_with_get() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    let host = lab.start("redirect").await?;
    lab.queue.put(TEXT).await?;
    host.line(SOON, |line| line.contains("Executed") && line.contains("Succeeded")).await?;
    let requests = lab.requests()?;
    let followed = requests.iter().filter(|request| request.head.starts_with("GET /elsewhere "));
    ensure!(followed.count() == 1 && lab.posts()?.len() == 1, "{requests:#?}");
    Ok(())
}

/// The host does not make the queue of a trigger, and finds it within moments once it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_comes_later_is_found() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    let name = format!("late-{}", Uuid::new_v4().simple());
    let binding = json!({"name": "message", "type": "queueTrigger", "queueName": name, "connection": "ChunkStorage"});
    lab.function("late", &binding)?;
    let queue = Account::parse(&env::storage().await?)?.queue(&name);
    let _host = lab.start("ok").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(queue.peek().await?.is_none(), "the host has made the queue");
    queue.create().await?;
    queue.put(TEXT).await?;
    lab.nth_call("late", 1, Duration::from_secs(3)).await.map(drop)
}
