//! Requests on the wire against those recorded from the real host, times, ids and port masked.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::lab::{Lab, Post};
use crate::client::HostProcess;
use crate::payload::ScheduleStatus;

const SOON: Duration = Duration::from_secs(10);
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/vectors");
const QUEUE: [&str; 12] = [
    "q_array",
    "q_bom",
    "q_comment",
    "q_empty",
    "q_json",
    "q_nested",
    "q_nonjson",
    "q_null",
    "q_number",
    "q_shadow",
    "q_text",
    "q_unicode",
];

/// Sends the recorded texts through a real queue and compares what reaches the handler.
pub async fn bodies_equal_the_recorded_ones(storage: &str, directory: &Path) -> Result<()> {
    queue_and_timers(storage, directory).await?;
    one_head(storage, directory, "hdr_coretools", json!({}), true, "").await?;
    one_head(storage, directory, "hdr_appinsights", json!({}), false, "InstrumentationKey=x")
        .await?;
    let mode = json!({"telemetryMode": "OpenTelemetry"});
    one_head(storage, directory, "hdr_otel", mode, false, "").await
}

async fn queue_and_timers(storage: &str, directory: &Path) -> Result<()> {
    let lab = Lab::new(storage, directory, json!({})).await?;
    // Yearly, so that nothing but a missed run and calls by hand happens here.
    for (name, schedule) in [
        ("minute_check", "0 0 0 1 1 *"),
        ("first_check", "0 0 0 1 1 *"),
        ("health_check", "*/2 * * * * *"),
    ] {
        let timer = json!({"name": "timer", "type": "timerTrigger", "schedule": schedule});
        lab.function(name, &timer)?;
    }
    let last = OffsetDateTime::now_utc() - Duration::from_secs(400 * 86_400);
    let missed = ScheduleStatus { last, next: last, last_updated: last };
    fs::create_dir_all(lab.root.join("timer-status"))?;
    fs::write(lab.root.join("timer-status/minute_check.json"), missed.to_json())?;
    let host = lab.start("ok").await?;
    same(&next_call(&lab, "minute_check", &mut 0).await?, "timer1m_pastdue")?;
    same(&next_call(&lab, "health_check", &mut 0).await?, "timer10s")?;
    let probe = lab.requests()?.into_iter().find(|request| request.head.starts_with("GET"));
    same_head(&probe.context("no probe")?, "probe")?;
    queue(&lab, &host).await?;
    timers_by_hand(&lab, &host).await
}

async fn queue(lab: &Lab, host: &HostProcess) -> Result<()> {
    let mut n_seen = 0;
    for name in QUEUE {
        lab.queue.put(&text_of(name)?).await?;
        same(&next_call(lab, "process_chunk", &mut n_seen).await?, name)?;
    }
    for (name, filling, times, length) in
        [("q_48k", "x", 49_144, 98_741), ("q_48k_quotes", "\\\"", 24_572, 295_317)]
    {
        lab.queue.put(&format!("{{\"p\":\"{}\"}}", filling.repeat(times))).await?;
        let post = next_call(lab, "process_chunk", &mut n_seen).await?;
        // The time of the call is shorter when its digits end in zeros.
        ensure!((length - 7..=length).contains(&post.body.len()), "{} bytes", post.body.len());
        chunks_are_1024(&post)?;
        same_head(&post, name)?;
    }
    for name in ["m_json", "m_text"] {
        host.admin("process_chunk", &text_of(name)?).await?;
        same(&next_call(lab, "process_chunk", &mut n_seen).await?, name)?;
    }
    Ok(())
}

async fn timers_by_hand(lab: &Lab, host: &HostProcess) -> Result<()> {
    let mut n_seen = n_calls(lab, "minute_check")?;
    host.admin("minute_check", "").await?;
    same(&next_call(lab, "minute_check", &mut n_seen).await?, "m_timer")?;
    let by_hand = async |name: &str, body: &str| {
        host.post(&format!("/admin/functions/{name}"), body.into()).await
    };
    let accepted = [by_hand("minute_check", "{}").await?, by_hand("first_check", "{}").await?];
    same(&next_call(lab, "minute_check", &mut n_seen).await?, "m_timer_empty")?;
    let first = next_call(lab, "first_check", &mut 0).await?;
    let (seen, recorded) = (mask(&first.body), mask(&recorded_body("timer1m_1st_run")?));
    let seen = seen.replace("first_check", "minute_check");
    ensure!(
        seen == recorded,
        "timer1m_1st_run: the body differs\nseen     {seen}\nrecorded {recorded}"
    );
    let refused = [
        by_hand("minute_check", "").await?,
        by_hand("minute_check", "{\"input\":1}").await?,
        by_hand("nobody", "{}").await?,
    ];
    ensure!(
        (accepted, refused) == ([202, 202], [400, 400, 404]),
        "by hand: {accepted:?}, {refused:?}"
    );
    Ok(())
}

