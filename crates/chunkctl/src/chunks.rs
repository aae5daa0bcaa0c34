//! The chunks of a job one after the other, and what they have. A few are read ahead, so that memory is
//! that of a few chunks, however long the job is.

use crate::{
    Session,
    rows::{UrlDigest, digest_of},
};
use anyhow::bail;
use chunk_handler::{
    jobs::{list_of, manifest_of},
    state::JobChunk,
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use std::collections::{HashMap, HashSet};

/// Chunks that are read at once.
pub(crate) const AHEAD: usize = 4;

impl Session {
    /// The chunks of a job behind an index, -1 for all of them.
    pub(crate) fn chunks_behind(
        &self,
        job_id: i64,
        index: i32,
    ) -> impl Stream<Item = anyhow::Result<JobChunk>> {
        stream::try_unfold(index, move |index| async move {
            let chunk = self.database.chunk_after(job_id, index).await?;
            let next = chunk.as_ref().map_or(index, |chunk| chunk.id.chunk_index);
            Ok(chunk.map(|chunk| (chunk, next)))
        })
    }

    /// Those of some URLs that the job has.
    pub(crate) async fn had_of(
        &self,
        job_id: i64,
        listed: &HashSet<UrlDigest>,
    ) -> anyhow::Result<HashSet<UrlDigest>> {
        let chunks = self.chunks_behind(job_id, -1);
        let read = chunks.map_ok(|chunk| self.digests_of(chunk)).try_buffered(AHEAD);
        let had = read.try_fold(HashSet::new(), async |mut had, urls| {
            had.extend(urls.into_iter().filter(|url| listed.contains(url)));
            Ok(had)
        });
        had.await
    }

    async fn digests_of(&self, chunk: JobChunk) -> anyhow::Result<Vec<UrlDigest>> {
        if let Some(items) = list_of(&self.storage, &chunk).await? {
            return Ok(items.iter().map(|item| digest_of(&item.url)).collect());
        }
        let Some(manifest) = manifest_of(&self.storage, &chunk).await? else {
            bail!(
                "list and manifest of chunk {} are gone, and its URLs are not known; leave out --new-only",
                chunk.id
            );
        };
        Ok(manifest.items.iter().map(|item| digest_of(&item.url)).collect())
    }

    /// How many URLs some chunks of a job have; those that are not there are left out.
    pub(crate) async fn lengths_of(
        &self,
        job_id: i64,
        indexes: impl Iterator<Item = u32>,
    ) -> anyhow::Result<HashMap<u32, u32>> {
        let read = stream::iter(indexes).map(|index| self.length_of(job_id, index));
        read.buffered(AHEAD).try_filter_map(async |length| Ok(length)).try_collect().await
    }

    async fn length_of(&self, job_id: i64, index: u32) -> anyhow::Result<Option<(u32, u32)>> {
        let own = i32::try_from(index)?;
        let chunk = self.database.chunk_after(job_id, own - 1).await?;
        let Some(chunk) = chunk.filter(|chunk| chunk.id.chunk_index == own) else {
            return Ok(None);
        };
        let items = match list_of(&self.storage, &chunk).await? {
            Some(items) => Some(items.len()),
            None => manifest_of(&self.storage, &chunk).await?.map(|known| known.items.len()),
        };
        // Of a chunk that nothing is left of nobody knows better.
        Ok(Some((index, items.map_or(Ok(u32::MAX), u32::try_from)?)))
    }
}
