//! The blocklists: read when the process starts and when they change.

use crate::{circuit::Part, process::Process};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Between two looks at lists that are good.
const LOOK_PERIOD: Duration = Duration::from_secs(30);
/// Between two looks at lists of which one cannot be read: what is mended is noticed within it.
const MENDING_PERIOD: Duration = Duration::from_secs(2);

/// Looks at the lists again and again until the process drains.
pub(super) async fn look_until_stopped(process: Arc<Process>) {
    let Process { blocklists, storage, circuits, shutdown, .. } = &*process;
    while !shutdown.is_intake_stopped() {
        let period = match Box::pin(blocklists.look(storage)).await {
            Ok(_) => {
                circuits.close(Part::Blocklists);
                LOOK_PERIOD
            }
            Err(cause) => {
                circuits.explain(Part::Blocklists, &cause);
                MENDING_PERIOD
            }
        };
        tokio::select! {
            () = shutdown.intake_stopped() => {}
            () = sleep(period) => {}
        }
    }
}
