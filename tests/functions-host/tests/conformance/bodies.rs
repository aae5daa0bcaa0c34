//! Requests on the wire against those recorded from the real host, times, ids and port masked.
//!
//! Those of queue extension 4.0.5 have the body in chunks, as the host sends it in Azure; those of
//! 5.3.10 (`v5`) have a Content-Length, as under Core Tools. Nothing else differs but the binding.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use functions_host::client::HostProcess;
use functions_host::payload::ScheduleStatus;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::lab::{Lab, Post};

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

const V5: [&str; 16] = [
    "v5/q_array",
    "v5/q_b64",
    "v5/q_b64like",
    "v5/q_bom",
    "v5/q_comment",
    "v5/q_dup",
    "v5/q_empty",
    "v5/q_json",
    "v5/q_nested",
    "v5/q_nonjson",
    "v5/q_null",
    "v5/q_number",
    "v5/q_shadow",
    "v5/q_text",
    "v5/q_trail",
    "v5/q_unicode",
];

/// Sends the recorded texts through a real queue and compares what reaches the handler.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_equal_the_recorded_ones() -> Result<()> {
    queue_and_timers().await?;
    one_head("hdr_coretools", json!({}), true, "").await?;
    one_head("hdr_appinsights", json!({}), false, "InstrumentationKey=x").await?;
    one_head("hdr_otel", json!({"telemetryMode": "OpenTelemetry"}), false, "").await
}

/// The same with what was recorded from queue extension 5.3.10.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_equal_those_of_extension_5() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    let mut options = lab.options("ok");
    options.core_tools = true;
    let _host = lab.start_with(options).await?;
    for (at, name) in V5.into_iter().enumerate() {
        lab.queue.put(&text_of(name)?).await?;
        same_with_length(&lab.nth_call("process_chunk", at + 1, SOON).await?, name)?;
    }
    Ok(())
}

/// The call of a function on the poison queue, as recorded from queue extension 5.3.10.
#[tokio::test(flavor = "multi_thread")]
async fn a_poison_call_equals_that_of_extension_5() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    lab.poison_function()?;
    let mut options = lab.options("500").env("FIXTURE_ANSWER_poison", "ok");
    options.core_tools = true;
    let _host = lab.start_with(options).await?;
    let name = "v5/poison_invocation";
    lab.queue.put(&text_of(name)?).await?;
    same_with_length(&lab.nth_call("poison", 1, SOON).await?, name)
}

/// The first and a later call of a timer that fires once a minute.
#[tokio::test(flavor = "multi_thread")]
async fn timers_equal_those_of_extension_5() -> Result<()> {
    let last = OffsetDateTime::now_utc();
    let next = last + Duration::from_secs(60);
    let recent = ScheduleStatus { last, next, last_updated: last };
    for (name, status) in [("v5/timer1m_1st_run", None), ("v5/timer1m_2nd_run", Some(recent))] {
        let lab = Lab::new(json!({})).await?;
        // Yearly, so that nothing but the call by hand happens here.
        let timer = json!({"name": "timer", "type": "timerTrigger", "schedule": "0 0 0 1 1 *"});
        lab.function("minute_check", &timer)?;
        if let Some(status) = status {
            fs::create_dir_all(lab.root.join("timer-status"))?;
            fs::write(lab.root.join("timer-status/minute_check.json"), status.to_json())?;
        }
        let mut options = lab.options("ok");
        options.core_tools = true;
        let host = lab.start_with(options).await?;
        host.post("/admin/functions/minute_check", "{}".into()).await?;
        same_with_length(&lab.nth_call("minute_check", 1, SOON).await?, name)?;
    }
    Ok(())
}

async fn queue_and_timers() -> Result<()> {
    let lab = Lab::with_binding("chunkMessage", json!({})).await?;
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
    let mut n_seen = lab.calls("minute_check")?.len();
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
async fn one_head(name: &str, host_json: Value, core_tools: bool, insights: &str) -> Result<()> {
    let lab = Lab::with_binding("chunkMessage", host_json).await?;
    let mut options = lab.options("ok").env("APPLICATIONINSIGHTS_CONNECTION_STRING", insights);
    options.core_tools = core_tools;
    let _host = lab.start_with(options).await?;
    lab.queue.put(&text_of(name)?).await?;
    let post = next_call(&lab, "process_chunk", &mut 0).await?;
    ensure!(post.chunks.is_none() == core_tools, "{name}: {}", post.head);
    if core_tools {
        return same_with_length(&post, name);
    }
    same_head(&post, name)?;
    ensure!(mask(&post.body) == mask(&recorded_body(name)?), "{name}: {}", post.body);
    Ok(())
}

/// Waits for the call after the `n_seen`th of this function.
async fn next_call(lab: &Lab, function: &str, n_seen: &mut usize) -> Result<Post> {
    *n_seen += 1;
    lab.nth_call(function, *n_seen, SOON).await
}

fn same_body(post: &Post, name: &str) -> Result<()> {
    let (seen, recorded) = (mask(&post.body), mask(&recorded_body(name)?));
    ensure!(seen == recorded, "{name}: the body differs\nseen     {seen}\nrecorded {recorded}");
    Ok(())
}

/// With the body's Content-Length, which is shorter when the digits of a time end in zeros.
fn same_with_length(post: &Post, name: &str) -> Result<()> {
    same_body(post, name)?;
    let own = format!("\r\nContent-Length: {}", post.body.len());
    let seen = post.head.strip_suffix(&own).with_context(|| format!("{name}: {}", post.head))?;
    let recorded = recorded_head(name)?;
    let recorded = recorded.trim_end().rsplit_once("\r\nContent-Length: ");
    let (recorded, _) = recorded.with_context(|| format!("{name}: no recorded length"))?;
    ensure!(mask(seen) == recorded, "{name}: the head differs\n{seen}\nrecorded:\n{recorded}");
    Ok(())
}

fn same(post: &Post, name: &str) -> Result<()> {
    same_body(post, name)?;
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
    let data = body["Data"].as_object().and_then(|data| data.values().next()?.as_str());
    let data = data.context("no text")?;
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
