//! One job: totals, reasons, hosts, and its chunks as a grid and as a table.

mod grid;
mod hosts;
mod open;

pub(super) use hosts::HostsOfChunk;

use super::{
    answer::{self, Page, Part, Trouble, part},
    asked::Asked,
    layout,
    overview::reason_table,
    show,
    table::{Column, table},
    world::{Turn, World},
};
use crate::{next::is_waiting, words};
use axum::{
    extract::{Path, State},
    response::Response,
};
use chunk_handler::{
    chunk::ChunkId,
    jobs::again_command,
    state::{Error, JobProgress, LostDuplicates},
};
use maud::{Markup, html};
use std::sync::Arc;

const SHOWN_REASONS: i64 = 30;
const SHOWN_CODES: i64 = 20;
const SHOWN_LOST: usize = 5;

/// `/jobs/{job}`.
pub(super) async fn page(
    State(world): State<Arc<World>>,
    Path(job): Path<String>,
    asked: Asked,
) -> Response {
    Box::pin(answer::live(&world, &asked, async |turn, _| read(&world, &asked, &job, turn).await))
        .await
}

/// Reads the page.
pub(super) async fn read(
    world: &World,
    asked: &Asked,
    job: &str,
    turn: Turn<'_>,
) -> Result<Page, Trouble> {
    let unknown =
        || Trouble::Unknown(format!("There is no job {job}. It may be older than what is kept."));
    let Ok(job_id) = job.parse() else { return Err(unknown()) };
    let database = &world.read;
    let job = database.job_of_page(job_id).await?.ok_or_else(unknown)?;
    let per_cell = grid::per_cell(job.total_chunks);
    let (state, code) = (open::state(asked), asked.filter("code"));
    // One more than are shown says that there are more.
    let one_more = |shown: usize| i64::try_from(shown).unwrap_or(0) + 1;
    // Two of these read all chunks of the job, which takes its time if it is large: one on each connection.
    let chunks = async {
        let cells = part(database.chunk_cells(job_id, per_cell).await)?;
        let codes = part(database.failure_codes(job_id, SHOWN_CODES).await)?.unwrap_or_default();
        let chunks = part(database.open_chunks(job_id, state, code, one_more(open::SHOWN)).await)?;
        Ok::<_, Error>((cells, codes, chunks))
    };
    let images = async {
        let failed = part(database.most_failed_images(job_id, hosts::MOST_MANIFESTS).await)?;
        let lost = part(database.lost_duplicates(job_id, one_more(SHOWN_LOST)).await)?;
        Ok((failed, lost, part(database.reasons_of_page(job_id, SHOWN_REASONS).await)?))
    };
    let ((cells, codes, chunks), (failed, lost, reasons)) = tokio::try_join!(chunks, images)?;
    drop(turn);
    let hosts = hosts::hosts(world, job_id, &failed).await;

    let main = html! {
        (facts(&job))
        (warnings(&job))
        (lost_duplicates(world, job_id, &lost))
        @if world.allow_control { (actions(&job, asked)) }
        section.sheet {
            h2 { "Chunks" }
            @match &cells {
                Ok(cells) => { (grid::grid(&job, cells, per_cell)) }
                Err(why) => { p.nothing { (why) } }
            }
        }
        section.sheet {
            (open::codes(world, asked, job_id, &codes))
            @if world.is_served { (open::filters(asked, &codes)) }
            (open::chunks(world, asked, job_id, &chunks))
        }
        div.pair {
            section.sheet { (totals(&job)) }
            section.sheet { (reason_table(&reasons, job.images_total)) }
            section.sheet { (hosts) }
        }
    };
    Ok(Page { title: format!("Job {job_id}"), main })
}

fn facts(job: &JobProgress) -> Markup {
    html! {
        dl.facts {
            div { dt { "State" } dd.small { (show::state(&job.status)) } }
            div { dt { "Chunks over" } dd { (show::over(job.progress)) } }
            div { dt { "Images done" } dd { (show::count(job.items_done)) } }
            div { dt { "Images submitted" } dd { (show::maybe(job.images_submitted)) } }
            div { dt { "Downloaded" } dd { (show::bytes(job.bytes_in)) } }
            div { dt { "Written" } dd { (show::bytes(job.bytes_out)) } }
            div { dt { "Created" } dd.small { (show::moment(job.created_at)) } }
            div {
                @match job.ended_at {
                    Some(at) => { dt { "Ended" } dd.small { (show::moment(at)) } }
                    None => { dt { "Changed" } dd.small { (show::moment(job.updated_at)) } }
                }
            }
        }
    }
}

