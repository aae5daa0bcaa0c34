//! Wake-ups: messages for chunks that could start. The database is the truth, a message only says
//! "ask again"; one that is lost costs a minute.

use crate::{
    chunk::{ChunkId, ChunkMessage},
    process::Error,
    state::Database,
    storage::{BATCH, Queue, Storage},
};

/// Sends messages for up to `n` chunks that could start; returns how many.
///
/// # Errors
///
/// When database or queue is away; a chunk whose message could not be sent may be woken again.
pub async fn send(database: &Database, storage: &Storage, n: usize) -> Result<usize, Error> {
    let picked = database.pick_to_wake(n).await?;
    let mut sent = 0;
    let mut failure = None;
    for id in picked {
        match storage.send(Queue::Chunks, text(id)).await {
            Ok(()) => sent += 1,
            Err(error) => {
                // If this fails too, the waker sends the chunk's next message a minute later.
                database.unwake(id).await.unwrap_or_default();
                failure = Some(error);
            }
        }
    }
    failure.map_or(Ok(sent), |error| Err(error.into()))
}

fn text(id: ChunkId) -> String {
    serde_json::to_string(&ChunkMessage::new(id)).unwrap_or_default()
}

/// Tops the queue up, unless another process does so in these seconds. Returns how many messages
/// were sent.
///
/// # Errors
///
/// When database or queue is away.
pub(crate) async fn top_up_in_turn(
    database: &Database,
    storage: &Storage,
    owner: &str,
) -> Result<usize, Error> {
    if !database.take_waker(owner).await? {
        return Ok(0);
    }
    top_up(database, storage).await
}

/// Tops the queue up to as many visible messages as there may be chunks at once, at most 32.
/// Without waiting for a turn: the caller has just made chunks ready.
///
/// # Errors
///
/// When database or queue is away.
pub async fn top_up(database: &Database, storage: &Storage) -> Result<usize, Error> {
    let limit = usize::try_from(database.capacity().await?.max_chunks).unwrap_or(0).min(BATCH);
    // A peek: the approximate count has messages that a dead host left invisible.
    let visible = storage.visible_messages(Queue::Chunks).await?;
    if visible >= limit {
        return Ok(0);
    }
    send(database, storage, limit - visible).await
}
