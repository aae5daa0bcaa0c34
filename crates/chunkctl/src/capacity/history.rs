//! What the last days were like, as far as it is known: of the database's views, and of Azure Monitor.

use chunk_handler::{
    health::Hours,
    state::{BusySlots, ChunkWaits, DoneChunks, FleetHistory, InstanceUse},
};
use serde::Serialize;

/// The history that conclusions are drawn from.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct History {
    /// From the first claim until now, in the days that were asked for.
    pub(crate) hours: f64,
    /// What is allowed now.
    pub(crate) limits: Limits,
    /// Claims, those under way too.
    pub(crate) attempts: i64,
    /// Chunks that completed.
    pub(crate) completed_chunks: i64,
    /// Their URLs.
    pub(crate) images: i64,
    /// Busy slots of the fleet.
    pub(crate) slots: Slots,
    /// From the submission of a job to the first claim of each of its chunks.
    pub(crate) waits: ChunkWaits,
    /// What a slot does; none: no chunk completed.
    pub(crate) speed: Option<Speed>,
    /// Temp MB of an instance; none: no claim was there.
    pub(crate) temp: Option<Temp>,
    /// Percentages of claims that ended in ways that point somewhere.
    pub(crate) trouble: Trouble,
    /// CPU of the app, in percent.
    pub(crate) app_cpu: Usage,
    /// Memory of the app, in percent of an instance's.
    pub(crate) app_memory: Usage,
    /// CPU of the database, in percent.
    pub(crate) database_cpu: Usage,
    /// Memory of the database, in percent.
    pub(crate) database_memory: Usage,
}

/// The limits in force.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Limits {
    /// Of the fleet.
    pub(crate) slots: i64,
    /// Of one instance, by its profile.
    pub(crate) chunks_per_instance: i64,
    /// Temp MB that an instance uses at most.
    pub(crate) temp_mb: i64,
    /// MB of memory of an instance, by the settings of the command line.
    pub(crate) memory_mb: i64,
    /// Downloads at once of a chunk, by the settings of the command line.
    pub(crate) downloads_per_chunk: i64,
}

/// How many slots were busy, over time.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Slots {
    /// At half of the time at most.
    pub(crate) median: i64,
    /// At 95 % of the time at most.
    pub(crate) p95: i64,
    /// Of the time, in percent, in which all were.
    pub(crate) all_busy_percent: f64,
    /// Of the health checks that saw work, in percent, those that saw all slots taken while chunks
    /// waited; none: no health check saw work.
    pub(crate) full_while_waiting_percent: Option<f64>,
    /// Chunks that an instance had at once while it had any.
    pub(crate) chunks_at_once: f64,
}

/// What came of an hour of a slot, the failed and released claims counted as time.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Speed {
    /// URLs that got a verdict.
    pub(crate) images_per_slot_hour: f64,
    /// Downloaded.
    pub(crate) mb_per_slot_hour: f64,
    /// Bytes of shards for each URL.
    pub(crate) shard_bytes_per_image: f64,
    /// URLs of a chunk.
    pub(crate) images_per_chunk: f64,
    /// What a URL takes when a chunk asks for as many at once as it may; more where it has to wait.
    pub(crate) seconds_per_image: f64,
}

/// Temp space of an instance: the peaks of its chunks together, so that it is an upper bound.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Temp {
    /// Half of the time.
    pub(crate) median_mb: f64,
    /// 95 % of the time.
    pub(crate) p95_mb: f64,
}

/// Percentages of all claims.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Trouble {
    /// The database was away.
    pub(crate) database_away_percent: f64,
    /// The disk was full.
    pub(crate) disk_full_percent: f64,
    /// Every host of the chunk wanted to be left alone.
    pub(crate) host_busy_percent: f64,
    /// The process died, or stood still for longer than its lease.
    pub(crate) expired_percent: f64,
}

/// A percentage over time.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Usage {
    /// None: nobody knows.
    pub(crate) level: Option<Level>,
    /// Who says so.
    pub(crate) source: Source,
    /// Why Azure Monitor does not, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
}

/// Percentiles of percentages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Level {
    pub(crate) median: f64,
    pub(crate) p95: f64,
    pub(crate) most: f64,
}

/// Where a percentage comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// A point an hour, the highest of it.
    AzureMonitor,
    /// A point at each health check.
    HealthChecks,
    /// Neither has any.
    #[default]
    Nobody,
}

const MIB: f64 = 1_048_576.0;
const HOUR: f64 = 3600.0;