fn warnings(job: &JobProgress) -> Markup {
    html! {
        @if let Some(cause) = &job.end_error {
            p.banner.away { strong { "It cannot end: " } (show::prose(cause)) ". Free the named blob, or run "
                code { "chunkctl doctor" } "; it ends by itself then." }
        }
        @if is_waiting(job) && job.ended_at.is_none() {
            p.banner.paused { strong { "It waits for "
                (words::count(show::count(job.missing_chunks.into()), "chunk")) " that nobody sent. " } "Send them, or end it without them: "
                code { "chunkctl control close --job-id " (job.job_id) } }
        }
    }
}

/// Chunks that dropped duplicates of samples that are gone, as the end of the job found.
fn lost_duplicates(world: &World, job_id: i64, lost: &Part<Vec<LostDuplicates>>) -> Markup {
    let chunks = lost.as_deref().unwrap_or_default();
    let place = |index: i32| format!("/jobs/{job_id}/chunks/{index}");
    html! {
        @if let Some(first) = chunks.first() {
            div.banner.away {
                p {
                    strong { "Chunks that dropped duplicates of samples that are gone: " }
                    @for LostDuplicates { chunk_index, n } in chunks.iter().take(SHOWN_LOST) {
                        (world.link(&place(*chunk_index), &format!("{job_id}/{chunk_index}")))
                        " dropped " (n) ". "
                    }
                    @if chunks.len() > SHOWN_LOST { "There are more." }
                }
                p {
                    code { (again_command(ChunkId { job_id, chunk_index: first.chunk_index })) }
                    " makes the first of them again."
                }
            }
        } @else if let Err(why) = lost {
            p.quiet { "Chunks that dropped duplicates of samples that are gone: " (why) "." }
        }
    }
}

fn actions(job: &JobProgress, asked: &Asked) -> Markup {
    let fields = [("job_id", job.job_id.to_string())];
    html! {
        p.row {
            @if job.failed_chunks > 0 {
                (layout::action("Retry failed chunks…", "retry", &fields, &asked.address))
            } @else if job.ended_at.is_some() {
                (layout::action("Make again what storage lost…", "retry", &fields, &asked.address))
            }
            @if job.ended_at.is_none() && job.status != "cancelled" {
                (layout::action("Cancel job…", "cancel", &fields, &asked.address))
            }
        }
    }
}

/// Chunks and images, each with their sum.
fn totals(job: &JobProgress) -> Markup {
    const CHUNKS: [Column; 3] = [("Chunks", false), ("Number", true), ("Share", true)];
    const IMAGES: [Column; 3] = [("Images", false), ("Number", true), ("Share", true)];
    let chunks: [(&str, i64); 5] = [
        ("completed", job.completed_chunks.into()),
        ("failed", job.failed_chunks.into()),
        ("running", job.active_chunks.into()),
        ("pending", job.pending_chunks.into()),
        ("never sent", job.missing_chunks.into()),
    ];
    let images = [
        ("valid", job.images_valid),
        ("duplicates", job.duplicates_removed),
        ("invalid", job.images_invalid),
        ("failed", job.images_failed),
    ];
    html! {
        (table("Chunks", &CHUNKS, &with_sum(&chunks, job.total_chunks.into()), ""))
        (table("Images of completed chunks", &IMAGES, &with_sum(&images, job.images_total), ""))
        @let unknown = job.images_submitted.map_or(0, |all| all - job.images_total);
        @if unknown > 0 {
            p.quiet { "Without a verdict, in chunks that are not complete: " (show::count(unknown)) "." }
        }
        @if job.late_duplicates > 0 {
            p.quiet { (show::count(job.late_duplicates)) " of the valid ones are late duplicates." }
        }
        @if job.images_asked_again > 0 {
            p.quiet { (show::count(job.images_asked_again)) " of all were asked for again." }
        }
    }
}

fn with_sum(parts: &[(&str, i64)], sum: i64) -> Vec<Markup> {
    let row = |word: &str, n: i64| {
        html! { tr {
            th scope="row" { (word) }
            td.n { (show::count(n)) }
            td.n { (show::percent(n, sum)) }
        } }
    };
    parts.iter().map(|(word, n)| row(word, *n)).chain([row("all", sum)]).collect()
}
