//! How the host stops, drains, and reads an edited host.json.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::Instant;

use crate::lab::{Lab, end_process, is_alive, until};
use crate::{SOON, TEXT};

/// A stop waits 10 s for open invocations, then the host ends and leaves its handler behind.
#[tokio::test(flavor = "multi_thread")]
async fn stop_with_work_in_flight_leaves_an_orphan() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
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
#[tokio::test(flavor = "multi_thread")]
async fn stop_kills_the_handler_when_nothing_is_open() -> Result<()> {
    for (answer, n_calls, seconds) in [("ok", 0, 0.0..1.0), ("slow:3000", 1, 1.0..4.5)] {
        let lab = Lab::new(json!({})).await?;
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

/// An edited host.json: another process on another port, beside the old one until that has answered.
#[tokio::test(flavor = "multi_thread")]
async fn edited_host_json_runs_two_handlers() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
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
#[tokio::test(flavor = "multi_thread")]
async fn draining_host_takes_nothing_new() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
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
