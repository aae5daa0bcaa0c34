//! I1-I13, I16 and M3, asked when the work is over. Each check answers the violations it found, as sentences.

use crate::{
    blame,
    jobs::{self, CANCELLED, Chunks, FAILING, MIXED},
    machine::{TEMP_BUDGET_BYTES, secrets},
    site::Site,
    watch::{directories, is_alive, owner, temp_root},
};
use serde_json::Value;
use sqlx::Row as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use support::{
    invariants,
    rig::{DATASETS, Handler, Rig},
};

/// Everything that is asked once, of a fleet that has nothing left to do.
pub async fn violations(site: &Site) -> Vec<String> {
    let rig = &site.rig;
    let mut found = invariants::violations(rig).await;
    let chunks = site.chunks();
    found.extend(lost_for_good(rig, &chunks).await);
    found.extend(failed(rig).await);
    found.extend(pictures(rig, &chunks).await);
    found.extend(datasets(rig).await);
    found.extend(ledger(rig).await);
    found.extend(unrecorded(rig, &site.unreadable()).await);
    found.extend(blame::charged(rig).await);
    found.extend(blame::hot(rig).await);
    found.extend(blame::rejected(rig, &site.unreadable(), site.forgot() > 0).await);
    found.extend(site.canary.violations());
    found.extend(untold(site).await);
    found.extend(left_behind(site).await);
    let _ = site.chunkctl(&["status", "--json"]);
    found.extend(blame::ill(site).await);
    found.extend(shown(&site.lines(), &secrets(rig)));
    found
}

/// I1: chunks that are lost. Those of the job that commands end may come after its end: then they are
/// recorded.
pub async fn lost_for_good(rig: &Rig, chunks: &Chunks) -> Vec<String> {
    let mut lost = lost(rig, chunks).await;
    let sql =
        "select exists (select from chunk_handler.job where job_id = $1 and ended_at is not null)";
    if sqlx::query_scalar(sql).bind(MIXED).fetch_one(&rig.pool).await.unwrap() {
        lost.retain(|(job, _)| *job != MIXED);
    }
    lost.iter().map(|(job, index)| format!("I1: chunk {job}/{index} is lost")).collect()
}

/// Chunks that nobody knows.
pub async fn lost(rig: &Rig, chunks: &Chunks) -> Vec<(i64, i32)> {
    let sql = "select job_id, chunk_index from chunk_handler.chunk_status";
    let rows: Vec<(i64, i32)> = sqlx::query_as(sql).fetch_all(&rig.pool).await.unwrap();
    let rows: BTreeSet<_> = rows.into_iter().collect();
    chunks.keys().filter(|id| !rows.contains(id)).copied().collect()
}

/// I8: faults of the infrastructure alone fail no chunk.
pub async fn failed(rig: &Rig) -> Vec<String> {
    let sql = "select format('I8: chunk %s/%s failed: %s %s', job_id, chunk_index, error_code,
            error_message)
        from chunk_handler.chunk_status
        where status = 'failed' and not (error_code = 'cancelled' and job_id in ($1, $3))
            and not (error_code = 'nothing_reachable' and job_id = $2)";
    sqlx::query_scalar(sql)
        .bind(CANCELLED)
        .bind(FAILING)
        .bind(MIXED)
        .fetch_all(&rig.pool)
        .await
        .unwrap()
}

