//! The goals of performance, measured side by side: `cargo bench --bench bench -- [--quick] [CASE]`.
//!
//! Every ratio is measured in one run, its two sides taking turns, and is the median of its samples.
//! A table for people goes to stderr, one JSON object a case to stdout. It fails when a case could
//! not be measured; a goal that is missed is a verdict, not a failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::let_underscore_must_use,
    let_underscore_drop,
    unreachable_pub,
    reason = "benchmark code"
)]

mod calls;
mod claim;
mod claim_growth;
mod decode;
mod fair;
mod fleet;
mod fleet_load;
mod fleet_server;
mod floor;
mod http;
mod kept;
mod lists;
mod many;
mod measure;
mod names;
mod options;
mod origin;
mod pages;
mod part;
mod photo;
mod process;
mod rival;
mod rows;
mod sink;
mod slow;
mod telemetry;
mod throughput;
mod world;

use anyhow::Result;
use measure::{Goal, Measured, Row};
use std::process::ExitCode;
use support::attack::Attack;
use world::Bench;

/// Cases that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Claim,
    Growth,
    LongGrowth,
    Refused,
    Start,
    Binary,
    Http,
    Https,
    Options,
    Bound,
    Rude,
    Names,
    Fair(Attack),
    TenChunks,
    RssGrowth,
    Calls,
    Telemetry,
    Pages,
    Kept,
    Lists,
    Fleet,
    Rival,
    Decode,
}

impl Group {
    async fn run(self, bench: &Bench) -> Result<Vec<Measured>> {
        match self {
            Self::Claim => claim::run(bench).await,
            Self::Growth => claim_growth::run(bench, 1_000_000).await,
            Self::LongGrowth => claim_growth::run(bench, 10_000_000).await,
            Self::Refused => process::refused(bench).await,
            Self::Start => process::start(bench).await,
            Self::Binary => process::binary(),
            Self::Http => throughput::run(bench, photo::Scheme::Http).await,
            Self::Https => throughput::run(bench, photo::Scheme::Https).await,
            Self::Options => options::run(bench).await,
            Self::Bound => slow::bound(bench).await,
            Self::Rude => slow::rude(bench).await,
            Self::Names => names::run(bench),
            Self::Fair(attack) => fair::run(bench, attack).await,
            Self::TenChunks => many::ten_chunks(bench).await,
            Self::RssGrowth => many::rss_growth(bench).await,
            Self::Calls => calls::run(bench).await,
            Self::Telemetry => telemetry::run(bench).await,
            Self::Pages => pages::run(bench).await,
            Self::Kept => kept::run(bench).await,
            Self::Lists => lists::run(bench).await,
            Self::Fleet => fleet::run(bench).await,
            Self::Rival => rival::run(bench).await,
            Self::Decode => decode::run(bench).await,
        }
    }

    /// Whether it fits into fifteen minutes with all the others.
    fn is_quick(self) -> bool {
        // Two take long, for the others Python packages may have to be installed first.
        !matches!(self, Self::LongGrowth | Self::Fleet | Self::Rival | Self::Decode)
    }
}

