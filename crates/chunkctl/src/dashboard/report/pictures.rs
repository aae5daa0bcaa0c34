//! Some pictures of the job, small, and blurred until the reader ticks a box.

use super::small::{Small, small};
use crate::dashboard::{
    chunk_page::{manifest_of_row, picture},
    show,
    world::World,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chunk_handler::{
    chunk::{ItemReport, Manifest, Status},
    state::Error,
};
use maud::{Markup, html};

const SHOWN: usize = 24;
/// Chunks that they are of.
const CHUNKS: i64 = 8;

/// The pictures.
pub(super) struct Sheet {
    /// How many there are.
    pub(super) n: usize,
    pub(super) section: Markup,
}

/// Reads pictures of chunks all over the job. What storage does not give is said in its place.
pub(super) async fn sheet(world: &World, job_id: i64) -> Result<Sheet, Error> {
    let rows = world.read.chunks_with_pictures(job_id, CHUNKS).await?;
    let of_each = SHOWN.div_ceil(rows.len().max(1));
    let (mut figures, mut troubles) = (Vec::new(), Vec::new());
    let mut n = 0;
    for row in &rows {
        let manifest = match Box::pin(manifest_of_row(world, row)).await {
            Ok(manifest) => manifest,
            Err(why) => {
                troubles.push(format!("Chunk {}: {why}", row.chunk_index));
                continue;
            }
        };
        let valid: Vec<&ItemReport> =
            manifest.items.iter().filter(|item| item.status == Status::Valid).collect();
        let some = valid.iter().step_by((valid.len() / of_each).max(1)).take(of_each);
        for item in some.take(SHOWN - figures.len()) {
            let made = Box::pin(of_item(world, &manifest, item.idx)).await;
            n += usize::from(made.is_ok());
            figures.push(figure(item.key.as_deref().unwrap_or_default(), made));
        }
    }
    let section = html! {
        section.sheet {
            h2 { "Pictures" }
            @if figures.is_empty() { p.nothing { "No chunk has a picture yet." } }
            @else {
                p.quiet { "At most " (SHOWN) ", of chunks all over the job, made small." }
                input #show type="checkbox" autocomplete="off";
                label for="show" { "Show them without a blur" }
                ul.pictures { @for figure in &figures { li { (figure) } } }
            }
            @for trouble in &troubles { p.quiet { (show::prose(&world.shown_text(trouble))) } }
        }
    };
    Ok(Sheet { n, section })
}

async fn of_item(world: &World, manifest: &Manifest, idx: usize) -> Result<Small, String> {
    let bytes = Box::pin(picture(world, manifest, idx)).await.map_err(|(_, why)| why)?;
    small(bytes).await.map_err(str::to_owned)
}

fn figure(key: &str, made: Result<Small, String>) -> Markup {
    html! {
        figure {
            @match made {
                Ok(Small { kind, bytes }) => {
                    img src={ "data:" (kind) ";base64," (STANDARD.encode(bytes)) } alt={ "Sample " (key) }
                        width="160" height="160";
                }
                Err(why) => { p { (show::prose(&why)) } }
            }
            figcaption { (key) }
        }
    }
}
