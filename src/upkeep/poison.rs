//! What the host gave up on: read from its poison queues, recorded or made durable, then deleted.

use crate::{
    chunk::ChunkMessage,
    jobs::Command,
    process::{Error, Process},
    redact::{cause_chain, refusal},
    state,
    storage::{Queue, QueueMessage},
};

/// Takes up to 32 messages from each poison queue; returns how many went.
///
/// The record, or the chunk's row, comes before the delete.
///
/// # Errors
///
/// The first one; the other messages went all the same. What is not deleted comes back.
pub(super) async fn drain_poison(process: &Process) -> Result<u64, Error> {
    let (mut n, mut first) = (0, None);
    for queue in Queue::ALL {
        for message in process.storage.receive_poison(queue).await? {
            // One that the database refuses must not hold up those behind it.
            match settle(process, queue, &message).await {
                Ok(()) => n += 1,
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
    }
    first.map_or(Ok(n), Err)
}

async fn settle(process: &Process, queue: Queue, message: &QueueMessage) -> Result<(), Error> {
    match queue {
        Queue::Chunks => settle_chunk(process, message).await?,
        Queue::Control => settle_command(process, message).await?,
    }
    Ok(process.storage.delete_poison(queue, message).await?)
}

/// A chunk message counts as just delivered: durable if unknown, woken if pending.
async fn settle_chunk(process: &Process, poison: &QueueMessage) -> Result<(), Error> {
    let reason = match ChunkMessage::parse(&poison.text) {
        Err(error) => refusal(&error),
        Ok(message) => match register(process, &message).await? {
            Some(reason) => reason,
            None => {
                process.database.unwake(message.id()).await?;
                return Ok(());
            }
        },
    };
    record(process, Queue::Chunks, poison, &reason).await
}

/// Why the message can never work; none: its chunk is durable.
async fn register(process: &Process, message: &ChunkMessage) -> Result<Option<String>, Error> {
    match process.database.register(message).await {
        Ok(registration) => Ok(registration.rejection().map(str::to_owned)),
        Err(error @ state::Error::Unstorable(_)) => Ok(Some(cause_chain(&error))),
        Err(error) => Err(error.into()),
    }
}

/// An old command must not undo a newer one: it is recorded. Resume and sweep do no harm late.
async fn settle_command(process: &Process, poison: &QueueMessage) -> Result<(), Error> {
    let reason = match Command::parse(&poison.text) {
        Ok(command @ (Command::Resume | Command::Sweep)) => {
            command.apply(&process.database, &process.storage).await?;
            return Ok(());
        }
        Ok(_) => "the host gave the command up; send it again if it still holds".to_owned(),
        Err(error) => refusal(&error),
    };
    record(process, Queue::Control, poison, &reason).await
}

async fn record(
    process: &Process,
    queue: Queue,
    poison: &QueueMessage,
    reason: &str,
) -> Result<(), Error> {
    let (name, poison_name) = (queue.name(), queue.poison_name());
    tracing::warn!(queue = poison_name, message_id = %poison.id, reason, "poison message recorded");
    let source_key = format!("{poison_name}:{}", poison.id);
    // One that could not be deleted comes back, and is counted once.
    if process.database.reject(&source_key, name, &poison.text, reason).await? {
        process.metrics.rejected();
    }
    Ok(())
}
