//! What must hold of a chunk that should be completed, and of its job.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{
    checkout::hex,
    rig::{DATASETS, Rig, wait_for},
    world::PICTURES,
};

/// A chunk's row, and what its claims came to.
#[derive(sqlx::FromRow)]
struct Row {
    state: String,
    attempt: i32,
    fence: i64,
    shard_fence: Option<i64>,
    shard_sha256: Option<String>,
    shard_bytes: Option<i64>,
    shard_samples: Option<i64>,
    claims: i64,
    completed: i64,
    uncharged: i64,
    hashes: i64,
}

const ROW: &str = "
    select c.state::text, c.attempt, c.fence, c.shard_fence, c.shard_sha256, c.shard_bytes,
        c.shard_samples, count(a) as claims,
        count(a) filter (where a.outcome = 'completed') as completed,
        count(a) filter (where a.outcome in ('released', 'expired')) as uncharged,
        (select count(*) from chunk_handler.image_hash i where i.job_id = c.job_id) as hashes
    from chunk_handler.chunk c left join chunk_handler.attempt a using (job_id, chunk_index)
    where c.job_id = $1 group by c.job_id, c.chunk_index";

/// Everything that is wrong about a chunk that should be completed, and its job.
pub async fn violations(rig: &Rig, job: i64) -> Vec<String> {
    let row: Row = sqlx::query_as(ROW).bind(job).fetch_one(&rig.pool).await.unwrap();
    if row.state != "completed" {
        return vec![format!("I1: the chunk is {}", row.state)];
    }
    let sql = "select status from chunk_handler.job_progress where job_id = $1";
    wait_for("the job is completed", async || {
        let status: String = sqlx::query_scalar(sql).bind(job).fetch_one(&rig.pool).await.unwrap();
        status == "completed"
    })
    .await;
    let mut wrong = of_rows(rig, &row).await;
    wrong.extend(of_blobs(rig, job, &row).await);
    wrong
}

async fn of_rows(rig: &Rig, row: &Row) -> Vec<String> {
    let slots = rig.value("select count(job_id) from chunk_handler.slot").await;
    let rejected = rig.value("select count(*) from chunk_handler.rejected_message").await;
    let next = rig.value("select count(*) from chunk_handler.chunk where job_id = 1").await;
    let mut wrong = Vec::new();
    for (what, is, expected) in [
        ("I5: completions", row.completed, 1),
        ("I5: the fence after its claims", row.fence, row.claims),
        ("I8: attempts", row.attempt.into(), 1),
        ("I8: claims less uncharged ones", row.claims - row.uncharged, 1),
        ("I3: hashes for dedupe", row.hashes, PICTURES as i64),
        ("I4: occupied slots", slots, 0),
        ("I9: rejected messages", rejected, 0),
        ("I1: chunks next in line", next, 1),
    ] {
        if is != expected {
            wrong.push(format!("{what}: {is}, not {expected}"));
        }
    }
    wrong
}

/// I2 I3 I5: one shard, one manifest and one of each document; all say what the row says.
async fn of_blobs(rig: &Rig, job: i64, row: &Row) -> Vec<String> {
    let [manifest, dataset] =
        [rig.manifest(job, 0).await, json(rig, &format!("job_{job}/dataset.json")).await];
    let stats = json(rig, &format!("job_{job}/stats.json")).await;
    let sizes = json(rig, &format!("job_{job}/chunks/sizes.json")).await;
    let shard = rig.shard(job, 0).await;
    let sha256 = hex(&Sha256::digest(&shard));
    let mut wrong = Vec::new();
    let mut equal = |what: &str, is: Value, expected: Value| {
        if is != expected {
            wrong.push(format!("{what}: {is}, not {expected}"));
        }
    };
    let metadata = metadata(rig, job).await;
    for (place, found) in [
        ("row", row.shard_sha256.clone().into()),
        ("manifest", manifest["shard"]["sha256"].clone()),
        ("metadata", metadata("sha256").into()),
        ("dataset.json", dataset["shards"][0]["sha256"].clone()),
    ] {
        equal(&format!("I2: sha256 in {place}"), found, sha256.as_str().into());
    }
    equal("I2: bytes", row.shard_bytes.into(), shard.len().into());
    equal("I5: fence of the manifest", manifest["fence"].clone(), row.shard_fence.into());
    let fence = row.shard_fence.unwrap_or_default().to_string();
    equal("I5: fence of the metadata", metadata("fence").into(), fence.into());
    for (place, found) in [
        ("row", row.shard_samples.into()),
        ("manifest", manifest["shard"]["samples"].clone()),
        ("metadata", metadata("samples").and_then(|n| n.parse::<u64>().ok()).into()),
        ("dataset.json", dataset["totals"]["images_valid"].clone()),
        ("stats.json", stats["successes"].clone()),
        ("sizes.json", sizes["chunk_00000.tar"].clone()),
        ("items", intact(&manifest, &shard).into()),
    ] {
        equal(&format!("I3: samples in {place}"), found, PICTURES.into());
    }
    let blobs = rig.blobs.list(DATASETS, &format!("job_{job}/")).await.unwrap();
    let expected = [
        "README.md",
        "chunks/chunk_00000.manifest.json",
        "chunks/chunk_00000.tar",
        "chunks/sizes.json",
        "dataset.json",
        "stats.json",
    ];
    equal("I2: blobs", blobs.into(), expected.map(|name| format!("job_{job}/{name}")).into());
    wrong
}

async fn json(rig: &Rig, name: &str) -> Value {
    serde_json::from_slice(&rig.blobs.read(DATASETS, name).await.unwrap()).unwrap()
}

/// How many valid items have their bytes in the shard.
fn intact(manifest: &Value, shard: &[u8]) -> usize {
    let is_intact = |item: &&Value| {
        let at = |name: &str| item[name].as_u64().unwrap_or(0) as usize;
        let bytes = shard.get(at("offset")..at("offset") + at("length")).unwrap_or_default();
        item["status"] == "valid" && item["sha256"] == hex(&Sha256::digest(bytes))
    };
    manifest["items"].as_array().map_or(0, |items| items.iter().filter(is_intact).count())
}

/// The metadata of a job's one shard, by name, from a listing.
async fn metadata(rig: &Rig, job: i64) -> impl Fn(&str) -> Option<String> {
    // The prefix goes last into the query: what is read is a path.
    let listing =
        format!("{DATASETS}?restype=container&comp=list&include=metadata&prefix=job_{job}");
    let xml = rig.blobs.read(&listing, "chunks/chunk_00000.tar").await.unwrap();
    let xml = String::from_utf8_lossy(&xml).into_owned();
    move |name| {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    }
}
