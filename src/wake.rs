//! Wake-ups: messages for chunks that could start. The database is the truth, a message only says
//! "ask again"; one that is lost costs a minute.

use crate::{
    chunk::{ChunkId, ChunkMessage},
    process::Error,
    state::{Database, WAKE_AGAIN},
    storage::{BATCH, Queue, Storage},
};
use std::time::Duration;

/// Sends messages for up to `n` chunks that could start; returns how many.
///
/// # Errors
///
/// When database or queue is away; a chunk whose message could not be sent may be woken again.
pub async fn send(database: &Database, storage: &Storage, n: usize) -> Result<usize, Error> {
    let picked = database.pick_to_wake(n, WAKE_AGAIN).await?;
    send_to(database, storage, picked).await
}

/// A chunk whose message has not arrived is woken again after this when another one lets it go first.
const FIRST_AGAIN: Duration = Duration::from_secs(5);

/// Sends a message for the first chunk of all, which another one lets go first.
pub(crate) async fn send_to_first(database: &Database, storage: &Storage) -> Result<(), Error> {
    let picked = database.pick_to_wake(1, FIRST_AGAIN).await?;
    send_to(database, storage, picked).await.map(drop)
}

async fn send_to(
    database: &Database,
    storage: &Storage,
    picked: Vec<ChunkId>,
) -> Result<usize, Error> {
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
/// were sent. One that cannot send lets another process do it.
///
/// # Errors
///
/// When database or queue is away or refuses.
pub(crate) async fn top_up_in_turn(
    database: &Database,
    storage: &Storage,
    owner: &str,
) -> Result<usize, Error> {
    if !database.take_waker(owner).await? {
        return Ok(0);
    }
    let sent = top_up(database, storage).await;
    if sent.is_err() {
        // If this fails too, its turn ends by itself.
        database.leave_waker(owner).await.unwrap_or_default();
    }
    sent
}

/// Tops the queue up to as many visible messages as slots are free, at most 32: a message more would
/// only be refused. Without waiting for a turn: the caller has just made chunks ready.
///
/// # Errors
///
/// When database or queue is away or refuses.
pub async fn top_up(database: &Database, storage: &Storage) -> Result<usize, Error> {
    let free = usize::try_from(database.capacity().await?.available).unwrap_or(0).min(BATCH);
    if free == 0 {
        return Ok(0);
    }
    // A peek: the approximate count has messages that a dead host left invisible.
    let visible = storage.visible_messages(Queue::Chunks).await?;
    if visible >= free {
        return Ok(0);
    }
    send(database, storage, free - visible).await
}