/// I3: every good picture of the completed chunks was kept once; none has an error as its verdict.
async fn pictures(rig: &Rig, chunks: &Chunks) -> Vec<String> {
    let (mut found, mut expected) = (Vec::new(), BTreeMap::<i64, BTreeSet<String>>::new());
    for ((job, index), urls) in chunks {
        // Not completed, which others say: it was cancelled or is lost.
        let name = format!("job_{job}/chunks/chunk_{index:05}.manifest.json");
        let sql = "select status = 'completed' from chunk_handler.chunk_status
            where job_id = $1 and chunk_index = $2";
        let is_completed = sqlx::query_scalar(sql).bind(job).bind(index);
        if is_completed.fetch_optional(&rig.pool).await.unwrap() != Some(true) {
            continue;
        }
        let Ok(manifest) = rig.blobs.read(DATASETS, &name).await else { continue };
        let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
        let of_job = expected.entry(*job).or_default();
        for (idx, url) in urls.iter().enumerate().filter(|(_, url)| jobs::is_good(url)) {
            of_job.insert(jobs::picture(url));
            let item = &manifest["items"][idx];
            if item["status"] != "valid" && item["status"] != "duplicate" {
                let reason = &item["reason"];
                found.push(format!("I3: picture {idx} of chunk {job}/{index} failed: {reason}"));
            }
        }
    }
    let sql =
        "select job_id, images_valid - late_duplicates as kept from chunk_handler.job_progress";
    for row in sqlx::query(sql).fetch_all(&rig.pool).await.unwrap() {
        let (job, kept): (i64, i64) = (row.get("job_id"), row.get("kept"));
        let n = expected.get(&job).map_or(0, BTreeSet::len) as i64;
        if kept != n {
            found.push(format!("I3: job {job} keeps {kept} of its {n} pictures"));
        }
    }
    found
}

/// I8: what a job says of itself equals a recount of its rows.
pub async fn datasets(rig: &Rig) -> Vec<String> {
    let sql = "select job_id, count(*) filter (where state = 'completed') as shards,
            coalesce(sum(shard_samples), 0)::bigint as samples,
            coalesce(sum((totals ->> 'images_total')::bigint), 0)::bigint as images
        from chunk_handler.chunk group by job_id";
    let mut found = Vec::new();
    for row in sqlx::query(sql).fetch_all(&rig.pool).await.unwrap() {
        let job: i64 = row.get("job_id");
        let dataset = rig.blobs.read(DATASETS, &format!("job_{job}/dataset.json")).await;
        let dataset: Value = match dataset {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) => {
                found.push(format!("I8: job {job} ended without dataset.json: {error}"));
                continue;
            }
        };
        let sizes = rig.blobs.read(DATASETS, &format!("job_{job}/chunks/sizes.json")).await;
        let sizes: BTreeMap<String, i64> = sizes
            .map_or_else(|_| BTreeMap::new(), |b| serde_json::from_slice(&b).unwrap_or_default());
        let shards = dataset["shards"].as_array().map_or(0, Vec::len) as i64;
        let total = |name| dataset["totals"][name].as_i64();
        for (what, says, rows) in [
            ("shards", Some(shards), row.get::<i64, _>("shards")),
            ("images_valid", total("images_valid"), row.get("samples")),
            ("images_total", total("images_total"), row.get("images")),
            ("shards in sizes.json", Some(sizes.len() as i64), row.get("shards")),
            ("samples in sizes.json", Some(sizes.values().sum()), row.get("samples")),
        ] {
            if says != Some(rows) {
                found.push(format!(
                    "I8: the documents of job {job} have {what} {says:?}, rows {rows}"
                ));
            }
        }
    }
    found
}

/// I6: the ledgers, as the processes reported them.
async fn ledger(rig: &Rig) -> Vec<String> {
    let sql =
        "select distinct format('I6: a ledger had %s bytes', report ->> 'temp_high_water_bytes')
        from chunk_handler.health where (report ->> 'temp_high_water_bytes')::bigint > $1";
    let limit = TEMP_BUDGET_BYTES as i64;
    sqlx::query_scalar(sql).bind(limit).fetch_all(&rig.pool).await.unwrap()
}

/// I9: messages that nobody could read and that nobody recorded.
pub async fn unrecorded(rig: &Rig, bodies: &[String]) -> Vec<String> {
    let sql = "select body from chunk_handler.rejected_message";
    let recorded: Vec<String> = sqlx::query_scalar(sql).fetch_all(&rig.pool).await.unwrap();
    let missing = bodies.iter().filter(|body| !recorded.contains(body));
    missing.map(|body| format!("I9: nothing records the message {body:?}")).collect()
}

