//! What the host does when its handler ends or hangs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use functions_host::client::HostProcess;
use serde_json::json;
use tokio::time::Instant;

use crate::lab::{Lab, is_alive, until};
use crate::{SOON, TEXT};

/// Three ends with another code than 0 and 200: the host stops by itself, with code 0.
#[tokio::test(flavor = "multi_thread")]
async fn three_strikes_stop_the_host() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
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
#[tokio::test(flavor = "multi_thread")]
async fn three_failed_starts_stop_the_host() -> Result<()> {
    for (answer, limit) in [("start-exit:2", "00:00:30"), ("deaf", "00:00:01")] {
        let changes = json!({"customHandler": {"initializationTimeout": limit}});
        let lab = Lab::new(changes).await?;
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
#[tokio::test(flavor = "multi_thread")]
async fn exit_200_restarts_without_a_strike() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
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
#[tokio::test(flavor = "multi_thread")]
async fn exit_0_is_not_noticed() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    lab.queue.put(TEXT).await?;
    let mut host = lab.start("exit:0").await?;
    lab.until_poisoned(SOON).await?;
    ensure!(lab.n_starts() == 1 && lab.posts()?.len() == 1, "the handler was started again");
    let n_refused = host.lines().iter().filter(|line| line.contains("Connection refused")).count();
    ensure!(n_refused == 4, "{n_refused} refused calls");
    ensure!(host.try_wait()?.is_none(), "the host has ended");
    Ok(())
}

/// An empty answer hangs until functionTimeout; 2 s later the process is killed, without a strike.
#[tokio::test(flavor = "multi_thread")]
async fn empty_answer_hangs_until_the_timeout() -> Result<()> {
    let lab = Lab::new(json!({"functionTimeout": "00:00:02"})).await?;
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
    ensure!(posts[1].dequeue_count()? == "2", "not delivered again: {}", posts[1].body);
    ensure!(!host.lines().iter().any(|line| line.contains("strike")), "a timeout was counted");
    Ok(())
}

/// What two invocations that hang until functionTimeout leave: the host's exit code, none when it goes
/// on, and its log. The second message is put so long after the first was delivered; none: with it.
async fn after_two_timeouts(apart: Option<Duration>) -> Result<(Option<i32>, Vec<String>)> {
    let changes = json!({
        "functionTimeout": "00:00:02",
        // Both are fetched at once, and a failed one does not come back during the test.
        "extensions": {"queues": {"batchSize": 2, "visibilityTimeout": "00:01:00"}},
    });
    let lab = Lab::new(changes).await?;
    lab.queue.put(TEXT).await?;
    if apart.is_none() {
        lab.queue.put(TEXT).await?;
    }
    let mut host = lab.start("hang").await?;
    let first = host.handler_pid().context("no handler")?;
    lab.until_posts(1, SOON).await?;
    if let Some(apart) = apart {
        tokio::time::sleep(apart).await;
        lab.queue.put(TEXT).await?;
    }
    lab.until_posts(2, SOON).await?;
    until("the end of the process", SOON, async || Ok(!is_alive(first))).await?;
    let ended = tokio::time::timeout(Duration::from_secs(2), host.wait()).await;
    let code = ended.ok().transpose()?.map(|status| status.code().unwrap_or_default());
    ensure!(code.is_some() || lab.n_starts() == 2, "{} processes were started", lab.n_starts());
    Ok((code, host.lines()))
}

/// Two invocations that time out in the same instant crash the host.
#[tokio::test(flavor = "multi_thread")]
async fn two_timeouts_in_the_same_instant_crash_the_host() -> Result<()> {
    let (code, lines) = after_two_timeouts(None).await?;
    ensure!(code.is_some_and(|code| code != 0), "ended with {code:?}: {lines:#?}");
    let crash = "An unhandled exception has occurred. Host is shutting down.";
    ensure!(lines.iter().any(|line| line.contains(crash)), "{lines:#?}");
    Ok(())
}

/// Half a second apart they cost the process only, once, and no strike.
#[tokio::test(flavor = "multi_thread")]
async fn two_timeouts_at_different_times_cost_one_process() -> Result<()> {
    let (code, lines) = after_two_timeouts(Some(Duration::from_millis(500))).await?;
    ensure!(code.is_none(), "ended with {code:?}: {lines:#?}");
    ensure!(!lines.iter().any(|line| line.contains("strike")), "{lines:#?}");
    Ok(())
}