/// One call under other circumstances, which its head shows.
async fn one_head(
    storage: &str,
    directory: &Path,
    name: &str,
    host_json: Value,
    core_tools: bool,
    insights: &str,
) -> Result<()> {
    let lab = Lab::new(storage, directory, host_json).await?;
    let mut options = lab.options("ok").env("APPLICATIONINSIGHTS_CONNECTION_STRING", insights);
    options.core_tools = core_tools;
    let _host = lab.start_with(options).await?;
    lab.queue.put(&text_of(name)?).await?;
    let post = next_call(&lab, "process_chunk", &mut 0).await?;
    let lengthless = |text: &str| -> String {
        text.lines()
            .filter(|line| !line.starts_with("Content-Length"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let recorded = recorded_head(name)?;
    ensure!(
        lengthless(&mask(&post.head)) == lengthless(&recorded),
        "{name}: {}\n{recorded}",
        post.head
    );
    let told = format!("\r\nContent-Length: {}", post.body.len());
    ensure!(
        post.head.ends_with(&told) == core_tools && post.chunks.is_none() == core_tools,
        "{}",
        post.head
    );
    ensure!(mask(&post.body) == mask(&recorded_body(name)?), "{name}: {}", post.body);
    Ok(())
}

fn calls(lab: &Lab, function: &str) -> Result<Vec<Post>> {
    let line = format!("POST /{function} HTTP/1.1\r\n");
    Ok(lab.posts()?.into_iter().filter(|post| post.head.starts_with(&line)).collect())
}

fn n_calls(lab: &Lab, function: &str) -> Result<usize> {
    Ok(calls(lab, function)?.len())
}

/// Waits for the call after the `n_seen`th of this function.
async fn next_call(lab: &Lab, function: &str, n_seen: &mut usize) -> Result<Post> {
    let what = format!("a call of {function}");
    super::lab::until(&what, SOON, async || Ok(n_calls(lab, function)? > *n_seen)).await?;
    *n_seen += 1;
    calls(lab, function)?.into_iter().nth(*n_seen - 1).context("a call")
}

fn same(post: &Post, name: &str) -> Result<()> {
    let (seen, recorded) = (mask(&post.body), mask(&recorded_body(name)?));
    ensure!(seen == recorded, "{name}: the body differs\nseen     {seen}\nrecorded {recorded}");
    chunks_are_1024(post)?;
    same_head(post, name)
}

fn same_head(post: &Post, name: &str) -> Result<()> {
    let (seen, recorded) = (mask(&post.head), recorded_head(name)?);
    ensure!(seen == recorded, "{name}: the head differs\n{seen}\nrecorded:\n{recorded}");
    Ok(())
}

fn chunks_are_1024(post: &Post) -> Result<()> {
    let sizes = post.chunks.as_deref().unwrap_or_default();
    let [full @ .., last, 0] = sizes else { anyhow::bail!("chunks {sizes:?}") };
    let is_right = full.iter().all(|size| *size == 1024) && (1..=1024).contains(last);
    ensure!(is_right && full.len() * 1024 + last == post.body.len(), "chunks {sizes:?}");
    Ok(())
}

fn recorded_body(name: &str) -> Result<String> {
    let file = format!("{VECTORS}/{name}.json");
    fs::read_to_string(&file).with_context(|| file)
}

fn recorded_head(name: &str) -> Result<String> {
    let file = format!("{VECTORS}/{name}.headers.txt");
    let text = fs::read_to_string(&file).with_context(|| file)?;
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    Ok(mask(&lines.join("\r\n")))
}

/// The queue text of a vector: its data decoded once as JSON.
fn text_of(name: &str) -> Result<String> {
    let body: Value = serde_json::from_str(&recorded_body(name)?)?;
    let data = body["Data"]["chunkMessage"].as_str().context("no chunkMessage")?;
    Ok(serde_json::from_str(data)?)
}

/// Shapes of what differs from run to run: `x` a lower-case hex digit, `9` a digit, the rest itself.
const SHAPES: [(&str, &str); 4] = [
    ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "GUID"),
    ("00-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-", "TRACE-"),
    ("9999-99-99T99:99:99", "TIME"),
    ("Host: 127.0.0.1:99999", "HOST"),
];

fn mask(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // The first and the last time of .NET stand for "never" and are the same in every run.
        let is_never = rest.starts_with("0001-01-01T") || rest.starts_with("9999-12-31T");
        let shape = SHAPES.iter().find(|(shape, _)| !is_never && has_shape(rest, shape));
        if let Some((shape, name)) = shape {
            out.push_str(name);
            rest = &rest[shape.len()..];
            if *name == "TIME" {
                let fraction = |c: char| c == '.' || c.is_ascii_digit();
                rest = rest.trim_start_matches(fraction);
            }
        } else if let Some(receipt) = rest.strip_prefix(r#""PopReceipt":"\"M"#) {
            // The emulator's receipts are Base64 of a date; others are the message's own.
            out.push_str("\"PopReceipt\":\"\\\"");
            rest = receipt
                .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+/=".contains(c));
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn has_shape(text: &str, shape: &str) -> bool {
    let mut bytes = text.bytes();
    shape.bytes().all(|wanted| {
        bytes.next().is_some_and(|byte| match wanted {
            b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            b'9' => byte.is_ascii_digit(),
            _ => byte == wanted,
        })
    })
}