/// How long a process that was killed keeps the turn to tell, of which that much is left out.
const LEFT_OUT: &str = "update chunk_handler.failure_export set until = clock_timestamp()
    where exported < failed";

/// M3: telemetry was told of each chunk that failed, and of none twice, but for those of which a
/// process was killed, or lost its database, just as it told.
async fn untold(site: &Site) -> Vec<String> {
    let rig = &site.rig;
    let sql = "select count(*) from chunk_handler.chunk_status
        where status = 'failed' and error_code <> 'cancelled'";
    let failed = rig.value::<i64>(sql).await as f64;
    for second in 0..60 {
        let confirmed = "select exported = failed from chunk_handler.failure_export";
        if rig.value::<bool>(confirmed).await {
            break;
        }
        if second == 10 {
            rig.execute(LEFT_OUT).await;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let told = site.ingestion.sum("failed_chunks").unwrap_or_default();
    let lines = site.lines();
    // Not sum(): that of nothing is minus zero.
    let twice = lines.iter().filter_map(|line| told_again(line)).fold(0.0, |sum, n| sum + n);
    let twice = twice + site.n_told_in_vain();
    eprintln!("  {failed} chunks failed, telemetry says {told}, perhaps {twice} of them twice");
    miscounted(failed, told, twice)
}

/// M3: what telemetry says of so many failures, of which some may have been told twice.
pub fn miscounted(failed: f64, told: f64, twice: f64) -> Vec<String> {
    if (failed..=failed + twice).contains(&told) {
        return Vec::new();
    }
    vec![format!("M3: {failed} chunks failed, telemetry says {told}, perhaps {twice} twice")]
}

/// How many failures a process told of although another one may have.
fn told_again(line: &str) -> Option<f64> {
    let json = line.find('{').and_then(|at| line.get(at..))?;
    let line: Value = serde_json::from_str(json).ok()?;
    let is_again = line["message"].as_str()?.starts_with("sending failed chunks again");
    is_again.then(|| line["n"].as_f64()).flatten()
}

/// I6 I7: a process that starts sweeps what the dead left, and nothing of the living.
async fn left_behind(site: &Site) -> Vec<String> {
    let shared = temp_root(site);
    let living: Vec<_> =
        directories(&shared).into_iter().filter(|(pid, _)| is_alive(*pid)).collect();
    let fresh = site.rig.handler().await;
    // Its first sweep runs beside its first answers.
    let mut found = Vec::new();
    for _ in 0..50 {
        found = strangers(&shared);
        if found.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    found.extend(removed(&living));
    let bytes = invariants::walk(&shared);
    if bytes > 0 {
        found.push(format!("I6: {bytes} temp bytes although nothing runs"));
    }
    found.extend(shown(&output(&fresh), &secrets(&site.rig)));
    found
}

/// I7: what lies under the temp root and belongs to no living process.
pub fn strangers(shared: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(shared).into_iter().flatten().flatten();
    let orphans = entries.filter(|entry| !owner(&entry.path()).is_some_and(is_alive));
    orphans.map(|entry| format!("I7: {:?} has no owner", entry.file_name())).collect()
}

/// I7: directories of living processes that are gone.
pub fn removed(living: &[(i32, std::path::PathBuf)]) -> Vec<String> {
    let gone = living.iter().filter(|(pid, path)| !path.exists() && is_alive(*pid));
    gone.map(|(pid, _)| format!("I7: the sweep removed the directory of process {pid}")).collect()
}

fn output(handler: &Handler) -> Vec<String> {
    handler.lines().into_iter().chain(handler.errors()).collect()
}

/// I11: lines that show a secret.
pub fn shown(lines: &[String], secrets: &[String]) -> Vec<String> {
    let leaks = lines.iter().filter(|line| secrets.iter().any(|secret| line.contains(secret)));
    let found: BTreeSet<String> = leaks.map(|line| format!("I11: a log shows {line:?}")).collect();
    // A few lines are enough to find the place.
    found.into_iter().take(3).collect()
}
