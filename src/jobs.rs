//! What can be done with a job: control commands, and its end.

mod control;
mod end;
mod hashes;

pub use control::{Applied, Command, CommandError};
pub(crate) use end::end_jobs;
