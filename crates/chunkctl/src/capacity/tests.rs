//! What is concluded from a history, without a database.

use super::{
    Capacity, Report,
    bottleneck::{Bottleneck, judge},
    cost::Prices,
    history::{History, Level, Limits, Source, Usage, float},
};
use chunk_handler::{
    health::Hours,
    state::{BusySlots, ChunkWaits, DoneChunks, Ending, FleetHistory, HealthChecks, InstanceUse},
};

const MIB: i64 = 1 << 20;

fn limits() -> Limits {
    Limits {
        slots: 10,
        chunks_per_instance: 10,
        temp_mb: 320,
        memory_mb: 2048,
        downloads_per_chunk: 32,
    }
}

/// A week of 10,000 chunks of 500 images, each of 25 s: nothing is scarce.
fn fleet() -> FleetHistory {
    FleetHistory {
        hours: 160.0,
        busy: vec![
            BusySlots { busy: 0, seconds: 300_000.0 },
            BusySlots { busy: 3, seconds: 250_000.0 },
            BusySlots { busy: 10, seconds: 26_000.0 },
        ],
        instances: InstanceUse {
            seconds: 50_000.0,
            temp_median_bytes: Some(20 * MIB),
            temp_p95_bytes: Some(100 * MIB),
        },
        endings: vec![ending(Some("completed"), None, 10_000, 250_000.0)],
        waits: ChunkWaits { chunks: 10_000, median_seconds: Some(4.0), p95_seconds: Some(60.0) },
        done: DoneChunks {
            chunks: 10_000,
            images: 5_000_000,
            bytes_in: 1_000_000 * MIB,
            bytes_out: 1_250_000_000_000,
        },
        checks: HealthChecks { n: 1920, working: 1000, n_full: 50, ..HealthChecks::default() },
    }
}

fn ending(outcome: Option<&str>, error_code: Option<&str>, n: i64, seconds: f64) -> Ending {
    let own = |text: Option<&str>| text.map(str::to_owned);
    Ending { outcome: own(outcome), error_code: own(error_code), n, seconds }
}

fn history(change: impl FnOnce(&mut FleetHistory)) -> History {
    let mut fleet = fleet();
    change(&mut fleet);
    History::of(&fleet, limits())
}

fn asked(images_per_day: Option<u64>) -> Capacity {
    let prices = Prices {
        price_gb_second: 0.000_026,
        price_log_gb: 2.30,
        price_database_hour: Some(0.02),
        price_storage_gb: None,
    };
    Capacity { days: 7, images_per_day, prices }
}

/// Each limit is named just at its bound, and not just below it.
#[test]
fn each_bottleneck_is_named_at_its_bound() {
    type Change = fn(&mut FleetHistory, bool);
    let cases: [(Bottleneck, Change); 9] = [
        (Bottleneck::Database, |f, at| {
            let p95 = if at { 80.0 } else { 79.0 };
            f.checks.postgres_cpu = Some(vec![10.0, p95, 100.0]);
        }),
        (Bottleneck::Database, |f, at| {
            let n = if at { 102 } else { 100 };
            f.endings.push(ending(Some("released"), Some("database_away"), n, 1.0));
        }),
        (Bottleneck::Memory, |f, at| {
            let p95 = if at { 85.0 } else { 84.0 };
            f.checks.app_memory = Some(vec![10.0, p95, 100.0]);
        }),
        (Bottleneck::Cpu, |f, at| {
            let p95 = if at { 85.0 } else { 84.0 };
            f.checks.app_cpu = Some(vec![10.0, p95, 100.0]);
        }),
        (Bottleneck::Temp, |f, at| {
            f.instances.temp_median_bytes = Some(if at { 288 * MIB } else { 287 * MIB });
        }),
        (Bottleneck::Temp, |f, at| {
            let n = if at { 102 } else { 100 };
            f.endings.push(ending(Some("released"), Some("disk_full"), n, 1.0));
        }),
        (Bottleneck::SlowOrigin, |f, at| {
            let n = if at { 1112 } else { 1110 };
            f.endings.push(ending(Some("released"), Some("host_busy"), n, 1.0));
        }),
        // 32 at once of 500: three seconds each are 47 s for a chunk.
        (Bottleneck::SlowOrigin, |f, at| {
            f.endings[0].seconds = if at { 469_000.0 } else { 468_000.0 };
        }),
        (Bottleneck::Slots, |f, at| f.checks.n_full = if at { 200 } else { 199 }),
    ];
    for (i, (bottleneck, change)) in cases.into_iter().enumerate() {
        let of = |at| judge(&history(|fleet| change(fleet, at))).bottleneck;
        assert_eq!((of(true), of(false)), (bottleneck, Bottleneck::None), "case {i}");
    }
    // Without health checks the slots themselves say it, as far as they can.
    let unseen = |seconds: f64| {
        let history = history(|fleet| {
            fleet.checks = HealthChecks::default();
            fleet.busy[2].seconds = seconds;
        });
        judge(&history)
    };
    assert_eq!(unseen(130_000.0).bottleneck, Bottleneck::None);
    assert_eq!(unseen(140_000.0).bottleneck, Bottleneck::Slots);
    assert!(unseen(140_000.0).because.contains("no health check"));
}

