//! Which limit holds the fleet back, and what to change.

use super::history::{History, Usage, float};
use crate::words::count;
use serde::Serialize;

/// What more work would need first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bottleneck {
    /// The database answers late.
    Database,
    /// An instance's memory is nearly used up.
    Memory,
    /// An instance's CPU is.
    Cpu,
    /// Bodies wait for temp space.
    Temp,
    /// Chunks wait for the hosts of their images.
    SlowOrigin,
    /// Chunks wait for slots, and the rest has room.
    Slots,
    /// Nothing waits.
    None,
}

/// What the history says.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    pub(crate) bottleneck: Bottleneck,
    /// With the figures that say so.
    pub(crate) because: String,
    /// What to do, in words.
    pub(crate) change: String,
}

/// Less says little: a night, or a single job.
pub(crate) const LEAST_HOURS: f64 = 12.0;
/// The same.
pub(crate) const LEAST_CHUNKS: i64 = 50;

/// Of a percentage at 95 % of the time: above it there is no room for more work.
const DATABASE_BUSY: f64 = 80.0;
const INSTANCE_BUSY: f64 = 85.0;
/// Of the temp space that an instance may use, half of the time.
const TEMP_BUSY: f64 = 90.0;
/// Of all claims: fewer are accidents.
const TROUBLE: f64 = 1.0;
/// Of all claims that found every host busy.
const HOSTS_BUSY: f64 = 10.0;
/// Of a URL, when as many are asked for at once as may be. Most pictures of the web take less than one.
const SLOW_SECONDS: f64 = 3.0;
/// Of the health checks that saw work.
const PRESSED: f64 = 20.0;

/// Why nothing can be concluded; none: enough is known.
pub(crate) fn too_short(history: &History) -> Option<String> {
    let History { hours, completed_chunks: chunks, .. } = history;
    (*hours < LEAST_HOURS || *chunks < LEAST_CHUNKS).then(|| {
        format!(
            "too short a history: {hours:.1} hours since the first claim and {}; {LEAST_HOURS:.0} hours and {LEAST_CHUNKS} chunks are the least. Ask again \
             later, or for more --days",
            count(chunks, "complete chunk")
        )
    })
}

/// The first of the limits that is reached, those that harm most first.
pub(crate) fn judge(history: &History) -> Finding {
    let found = of_database(history)
        .or_else(|| of_memory(history))
        .or_else(|| of_cpu(history))
        .or_else(|| of_temp(history))
        .or_else(|| of_origins(history))
        .or_else(|| of_slots(history));
    found.unwrap_or_else(|| Finding {
        bottleneck: Bottleneck::None,
        because: format!(
            "chunks seldom wait: {} of {} slots are busy 95 % of the time",
            history.slots.p95, history.limits.slots
        ),
        change: "nothing; a smaller fleet costs the same, for only work is paid for".into(),
    })
}

fn of_database(history: &History) -> Option<Finding> {
    let because =
        above("CPU of the database is", &history.database_cpu, DATABASE_BUSY).or_else(|| {
            let away = history.trouble.database_away_percent;
            (away >= TROUBLE)
                .then(|| format!("the database was away for {away:.1} % of the claims"))
        })?;
    let change = "a larger POSTGRES_SKU (Standard_B1ms, Standard_B2s, Standard_D2ds_v5, \
                  Standard_D4ds_v5), or a smaller PIXCRAWLER_FLEET_MAX_CHUNKS; more slots make it \
                  worse";
    Some(Finding { bottleneck: Bottleneck::Database, because, change: change.into() })
}

fn of_memory(history: &History) -> Option<Finding> {
    let because = above("memory of an instance is", &history.app_memory, INSTANCE_BUSY)?;
    let change = "a smaller PIXCRAWLER_MAX_CONCURRENT_CHUNKS or PIXCRAWLER_MAX_BUFFER_MB, or larger \
                  instances; the same PIXCRAWLER_FLEET_MAX_CHUNKS then has more instances";
    Some(Finding { bottleneck: Bottleneck::Memory, because, change: change.into() })
}

fn of_cpu(history: &History) -> Option<Finding> {
    let because = above("CPU of an instance is", &history.app_cpu, INSTANCE_BUSY)?;
    let change = "a smaller PIXCRAWLER_MAX_CONCURRENT_CHUNKS, so that the same \
                  PIXCRAWLER_FLEET_MAX_CHUNKS has more instances, or level medium in place of slow";
    Some(Finding { bottleneck: Bottleneck::Cpu, because, change: change.into() })
}

fn of_temp(history: &History) -> Option<Finding> {
    let limit = float(history.limits.temp_mb);
    let used = history.temp.as_ref().map_or(0.0, |temp| temp.median_mb);
    let full = history.trouble.disk_full_percent;
    let because = if full >= TROUBLE {
        format!("the disk was full for {full:.1} % of the claims")
    } else if limit > 0.0 && used >= limit * TEMP_BUSY / 100.0 {
        format!("an instance needs {used:.0} of its {limit:.0} MB of temp space half of the time")
    } else {
        return None;
    };
    let change = "a larger PIXCRAWLER_MAX_TEMP_STORAGE_MB where the platform gives more, else a smaller \
                  PIXCRAWLER_MAX_CONCURRENT_CHUNKS or PIXCRAWLER_MAX_IMAGE_SIZE_MB; the same \
                  PIXCRAWLER_FLEET_MAX_CHUNKS then has more instances";
    Some(Finding { bottleneck: Bottleneck::Temp, because, change: change.into() })
}

fn of_origins(history: &History) -> Option<Finding> {
    let busy = history.trouble.host_busy_percent;
    let seconds = history.speed.as_ref().map_or(0.0, |speed| speed.seconds_per_image);
    let because = if busy >= HOSTS_BUSY {
        format!("{busy:.0} % of the claims found every host of their chunk busy")
    } else if seconds >= SLOW_SECONDS {
        format!("an image takes {seconds:.1} s, and nothing else is known to be scarce")
    } else {
        return None;
    };
    let change = "chunks of many hosts in place of one: shuffle the list before it is submitted. More \
                  slots or a larger PIXCRAWLER_PER_HOST_CONCURRENCY only help where the hosts allow it; \
                  PIXCRAWLER_DOWNLOAD_CONCURRENCY helps where many hosts are slow";
    Some(Finding { bottleneck: Bottleneck::SlowOrigin, because, change: change.into() })
}

fn of_slots(history: &History) -> Option<Finding> {
    let slots = &history.slots;
    let because = match slots.full_while_waiting_percent {
        Some(share) if share >= PRESSED => {
            format!(
                "{share:.0} % of the health checks that saw work saw every slot taken while chunks waited"
            )
        }
        None if slots.all_busy_percent >= PRESSED => format!(
            "all slots were busy for {:.0} % of the time, and no health check says whether chunks waited",
            slots.all_busy_percent
        ),
        _ => return None,
    };
    let change = format!(
        "a PIXCRAWLER_FLEET_MAX_CHUNKS above {}; --images-per-day says how many",
        history.limits.slots
    );
    Some(Finding { bottleneck: Bottleneck::Slots, because, change })
}

/// Says so if a percentage is above a bound; nothing of what nobody knows.
fn above(what: &str, usage: &Usage, bound: f64) -> Option<String> {
    let p95 = usage.p95().filter(|p95| *p95 >= bound)?;
    Some(format!("{what} at {p95:.0} % or above for a twentieth of the time"))
}
