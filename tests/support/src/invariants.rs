//! The invariants I1-I6, I8 and I16, asked of rows, blobs and files by code that shares nothing with the
//! product. Each check answers the violations it found, as sentences; none means it holds.

use crate::{
    checkout::hex,
    rig::{DATASETS, Rig},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// I1: the work is over and nothing is left in between.
const AT_REST: &str = "
    select format('I1: chunk %s/%s is processing', job_id, chunk_index)
    from chunk_handler.chunk where state = 'processing'
    union all
    select format('I1: claim %s of chunk %s/%s never ended', fence, job_id, chunk_index)
    from chunk_handler.attempt where finished_at is null
    union all
    select format('I1: job %s ended with %s of %s chunks', j.job_id, count(c), j.total_chunks)
    from chunk_handler.job j left join chunk_handler.chunk c
        on c.job_id = j.job_id and c.chunk_index < j.total_chunks
    where j.ended_at is not null and j.cancelled_at is null and j.closed_at is null
    group by j.job_id having count(c) < coalesce(j.total_chunks, 0)";

/// I4: slots and chunks name each other.
const SLOTS: &str = "
    select format('I4: slot %s holds chunk %s/%s, which holds slot %s', s.slot_no, s.job_id,
        s.chunk_index, c.slot_no)
    from (select * from chunk_handler.slot where job_id is not null) s
    full join (select * from chunk_handler.chunk where state = 'processing') c
        on c.job_id = s.job_id and c.chunk_index = s.chunk_index and c.slot_no = s.slot_no
    where c.slot_no is null or s.slot_no is null";

/// I5: each claim has its number; one claim at most completes a chunk. One that ran again in vain has what
/// it completed with before.
const FENCES: &str = "
    select format('I5: chunk %s/%s has fence %s after %s claims up to %s', c.job_id,
        c.chunk_index, c.fence, count(a), max(a.fence))
    from chunk_handler.chunk c left join chunk_handler.attempt a using (job_id, chunk_index)
    group by c.job_id, c.chunk_index having c.fence <> count(a) or c.fence <> coalesce(max(a.fence), 0)
    union all
    select format('I5: chunk %s/%s is %s after %s completions', c.job_id, c.chunk_index, c.state,
        count(a))
    from chunk_handler.chunk c left join chunk_handler.attempt a
        on a.job_id = c.job_id and a.chunk_index = c.chunk_index and a.outcome = 'completed'
            and a.fence > c.again_fence
    group by c.job_id, c.chunk_index
    having count(a) <> case when c.state = 'completed' and c.shard_fence > c.again_fence
        then 1 else 0 end
    union all
    select format('I5: the shard of chunk %s/%s has fence %s, which no claim had', c.job_id,
        c.chunk_index, c.shard_fence)
    from chunk_handler.chunk c where c.shard_fence is not null
        and not exists (select from chunk_handler.attempt a where a.job_id = c.job_id
            and a.chunk_index = c.chunk_index and a.fence = c.shard_fence)";

/// I8: attempts are claims less what is not charged; only workers lost in a row fail a chunk.
const CHARGES: &str = "
    select format('I8: chunk %s/%s has attempt %s, its claims say %s', c.job_id, c.chunk_index,
        c.attempt, count(a) filter (where a.outcome is null
            or a.outcome not in ('released', 'expired')))
    from chunk_handler.chunk c left join chunk_handler.attempt a
        on a.job_id = c.job_id and a.chunk_index = c.chunk_index and a.fence > c.reset_fence
    group by c.job_id, c.chunk_index
    having c.attempt <> count(a) filter (where a.outcome is null
        or a.outcome not in ('released', 'expired'))
    union all
    select format('I8: chunk %s/%s failed of worker_lost after %s expiries', job_id, chunk_index,
        expiries)
    from chunk_handler.chunk where error_code = 'worker_lost' and expiries <> 20";

/// I8: what is kept of the totals of chunks is what they add up to; of a job that is being removed it is of
/// no use.
const SUMS: &str = "
    with counted as (
        select c.job_id, t.name, sum(t.value::numeric) as value
        from chunk_handler.chunk c
        cross join lateral (
            select key as name, value from jsonb_each_text(c.totals)
            where key in ('images_total', 'images_downloaded', 'images_valid', 'images_invalid',
                'images_failed', 'images_asked_again', 'duplicates_removed', 'bytes_in', 'bytes_out')
            union all
            select 'errors.' || key, value from jsonb_each_text(c.totals -> 'errors')) t
        group by 1, 2)
    select format('I8: job %s has kept %s %s of its chunks, which have %s', job_id, k.value, name,
        c.value)
    from counted c full join chunk_handler.job_sums k using (job_id, name)
        left join chunk_handler.job j using (job_id)
    where coalesce(c.value, 0) <> coalesce(k.value, 0) and j.going_at is null";

/// I4: slots in use and chunks in work, of one snapshot.
const SAMPLE: &str = "
    select (select count(job_id) from chunk_handler.slot),
        (select count(*) from chunk_handler.chunk where state = 'processing')";

/// I3: hashes that dedupe believes in although their chunk did not complete. Those of a chunk that
/// runs again count until it did, or its job ended.
const HASHES: &str = "
    select format('I3: image %s is deduplicated against chunk %s/%s, which is %s', i.key,
        i.job_id, i.chunk_index, coalesce(c.state::text, 'unknown'))
    from chunk_handler.image_hash i left join chunk_handler.chunk c using (job_id, chunk_index)
        left join chunk_handler.job j using (job_id)
    where c.state is distinct from 'completed'
        and (coalesce(c.again_fence, 0) = 0 or j.ended_at is not null)";

/// Everything, once the work is over.
pub async fn violations(rig: &Rig) -> Vec<String> {
    let mut found = of_rows(rig).await;
    found.extend(ask(rig, AT_REST).await);
    found.extend(of_blobs(rig).await);
    found
}

/// What rows alone show, at any moment.
pub async fn of_rows(rig: &Rig) -> Vec<String> {
    let mut found = Vec::new();
    for sql in [SLOTS, FENCES, CHARGES, HASHES, SUMS] {
        found.extend(ask(rig, sql).await);
    }
    found
}

async fn ask(rig: &Rig, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&rig.pool).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// I4: samples until told to stop; how many were processing at most, and what was wrong.
pub async fn sample_slots(rig: &Rig, limit: i64, stop: &AtomicBool) -> (i64, Vec<String>) {
    let (mut most, mut found) = (0, BTreeSet::new());
    while !stop.load(Ordering::SeqCst) {
        most = most.max(look_at_slots(&rig.pool, limit, &mut found).await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (most, found.into_iter().collect())
}

/// I4: one sample; how many are processing.
pub async fn look_at_slots(
    pool: &PgPool,
    limit: i64,
    found: &mut BTreeSet<String>,
) -> sqlx::Result<i64> {
    let (slots, chunks): (i64, i64) = sqlx::query_as(SAMPLE).fetch_one(pool).await?;
    if slots != chunks {
        found.insert(format!("I4: {slots} slots for {chunks} chunks"));
    }
    if chunks > limit {
        found.insert(format!("I4: {chunks} chunks above the limit of {limit}"));
    }
    Ok(chunks)
}

/// I6: walks the temp space until told to stop; the most bytes, and what was wrong.
pub async fn sample_temp(rig: &Rig, limit: u64, stop: &AtomicBool) -> (u64, Vec<String>) {
    let (mut most, root) = (0, rig.temp.path().join("pixcrawler-chunks"));
    while !stop.load(Ordering::SeqCst) {
        most = most.max(walk(&root));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let above = (most > limit).then(|| format!("I6: {most} temp bytes above the {limit} allowed"));
    (most, above.into_iter().collect())
}

/// The bytes of the files below a directory.
pub fn walk(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let data = entry.metadata().ok()?;
        Some(if data.is_dir() { walk(&entry.path()) } else { data.len() })
    });
    sizes.sum()
}

/// A completed chunk's row.
#[derive(sqlx::FromRow)]
struct Row {
    job_id: i64,
    chunk_index: i32,
    shard_fence: i64,
    shard_blob: String,
    shard_bytes: i64,
    shard_sha256: String,
    shard_samples: i64,
    manifest_blob: String,
    totals: Value,
    late_duplicates: Value,
    lost_duplicates: i32,
    /// The claim that wrote its blobs; none: the schema does not know claims by name.
    claim: Option<String>,
}

/// A completed chunk: its row, its manifest, and the metadata of its shard.
struct Chunk {
    row: Row,
    manifest: Value,
    fence: Option<String>,
    claim: Option<String>,
    sha256: Option<String>,
}

/// A token is asked for as soon as there is a column for it: then none is a violation.
const COMPLETED: &str = "
    select *, case when to_jsonb(c) ? 'shard_claim'
        then coalesce(to_jsonb(c) ->> 'shard_claim', 'none') end as claim
    from chunk_handler.chunk c where state = 'completed'";

/// I2 I3 I5 I16: rows, shards and manifests agree.
async fn of_blobs(rig: &Rig) -> Vec<String> {
    let rows: Vec<Row> = sqlx::query_as(COMPLETED).fetch_all(&rig.pool).await.unwrap();
    let (mut found, mut chunks) = (Vec::new(), Vec::new());
    for row in rows {
        match read(rig, row, &mut found).await {
            Ok(chunk) => chunks.push(chunk),
            Err(missing) => {
                let text = missing.to_string();
                found.push(format!("I2: {}", text.lines().next().unwrap_or_default()));
            }
        }
    }
    for chunk in &chunks {
        found.extend(fences(chunk));
        found.extend(tokens(chunk));
        found.extend(verdicts(chunk));
    }
    found.extend(duplicates(&chunks));
    found.extend(unique(&chunks));
    found
}

/// Reads a chunk's blobs, and checks the bytes of its shard.
async fn read(rig: &Rig, row: Row, found: &mut Vec<String>) -> anyhow::Result<Chunk> {
    let id = format!("{}/{}", row.job_id, row.chunk_index);
    let manifest: Value =
        serde_json::from_slice(&rig.blobs.read(DATASETS, &row.manifest_blob).await?)?;
    let shard = rig.blobs.read(DATASETS, &row.shard_blob).await?;
    let sha256 = hex(&Sha256::digest(&shard));
    let bytes = shard.len() as i64;
    if row.shard_sha256 != sha256 || row.shard_bytes != bytes {
        found.push(format!("I2: the row of chunk {id} does not describe its shard"));
    }
    let described = &manifest["shard"];
    if described["sha256"] != sha256 || described["bytes"] != bytes {
        found.push(format!("I2: the manifest of chunk {id} does not describe its shard"));
    }
    if described["samples"] != row.shard_samples || manifest["images_valid"] != row.shard_samples {
        found.push(format!("I2: row and manifest of chunk {id} count other samples"));
    }
    // The name goes last into the query, so that the listing's text ends with it.
    let listing = format!("{DATASETS}?restype=container&comp=list&include=metadata&prefix=");
    let (folder, name) = row.shard_blob.split_once('/').unwrap_or_default();
    let xml = rig.blobs.read(&format!("{listing}{folder}"), name).await?;
    let xml = String::from_utf8_lossy(&xml);
    let [fence, claim, of_blob] = ["fence", "claim", "sha256"].map(|name| element(&xml, name));
    if [&row.shard_sha256, of_blob.as_ref().unwrap_or(&sha256)].iter().any(|told| **told != sha256)
        || described["sha256"] != sha256
    {
        found.push(format!("I16: the bytes of shard {id} are not those that were told of"));
    }
    Ok(Chunk { row, manifest, fence, claim, sha256: of_blob })
}

fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
}

/// I5: metadata, manifest and row name one claim.
fn fences(chunk: &Chunk) -> Vec<String> {
    let Chunk { row, manifest, fence, sha256, .. } = chunk;
    let id = format!("{}/{}", row.job_id, row.chunk_index);
    let mut found = Vec::new();
    if fence.as_deref() != Some(&row.shard_fence.to_string()) {
        found.push(format!(
            "I5: shard {id} is of claim {fence:?}, the row says {}",
            row.shard_fence
        ));
    }
    if manifest["fence"] != row.shard_fence {
        let of_manifest = &manifest["fence"];
        found.push(format!(
            "I5: manifest {id} is of claim {of_manifest}, the row says {}",
            row.shard_fence
        ));
    }
    if sha256.as_deref() != Some(&row.shard_sha256) {
        found.push(format!("I2: the metadata of shard {id} names another hash"));
    }
    found
}

/// I16: metadata, manifest and row name one claim by its token.
fn tokens(chunk: &Chunk) -> Option<String> {
    let of_row = chunk.row.claim.as_deref()?;
    let (of_blob, of_manifest) = (chunk.claim.as_deref(), chunk.manifest["claim"].as_str());
    let id = format!("{}/{}", chunk.row.job_id, chunk.row.chunk_index);
    let is_one = of_blob == Some(of_row) && of_manifest == Some(of_row);
    let found = format!(
        "I16: the row of chunk {id} is of claim {of_row}, its shard of {of_blob:?}, its manifest of {of_manifest:?}"
    );
    (!is_one).then_some(found)
}

/// I3 I8: one verdict for each URL, and sums that add up, in manifest and row.
fn verdicts(chunk: &Chunk) -> Vec<String> {
    let id = format!("{}/{}", chunk.row.job_id, chunk.row.chunk_index);
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut found = Vec::new();
    let items = items(&chunk.manifest);
    for (idx, item) in items.iter().enumerate() {
        *counts.entry(item["status"].as_str().unwrap_or("none")).or_default() += 1;
        if item["idx"] != idx {
            found.push(format!("I3: item {idx} of chunk {id} has idx {}", item["idx"]));
        }
    }
    let n = |status| counts.get(status).copied().unwrap_or(0);
    for (name, expected) in [
        ("images_total", items.len() as u64),
        ("images_valid", n("valid")),
        ("duplicates_removed", n("duplicate")),
        ("images_invalid", n("invalid")),
        ("images_failed", n("failed")),
    ] {
        for (place, totals) in [("manifest", &chunk.manifest), ("row", &chunk.row.totals)] {
            if totals[name] != expected {
                found.push(format!(
                    "I3: {name} of chunk {id} is {} in its {place}, items say {expected}",
                    totals[name]
                ));
            }
        }
    }
    if n("valid") + n("duplicate") + n("invalid") + n("failed") != items.len() as u64 {
        found.push(format!("I3: chunk {id} has items without a verdict"));
    }
    found
}

fn items(manifest: &Value) -> &[Value] {
    manifest["items"].as_array().map_or(&[], Vec::as_slice)
}

/// The samples of completed chunks: by job and key, their hash.
fn samples(chunks: &[Chunk]) -> BTreeMap<(i64, &str), &Value> {
    let valid = chunks.iter().flat_map(|chunk| {
        let items = items(&chunk.manifest).iter().filter(|item| item["status"] == "valid");
        items.filter_map(|i| Some(((chunk.row.job_id, i["key"].as_str()?), &i["sha256"])))
    });
    valid.collect()
}

/// I3: of a dropped image a completed chunk has the same bytes, if not under the key that was named,
/// since that one ran again; else the row says of how many none has.
fn duplicates(chunks: &[Chunk]) -> Vec<String> {
    let samples = samples(chunks).into_iter();
    let kept: BTreeSet<(i64, &str)> =
        samples.filter_map(|((job, _), sha256)| Some((job, sha256.as_str()?))).collect();
    let mut found = Vec::new();
    for chunk in chunks {
        let dropped = items(&chunk.manifest).iter().filter(|item| item["status"] == "duplicate");
        let lost = dropped.filter(|item| {
            let sha256 = item["sha256"].as_str().unwrap_or_default();
            // JOB/KEY: another job has it.
            let other = item["duplicate_of"].as_str().and_then(|of| of.split_once('/'));
            let job = other.and_then(|(job, _)| job.parse().ok()).unwrap_or(chunk.row.job_id);
            !kept.contains(&(job, sha256))
        });
        let lost: Vec<String> = lost
            .map(|item| {
                format!(
                    "I3: item {} of chunk {}/{} was dropped for {}, which no completed chunk has",
                    item["idx"], chunk.row.job_id, chunk.row.chunk_index, item["duplicate_of"]
                )
            })
            .collect();
        let n_named = chunk.row.lost_duplicates as usize;
        if lost.len() < n_named {
            let (job, index) = (chunk.row.job_id, chunk.row.chunk_index);
            found.push(format!("I3: chunk {job}/{index} lost {}, named {n_named}", lost.len()));
        } else if lost.len() > n_named {
            found.extend(lost);
        }
    }
    found
}

/// I3: of each picture of a job exactly one sample is not a late duplicate.
fn unique(chunks: &[Chunk]) -> Vec<String> {
    let late: BTreeSet<(i64, &str)> = chunks
        .iter()
        .flat_map(|chunk| {
            let entries = chunk.row.late_duplicates.as_array().map_or(&[][..], Vec::as_slice);
            entries.iter().filter_map(|e| Some((chunk.row.job_id, e["key"].as_str()?)))
        })
        .collect();
    let mut kept = BTreeMap::<(i64, String), usize>::new();
    for (sample, sha256) in samples(chunks) {
        let n = kept.entry((sample.0, sha256.to_string())).or_default();
        *n += usize::from(!late.contains(&sample));
    }
    let wrong = kept.into_iter().filter(|(_, n)| *n != 1);
    wrong.map(|((job, sha256), n)| format!("I3: job {job} keeps {n} of image {sha256}")).collect()
}
