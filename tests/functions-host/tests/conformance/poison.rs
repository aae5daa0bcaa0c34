//! What goes to the poison queue, and when.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::lab::{Lab, Post, until};
use crate::{SOON, TEXT};

/// `messageEncoding: base64`.
pub fn base64() -> Value {
    json!({"extensions": {"queues": {"messageEncoding": "base64"}}})
}

/// else, in the poison queue.
#[tokio::test(flavor = "multi_thread")]
async fn fifth_failure_goes_to_poison() -> Result<()> {
    let queues = json!({"extensions": {"queues": {"visibilityTimeout": "00:00:02"}}});
    let lab = Lab::new(queues).await?;
    lab.queue.put(TEXT).await?;
    let _host = lab.start("500").await?;
    lab.until_posts(1, SOON).await?;
    let first = Instant::now();
    let posts = lab.until_posts(5, SOON).await?;
    let fifth = Instant::now();
    ensure!(lab.until_poisoned(SOON).await? == TEXT, "the text has changed");
    let (tries, copy) = ((fifth - first).as_secs_f64(), fifth.elapsed().as_secs_f64());
    ensure!(tries > 7.0 && copy < 1.5, "five tries took {tries:.1} s, the copy {copy:.1} s more");
    let counts = posts.iter().map(Post::dequeue_count).collect::<Result<Vec<_>>>()?;
    ensure!(counts == ["1", "2", "3", "4", "5"], "dequeue counts {counts:?}");
    Ok(())
}

/// After five deliveries of which nobody told the end, the sixth fetch is the last.
#[tokio::test(flavor = "multi_thread")]
async fn sixth_fetch_goes_to_poison_without_a_call() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
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

/// The copy in the poison queue is another message, and counts its own deliveries.
#[tokio::test(flavor = "multi_thread")]
async fn the_poison_copy_is_a_new_message() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    lab.poison_function()?;
    lab.queue.put(TEXT).await?;
    ensure!(lab.poison.peek().await?.is_none(), "the poison queue is there before it is needed");
    let _host = lab.start_with(lab.options("500").env("FIXTURE_ANSWER_poison", "ok")).await?;
    let copy: Value = serde_json::from_str(&lab.nth_call("poison", 1, SOON).await?.body)?;
    let calls = lab.calls("process_chunk")?;
    ensure!(calls.len() == 5, "{} deliveries before", calls.len());
    let message: Value = serde_json::from_str(&calls[0].body)?;
    ensure!(copy["Data"] == message["Data"], "the text has changed: {copy}");
    let (copy, message) = (&copy["Metadata"], &message["Metadata"]);
    ensure!(copy["Id"] != message["Id"], "the id is the same: {copy}");
    ensure!(copy["DequeueCount"] == "1", "it is not the first delivery: {copy}");
    Ok(())
}

/// Under base64 a text that is not Base64 is moved when it is received for the first time.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_base64_is_moved_at_the_first_receive() -> Result<()> {
    let lab = Lab::new(base64()).await?;
    let host = lab.start("ok").await?;
    lab.queue.put("{not base64}").await?;
    ensure!(lab.until_poisoned(SOON).await? == "{not base64}", "the text has changed");
    let failed = |line: &&String| line.contains("Message decoding has failed");
    host.line(SOON, |line| failed(&&line.to_owned())).await?;
    let n_failed = host.lines().iter().filter(failed).count();
    ensure!(n_failed == 1, "it was received {n_failed} times");
    ensure!(lab.posts()?.is_empty(), "the handler was called");
    Ok(())
}

/// A function on the poison queue cannot decode it either, and is not called; the message stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_poison_function_is_not_called_for_what_is_not_base64() -> Result<()> {
    let lab = Lab::new(base64()).await?;
    lab.poison_function()?;
    let host = lab.start("ok").await?;
    lab.queue.put("{not base64}").await?;
    let n_failed = || {
        let lines = host.lines();
        lines.iter().filter(|line| line.contains("Message decoding has failed")).count()
    };
    until("a receive from each queue", SOON, async || Ok(n_failed() == 2)).await?;
    // A call would come at once.
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(lab.posts()?.is_empty(), "the handler was called");
    ensure!(lab.poison.count().await? == 1, "the message is gone");
    Ok(())
}

/// Base64 of bytes that are not UTF-8 fails five times, without a call.
#[tokio::test(flavor = "multi_thread")]
async fn base64_of_what_is_not_utf8_fails_five_times_without_a_call() -> Result<()> {
    let lab = Lab::new(base64()).await?;
    let host = lab.start("ok").await?;
    let text = BASE64_STANDARD.encode([0xff, 0xfe, 0x80]);
    lab.queue.put(&text).await?;
    ensure!(lab.until_poisoned(SOON).await? == text, "the text has changed");
    let lines = host.lines();
    let n_failed = lines.iter().filter(|line| line.contains("what is not UTF-8")).count();
    ensure!(n_failed == 5, "{n_failed} failures");
    ensure!(lab.posts()?.is_empty(), "the handler was called");
    Ok(())
}
