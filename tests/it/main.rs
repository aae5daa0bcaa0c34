//! The integration tests: real Postgres, real Azurite, the real host protocol.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::let_underscore_must_use,
    clippy::large_futures,
    let_underscore_drop,
    unreachable_pub,
    missing_docs,
    reason = "test code"
)]

/// The shape of the code, and that the papers say what is there.
mod house {
    mod cases;
    mod papers;
    mod requirements;
    mod shape;
}

/// What the Functions host may count on: files, routes, answers, the life of the process.
mod contract {
    mod files;
    mod port;
    mod process;
    mod stand_in;
}

/// Each setting, through the environment of a real process.
mod settings {
    mod bounds;
    mod download;
    mod fleet;
    mod secrets;
    mod values;
}

/// Messages, good and bad, and what of them may be seen.
mod message {
    mod cases;
    mod logs;
}

/// URLs, answers and origins, and what becomes of the images behind them.
mod download {
    mod answers;
    mod busy;
    mod details;
    mod fair;
    mod hops;
    mod names;
    mod odd;
    mod origins;
    mod reuse;
    mod robots;
    mod urls;
}

/// One chunk: its shard, its manifest, its row, and what it may use.
mod chunk {
    mod adopted;
    mod blocked;
    pub mod budget;
    mod captions;
    mod filters;
    mod lists;
    mod modes;
    mod near_duplicates;
    mod run;
}

/// What the statements in SQL decide.
mod state {
    mod admission;
    mod endings;
    mod numbers;
    mod order;
    mod refusals;
    mod rows;
    pub mod sql;
}

/// Processes and services that stop, end or are away.
mod fault {
    mod away;
    mod controls;
    mod crash;
    mod ended;
    mod extended;
    mod network;
    mod outage;
    mod stalled;
    mod stopped;
}

/// An environment that cannot do the work: whose fault it is not.
mod environment {
    mod claims;
    mod rights;
    mod storage;
    mod upgrade;
}

/// Several hosts, and many chunks.
mod fleet {
    mod refill;
    mod scale;
    mod two_hosts;
}

/// Jobs that are cancelled, tried again and closed, how they end, and what is kept of them.
mod jobs {
    mod again;
    pub mod control;
    mod directory;
    mod documents;
    mod ending;
    mod brought;
    mod extend;
    mod fetch;
    mod touched;
    mod tries;
    mod forgets;
    mod gone;
    mod keep;
    mod remediation;
    mod sent_back;
    mod workflow;
    mod kept;
    mod number;
    mod unheard;
    mod urls;
    mod verify;
    mod with_jobs;
}

/// The health row, and what Azure Monitor adds to it.
mod health {
    mod monitor;
}

/// What arrives at Application Insights.
mod telemetry {
    mod answers;
    mod ingestion;
    mod panics;
    mod stops;
    mod strangers;
}

/// Pages for a browser.
mod dashboard {
    mod away;
    mod chunk;
    mod control;
    mod faults;
    mod guard;
    mod long;
    mod lost;
    mod pages;
    mod parts;
    mod report;
    mod size;
    mod slow;
    mod strangers;
    mod told;
}

/// The command line.
mod command {
    mod capacity;
    mod chunkctl;
    mod doctor;
    mod doorkeeper;
    mod first;
    mod lists;
    mod rows;
    mod read_only;
    mod status;
    mod submit;
    mod surface;
}
