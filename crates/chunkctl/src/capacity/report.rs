//! What people read of it; programs read the same value as JSON.

use super::{
    Report,
    cost::Cost,
    history::{History, Source, Usage},
    need::Need,
};
use crate::words::count;
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        figures(&self.history, self.days, f)?;
        match (&self.too_short, &self.finding) {
            (Some(why), _) => write!(f, "\n{why}")?,
            (None, Some(finding)) => {
                let word = serde_json::to_value(finding.bottleneck).unwrap_or_default();
                let word = word.as_str().unwrap_or_default().replace('_', " ");
                write!(f, "\nbottleneck: {word}. {}\n", finding.because)?;
                write!(f, "what to change: {}", finding.change)?;
            }
            (None, None) => {}
        }
        self.need.iter().try_for_each(|need| write_need(need, f))
    }
}

fn figures(history: &History, days: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let History { limits, slots, waits, .. } = history;
    writeln!(
        f,
        "the last {}: {:.1} hours since the first claim, {}, {}, {}",
        count(days, "day"),
        history.hours,
        count(history.attempts, "claim"),
        count(history.completed_chunks, "complete chunk"),
        count(history.images, "image")
    )?;
    write!(
        f,
        "slots     {} of {} busy half of the time, {} at 95 %, all for {:.0} % of it",
        slots.median, limits.slots, slots.p95, slots.all_busy_percent
    )?;
    match slots.full_while_waiting_percent {
        Some(share) => {
            writeln!(f, "; full while chunks waited at {share:.0} % of the checks with work")?;
        }
        None => writeln!(f, "; no health check saw work")?,
    }
    if let (Some(median), Some(p95)) = (waits.median_seconds, waits.p95_seconds) {
        writeln!(
            f,
            "waits     {median:.0} s half of the chunks, {p95:.0} s at 95 %, from the job's submission to the first claim"
        )?;
    }
    if let Some(speed) = &history.speed {
        writeln!(
            f,
            "speed     {:.0} images and {:.0} MB an hour of a slot; an image takes {:.1} s",
            speed.images_per_slot_hour, speed.mb_per_slot_hour, speed.seconds_per_image
        )?;
    }
    if let Some(temp) = &history.temp {
        writeln!(
            f,
            "temp      at most {:.0} MB half of the time, {:.0} MB at 95 %, of {} MB that an instance uses",
            temp.median_mb, temp.p95_mb, limits.temp_mb
        )?;
    }
    let memory = format!("memory    of {} MB of an instance", limits.memory_mb);
    for (what, usage) in [
        (memory.as_str(), &history.app_memory),
        ("CPU       of an instance", &history.app_cpu),
        ("database  CPU", &history.database_cpu),
        ("database  memory", &history.database_memory),
    ] {
        write_usage(what, usage, f)?;
    }
    Ok(())
}

fn write_usage(what: &str, usage: &Usage, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &usage.level {
        Some(level) => write!(
            f,
            "{what}: {:.0} % half of the time, {:.0} % at 95 %, {:.0} % at most",
            level.median, level.p95, level.most
        )?,
        None => write!(f, "{what}: unknown")?,
    }
    match usage.source {
        Source::AzureMonitor => write!(f, " (Azure Monitor)")?,
        Source::HealthChecks => write!(f, " (health checks)")?,
        Source::Nobody => {}
    }
    match &usage.cause {
        Some(cause) => writeln!(f, "; Azure Monitor: {cause}"),
        None => writeln!(f),
    }
}

fn write_need(need: &Need, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Need { slots, instances, connections, .. } = need;
    write!(f, "\n\n{} images a day need, if all goes on as it did:\n", need.images_per_day)?;
    writeln!(f, "  PIXCRAWLER_FLEET_MAX_CHUNKS {slots}, at work 70 % of the time")?;
    writeln!(
        f,
        "  {instances} instances, which may open {connections} connections to the database"
    )?;
    match need.postgres_sku {
        Some(sku) => write!(f, "  POSTGRES_SKU {sku} or larger")?,
        None => write!(f, "  more connections than any POSTGRES_SKU of the deployment has")?,
    }
    match need.database_cpu_percent {
        Some(cpu) => writeln!(f, "; the present one would have {cpu:.0} % CPU")?,
        None => writeln!(f, "; what its CPU would be is unknown")?,
    }
    write_cost(&need.cost, f)
}

fn write_cost(cost: &Cost, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let known = |price: Option<f64>, option: &str| {
        price.map_or_else(|| format!("its price, {option}"), |price| format!("{price:.2}"))
    };
    writeln!(f, "a month of 30 days costs, without invocations, operations and backups:")?;
    writeln!(f, "  compute   {:.0} GB-seconds: {:.2}", cost.compute_gb_seconds, cost.compute)?;
    let database = known(cost.database, "--price-database-hour");
    writeln!(f, "  database  {:.0} hours: {database}", cost.database_hours)?;
    writeln!(f, "  logs      {:.1} GB, of which 5 are free: {:.2}", cost.logs_gb, cost.logs)?;
    let storage = known(cost.storage, "--price-storage-gb");
    write!(f, "  storage   {:.1} GB more each month: {storage}", cost.storage_gb)
}
