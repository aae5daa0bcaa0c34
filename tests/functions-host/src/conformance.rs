//! Checks of a host, to be called by tests with a storage account and an empty directory.
//!
//! Each makes an app with the fixture handler, runs the stand-in as a process, and looks at what the
//! handler wrote down, at the queues and at the processes. `cargo build --package support --bins` must
//! have been run before.

mod bodies;
mod lab;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use tokio::time::Instant;

pub use bodies::bodies_equal_the_recorded_ones;
use lab::{Lab, end_process, is_alive, until};

use super::client::{HostOptions, HostProcess};
use super::dotnet::quote;

const TEXT: &str = r#"{"version":1}"#;
const SOON: Duration = Duration::from_secs(15);

/// Three ends with another code than 0 and 200: the host stops by itself, with code 0.
pub async fn three_strikes_stop_the_host(storage: &str, directory: &Path) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    lab.queue.put(TEXT).await?;
    let mut host = lab.start("exit:1").await?;
    let ended = tokio::time::timeout(SOON, host.wait()).await.context("the host goes on")??;
    ensure!(ended.code() == Some(0), "the host ended with {ended}");
    ensure!(lab.n_starts() == 3, "{} processes were started", lab.n_starts());
    host.line(SOON, |line| line.contains("three strikes")).await?;
    // What was taken when the host gave up stays invisible.
    let is_invisible = lab.queue.peek().await?.is_some_and(|messages| messages.is_empty());
    ensure!(is_invisible && lab.queue.count().await? == 1, "the message came back or is gone");
    Ok(())
}

/// A process that ends before it listens is started three times, within moments.
pub async fn three_failed_starts_stop_the_host(storage: &str, directory: &Path) -> Result<()> {
    for (answer, limit) in [("start-exit:2", "00:00:30"), ("deaf", "00:00:01")] {
        let changes = json!({"customHandler": {"initializationTimeout": limit}});
        let lab = Lab::new(storage, directory, changes).await?;
        let mut host = HostProcess::start(lab.options(answer))?;
        let ended = tokio::time::timeout(SOON, host.wait()).await.context("the host goes on")??;
        ensure!(
            ended.code() == Some(0) && lab.n_starts() == 3,
            "{answer}: {ended}, {} starts",
            lab.n_starts()
        );
    }
    Ok(())
}

/// Exit code 200 asks for another process, as often as it likes.
pub async fn exit_200_restarts_without_a_strike(storage: &str, directory: &Path) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    lab.queue.put(TEXT).await?;
    let mut host = lab.start("exit:200").await?;
    // Each of the five deliveries ends a process.
    lab.until_poisoned(SOON).await?;
    until("a sixth process", SOON, async || Ok(lab.n_starts() == 6)).await?;
    ensure!(host.try_wait()?.is_none(), "the host has ended");
    ensure!(!host.lines().iter().any(|line| line.contains("strike")), "{:?}", host.lines());
    Ok(())
}

/// Exit code 0 is not noticed: no other process, and every delivery is refused until it is poison.
pub async fn exit_0_is_not_noticed(storage: &str, directory: &Path) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    lab.queue.put(TEXT).await?;
    let mut host = lab.start("exit:0").await?;
    lab.until_poisoned(SOON).await?;
    ensure!(lab.n_starts() == 1 && lab.posts()?.len() == 1, "the handler was started again");
    let n_refused = host.lines().iter().filter(|line| line.contains("Connection refused")).count();
    ensure!(n_refused == 4, "{n_refused} refused calls");
    ensure!(host.try_wait()?.is_none(), "the host has ended");
    Ok(())
}

/// batchSize 1 and newBatchThreshold 9: exactly ten at once, one more whenever one ends.
pub async fn ten_at_a_time_refilled_one_by_one(storage: &str, directory: &Path) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    for _ in 0..14 {
        lab.queue.put(TEXT).await?;
    }
    let _host = lab.start("gate").await?;
    lab.until_posts(10, SOON).await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let posts = lab.posts()?;
    ensure!(posts.len() == 10, "{} at once", posts.len());
    for (n, post) in posts.iter().enumerate().take(3) {
        std::fs::write(lab.records.join(format!("gate-{}", post.number)), "")?;
        lab.until_posts(11 + n, Duration::from_secs(2)).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let n_open = lab.posts()?.iter().filter(|post| !post.is_answered).count();
        ensure!(n_open == 10, "{n_open} at once after {} ended", n + 1);
    }
    std::fs::write(lab.records.join("gate-all"), "")?;
    let is_done = async || Ok(lab.posts()?.iter().filter(|post| post.is_answered).count() == 14);
    until("14 answers", SOON, is_done).await
}

