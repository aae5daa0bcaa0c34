//! The stand-in against what the real host was seen to do.
//!
//! Each test makes an app with the fixture handler, runs the stand-in as a process, and checks what the
//! handler wrote down, the queues and the processes.

mod bodies;
mod handler_ends;
mod lab;
mod metadata;
mod poison;
mod queue;
mod start;
mod stop;

use std::time::Duration;

/// A message.
const TEXT: &str = r#"{"version":1}"#;
const SOON: Duration = Duration::from_secs(15);
