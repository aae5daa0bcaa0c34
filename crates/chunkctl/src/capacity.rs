//! `capacity`: what the fleet's last days were like, what holds it back, and what more work needs.
//!
//! The database and Azure Monitor become a [`History`]; [`bottleneck`] and [`need`] conclude from it;
//! one [`Report`] is shown as text or JSON.

mod bottleneck;
mod cost;
mod history;
mod need;
mod report;
mod size;
#[cfg(test)]
mod tests;

use crate::{Session, out};
use bottleneck::Finding;
use chunk_handler::{
    health::MonitorHistory,
    settings::{Profile, Settings},
    state::Capacity as FleetCapacity,
};
use clap::Args;
use cost::Prices;
use history::{History, Limits};
use need::Need;
use serde::Serialize;
use std::process::ExitCode;

/// What is asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  chunkctl capacity
  chunkctl capacity --days 30 --json
  chunkctl capacity --images-per-day 1000000 --price-database-hour 0.1")]
pub(crate) struct Capacity {
    /// How far back, 1 to 30.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=30))]
    days: u32,
    /// Say what so many images a day need, and what they cost; 1 to 1000000000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    images_per_day: Option<u64>,
    #[command(flatten)]
    prices: Prices,
}

/// All that is said.
#[derive(Debug, Serialize)]
struct Report {
    days: u32,
    history: History,
    /// Why nothing is concluded; none: something is.
    too_short: Option<String>,
    /// None: nothing is concluded.
    finding: Option<Finding>,
    /// None: nothing is concluded, or nobody asked.
    need: Option<Need>,
}

impl Report {
    fn of(history: History, asked: &Capacity) -> Self {
        let too_short = bottleneck::too_short(&history);
        let finding = too_short.is_none().then(|| bottleneck::judge(&history));
        let speed = history.speed.as_ref().filter(|_| too_short.is_none());
        let need = asked
            .images_per_day
            .zip(speed)
            .map(|(images, speed)| need::need(&history, speed, images, &asked.prices));
        Self { days: asked.days, too_short, finding, need, history }
    }
}

impl Session {
    pub(crate) async fn capacity(&self, asked: Capacity) -> anyhow::Result<ExitCode> {
        let fleet = async {
            let capacity = self.database.capacity().await?;
            Ok::<_, anyhow::Error>((capacity, self.database.fleet_history(asked.days).await?))
        };
        // Side by side: Azure may be slow.
        let (fleet, monitor) =
            tokio::join!(fleet, MonitorHistory::read(&self.settings, asked.days));
        let (capacity, fleet) = fleet?;
        let MonitorHistory { app, postgres } = monitor?;
        let mut history = History::of(&fleet, limits(&self.settings, &capacity));
        history.add(app, postgres);
        let report = Report::of(history, &asked);
        if self.json {
            out(format_args!("{}", serde_json::to_value(&report)?));
        } else {
            out(format_args!("{report}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The limits that the handlers announced, whatever the command line's own are. What they announce no word
/// of is as their profile has it, or as it is here.
fn limits(settings: &Settings, capacity: &FleetCapacity) -> Limits {
    let profiles = [Profile::Local, Profile::Azure, Profile::AzureFunctions];
    let own = settings.limits.streaming_max_chunks();
    let announced = profiles.into_iter().find(|p| p.to_string() == capacity.environment);
    let chunks = announced.filter(|profile| *profile != settings.profile).map(Profile::max_chunks);
    let slots = i64::from(capacity.max_chunks);
    Limits {
        slots,
        chunks_per_instance: number(chunks.unwrap_or(own)).max(1),
        // One headroom everywhere, 80 % (X6).
        temp_mb: i64::from(capacity.storage_limit_mb) * 8 / 10,
        memory_mb: number(settings.monitor.instance_memory_mb),
        downloads_per_chunk: i64::try_from(settings.download.concurrency).unwrap_or(i64::MAX),
    }
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
