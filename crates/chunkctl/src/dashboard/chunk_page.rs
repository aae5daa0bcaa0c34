//! One chunk: its attempts, its URLs, and its pictures.

mod files;
mod manifests;
mod pictures;
mod shard;
mod urls;

pub(super) use files::{image, list, manifest, picture};
pub(super) use manifests::{Manifests, of as manifest_of_row};

use super::{
    answer::{self, Page, Trouble},
    asked::Asked,
    show,
    table::{Column, table},
    world::{Turn, World},
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use chunk_handler::{
    chunk::ChunkId,
    state::{AttemptRow, ChunkStatus},
};
use maud::{Markup, html};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// The parameter that shows pictures without a blur.
const SHOW: &str = "pictures";
/// What a page waits for storage.
const PATIENCE: Duration = Duration::from_secs(5);
/// Attempts that are shown.
const ATTEMPTS: i64 = 50;
const COLUMNS: [Column; 8] = [
    ("Claim", true),
    ("Process", false),
    ("Slot", true),
    ("Claimed", false),
    ("Finished", false),
    ("Outcome", false),
    ("Error", false),
    ("Most temp", true),
];

/// `/jobs/{job}/chunks/{chunk}`.
pub(super) async fn page(
    State(world): State<Arc<World>>,
    Path((job, chunk)): Path<(String, String)>,
    asked: Asked,
) -> Response {
    answer::live(&world, &asked, async |turn, _| read(&world, &asked, &job, &chunk, turn).await)
        .await
}

/// A chunk of an address; none: there can be none like that.
fn chunk_of(job: &str, chunk: &str) -> Option<ChunkId> {
    Some(ChunkId { job_id: job.parse().ok()?, chunk_index: chunk.parse().ok()? })
}

/// Where the picture of a key is: `00004_00017` of this job, `5/00004_00017` of another.
fn place_of_key(job_id: i64, key: &str) -> Option<String> {
    let (job_id, key) = match key.split_once('/') {
        Some((other, key)) => (other.parse().ok()?, key),
        None => (job_id, key),
    };
    let (chunk, idx) = key.split_once('_')?;
    let (chunk, idx): (u32, u32) = (chunk.parse().ok()?, idx.parse().ok()?);
    Some(format!("/jobs/{job_id}/chunks/{chunk}/images/{idx}"))
}

async fn read(
    world: &World,
    asked: &Asked,
    job: &str,
    chunk: &str,
    turn: Turn<'_>,
) -> Result<Page, Trouble> {
    let unknown = || Trouble::Unknown(format!("There is no chunk {chunk} of job {job}."));
    let id = chunk_of(job, chunk).ok_or_else(unknown)?;
    let row = world.read.chunk(id).await?.ok_or_else(unknown)?;
    let attempts = world.read.attempts_of_page(id, ATTEMPTS).await?;
    drop(turn);
    let manifest = timeout(PATIENCE, Box::pin(manifests::of(world, &row)));
    let shard = timeout(PATIENCE, Box::pin(shard::head(world, &row)));
    let (manifest, shard) = tokio::join!(manifest, shard);
    let manifest =
        manifest.unwrap_or_else(|_| Err("Storage does not answer, or is slow.".to_owned()));
    let place = format!("/jobs/{}/chunks/{}", id.job_id, id.chunk_index);
    let main = html! {
        p { a href={ "/jobs/" (id.job_id) } { "Job " (id.job_id) } }
        (facts(world, &row))
        @match &manifest {
            Ok(manifest) => {
                @if let Ok(Some(head)) = &shard { (shard::banner(manifest, head.as_ref())) }
                p.row {
                    a href={ (place) "/manifest.json" } { "Save the manifest" }
                    a href={ (place) "/list.jsonl" } { "Save the list" }
                }
                (urls::urls(world, asked, manifest))
                (pictures::pictures(asked, manifest))
            }
            Err(why) => {
                p.banner { (show::prose(why)) }
                p.row { a href={ (place) "/list.jsonl" } { "Save the list" } }
            }
        }
        section.sheet { (attempts_table(&attempts)) }
    };
    Ok(Page { title: format!("Chunk {}/{}", id.job_id, id.chunk_index), main })
}

fn facts(world: &World, row: &ChunkStatus) -> Markup {
    let images = [
        ("URLs", row.images_total),
        ("Valid", row.images_valid),
        ("Duplicates", row.duplicates_removed),
        ("Invalid", row.images_invalid),
        ("Failed", row.images_failed),
    ];
    html! {
        dl.facts {
            div { dt { "State" } dd.small { (show::state(&row.status)) } }
            div { dt { "Attempts charged" } dd { (row.attempt) } }
            @for (name, n) in images { div { dt { (name) } dd { (show::maybe(n)) } } }
            @if let Some(n) = row.bytes_in { div { dt { "Downloaded" } dd { (show::bytes(n)) } } }
            @if let Some(n) = row.bytes_out { div { dt { "Written" } dd { (show::bytes(n)) } } }
            div { dt { "Changed" } dd.small { (show::moment(row.updated_at)) } }
        }
        @if row.lost_duplicates > 0 {
            p.banner.away {
                "Pictures that it left out, since another chunk had them whose samples are gone: " (row.lost_duplicates) ". "
                code { "chunkctl control retry --job-id " (row.job_id) " --chunk-index " (row.chunk_index) " --again" }
                " makes it again."
            }
        }
        @if let Some(code) = &row.error_code {
            p.banner.away {
                strong { (code) } ": "
                (show::prose(&world.shown_text(row.error_message.as_deref().unwrap_or_default())))
            }
        }
    }
}

fn attempts_table(attempts: &[AttemptRow]) -> Markup {
    let row = |attempt: &AttemptRow| {
        html! { tr {
            th.n scope="row" { (attempt.fence) }
            td { (attempt.owner) }
            td.n { @match attempt.slot_no { Some(slot) => (slot), None => "–" } }
            td { (show::moment(attempt.claimed_at)) }
            td { @if let Some(at) = attempt.finished_at { (show::moment(at)) } @else { "–" } }
            td { (attempt.outcome.as_deref().unwrap_or("running")) }
            td { (attempt.error_code.as_deref().unwrap_or("–")) }
            td.n { @match attempt.temp_peak_bytes { Some(n) => (show::bytes(n)), None => "–" } }
        } }
    };
    let rows: Vec<Markup> = attempts.iter().map(row).collect();
    html! {
        (table("Attempts, the newest first", &COLUMNS, &rows, "Nobody has claimed it yet."))
        @if i64::try_from(rows.len()) == Ok(ATTEMPTS) { p.quiet { "The last " (ATTEMPTS) "." } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_its_job_or_names_another() {
        let place = |key| place_of_key(7, key);
        assert_eq!(place("00004_00017").unwrap(), "/jobs/7/chunks/4/images/17");
        assert_eq!(place("5/00004_00017").unwrap(), "/jobs/5/chunks/4/images/17");
        for odd in ["", "4", "_", "a_b", "x/00004_00017", "5/-1_2", "../1_2"] {
            assert_eq!(place(odd), None, "{odd}");
        }
    }
}
