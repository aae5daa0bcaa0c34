//! What strangers do to blobs: leases, holds, and an account that forgets what it acknowledged.

use crate::{
    jobs::{BIG, CANCELLED, INLINE, LISTED},
    plan::{Dice, Fault},
    site::Site,
};
use anyhow::Result;
use support::{proxy::Answer, rig::DATASETS};
use tokio::time::sleep;

/// The shard or the manifest of a chunk, or what a job says of itself.
fn of_work(site: &Site, dice: &mut Dice) -> String {
    let jobs = [LISTED, INLINE, CANCELLED];
    let mut chunks: Vec<_> = site.chunks().into_keys().collect();
    chunks.retain(|(job, _)| jobs.contains(job));
    let (job, index) = dice.pick(&chunks);
    match dice.below(5) {
        0 | 1 => format!("job_{job}/chunks/chunk_{index:05}.tar"),
        2 | 3 => format!("job_{job}/chunks/chunk_{index:05}.manifest.json"),
        _ => format!("job_{job}/dataset.json"),
    }
}

/// Somebody takes a lease on a blob, and puts an empty one there for it where there is none yet.
pub async fn lease(site: &Site, dice: &mut Dice) {
    let (blobs, name) = (&site.rig.blobs, of_work(site, dice));
    // It may be there: then that one is leased.
    let _ = blobs.create(DATASETS, &name).await;
    if blobs.lease(DATASETS, &name).await.is_err() {
        return;
    }
    site.tally.count(Fault::Lease);
    sleep(dice.millis(2000, 8000)).await;
    // A blob that is gone has no lease.
    let _ = blobs.break_lease(DATASETS, &name).await;
}

/// What a service answers that keeps a blob as it is; the emulator has no such thing.
pub const HELD: Answer = Answer { status: "409 Conflict", code: "BlobImmutableDueToLegalHold" };

/// Blobs of a name, of every job, must not be changed.
pub async fn hold(site: &Site, dice: &mut Dice) {
    let name = of_work(site, dice);
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    site.hold(&name);
    site.tally.count(Fault::Hold);
    sleep(dice.millis(2000, 8000)).await;
    site.let_go(&name);
}

/// Shard, manifest or both of a chunk that is completed, in a job that has more to do: after its end
/// nobody looks any more.
pub async fn lose(site: &Site, dice: &mut Dice) -> Result<()> {
    let sql = "select c.shard_blob, c.manifest_blob from chunk_handler.chunk c
        join chunk_handler.job j using (job_id)
        where c.state = 'completed' and c.job_id <> $1 and j.ended_at is null
            and (select count(*) from chunk_handler.chunk o where o.job_id = c.job_id
                and o.state in ('pending', 'processing')) > 2";
    let found = sqlx::query_as(sql).bind(BIG).fetch_all(&site.pool).await;
    // The server may be away, or nothing is completed yet.
    let chunks: Vec<(String, String)> = found.unwrap_or_default();
    if chunks.is_empty() {
        return Ok(());
    }
    let (shard, manifest) = &chunks[dice.below(chunks.len())];
    let gone = [[true, true], [true, false], [false, true]][dice.below(3)];
    let mut is_gone = false;
    for name in [shard, manifest].into_iter().zip(gone).filter_map(|(name, is)| is.then_some(name))
    {
        // A lease keeps it there.
        is_gone |= site.rig.blobs.delete(DATASETS, name).await.is_ok();
    }
    if is_gone {
        site.tally.count(Fault::LoseBlobs);
    }
    Ok(())
}
