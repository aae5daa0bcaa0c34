//! Logs: JSON lines on stdout, or text for a terminal.
//!
//! The host logs stdout as Information and stderr as Error whatever it says, so normal lines go
//! to stdout (rule H12).

use std::io::IsTerminal as _;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Libraries that would print URLs, statements or headers below this level.
const QUIET: [&str; 7] = [
    "azure_core=warn",
    "azure_identity=warn",
    "azure_storage_blob=warn",
    "hyper=warn",
    "hyper_util=warn",
    "reqwest=warn",
    "sqlx=warn",
];

/// Installs the subscriber of the process.
pub fn install(filter: &str) {
    let parsed = EnvFilter::try_new(filter);
    let unreadable = parsed.is_err();
    let mut filter = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
    for directive in QUIET {
        if let Ok(directive) = directive.parse() {
            filter = filter.add_directive(directive);
        }
    }
    let registry = tracing_subscriber::registry().with(filter);
    let installed = if std::io::stdout().is_terminal() {
        registry.with(fmt::layer().with_target(false)).try_init()
    } else {
        let json = fmt::layer().json().flatten_event(true).with_span_list(false);
        registry.with(json).try_init()
    };
    if unreadable || installed.is_err() {
        tracing::warn!("RUST_LOG cannot be read, logging at info");
    }
}

/// An error with its whole cause, for a log line or a record.
pub fn cause_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
