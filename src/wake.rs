//! Wake-ups: messages for chunks that could start. The database is the truth, a message only says
//! "ask again"; one that is lost costs a minute.

use crate::{
    chunk::{ChunkId, ChunkMessage},
    process::Error,
    state::{Database, WAKE_AGAIN},
    storage::{BATCH, Queue, Storage},
};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Sends messages for up to `n` chunks that could start; returns how many.
///
/// # Errors
///
/// When database or queue is away; a chunk whose message could not be sent may be woken again.
pub async fn send(database: &Database, storage: &Storage, n: usize) -> Result<usize, Error> {
    let picked = database.pick_to_wake(n, WAKE_AGAIN).await?;
    send_to(database, storage, picked, NO_HURRY).await
}

/// For those for whom nobody waits: the storage client ends each call that hangs.
const NO_HURRY: Duration = Duration::from_secs(3600);
/// A chunk whose message has not arrived is woken again after this when another one lets it go first.
const FIRST_AGAIN: Duration = Duration::from_secs(5);

/// Sends a message for the first chunk of all, which another one lets go first.
pub(crate) async fn send_to_first(database: &Database, storage: &Storage) -> Result<(), Error> {
    let picked = database.pick_to_wake(1, FIRST_AGAIN).await?;
    send_to(database, storage, picked, NO_HURRY).await.map(drop)
}

/// Sends messages for these; what is not sent in time is left to the waker, as what fails.
async fn send_to(
    database: &Database,
    storage: &Storage,
    picked: Vec<ChunkId>,
    patience: Duration,
) -> Result<usize, Error> {
    let until = Instant::now() + patience;
    let mut sent = 0;
    let mut failure = None;
    for id in picked {
        let sending = timeout_at(until, storage.send(Queue::Chunks, text(id))).await;
        if matches!(sending, Ok(Ok(()))) {
            sent += 1;
            continue;
        }
        // If this fails too, the waker sends the chunk's next message a minute later.
        database.unwake(id).await.unwrap_or_default();
        failure = sending.ok().and_then(Result::err).or(failure);
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
    let picked = pick(database, storage).await?;
    send_to(database, storage, picked, NO_HURRY).await
}

/// How long a command waits to learn what is to be sent, and again to send it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for a command that somebody waits for: how many were sent. None: not all could be, since storage
/// hangs or refuses; the upkeep sends the rest.
pub(crate) async fn top_up_soon(database: &Database, storage: &Storage) -> Option<usize> {
    let picked = timeout(PATIENCE, pick(database, storage)).await.ok()?.ok()?;
    let n = picked.len();
    send_to(database, storage, picked, PATIENCE).await.ok().filter(|sent| *sent == n)
}

/// Chunks for which messages are to be sent now.
async fn pick(database: &Database, storage: &Storage) -> Result<Vec<ChunkId>, Error> {
    let free = usize::try_from(database.capacity().await?.available).unwrap_or(0).min(BATCH);
    if free == 0 {
        return Ok(Vec::new());
    }
    // A peek: the approximate count has messages that a dead host left invisible.
    let visible = storage.visible_messages(Queue::Chunks).await?;
    if visible >= free {
        return Ok(Vec::new());
    }
    Ok(database.pick_to_wake(free - visible, WAKE_AGAIN).await?)
}
