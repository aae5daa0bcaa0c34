//! The fleet at a glance.

use super::{
    answer::{self, Page, Trouble},
    asked::Asked,
    show,
    table::table,
    world::World,
};
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use std::sync::Arc;

/// `/`.
pub(super) async fn page(State(world): State<Arc<World>>, asked: Asked) -> Response {
    answer::live(&world, &asked, read(&world)).await
}

async fn read(world: &World) -> Result<Page, Trouble> {
    let capacity = world.capacity().await?;
    let processes = world.read.processes().await?;
    let rows: Vec<Markup> = processes
        .iter()
        .map(|process| {
            html! { tr {
                th scope="row" { (process.owner) }
                td { (show::moment(process.since)) }
                td { (process.degraded.as_deref().unwrap_or("starts chunks")) }
            } }
        })
        .collect();
    let main = html! {
        dl.facts {
            div { dt { "Slots taken" } dd { (capacity.active_chunks) " of " (capacity.max_chunks) } }
        }
        section.sheet {
            (table("Processes", &[("Process", false), ("Since", false), ("State", false)], &rows,
                "No process is there."))
        }
    };
    Ok(Page { title: "Overview".into(), main })
}
