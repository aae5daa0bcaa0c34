//! What is printed. Whoever stops reading changes nothing of what is found: the exit code stays.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
    sync::OnceLock,
};
use tokio::sync::Notify;

/// Says to whoever prints again and again that stdout is closed.
static CLOSED: Notify = Notify::const_new();
/// Why not all of the result could be written, where that is an error.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints a line of the result. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn out(line: fmt::Arguments<'_>) {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => CLOSED.notify_one(),
        // The first one is the cause.
        Err(error) => LOST.set(error).unwrap_or_default(),
    }
}

/// Says a line on stderr. Where nobody listens it is not said, and nothing else changes.
pub(crate) fn err(line: fmt::Arguments<'_>) {
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}

/// Waits until nobody reads stdout any more: what only prints need not go on.
pub(crate) async fn nobody_reads() {
    CLOSED.notified().await;
}

/// The exit code of a command that found this. A result that could not be written is an error.
pub(crate) fn ended(found: ExitCode) -> ExitCode {
    match LOST.get() {
        Some(error) => {
            err(format_args!("error: the result was not written to stdout: {error}"));
            ExitCode::FAILURE
        }
        None => found,
    }
}
