//! Hosts whose images were not downloaded, from the manifests of the chunks that have most of them.

use crate::dashboard::{
    answer::{Part, nothing},
    show,
    table::{Column, table},
    world::World,
};
use crate::words;
use chunk_handler::{
    chunk::{ChunkId, Manifest, Status},
    jobs::manifest_bytes,
    state::FailedImages,
};
use futures_util::{StreamExt as _, stream};
use maud::{Markup, html};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use url::Url;

/// Manifests that are read.
pub(super) const MOST_MANIFESTS: i64 = 20;
const AT_ONCE: usize = 4;
/// What a page waits for manifests; what was read stays, and the rest comes with the next one.
const PATIENCE: Duration = Duration::from_millis(1500);
/// What a file waits, which has no next one.
const PATIENCE_OF_FILE: Duration = Duration::from_secs(60);
/// How long storage is not asked after it did not answer in time.
const REST: Duration = Duration::from_secs(10);
const SHOWN: usize = 15;
/// Chunks whose hosts are remembered, some kB each.
const MOST_KEPT: usize = 2000;

/// Images of a chunk that were not downloaded, by host; none: storage has lost the manifest, or
/// it is damaged.
pub(crate) type HostsOfChunk = Option<BTreeMap<String, i64>>;

/// A table of hosts.
pub(super) async fn hosts(world: &World, job_id: i64, chunks: &Part<Vec<FailedImages>>) -> Markup {
    const COLUMNS: [Column; 2] = [("Host", false), ("Images not downloaded", true)];
    let nothing = nothing(chunks, "No manifest with failures was read.");
    let chunks = chunks.as_deref().unwrap_or_default();
    let (found, is_away) = counted(world, job_id, chunks).await;
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for (host, n) in found.iter().flat_map(|hosts| hosts.iter().flatten()) {
        *sums.entry(host).or_default() += n;
    }
    let read = found.iter().filter(|hosts| hosts.is_some()).count();
    let mut sums: Vec<(&str, i64)> = sums.into_iter().collect();
    sums.sort_by_key(|(host, n)| (std::cmp::Reverse(*n), *host));
    let rows: Vec<Markup> = sums
        .iter()
        .take(SHOWN)
        .map(|(host, n)| html! { tr { th.long scope="row" { (host) } td.n { (show::count(*n)) } } })
        .collect();
    html! {
        (table("Hosts with most failures", &COLUMNS, &rows, nothing))
        @if !chunks.is_empty() {
            p.quiet {
                "From the manifests of " (read) " of " (words::count(chunks.len(), "chunk")) ": those with most \
                 failures, at most " (MOST_MANIFESTS) ". Other chunks may have other hosts."
                @if is_away { " Storage does not answer, or is slow." }
                @if read < found.len() {
                    " Lost or damaged, as " code { "chunkctl verify" } " says: " (found.len() - read) "."
                }
            }
        }
    }
}

/// The hosts of chunks, as far as they are known in time, and whether storage does not give the others.
async fn counted(
    world: &World,
    job_id: i64,
    chunks: &[FailedImages],
) -> (Vec<Arc<HostsOfChunk>>, bool) {
    let key = |chunk: &FailedImages| (job_id, chunk.chunk_index, chunk.shard_fence);
    let mut unknown: Vec<FailedImages> = {
        let kept = world.hosts.lock();
        chunks.iter().filter(|chunk| !kept.contains_key(&key(chunk))).copied().collect()
    };
    let is_resting = world.storage_failed.lock().is_some_and(|at| at.elapsed() < REST);
    if is_resting {
        unknown.clear();
    }
    let reads = stream::iter(unknown).map(async |chunk| {
        let id = ChunkId { job_id, chunk_index: chunk.chunk_index };
        let read = Box::pin(manifest_bytes(&world.session.storage, id)).await;
        let hosts = read.map(|read| {
            let manifest = read.and_then(|(_, bytes)| serde_json::from_slice(&bytes).ok());
            manifest.map(|manifest: Manifest| by_host(&manifest))
        });
        hosts.map(|hosts| keep(world, key(&chunk), hosts)).is_ok()
    });
    let all = reads.buffer_unordered(AT_ONCE).all(async |is_read| is_read);
    let patience = if world.is_served { PATIENCE } else { PATIENCE_OF_FILE };
    let is_away = !tokio::time::timeout(patience, all).await.unwrap_or(false);
    if is_away {
        *world.storage_failed.lock() = Some(Instant::now());
    }
    let kept = world.hosts.lock();
    let found = chunks.iter().filter_map(|chunk| kept.get(&key(chunk)).cloned()).collect();
    (found, is_away || is_resting)
}

fn keep(world: &World, key: (i64, i32, i64), hosts: HostsOfChunk) {
    let mut kept = world.hosts.lock();
    if kept.len() >= MOST_KEPT {
        kept.clear();
    }
    kept.insert(key, Arc::new(hosts));
}

fn by_host(manifest: &Manifest) -> BTreeMap<String, i64> {
    let mut hosts = BTreeMap::new();
    for item in manifest.items.iter().filter(|item| item.status == Status::Failed) {
        *hosts.entry(host(&item.url)).or_default() += 1;
    }
    hosts
}

/// Host and port of a URL as it was given.
fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => "(no host)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_port_and_no_user() {
        assert_eq!(host("https://u:p@a.example/x?sig=1"), "a.example");
        assert_eq!(host("http://a.example:8080/"), "a.example:8080");
        assert_eq!(host("cat.jpg"), "(no host)");
    }
}
