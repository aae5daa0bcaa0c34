//! Probes: an open circuit is closed once its part answers a cheap question well.

use crate::{
    circuit::Part,
    process::{Error, Process},
    redact::cause_chain,
    storage,
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Between two probes: what is mended is noticed within it.
const PROBE_PERIOD: Duration = Duration::from_secs(2);
/// The parts that are probed. The others are compared with each check-in, or read again.
const PROBED: [Part; 5] = [Part::Database, Part::Pooler, Part::Blobs, Part::Queues, Part::Temp];

/// Probes every part whose circuit is open, until the process drains.
pub(super) async fn probe_until_stopped(process: Arc<Process>) {
    while !process.shutdown.is_intake_stopped() {
        process.circuits.any_open().await;
        sleep(PROBE_PERIOD).await;
        for part in PROBED {
            if process.circuits.is_open(part) {
                match Box::pin(probe(&process, part)).await {
                    Ok(()) => process.circuits.close(part),
                    Err(cause) => process.circuits.explain(part, &cause),
                }
            }
        }
    }
}

/// Asks one part; its answer when it does not work.
async fn probe(process: &Process, part: Part) -> Result<(), String> {
    let Process { database, storage, budget, .. } = process;
    let answer = match part {
        Part::Database => match database.obstacle().await {
            Ok(Some(obstacle)) => return Err(obstacle),
            Ok(None) => Ok(()),
            Err(error) => Err(Error::from(error)),
        },
        Part::Pooler => database.refuse_transaction_pooler().await.map_err(Error::from),
        // A container that somebody removed is not made again: an empty one in its place would say that
        // all lists are missing, and be in the way of who brings it back.
        Part::Blobs => storage.probe_blobs().await.map_err(Error::from),
        Part::Queues => match storage.probe_queues().await {
            Err(storage::Error::Missing { .. }) => {
                storage.create_containers_and_queues().await.map_err(Error::from)
            }
            answer => answer.map_err(Error::from),
        },
        Part::Temp => return budget.probe_disk().map_err(|error| error.to_string()),
        Part::Start | Part::Release | Part::Account | Part::Blocklists => {
            return Err("not probed".to_owned());
        }
    };
    answer.map_err(|error| cause_chain(&error))
}
