//! What can be done with a job: control commands, and its end.

mod card;
mod control;
mod duplicates;
mod end;
mod hashes;
mod verify;

pub use control::{Applied, Command, CommandError, again_command};
pub use end::DOCUMENTS;
pub(crate) use end::{end_if_over, end_touched_jobs};
pub(crate) use verify::withdraw_manifest;
