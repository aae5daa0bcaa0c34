//! One job.

use super::{
    answer::{self, Page, Trouble},
    asked::Asked,
    show,
    world::World,
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use maud::html;
use std::sync::Arc;

/// `/jobs/{job}`.
pub(super) async fn page(
    State(world): State<Arc<World>>,
    Path(job): Path<String>,
    asked: Asked,
) -> Response {
    answer::live(&world, &asked, read(&world, &job)).await
}

async fn read(world: &World, job: &str) -> Result<Page, Trouble> {
    let unknown = || Trouble::Unknown(format!("There is no job {job}."));
    let Ok(job_id) = job.parse() else { return Err(unknown()) };
    let row = world.read.job_of_page(job_id).await?.ok_or_else(unknown)?;
    let main = html! { p { (show::state(&row.status)) } };
    Ok(Page { title: format!("Job {job_id}"), main })
}
