//! What can be done with a job: control commands, and its end.

mod card;
mod control;
mod duplicates;
mod end;
mod extend;
mod hashes;
mod other_jobs;
mod urls;
mod verify;

pub use control::{Applied, Command, CommandError, Which, again_command};
pub use end::DOCUMENTS;
pub(crate) use end::{end_if_over, end_touched_jobs};
pub use extend::{ExtendError, extend};
pub(crate) use other_jobs::{NotReady, Returning};
pub use other_jobs::{OtherJobError, prepare_other_jobs};
pub use urls::{list_of, manifest_bytes, manifest_of, manifest_there};
pub use verify::is_shard_of;
pub(crate) use verify::withdraw_manifest;