/// The rows of the table: what is measured, in what, and the goal it must not exceed.
const GOALS: &[(Group, Goal)] = &[
    (Group::Claim, Goal::new("claim", "ms, p99", 10.0)),
    (Group::Claim, Goal::new("claim_vs_update", "p99 / p99", 2.0)),
    (Group::Claim, Goal::new("claim_most_at_once", "chunks", 10.0)),
    (Group::Growth, Goal::new("claim_1m", "1M / 10k rows", 1.2)),
    (Group::LongGrowth, Goal::new("claim_10m", "10M / 10k rows", 1.2)),
    (Group::Refused, Goal::new("refused", "round trips", 2.0)),
    (Group::Refused, Goal::new("refused_new", "round trips", 2.0)),
    (Group::Start, Goal::new("start", "ms", 100.0)),
    (Group::Binary, Goal::new("binary", "MB", 25.0)),
    (Group::Http, Goal::new("cpu_http", "ours / F", 1.5)),
    (Group::Http, Goal::new("wall", "ours / F", 1.25)),
    (Group::Https, Goal::new("cpu_https", "ours / F", 1.5)),
    (Group::Https, Goal::new("wall_https", "ours / F", 1.25)),
    // With captions as members, a filter of formats and a hundred thousand blocked hashes, beside without.
    (Group::Options, Goal::new("options_cpu", "with / without", 1.03)),
    (Group::Options, Goal::new("options_wall", "with / without", 1.03)),
    (Group::Bound, Goal::new("bound", "wall / bound", 1.1)),
    (Group::Rude, Goal::new("rude", "rude / clean", 1.5)),
    // A list of many hosts, beside the same with addresses; a chunk beside one of silent names.
    (Group::Names, Goal::new("names_live", "names / none", 1.2)),
    (Group::Names, Goal::new("names_mixed", "s more than none", 15.0)),
    (Group::Names, Goal::new("names_beside", "beside / alone", 1.2)),
    // A job of good pictures beside a hostile list; of the first two on the same host. That of the slow host
    // gets half of its places, which alone is 2.0, and waits for the first to be free: 60 pictures of 50 ms
    // take 60 x 0.05 / 8 = 0.4 s alone, and up to 0.5 + 60 x 0.05 / 4 = 1.25 s beside answers of a second.
    (Group::Fair(Attack::SlowHost), Goal::new("fair_slow_host", "beside / alone", 2.0)),
    (Group::Fair(Attack::Refusals), Goal::new("fair_refusals", "beside / alone", 2.0)),
    (Group::Fair(Attack::SilentNames), Goal::new("fair_names", "beside / alone", 2.0)),
    (Group::Fair(Attack::Heavy), Goal::new("fair_heavy", "beside / alone", 2.0)),
    (Group::Fair(Attack::ManyHosts), Goal::new("fair_hosts", "beside / alone", 2.0)),
    (Group::Fair(Attack::TinyChunks), Goal::new("fair_tiny_chunks", "beside / alone", 2.0)),
    (Group::Fair(Attack::Silence), Goal::new("fair_silence", "beside / alone", 2.0)),
    (Group::TenChunks, Goal::new("ten_chunks_ledger", "MB temp", 320.0)),
    (Group::TenChunks, Goal::new("ten_chunks_walk", "MB temp", 320.0)),
    (Group::TenChunks, Goal::new("ten_chunks_rss", "MB, peak", 256.0)),
    (Group::RssGrowth, Goal::new("rss_growth", "chunk 200 / 20", 1.05)),
    (Group::Calls, Goal::new("calls_database", "statements", 24.0)),
    (Group::Calls, Goal::new("calls_database_new", "statements", 24.0)),
    (Group::Calls, Goal::new("calls_database_slow", "statements", 24.0)),
    (Group::Calls, Goal::new("calls_storage", "calls", 90.0)),
    (Group::Calls, Goal::new("calls_storage_slow", "calls", 90.0)),
    // An endpoint that hangs, against none: within noise.
    (Group::Telemetry, Goal::new("telemetry_claim", "p99, with / no", 1.25)),
    (Group::Telemetry, Goal::new("telemetry_wall", "with / without", 1.1)),
    (Group::Telemetry, Goal::new("telemetry_rss", "with / without", 1.1)),
    // Three pages of the dashboard that renew themselves, against none, in a database with a long history;
    // and the server's time for the slowest page there.
    (Group::Pages, Goal::new("pages_claim", "p99, with / no", 1.25)),
    (Group::Pages, Goal::new("pages_wall", "with / without", 1.1)),
    (Group::Pages, Goal::new("pages_ms", "ms, slowest page", 500.0)),
    // What a million images leave, all tables and indexes, and a batch of their removal.
    (Group::Kept, Goal::new("kept", "MB / 1M images", 250.0)),
    (Group::Kept, Goal::new("kept_batch", "ms, slowest", 250.0)),
    // A list of ten million URLs; a submit of a million with all that it writes.
    (Group::Lists, Goal::new("lists_row", "us a row, read", 10.0)),
    (Group::Lists, Goal::new("lists_rss", "MB, peak", 150.0)),
    (Group::Lists, Goal::new("lists_written_rss", "MB, peak", 150.0)),
    // 28 handlers of ten chunks each, beside one.
    (Group::Fleet, Goal::new("fleet_over_admission", "claims", 0.0)),
    (Group::Fleet, Goal::new("fleet_statements", "28 / 1 handlers", 1.2)),
    (Group::Fleet, Goal::new("fleet_cpu", "28 / 1 handlers", 1.2)),
    (Group::Fleet, Goal::new("fleet_connections", "each handler", 5.0)),
    (Group::Fleet, Goal::new("fleet_deadlocks", "deadlocks", 0.0)),
    (Group::Fleet, Goal::new("fleet_seq_scans", "of large tables", 0.0)),
    (Group::Fleet, Goal::new("fleet_bloat", "after / before", 1.1)),
    // What people use today.
    (Group::Rival, Goal::new("img2dataset_cpu", "ours / theirs", 1.0)),
    (Group::Rival, Goal::new("img2dataset_wall", "ours / theirs", 1.0)),
    // CPU of level slow for JPEGs, beside a full decode.
    (Group::Decode, Goal::new("slow_opencv", "ours / OpenCV", 0.5)),
    (Group::Decode, Goal::new("slow_pillow", "ours / Pillow", 0.5)),
];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == part::FLAG) {
        return part::main(&arguments[1..]);
    }
    // Cargo's own, for harnesses that can also test.
    arguments.retain(|argument| argument != "--bench");
    let quick = arguments.iter().any(|argument| argument == "--quick");
    arguments.retain(|argument| argument != "--quick");
    let (prefix, rest) = match arguments.split_first() {
        Some((prefix, rest)) => (prefix.as_str(), rest),
        None => ("", &[][..]),
    };
    let is_known = GOALS.iter().any(|(_, goal)| goal.case.starts_with(prefix));
    if !rest.is_empty() || !is_known {
        eprintln!("usage: bench [--quick] [CASE], a case being the beginning of one of:");
        GOALS.iter().for_each(|(_, goal)| eprintln!("  {}", goal.case));
        return ExitCode::from(2);
    }
    describe_machine();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let is_complete = runtime.block_on(measure_all(&Bench::new(quick), prefix));
    if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ratios bear a busy machine, milliseconds do not.
