//! Jobs as a list.

use super::{
    answer::{self, Page, Trouble},
    asked::{Asked, written},
    paging::Newest,
    show,
    table::{Column, table},
    world::World,
};
use axum::{extract::State, response::Response};
use chunk_handler::state::JobProgress;
use maud::{Markup, html};
use std::sync::Arc;

const STATES: [&str; 5] = ["pending", "running", "completed", "failed", "cancelled"];
const COLUMNS: [Column; 10] = [
    ("Job", false),
    ("State", false),
    ("Over", true),
    ("Chunks", true),
    ("Running", true),
    ("Failed chunks", true),
    ("Images", true),
    ("Valid", true),
    ("Written", true),
    ("Created", false),
];

/// `/jobs`.
pub(super) async fn page(State(world): State<Arc<World>>, asked: Asked) -> Response {
    answer::live(&world, &asked, async |_turn, _| read(&world, &asked).await).await
}

async fn read(world: &World, asked: &Asked) -> Result<Page, Trouble> {
    let state = asked.filter("state").filter(|state| STATES.contains(state));
    let page = Newest::of(asked);
    let mut jobs = world.read.jobs_page(state, page.offset(), Newest::limit()).await?;
    let links = page.cut(asked, &mut jobs);
    let rows: Vec<Markup> = jobs.iter().map(row).collect();
    let main = html! {
        form.filter method="get" action="/jobs" {
            div {
                label for="state" { "State" }
                select #state name="state" {
                    option value="" selected[state.is_none()] { "all" }
                    @for word in STATES {
                        option value=(word) selected[state == Some(word)] { (word) }
                    }
                }
            }
            button type="submit" { "Show" }
        }
        section.sheet {
            (table("Jobs, the newest first", &COLUMNS, &rows, nothing(state, &page)))
            (links)
        }
    };
    Ok(Page { title: state.map_or_else(|| "Jobs".into(), |state| format!("Jobs: {state}")), main })
}

fn nothing(state: Option<&str>, page: &Newest) -> &'static str {
    match state {
        _ if !page.is_first() => "There are no more.",
        Some(_) => "There is no such job.",
        None => "There is no job yet; chunkctl submit makes one.",
    }
}

fn row(job: &JobProgress) -> Markup {
    let address = format!("/jobs/{}", job.job_id);
    let failed = written(&address, &[("chunks", "failed")]);
    html! { tr {
        th scope="row" { a href=(address) { (job.job_id) } }
        td { (show::state(&job.status)) }
        td.n { (show::over(job.progress)) }
        td.n { (show::count(job.total_chunks.into())) }
        td.n { (show::count(job.active_chunks.into())) }
        td.n {
            @if job.failed_chunks > 0 { a href=(failed) { (show::count(job.failed_chunks.into())) } }
            @else { "0" }
        }
        td.n { (show::count(job.images_total)) }
        td.n { (show::count(job.images_valid)) }
        td.n { (show::bytes(job.bytes_out)) }
        td { (show::moment(job.created_at)) }
    } }
}
