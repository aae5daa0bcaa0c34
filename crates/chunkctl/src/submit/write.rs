//! The lists of a job's chunks, written as they are read again.

use super::{ReadJob, SubmitError};
use crate::{progress::Progress, rows::ChunkRows};
use chunk_handler::{
    chunk::{BlobSource, ChunkId, ChunkMessage, ImageRange, Source},
    process::Error,
    storage::Storage,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{ops::ControlFlow, sync::Arc};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::spawn_blocking,
};

/// Lists that are written at once.
const WRITES_AT_ONCE: usize = 8;
/// The most of their bytes, in KiB: a list alone may have half of it.
const KIB_AT_ONCE: u32 = 64 * 1024;

/// A chunk's list, and its part of the memory.
type Held = (ChunkRows, OwnedSemaphorePermit);

impl ReadJob {
    /// Reads the list again and sends its chunks, as memory becomes free, until nobody takes them.
    fn send(&self, to: &mpsc::Sender<Held>) -> Result<(), SubmitError> {
        let memory = Arc::new(Semaphore::new(usize::try_from(KIB_AT_ONCE).unwrap_or(usize::MAX)));
        let runtime = Handle::current();
        let progress = Progress::of_lists("writing the lists of chunks", self.judged.chunks.len());
        let mut send = |chunk: ChunkRows| {
            let kib = u32::try_from(chunk.lines.len() / 1024 + 1).unwrap_or(KIB_AT_ONCE);
            let held = Arc::clone(&memory).acquire_many_owned(kib.min(KIB_AT_ONCE));
            // It is never closed.
            let Ok(held) = runtime.block_on(held) else { return ControlFlow::Break(()) };
            progress.add(1);
            match to.blocking_send((chunk, held)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        // How far it is shows what is written: the reader is hardly ahead of it.
        let unseen = Progress::hidden();
        let read = self.judged.read_again(&self.files, &self.division, &unseen, &mut send);
        progress.end();
        read
    }
}

/// Writes one list for each chunk, as it is read again, and makes its message.
///
/// # Errors
///
/// [`SubmitError::Changed`] when the list is another one meanwhile, or [`SubmitError::Failed`].
pub(crate) async fn write_sources(
    storage: &Storage,
    job: &Arc<ReadJob>,
    folder: &str,
) -> Result<Vec<ChunkMessage>, SubmitError> {
    let (job_id, submission) = (job.job_id, &job.submission);
    let one = async |(index, (part, held)): (usize, Held)| -> Result<ChunkMessage, SubmitError> {
        let blob = format!("{folder}/{index:05}.jsonl");
        let n = part.n;
        storage.create_source(&blob, part.lines).await.map_err(Error::from)?;
        drop(held);
        let chunk_index = i32::try_from(index).unwrap_or(i32::MAX);
        let mut message = ChunkMessage::new(ChunkId { job_id, chunk_index });
        let start = u64::try_from(index * submission.chunk_size).unwrap_or(u64::MAX);
        let len = u64::try_from(n).unwrap_or(u64::MAX);
        message.total_chunks = i32::try_from(submission.chunks).ok();
        message.priority = submission.priority;
        message.source = Some(Source::Blob(BlobSource { blob }));
        message.image_range = Some(ImageRange { start, end: start + len - 1 });
        message.validation = submission.validation.clone();
        message.dedupe = submission.dedupe.clone();
        message.output = submission.output.clone();
        message.robots = submission.robots;
        Ok(message)
    };
    let (sender, receiver) = mpsc::channel(1);
    let again = Arc::clone(job);
    let reading = spawn_blocking(move || again.send(&sender));
    let chunks = stream::unfold(receiver, async |mut receiver| {
        let chunk = receiver.recv().await?;
        Some((chunk, receiver))
    });
    let written =
        chunks.enumerate().map(one).buffered(WRITES_AT_ONCE).try_collect::<Vec<_>>().await;
    // A write that failed ends the reading, too, and is what counts.
    let read = reading.await.map_err(|_| SubmitError::Changed("the list".to_owned()))?;
    let messages = written?;
    read.map(|()| messages)
}
