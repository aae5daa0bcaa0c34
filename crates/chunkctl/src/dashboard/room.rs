//! Room for the files that are on their way: who takes them slowly holds no more of this process.

use axum::body::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Bytes of all files that are on their way.
const MOST_BYTES: u32 = 64 * 1024 * 1024;
/// How long a file waits for its place.
const PATIENCE: Duration = Duration::from_secs(30);

/// Room for so many bytes.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// A part of the room, for the bytes of one file.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Bytes with their place, which is free when the last of them is sent or given up.
struct Held {
    bytes: Vec<u8>,
    _place: Place,
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(MOST_BYTES).unwrap_or(usize::MAX))))
    }

    /// Waits for a place; a file that is larger than the room takes all of it. None: others hold it for long.
    pub(super) async fn place(&self, bytes: u64) -> Option<Place> {
        let bytes = u32::try_from(bytes).unwrap_or(MOST_BYTES).min(MOST_BYTES);
        let place = timeout(PATIENCE, Arc::clone(&self.0).acquire_many_owned(bytes)).await;
        Some(Place { _permit: place.ok()?.ok()? })
    }

    /// Whether somebody waits: what is free is kept for who came first.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.available_permits() == 0
    }
}

impl Place {
    pub(super) fn hold(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { bytes, _place: self })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However large the file is, and whoever still has a part of it.
    #[tokio::test]
    async fn a_place_is_free_when_the_last_byte_is_gone() {
        let room = Room::new();
        let bytes = room.place(u64::MAX).await.unwrap().hold(b"picture".to_vec());
        let rest = bytes.slice(3..);
        drop(bytes);
        assert!(room.is_wanted());
        drop(rest);
        assert!(!room.is_wanted() && room.place(1).await.is_some());
    }
}