/// Five failed deliveries, `visibilityTimeout` apart, then at once a copy of the text, and nothing
/// else, in the poison queue.
pub async fn fifth_failure_goes_to_poison(storage: &str, directory: &Path) -> Result<()> {
    let queues = json!({"extensions": {"queues": {"visibilityTimeout": "00:00:02"}}});
    let lab = Lab::new(storage, directory, queues).await?;
    lab.queue.put(TEXT).await?;
    let _host = lab.start("500").await?;
    lab.until_posts(1, SOON).await?;
    let first = Instant::now();
    let posts = lab.until_posts(5, SOON).await?;
    let fifth = Instant::now();
    ensure!(lab.until_poisoned(SOON).await? == TEXT, "the text has changed");
    let (tries, copy) = ((fifth - first).as_secs_f64(), fifth.elapsed().as_secs_f64());
    ensure!(tries > 7.0 && copy < 1.5, "five tries took {tries:.1} s, the copy {copy:.1} s more");
    let counts = posts.iter().map(|post| dequeue_count(&post.body)).collect::<Result<Vec<_>>>()?;
    ensure!(counts == ["1", "2", "3", "4", "5"], "dequeue counts {counts:?}");
    Ok(())
}

/// After five deliveries of which nobody told the end, the sixth fetch is the last.
pub async fn sixth_fetch_goes_to_poison_without_a_call(
    storage: &str,
    directory: &Path,
) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    lab.queue.put(TEXT).await?;
    for _ in 0..5 {
        let taken = lab.queue.receive(1, Duration::from_secs(30)).await?.unwrap_or_default();
        lab.queue.update(taken.first().context("a message")?, Duration::ZERO).await?;
    }
    let _host = lab.start("ok").await?;
    ensure!(lab.until_poisoned(SOON).await? == TEXT, "the text has changed");
    ensure!(lab.posts()?.is_empty(), "the handler was called");
    Ok(())
}

/// A stop waits 10 s for open invocations, then the host ends and leaves its handler behind.
pub async fn stop_with_work_in_flight_leaves_an_orphan(
    storage: &str,
    directory: &Path,
) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    lab.queue.put(TEXT).await?;
    let mut host = lab.start("slow:25000").await?;
    lab.until_posts(1, SOON).await?;
    let handler = host.handler_pid().context("no handler")?;
    let asked = Instant::now();
    host.interrupt()?;
    let ended = tokio::time::timeout(SOON, host.wait()).await.context("the host goes on")??;
    let seconds = asked.elapsed().as_secs_f64();
    ensure!(is_alive(handler), "the handler is gone");
    end_process(handler)?;
    ensure!(
        ended.code() == Some(0) && (9.5..13.0).contains(&seconds),
        "{ended} after {seconds:.1} s"
    );
    Ok(())
}

/// With nothing in flight the handler is killed at once, and after short work when that has ended.
pub async fn stop_kills_the_handler_when_nothing_is_open(
    storage: &str,
    directory: &Path,
) -> Result<()> {
    for (answer, n_calls, seconds) in [("ok", 0, 0.0..1.0), ("slow:3000", 1, 1.0..4.5)] {
        let lab = Lab::new(storage, directory, json!({})).await?;
        let mut host = lab.start(answer).await?;
        if n_calls > 0 {
            lab.queue.put(TEXT).await?;
            lab.until_posts(n_calls, SOON).await?;
        }
        let handler = host.handler_pid().context("no handler")?;
        let asked = Instant::now();
        host.interrupt()?;
        let ended = tokio::time::timeout(SOON, host.wait()).await.context("the host goes on")??;
        let took = asked.elapsed().as_secs_f64();
        ensure!(
            ended.code() == Some(0) && seconds.contains(&took),
            "{answer}: {ended} after {took:.1} s"
        );
        ensure!(!is_alive(handler), "{answer}: the handler is left");
        ensure!(lab.posts()?.iter().all(|post| post.is_answered), "{answer}: a call was cut off");
    }
    Ok(())
}

/// An empty answer hangs until functionTimeout; 2 s later the process is killed, without a strike.
pub async fn empty_answer_hangs_until_the_timeout(storage: &str, directory: &Path) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({"functionTimeout": "00:00:02"})).await?;
    let host = lab.start("empty").await?;
    let first = host.handler_pid().context("no handler")?;
    lab.queue.put(TEXT).await?;
    lab.until_posts(1, SOON).await?;
    let called = Instant::now();
    host.line(SOON, |line| line.contains("never completes such an invocation")).await?;
    until("the end of the process", SOON, async || Ok(!is_alive(first))).await?;
    let seconds = called.elapsed().as_secs_f64();
    ensure!((3.5..6.0).contains(&seconds), "killed after {seconds:.1} s");
    until("a second process", SOON, async || Ok(lab.n_starts() >= 2)).await?;
    // The message failed at the timeout, came back and was taken by the first process again.
    let posts = lab.until_posts(2, SOON).await?;
    ensure!(dequeue_count(&posts[1].body)? == "2", "not delivered again: {}", posts[1].body);
    ensure!(!host.lines().iter().any(|line| line.contains("strike")), "a timeout was counted");
    Ok(())
}

