//! Logs: JSON lines on stdout, or text for a terminal. Traces and metrics, when they are asked for.
//!
//! The host logs stdout as Information and stderr as Error whatever it says, so normal lines go
//! to stdout (rule H12).

mod answer;
mod connection;
mod export;
mod metric;
mod panics;
mod redirect;
mod upload;

pub use answer::Problem;
pub use export::{Export, Unusable};
pub(crate) use metric::FAILED_CHUNKS;
pub use metric::Metrics;

use crate::state::Claim;
use opentelemetry::{
    KeyValue, global,
    trace::{
        SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
        TracerProvider as _,
    },
};
use std::io::IsTerminal as _;
use tracing::{Level, Metadata, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, fmt::writer::BoxMakeWriter, prelude::*,
};

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The handler's: a host takes stderr for errors.
    Stdout,
    /// The command line's: its stdout is the result.
    Stderr,
}

/// Installs the subscriber of the process, and the export if there is one. What panics in a handler is
/// a line of its log from then on.
///
/// # Panics
///
/// When a subscriber is installed already: it is called once, at the start.
pub fn install(filter: &str, output: Output, export: Option<&Export>) {
    let (filter, unreadable) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let writer = match output {
        Output::Stdout => BoxMakeWriter::new(std::io::stdout),
        Output::Stderr => BoxMakeWriter::new(std::io::stderr),
    };
    let lines = if std::io::stdout().is_terminal() {
        fmt::layer().with_target(false).with_writer(writer).boxed()
    } else {
        let json = fmt::layer().json().flatten_event(true).with_span_list(false);
        json.with_writer(writer).boxed()
    };
    let traces = export.map(|export| {
        global::set_meter_provider(export.metrics.clone());
        tracing_opentelemetry::layer()
            .with_tracer(export.traces.tracer("chunk_handler"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(may_be_exported))
    });
    // A filter for all layers stands last and is asked first. As a filter of one layer it would
    // remember its refusal: a library that asks whether a line is enabled (`enabled!`) and then
    // writes none would silence that layer's next line.
    let registry = tracing_subscriber::registry().with(lines).with(traces);
    registry.with(filter).with(filter_fn(may_be_shown)).init();
    if output == Output::Stdout {
        panics::install();
    }
    if let Some(error) = unreadable {
        tracing::warn!(%error, "RUST_LOG cannot be read, logging at info");
    }
}

/// Libraries print URLs, statements and headers below warnings: those lines never come out,
/// whatever `RUST_LOG` asks for.
///
/// Warnings and errors come only from those who speak with what is ours. The others work for strangers
/// (HTTP, TLS, names, decoders): each bad certificate was an error, each odd message of a name server a
/// warning, with what strangers had chosen in it, five hundred a chunk. What they meet is in the verdicts.
fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    let ours = ["chunk_handler", "handler", "chunkctl"];
    let for_us = ["azure_", "typespec", "sqlx", "opentelemetry"];
    let library = metadata.target().split("::").next().unwrap_or_default();
    let works_for_us = for_us.iter().any(|start| library.starts_with(start));
    ours.contains(&library) || (*metadata.level() <= Level::WARN && works_for_us)
}

/// Spans of stages and calls, and what is wrong: a chunk must fit 5 KB of telemetry.
fn may_be_exported(metadata: &Metadata<'_>) -> bool {
    let least = if metadata.is_span() { Level::INFO } else { Level::WARN };
    *metadata.level() <= least && metadata.target() != panics::TARGET
}

/// The span of an invocation: its id always, and part of the host's trace where the host says so. What
/// chunk it works on is added when that is known, by [`chunk_started`].
pub fn invocation(function: &'static str, id: &str, traceparent: Option<&str>) -> Span {
    let span = tracing::info_span!(
        "invocation",
        otel.name = function,
        otel.kind = "consumer",
        task_id = id,
        job_id = field::Empty,
        chunk_id = field::Empty,
        attempt = field::Empty,
        fence = field::Empty,
    );
    if let Some(traceparent) = traceparent {
        continue_trace(&span, traceparent);
    }
    span
}

/// Only the ids of W3C `traceparent` count: the flags say "not sampled" although the host samples
/// (rule H11).
fn continue_trace(span: &Span, traceparent: &str) {
    let mut parts = traceparent.split('-').skip(1);
    let trace = parts.next().and_then(|hex| TraceId::from_hex(hex).ok());
    let parent = parts.next().and_then(|hex| SpanId::from_hex(hex).ok());
    let (Some(trace), Some(parent)) = (trace, parent) else { return };
    let context = SpanContext::new(trace, parent, TraceFlags::SAMPLED, true, TraceState::default());
    let parent = opentelemetry::Context::new().with_remote_span_context(context);
    // Without an export there is nothing to continue.
    span.set_parent(parent).unwrap_or_default();
}

/// M6: a claim was granted: the first line of a chunk and its event, from what the claim answered; no
/// further question is asked.
pub fn chunk_started(claim: &Claim, temp_storage_mb: u64) {
    let Claim { lease, attempt, active_chunks, max_chunks, .. } = claim;
    let span = Span::current();
    span.record("job_id", lease.id.job_id).record("chunk_id", field::display(lease.id));
    span.record("attempt", attempt).record("fence", field::display(lease.fence));
    tracing::info!(active_chunks, max_chunks, "Chunk started");
    let attributes = vec![
        KeyValue::new("ai.customEvent.name", "chunk_started"),
        KeyValue::new("chunk_id", lease.id.to_string()),
        KeyValue::new("active_chunks", i64::from(*active_chunks)),
        KeyValue::new("temp_storage_mb", i64::try_from(temp_storage_mb).unwrap_or(i64::MAX)),
    ];
    span.add_event("ai.custom", attributes);
}

/// A chunk that did not complete, as an exception of its span.
pub fn exception(code: &str, cause: &str) {
    let attributes = vec![
        KeyValue::new("exception.type", code.to_owned()),
        KeyValue::new("exception.message", cause.to_owned()),
    ];
    let span = Span::current();
    span.add_event("exception", attributes);
    span.set_status(Status::error(code.to_owned()));
}
