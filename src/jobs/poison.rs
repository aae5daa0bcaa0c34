//! What the host gave up on: read from its poison queues, recorded or made durable, then deleted.

use super::{Command, Error};
use crate::{
    chunk::ChunkMessage,
    state::Database,
    storage::{CHUNKS, CONTROL, POISON, QueueMessage, Storage},
    telemetry::refusal,
};

/// Takes up to 32 messages from each poison queue; returns how many went.
///
/// The record, or the chunk's row, comes before the delete.
///
/// # Errors
///
/// When database or queue is away: what is not deleted comes back.
pub async fn drain_poison(database: &Database, storage: &Storage) -> Result<u64, Error> {
    let mut n = 0;
    for queue in POISON {
        for message in storage.receive(queue).await? {
            if queue.starts_with(CONTROL) {
                settle_command(database, storage, queue, &message).await?;
            } else {
                settle_chunk(database, queue, &message).await?;
            }
            storage.delete(queue, &message).await?;
            n += 1;
        }
    }
    Ok(n)
}

/// A chunk message counts as just delivered: durable if unknown, woken if pending.
async fn settle_chunk(
    database: &Database,
    queue: &str,
    poison: &QueueMessage,
) -> Result<(), Error> {
    let reason = match ChunkMessage::parse(&poison.text) {
        Err(error) => refusal(&error),
        Ok(message) => match database.register(&message).await?.rejection() {
            Some(reason) => reason.to_owned(),
            None => {
                database.unwake(message.id()).await?;
                return Ok(());
            }
        },
    };
    record(database, queue, poison, &reason).await
}

/// An old command must not undo a newer one: it is recorded. Resume and sweep do no harm late.
async fn settle_command(
    database: &Database,
    storage: &Storage,
    queue: &str,
    poison: &QueueMessage,
) -> Result<(), Error> {
    let reason = match Command::parse(&poison.text) {
        Ok(command @ (Command::Resume | Command::Sweep)) => {
            command.apply(database, storage).await?;
            return Ok(());
        }
        Ok(_) => "the host gave the command up; send it again if it still holds".to_owned(),
        Err(error) => refusal(&error),
    };
    record(database, queue, poison, &reason).await
}

async fn record(
    database: &Database,
    queue: &str,
    poison: &QueueMessage,
    reason: &str,
) -> Result<(), Error> {
    tracing::warn!(queue, message_id = %poison.id, reason, "poison message recorded");
    let source = if queue.starts_with(CONTROL) { CONTROL } else { CHUNKS };
    database.reject(&format!("{queue}:{}", poison.id), source, &poison.text, reason).await?;
    Ok(())
}
