//! Commands in any order, and a job whose messages arrive between them.

use crate::{
    fault::{CHUNKS, CONTROL},
    jobs::{self, CANCELLED, CHUNK_SIZE, MIXED, TOKEN},
    plan::{Dice, Fault},
    site::Site,
};
use anyhow::Result;
use serde_json::json;
use support::rig::inline;
use tokio::time::sleep;

const MIXED_CHUNKS: usize = 6;

/// Shuffled commands for two jobs; that which opens them again comes once more at the end.
pub async fn shuffled(site: &Site, dice: &mut Dice) -> Result<()> {
    let mut actions = vec!["cancel", "retry", "pause", "resume", "cancel", "retry"];
    dice.shuffle(&mut actions);
    actions.push("retry");
    let urls: Vec<String> = (0..MIXED_CHUNKS * CHUNK_SIZE)
        .map(|n| site.rig.origin.url(&format!("/img/{MIXED}{n:03}?sig={TOKEN}")))
        .collect();
    let chunks = jobs::by_chunk(MIXED, &urls, CHUNK_SIZE);
    site.tally.count(Fault::Commands);
    let mut messages = chunks.iter();
    for action in actions {
        if let Some(((_, index), urls)) = messages.next() {
            let mut message = inline(MIXED, *index, urls);
            message["total_chunks"] = json!(MIXED_CHUNKS);
            site.send(CHUNKS, (MIXED, *index), message.to_string()).await?;
            site.expect([((MIXED, *index), urls.clone())].into());
        }
        let job = if dice.below(2) == 0 { MIXED } else { CANCELLED };
        command(site, action, job, dice).await;
        // Some of them within one heartbeat.
        sleep(dice.millis(0, 900)).await;
    }
    Ok(())
}

/// By message or by chunkctl. It may be refused, or the server away: what holds then is what is.
async fn command(site: &Site, action: &str, job: i64, dice: &mut Dice) {
    let is_of_job = action == "cancel" || action == "retry";
    if dice.below(2) == 0 {
        let mut message = json!({"version": 1, "action": action});
        if is_of_job {
            message["job_id"] = json!(job);
        } else {
            message["minutes"] = json!(1);
        }
        let _ = site.put(CONTROL, &message.to_string()).await;
        return;
    }
    let job = job.to_string();
    let mut arguments = vec!["control", action];
    match action {
        "pause" => arguments.extend(["--minutes", "1"]),
        "cancel" | "retry" => arguments.extend(["--job-id", &job]),
        _ => {}
    }
    let _ = site.chunkctl(&arguments);
}