impl History {
    /// What the views say. The percentages are those of the health checks.
    pub(crate) fn of(fleet: &FleetHistory, limits: Limits) -> Self {
        let slot_seconds: f64 = fleet.endings.iter().map(|ending| ending.seconds).sum();
        let attempts = fleet.endings.iter().map(|ending| ending.n).sum();
        let checks = &fleet.checks;
        let working = (checks.working > 0).then(|| percent(checks.n_full, checks.working));
        let of_checks = |levels: &Option<Vec<f64>>| Usage::of_checks(levels.as_deref());
        Self {
            hours: fleet.hours,
            attempts,
            completed_chunks: fleet.done.chunks,
            images: fleet.done.images,
            slots: Slots {
                full_while_waiting_percent: working,
                chunks_at_once: ratio(slot_seconds, fleet.instances.seconds),
                ..Slots::of(&fleet.busy, limits.slots)
            },
            waits: fleet.waits,
            speed: Speed::of(&fleet.done, slot_seconds, limits.downloads_per_chunk),
            temp: Temp::of(&fleet.instances),
            trouble: Trouble::of(fleet, attempts),
            app_cpu: of_checks(&checks.app_cpu),
            app_memory: of_checks(&checks.app_memory),
            database_cpu: of_checks(&checks.postgres_cpu),
            database_memory: of_checks(&checks.postgres_memory),
            limits,
        }
    }

    /// Adds what Azure Monitor knows, which comes before the health checks.
    pub(crate) fn add(&mut self, app: Option<Hours>, database: Option<Hours>) {
        if let Some(Hours { cpu, memory }) = app {
            self.app_cpu.prefer(cpu);
            self.app_memory.prefer(memory);
        }
        if let Some(Hours { cpu, memory }) = database {
            self.database_cpu.prefer(cpu);
            self.database_memory.prefer(memory);
        }
    }
}

impl Slots {
    fn of(busy: &[BusySlots], slots: i64) -> Self {
        let all: f64 = busy.iter().map(|time| time.seconds).sum();
        let full = busy.iter().filter(|time| time.busy >= slots).map(|time| time.seconds);
        // The time with the fewest busy slots comes first.
        let at = |share: f64| {
            let mut until = 0.0;
            let found = busy.iter().find(|time| {
                until += time.seconds;
                until >= share * all
            });
            found.or(busy.last()).map_or(0, |time| time.busy)
        };
        Self {
            median: at(0.5),
            p95: at(0.95),
            all_busy_percent: 100.0 * ratio(full.sum(), all),
            ..Self::default()
        }
    }
}

impl Speed {
    fn of(done: &DoneChunks, slot_seconds: f64, downloads_per_chunk: i64) -> Option<Self> {
        let (images, chunks) = (float(done.images), float(done.chunks));
        if images == 0.0 || slot_seconds <= 0.0 {
            return None;
        }
        let hours = slot_seconds / HOUR;
        let images_per_chunk = ratio(images, chunks);
        Some(Self {
            images_per_slot_hour: images / hours,
            mb_per_slot_hour: float(done.bytes_in) / MIB / hours,
            shard_bytes_per_image: float(done.bytes_out) / images,
            images_per_chunk,
            seconds_per_image: slot_seconds * float(downloads_per_chunk).min(images_per_chunk)
                / images,
        })
    }
}

impl Temp {
    fn of(instances: &InstanceUse) -> Option<Self> {
        Some(Self {
            median_mb: float(instances.temp_median_bytes?) / MIB,
            p95_mb: float(instances.temp_p95_bytes?) / MIB,
        })
    }
}

impl Trouble {
    fn of(fleet: &FleetHistory, attempts: i64) -> Self {
        let of_code = |code: &str| {
            let found = fleet.endings.iter().filter(|e| e.error_code.as_deref() == Some(code));
            percent(found.map(|ending| ending.n).sum(), attempts)
        };
        Self {
            database_away_percent: of_code("database_away"),
            disk_full_percent: of_code("disk_full"),
            host_busy_percent: of_code("host_busy"),
            expired_percent: of_code("lease_expired"),
        }
    }
}

impl Usage {
    fn of_checks(levels: Option<&[f64]>) -> Self {
        let Some(&[median, p95, most]) = levels else { return Self::default() };
        let level = Some(Level { median, p95, most });
        Self { level, source: Source::HealthChecks, cause: None }
    }

    /// The highest values of hours come before those of the checks; a failure is said.
    fn prefer(&mut self, hours: Result<Vec<f64>, String>) {
        match hours.map(Level::of) {
            Ok(Some(level)) => {
                *self = Self { level: Some(level), source: Source::AzureMonitor, cause: None };
            }
            Ok(None) => self.cause = Some("Azure Monitor has no point of these days".into()),
            Err(cause) => self.cause = Some(cause),
        }
    }

    /// At 95 % of the time at most; none: nobody knows.
    pub(crate) fn p95(&self) -> Option<f64> {
        self.level.map(|level| level.p95)
    }
}

impl Level {
    /// Of any values, as Postgres's `percentile_disc` has it; none of none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        // In hundredths, rounded up: the first value that as many are not above.
        let at = |hundredths: usize| {
            let rank = (values.len() * hundredths).div_ceil(100).max(1);
            values.get(rank - 1).copied()
        };
        Some(Self { median: at(50)?, p95: at(95)?, most: at(100)? })
    }
}

/// 0 of 0.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn percent(part: i64, whole: i64) -> f64 {
    100.0 * ratio(float(part), float(whole))
}

/// Counts, far below 2^53.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts below 2^53")]
pub(crate) fn float(n: i64) -> f64 {
    n as f64
}
