//! What is to be in the directory, and how it comes: the chunks, then the documents.

use super::{
    ROUNDS,
    digest::Told,
    lost::{self, Row},
    part,
    summary::Summary,
    transfer::{self, Failed, Transfer},
};
use crate::folder::{Interrupted, Listing, Member, Pair};
use anyhow::Context as _;
use chunk_handler::{jobs::DOCUMENTS, storage::ListedBlob};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What is to be here.
pub(super) struct Plan {
    pub(super) pairs: Vec<Pair>,
    /// In the order in which they are written.
    pub(super) documents: Vec<(&'static str, ListedBlob)>,
    /// Shards and manifests that storage has, also those that are no pair.
    pub(super) there: BTreeSet<Member>,
    /// Names in the folder that are none of the job.
    pub(super) others: Vec<String>,
    pub(super) is_over: bool,
}

/// What became of a chunk.
enum Brought {
    Here(u64),
    Unfinished(i32),
    Failed(String),
}

impl Plan {
    /// Of a job that is not over without the documents: they are those of what it was. Of one that is over
    /// only what `listed` names, if that is known: chunks of an earlier job of its number are none of it.
    pub(super) fn new(mut listing: Listing, is_over: bool, listed: Option<&[Row]>) -> Self {
        let listed = listed.map(lost::indexes);
        let is_listed = |index: i32| listed.as_ref().is_none_or(|all| all.contains(&index));
        let pairs = listing.pairs().filter(|pair| is_listed(pair.index)).collect();
        let document = |name: &&'static str| Some((*name, listing.documents.remove(*name)?));
        let documents = DOCUMENTS.iter().filter(|_| is_over).filter_map(document).collect();
        let shards = listing.shards.keys().map(|index| Member::Shard(*index));
        let manifests = listing.manifests.keys().map(|index| Member::Manifest(*index));
        let there: BTreeSet<Member> = shards.chain(manifests).collect();
        let unlisted = there.iter().filter(|member| match member {
            Member::Shard(index) | Member::Manifest(index) => !is_listed(*index),
            Member::Document(_) => false,
        });
        let mut others = listing.others;
        others.extend(unlisted.map(|member| member.name()));
        Self { pairs, documents, there, others, is_over }
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (Member, &ListedBlob)> {
        let of_pairs = self.pairs.iter().flat_map(|pair| {
            let Pair { index, shard, manifest } = pair;
            [(Member::Shard(*index), shard), (Member::Manifest(*index), manifest)]
        });
        of_pairs.chain(self.documents.iter().map(|(name, blob)| (Member::Document(name), blob)))
    }

    /// Takes away what earlier fetches began of versions that are not there any more.
    pub(super) fn remove_other_parts(
        &self,
        directory: &Path,
        parts: &[PathBuf],
    ) -> anyhow::Result<()> {
        let path =
            |(member, blob)| part::path(&transfer::place(directory, member), &Told::of(blob));
        let wanted: BTreeSet<PathBuf> = self.files().map(path).collect();
        for part in parts.iter().filter(|part| !wanted.contains(*part)) {
            fs::remove_file(part).with_context(|| format!("removing {}", part.display()))?;
        }
        Ok(())
    }

    /// What is there and is not of the job. What storage lost of it is, and what it was before it ran again.
    pub(super) fn leftovers(&self, there: &[Member], rows: &[Row]) -> Vec<String> {
        let mut wanted: BTreeSet<Member> = self.files().map(|(member, _)| member).collect();
        wanted.extend(rows.iter().flat_map(Row::members));
        wanted.extend(DOCUMENTS.map(Member::Document));
        let others = there.iter().filter(|member| !wanted.contains(member));
        others.map(|member| member.name()).collect()
    }

    /// Brings the chunks, then the documents; [`Interrupted::Changed`] when one of these was written anew.
    pub(super) async fn bring(
        &self,
        transfer: &Transfer<'_>,
        parallel: usize,
        summary: &mut Summary,
    ) -> Result<(), Interrupted> {
        (summary.chunks, summary.bytes) = (0, 0);
        (summary.unfinished, summary.failed) = (Vec::new(), Vec::new());
        let pairs =
            stream::iter(&self.pairs).map(|pair| bring_pair(transfer, summary.job_id, pair));
        let brought: Vec<Brought> = pairs.buffer_unordered(parallel).try_collect().await?;
        for chunk in brought {
            match chunk {
                Brought::Here(bytes) => {
                    summary.chunks += 1;
                    summary.bytes += bytes;
                }
                Brought::Unfinished(index) => summary.unfinished.push(index),
                Brought::Failed(why) => summary.failed.push(why),
            }
        }
        // After the shards that they name; the last one says that the others are there.
        for (name, blob) in &self.documents {
            match transfer.bring(Member::Document(name), blob).await {
                Ok(()) => summary.bytes += blob.head.bytes,
                Err(Failed::Interrupted(error)) => return Err(error),
                Err(error @ Failed::Damaged) => summary.failed.push(format!("{name}: {error}")),
            }
        }
        Ok(())
    }
}

/// Brings shard and manifest of a chunk, of one claim.
async fn bring_pair(
    transfer: &Transfer<'_>,
    job_id: i64,
    pair: &Pair,
) -> Result<Brought, Interrupted> {
    let (index, mut pair) = (pair.index, pair.clone());
    for _ in 0..ROUNDS {
        let both = [(Member::Shard(index), &pair.shard), (Member::Manifest(index), &pair.manifest)];
        match bring_both(transfer, both).await {
            Ok(()) => return Ok(Brought::Here(pair.shard.head.bytes + pair.manifest.head.bytes)),
            Err((_, Failed::Interrupted(Interrupted::Changed))) => {}
            Err((_, Failed::Interrupted(error))) => return Err(error),
            Err((member, error @ Failed::Damaged)) => {
                return Ok(Brought::Failed(format!("{}: {error}", member.name())));
            }
        }
        // It ran again meanwhile: what it has now comes instead.
        let shard = Member::Shard(index).name();
        let prefix = shard.trim_end_matches("tar");
        let Some(now) = Listing::read(transfer.storage, job_id, prefix).await?.pair(index) else {
            break;
        };
        pair = now;
    }
    Ok(Brought::Unfinished(index))
}

async fn bring_both(
    transfer: &Transfer<'_>,
    both: [(Member, &ListedBlob); 2],
) -> Result<(), (Member, Failed)> {
    for (member, blob) in both {
        transfer.bring(member, blob).await.map_err(|error| (member, error))?;
    }
    Ok(())
}
