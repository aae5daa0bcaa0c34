//! One chunk.

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
use chunk_handler::chunk::ChunkId;
use maud::html;
use std::sync::Arc;

/// `/jobs/{job}/chunks/{chunk}`.
pub(super) async fn page(
    State(world): State<Arc<World>>,
    Path((job, chunk)): Path<(String, String)>,
    asked: Asked,
) -> Response {
    answer::live(&world, &asked, read(&world, &job, &chunk)).await
}

async fn read(world: &World, job: &str, chunk: &str) -> Result<Page, Trouble> {
    let unknown = || Trouble::Unknown(format!("There is no chunk {chunk} of job {job}."));
    let (Ok(job_id), Ok(chunk_index)) = (job.parse(), chunk.parse()) else { return Err(unknown()) };
    let row = world.read.chunk(ChunkId { job_id, chunk_index }).await?.ok_or_else(unknown)?;
    let main = html! { p { (show::state(&row.status)) } };
    Ok(Page { title: format!("Chunk {job_id}/{chunk_index}"), main })
}
