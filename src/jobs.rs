//! What can be done with a job: control commands, and its end.

mod control;
mod end;

pub use control::{Applied, Command, CommandError};
pub(crate) use end::{end_if_over, end_touched_jobs};