/// What harms most comes first: more slots for a busy database would make it worse.
#[test]
fn of_two_bottlenecks_the_worse_one_is_named() {
    let history = history(|fleet| {
        fleet.checks.n_full = 900;
        fleet.checks.postgres_cpu = Some(vec![90.0, 95.0, 100.0]);
        fleet.instances.temp_median_bytes = Some(320 * MIB);
    });
    let finding = judge(&history);
    assert_eq!(finding.bottleneck, Bottleneck::Database);
    assert!(finding.because.contains("95 %"), "{}", finding.because);
}

/// Nothing is divided by zero, and nothing is concluded from little.
#[test]
fn little_or_nothing_is_called_too_short() {
    let empty = Report::of(History::of(&FleetHistory::default(), limits()), &asked(Some(1000)));
    assert!(empty.too_short.is_some() && empty.finding.is_none() && empty.need.is_none());
    let text = serde_json::to_string(&empty).unwrap();
    assert!(!empty.to_string().contains("NaN") && !empty.to_string().contains("inf"), "{empty}");
    // JSON has no word for what is no number: it would be null.
    assert_eq!(text.matches("null").count(), 11, "{text}");
    let short = Report::of(history(|fleet| fleet.hours = 11.9), &asked(None));
    assert!(short.too_short.unwrap().contains("11.9 hours") && short.finding.is_none());
    let few = Report::of(history(|fleet| fleet.done.chunks = 49), &asked(None));
    assert!(few.too_short.unwrap().contains("49 complete") && few.finding.is_none());
    let enough =
        Report::of(history(|fleet| (fleet.hours, fleet.done.chunks) = (12.0, 50)), &asked(None));
    assert!(enough.too_short.is_none() && enough.finding.is_some());
}

/// Percentiles are values that were there, of hours as of slots.
#[test]
fn percentiles_are_values_that_were_there() {
    assert_eq!(Level::of(vec![]), None);
    let one = Level { median: 7.0, p95: 7.0, most: 7.0 };
    assert_eq!(Level::of(vec![7.0]), Some(one));
    let hundred = (1..=100).rev().map(float).collect();
    assert_eq!(Level::of(hundred), Some(Level { median: 50.0, p95: 95.0, most: 100.0 }));
    let slots = history(|_| ()).slots;
    assert_eq!((slots.median, slots.p95), (0, 3), "at 95.5 % of the time ten are busy");
    assert_eq!(slots.full_while_waiting_percent, Some(5.0));
    assert_eq!(slots.chunks_at_once, 5.0);
}

/// Azure's hours come before the health checks; where Azure fails these stay, with the cause.
#[test]
fn azure_comes_first_and_its_failure_is_said() {
    let with = |hours: Result<Vec<f64>, String>| {
        let mut history = history(|fleet| fleet.checks.app_cpu = Some(vec![1.0, 2.0, 3.0]));
        history.add(Some(Hours { cpu: hours, memory: Ok(vec![]) }), None);
        history
    };
    let checks = Level { median: 1.0, p95: 2.0, most: 3.0 };
    let Usage { level, source, cause } = with(Err("403: a role".into())).app_cpu;
    assert_eq!((level, source), (Some(checks), Source::HealthChecks));
    assert_eq!(cause.as_deref(), Some("403: a role"));
    let good = with(Ok(vec![50.0, 90.0]));
    assert_eq!(good.app_cpu.level, Some(Level { median: 50.0, p95: 90.0, most: 90.0 }));
    assert_eq!((good.app_cpu.source, good.app_cpu.cause), (Source::AzureMonitor, None));
    assert_eq!(good.app_memory.source, Source::Nobody);
    assert!(good.app_memory.cause.unwrap().contains("no point"));
    assert_eq!(good.database_cpu.source, Source::Nobody);
}

/// The sums, done by hand: a slot does 72,000 images an hour.
#[test]
fn an_aim_has_its_slots_instances_database_and_cost() {
    let mut history = history(|_| ());
    history.database_cpu.level = Some(Level { median: 5.0, p95: 6.0, most: 9.0 });
    let report = Report::of(history, &asked(Some(100_000_000)));
    let need = report.need.unwrap();
    // 100,000,000 / 72,000 = 1388.9 slot-hours a day; / 24 / 0.7 = 82.7 slots.
    assert_eq!((need.slots, need.instances, need.connections), (83, 9, 65));
    assert_eq!(need.postgres_sku, Some("Standard_B2s"));
    // Today 6 % with three slots busy.
    assert_eq!(need.database_cpu_percent.map(f64::round), Some(166.0));
    // Five chunks at once: 277.8 hours of instances, more than nine instances have in a day: 216.
    assert_eq!(need.cost.compute_gb_seconds.round(), 216.0 * 30.0 * 3600.0 * 2.0);
    assert_eq!(need.cost.compute.round(), 1213.0);
    assert_eq!(need.cost.database, Some(720.0 * 0.02));
    // 200,000 chunks of 6 kB and nine instances of 10 MB, a day.
    assert_eq!(need.cost.logs_gb.round(), 39.0);
    assert_eq!(need.cost.logs.round(), 78.0);
    assert_eq!((need.cost.storage_gb, need.cost.storage), (750_000.0, None));
    let least = Report::of(self::history(|_| ()), &asked(Some(1))).need.unwrap();
    assert_eq!((least.slots, least.instances, least.cost.logs), (1, 1, 0.0));
}

/// What people read, to the letter.
#[test]
fn a_report_is_shown_in_lines() {
    let mut history = history(|fleet| fleet.checks.n_full = 420);
    history.add(None, Some(Hours { cpu: Ok(vec![5.0, 30.0]), memory: Err("429".into()) }));
    insta::assert_snapshot!(Report::of(history, &asked(Some(1_000_000))));
}