fn describe_machine() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    eprintln!("{cores} cores, load average {load} before the first case");
}

/// Measures every case whose name begins so; false when one could not be measured.
async fn measure_all(bench: &Bench, prefix: &str) -> bool {
    let mut rows: Vec<Row> = Vec::new();
    let mut is_complete = true;
    let mut at = 0;
    while let Some((group, _)) = GOALS.get(at) {
        let goals: Vec<Goal> =
            GOALS[at..].iter().take_while(|(of, _)| of == group).map(|(_, goal)| *goal).collect();
        at += goals.len();
        let wanted: Vec<Goal> =
            goals.into_iter().filter(|goal| goal.case.starts_with(prefix)).collect();
        if wanted.is_empty() {
            continue;
        }
        let measured = if bench.quick && !group.is_quick() {
            Vec::new()
        } else {
            eprintln!("measuring {}", wanted[0].case);
            group.run(bench).await.unwrap_or_else(|error| {
                eprintln!("  {} cannot be measured: {error:#}", wanted[0].case);
                is_complete = false;
                Vec::new()
            })
        };
        for row in wanted.iter().map(|goal| goal.met_by(&measured)) {
            println!("{}", row.json());
            rows.push(row);
        }
    }
    measure::print_table(&rows);
    is_complete
}