/// A message is held for as long as its invocation takes, by renewing it.
pub async fn held_message_is_renewed(storage: &str, directory: &Path) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    lab.queue.put(TEXT).await?;
    // Invisible for 4 s, renewed after 2.
    let options = HostOptions { time_scale: 150.0, ..lab.options("slow:9000") };
    let _host = lab.start_with(options).await?;
    lab.until_posts(1, SOON).await?;
    let is_answered = async || Ok(lab.posts()?.iter().any(|post| post.is_answered));
    until("the answer", SOON, is_answered).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let n_calls = lab.posts()?.len();
    ensure!(n_calls == 1, "delivered {n_calls} times");
    ensure!(lab.queue.count().await? == 0, "not deleted");
    Ok(())
}

/// A killed host leaves its message invisible until its time is over, and then it comes again.
pub async fn killed_host_gives_its_message_back_late(
    storage: &str,
    directory: &Path,
) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    lab.queue.put(TEXT).await?;
    // Invisible for 4 s.
    let options = |answer| HostOptions { time_scale: 150.0, ..lab.options(answer) };
    let mut first = lab.start_with(options("slow:20000")).await?;
    lab.until_posts(1, SOON).await?;
    let taken = Instant::now();
    let handler = first.handler_pid().context("no handler")?;
    first.kill9()?;
    first.wait().await?;
    ensure!(is_alive(handler), "the handler ended with its host");
    end_process(handler)?;
    let _second = lab.start_with(options("ok")).await?;
    let again = async || Ok(lab.posts()?.iter().any(|post| post.pid != handler));
    until("a second delivery", SOON, again).await?;
    let seconds = taken.elapsed().as_secs_f64();
    ensure!((2.5..8.0).contains(&seconds), "delivered again after {seconds:.1} s");
    Ok(())
}

/// Base64 is decoded on the way in; what is not Base64 reaches the poison queue and no function.
pub async fn base64_is_decoded(storage: &str, directory: &Path) -> Result<()> {
    let queues = json!({"extensions": {"queues": {"messageEncoding": "base64"}}});
    let lab = Lab::new(storage, directory, queues).await?;
    let _host = lab.start("ok").await?;
    lab.queue.put("{not base64}").await?;
    ensure!(lab.until_poisoned(SOON).await? == "{not base64}", "the text has changed");
    ensure!(lab.posts()?.is_empty(), "the handler was called");
    lab.queue.put(&BASE64_STANDARD.encode(TEXT)).await?;
    let posts = lab.until_posts(1, SOON).await?;
    let body: Value = serde_json::from_str(&posts[0].body)?;
    ensure!(body["Data"]["chunkMessage"].as_str() == Some(&quote(TEXT)), "{body}");
    Ok(())
}

/// An edited host.json: another process on another port, beside the old one until that has answered.
pub async fn edited_host_json_runs_two_handlers(storage: &str, directory: &Path) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    lab.queue.put(TEXT).await?;
    let host = lab.start("slow:4000").await?;
    lab.until_posts(1, SOON).await?;
    let old = (host.handler_pid().context("no handler")?, host.handler_port());
    let text = std::fs::read_to_string(lab.root.join("host.json"))?;
    std::fs::write(lab.root.join("host.json"), format!("{text}\n"))?;
    until(
        "another process",
        Duration::from_secs(3),
        async || Ok(host.handler_pid() != Some(old.0)),
    )
    .await?;
    ensure!(host.handler_port() != old.1, "on the same port");
    ensure!(is_alive(old.0) && !lab.posts()?[0].is_answered, "the old one did not go on");
    until("the end of the old one", SOON, async || Ok(!is_alive(old.0))).await?;
    ensure!(lab.posts()?[0].is_answered, "the old one was killed before its answer");
    Ok(())
}

/// A draining host finishes what it has and takes nothing new.
pub async fn draining_host_takes_nothing_new(storage: &str, directory: &Path) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    lab.queue.put(TEXT).await?;
    let host = lab.start("slow:2500").await?;
    lab.until_posts(1, SOON).await?;
    let state = async || anyhow::Ok(host.get("/admin/host/drain/status").await?["state"].clone());
    ensure!(state().await? == "Disabled", "drains already");
    host.drain().await?;
    lab.queue.put(TEXT).await?;
    ensure!(state().await? == "InProgress", "the open call is forgotten");
    until("the end of the drain", SOON, async || Ok(state().await? == "Completed")).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(lab.posts()?.len() == 1, "a message was taken");
    Ok(())
}

fn dequeue_count(body: &str) -> Result<String> {
    let body: Value = serde_json::from_str(body)?;
    Ok(body["Metadata"]["DequeueCount"].as_str().context("no DequeueCount")?.into())
}
