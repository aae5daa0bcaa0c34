//! `cargo xtask images`: the pictures of the dashboard in `doc/images`, made again.

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;
use support::browser::Browser;
use support::checkout::root;
use support::dashboard::Dashboard;
use support::rig::{Rig, inline};
use support::round;

use crate::build;

/// What ten slots of two hosts did in half an hour, and health checks.
const HISTORY: &str = "set search_path = chunk_handler;
insert into attempt (job_id, chunk_index, fence, owner, invocation_id, claimed_at, finished_at, outcome,
    error_code, temp_peak_bytes, slot_no)
select 41, n, 1, case when slot <= 6 then 'host-a' else 'host-b' end, n::text, at - interval '95 seconds',
    at, case n % 23 when 7 then 'retried' when 12 then 'released' else 'completed' end::attempt_outcome,
    case n % 23 when 7 then 'storage_unavailable' when 12 then 'host_busy' end, 21000000 + n * 1000, slot
from (select slot, slot * 20 + i as n, now() - make_interval(secs => i * 110 + slot * 9) as at
    from generate_series(1, 10) slot cross join generate_series(0, 15) i) a;
insert into live_process (owner, since, release) values
    ('host-a', now() - interval '3 hours', '0.1.0'), ('host-b', now() - interval '50 minutes', '0.1.0');
insert into health_check (checked_at, active_chunks, pending_chunks, queue_depth, azure_state, azure_cpu,
    azure_memory, report)
select now() - make_interval(mins => 5 * n), 10, 40 + n * 30, 10, 'ok', 41 + n % 5, 33, '{}'
from generate_series(0, 5) n;";

/// Write the pictures of the dashboard in doc/images again.
#[derive(Debug, Args)]
pub(crate) struct Options {}

pub(crate) async fn run() -> Result<ExitCode> {
    build::debug_programs().await?;
    let browser = Browser::ensure().await?;
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.origin.urls(180);
    for (index, urls) in (0..).zip(urls.chunks(60)) {
        let mut message = inline(42, index, urls);
        message["validation"] = json!({"level": "slow"});
        message["total_chunks"] = 4.into();
        handler.deliver(&index.to_string(), &message).await;
    }
    sqlx::raw_sql(HISTORY).execute(&rig.pool).await?;
    let dashboard = Dashboard::start(&rig, &["--allow-control"]).await;
    let folder = root().join("doc/images");
    fs::create_dir_all(&folder)?;
    let round = Rig::new().await;
    let alive = round::faults(&round).await;
    let report = round.temp.path().join("report.html");
    let job = round::JOB.to_string();
    let written =
        round.chunkctl(&["dashboard", "--write", &report.to_string_lossy(), "--job-id", &job]);
    ensure!(written.code == Some(0), "no report: {written:?}");
    drop(alive);
    let report = format!("file://{}", report.display());
    browser.run("images.js", &[&dashboard.address, &report, &folder.to_string_lossy()]).await;
    eprintln!("written: {}", folder.display());
    Ok(ExitCode::SUCCESS)
}
