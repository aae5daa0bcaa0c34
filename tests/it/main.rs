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

mod admission;
mod away;
mod budget;
mod chunkctl;
mod contract;
mod crash;
mod doctor;
mod endings;
mod fault;
mod fleet;
mod host;
mod http_cases;
mod http_cases_hops;
mod message_cases;
mod monitor;
mod message_cases_logs;
mod near;
mod negative;
mod polite;
mod network;
mod outage;
mod papers;
mod refill;
mod refusals;
mod requirements;
mod run;
mod scale;
mod settings;
mod stand_in;
mod telemetry;
mod tidy;
mod url_cases;
