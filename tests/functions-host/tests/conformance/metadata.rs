//! Values of a message as they come back in `Metadata`.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::SOON;
use crate::lab::Lab;

/// Dates, large and negative numbers: what the handler receives for each.
#[tokio::test(flavor = "multi_thread")]
async fn odd_values_arrive_as_they_were_seen() -> Result<()> {
    let lab = Lab::new(json!({})).await?;
    let _host = lab.start("ok").await?;
    let values = [
        (r#""2026-11-22T08:00:00+02:00""#, r#""11/22/2026 06:00:00""#),
        (r#""2026-11-22""#, r#""2026-11-22""#),
        ("1e400", r#""Infinity""#),
        ("-0.0", r#""-0""#),
        ("1e3", r#""1000""#),
    ];
    for (at, (sent, seen)) in values.into_iter().enumerate() {
        lab.queue.put(&format!("{{\"value\":{sent}}}")).await?;
        let post = lab.nth_call("process_chunk", at + 1, SOON).await?;
        let body: Value = serde_json::from_str(&post.body)?;
        ensure!(body["Metadata"]["value"] == seen, "{sent}: {body}");
    }
    Ok(())
}
