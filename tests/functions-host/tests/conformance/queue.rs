//! How messages are fetched, held, given back and decoded.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use functions_host::client::HostOptions;
use functions_host::dotnet::quote;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::lab::{Lab, Post, end_process, is_alive, until};
use crate::{SOON, TEXT};

/// What `Data` holds for a message with this text, which is quoted twice on the way.
fn is_data(post: &Post, text: &str) -> Result<bool> {
    let body: Value = serde_json::from_str(&post.body)?;
    Ok(body["Data"]["message"].as_str() == Some(&quote(text)))
}

/// batchSize 1 and newBatchThreshold 9: exactly ten at once, one more whenever one ends.
#[tokio::test(flavor = "multi_thread")]
async fn ten_at_a_time_refilled_one_by_one() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
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

/// A message is held for as long as its invocation takes, by renewing it.
#[tokio::test(flavor = "multi_thread")]
async fn held_message_is_renewed() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
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
#[tokio::test(flavor = "multi_thread")]
async fn killed_host_gives_its_message_back_late() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
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

/// Under `messageEncoding: none` every text reaches the handler as it is, up to 64 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn texts_arrive_as_they_are() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    let _host = lab.start("ok").await?;
    let largest = format!("{{\"p\":\"{}\"}}", "x".repeat(65_536 - 8));
    let base64 = BASE64_STANDARD.encode(TEXT);
    let texts = [TEXT, &base64, "abcd1234", "  ", "", "\u{feff}{}", "a\r\nb\n", &largest];
    for (at, text) in texts.into_iter().enumerate() {
        lab.queue.put(text).await?;
        let post = lab.nth_call("process_chunk", at + 1, SOON).await?;
        ensure!(is_data(&post, text)?, "{text:.40?} arrived as {:.200}", post.body);
    }
    Ok(())
}

/// A text of 65,537 bytes is refused by the queue.
#[tokio::test(flavor = "multi_thread")]
async fn larger_texts_are_refused_by_the_queue() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    lab.queue.put(&"x".repeat(65_536)).await?;
    ensure!(lab.queue.put(&"x".repeat(65_537)).await.is_err(), "the queue took 65,537 bytes");
    ensure!(lab.queue.count().await? == 1, "it holds another number of messages than one");
    Ok(())
}

/// Under `messageEncoding: base64` a text is decoded before the handler gets it.
#[tokio::test(flavor = "multi_thread")]
async fn base64_is_decoded() -> Result<()> {
    let lab = Lab::new(crate::poison::base64()).await?;
    let _host = lab.start("ok").await?;
    lab.queue.put(&BASE64_STANDARD.encode(TEXT)).await?;
    let post = lab.nth_call("process_chunk", 1, SOON).await?;
    ensure!(is_data(&post, TEXT)?, "{}", post.body);
    Ok(())
}

/// With the project's 30 s, a failed message is delivered again after 30 s and up to one poll.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_returns_after_its_visibility_timeout() -> Result<()> {
    let queues = json!({"visibilityTimeout": "00:00:30", "maxPollingInterval": "00:00:05"});
    let lab = Lab::new(json!({"extensions": {"queues": queues}})).await?;
    lab.queue.put(TEXT).await?;
    let _host = lab.start("500").await?;
    lab.nth_call("process_chunk", 1, SOON).await?;
    let first = Instant::now();
    lab.nth_call("process_chunk", 2, Duration::from_secs(50)).await?;
    let seconds = first.elapsed().as_secs_f64();
    ensure!((29.0..38.0).contains(&seconds), "delivered again after {seconds:.1} s");
    Ok(())
}
