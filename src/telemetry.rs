//! Logs: JSON lines on stdout, or text for a terminal.
//!
//! The host logs stdout as Information and stderr as Error whatever it says, so normal lines go
//! to stdout (rule H12).

use std::io::IsTerminal as _;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, fmt::writer::BoxMakeWriter, prelude::*,
};

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The handler's: a host takes stderr for errors.
    Stdout,
    /// The command line's: its stdout is the result.
    Stderr,
}

/// Installs the subscriber of the process.
pub fn install(filter: &str, output: Output) {
    let parsed = EnvFilter::try_new(filter);
    let unreadable = parsed.is_err();
    let filter = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_shown));
    let writer = match output {
        Output::Stdout => BoxMakeWriter::new(std::io::stdout),
        Output::Stderr => BoxMakeWriter::new(std::io::stderr),
    };
    let installed = if std::io::stdout().is_terminal() {
        registry.with(fmt::layer().with_target(false).with_writer(writer)).try_init()
    } else {
        let json = fmt::layer().json().flatten_event(true).with_span_list(false);
        registry.with(json.with_writer(writer)).try_init()
    };
    if unreadable || installed.is_err() {
        tracing::warn!("RUST_LOG cannot be read, logging at info");
    }
}

/// Libraries print URLs, statements and headers below warnings: those lines never come out,
/// whatever `RUST_LOG` asks for.
fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    let ours = ["chunk_handler", "handler", "chunkctl"];
    let is_ours = metadata.target().split("::").next().is_some_and(|name| ours.contains(&name));
    is_ours || *metadata.level() <= Level::WARN
}

/// An error with its whole cause, for a log line or a record.
pub fn cause_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Why a message is refused, without the values it holds: parsers quote them, and a value may be a
/// signed URL, or made to look like another line of the log.
pub fn refusal(error: &dyn std::error::Error) -> String {
    let text = cause_chain(error);
    let mut shown = String::with_capacity(text.len());
    let mut closing = None;
    for c in text.chars() {
        match closing {
            // A quote inside a value ends the cut early; what follows is cut by the next one.
            Some(end) if c == end => {
                shown.push(c);
                closing = None;
            }
            Some(_) => {}
            None => {
                shown.extend(c.escape_debug().filter(|_| c.is_control()));
                if !c.is_control() {
                    shown.push(c);
                }
                let opens_value = c == '"' || (c == '`' && shown.ends_with("unknown variant `"));
                closing = opens_value.then_some(c);
            }
        }
    }
    shown
}
