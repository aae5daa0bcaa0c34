//! `chunkctl dashboard --write`: the page of a job as one file that stands alone, to attach to a mail.
//!
//! It asks nobody for anything and runs nothing: its style is inside, its pictures are inside and small,
//! and the policy in its head allows no more than these.

mod file;
mod pictures;
mod small;

use super::{
    answer::Trouble,
    asked::Asked,
    job_page, layout,
    overview::{Window, timeline},
    show,
    world::World,
};
use crate::{Session, failure::bail_as, print::out};
use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chunk_handler::state::{Capacity, Error};
use indicatif::HumanBytes;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use pictures::Sheet;
use sha2::{Digest as _, Sha256};
use std::{path::Path, process::ExitCode};
use time::OffsetDateTime;

/// Claims that are looked at, the newest.
const MOST_ATTEMPTS: i64 = 3000;
const STYLE: &str = include_str!("assets/style.css");

impl Session {
    /// Writes the report of a job.
    pub(super) async fn write_report(&self, job_id: i64, path: &Path) -> anyhow::Result<ExitCode> {
        file::refuse_others(path)?;
        let world = World::of_file(self.clone(), self.database.clone());
        let asked = Asked::new("", "", &HeaderMap::new());
        let capacity = world.capacity().await?;
        let page = Box::pin(job_page::read(&world, &asked, &job_id.to_string(), None)).await;
        let page = match page {
            Ok(page) => page,
            Err(Trouble::Unknown(_)) => {
                bail_as!(JobUnknown, "job {job_id} is unknown; see `chunkctl status`")
            }
            Err(Trouble::Database(error)) => return Err(error.into()),
        };
        let slots = slots(&world, job_id, &capacity).await?;
        let Sheet { n, section } = Box::pin(pictures::sheet(&world, job_id)).await?;
        let main = html! {
            (layout::paused(&world, &capacity, ""))
            h1 { (page.title) }
            (page.main)
            (slots)
            (section)
        };
        let text = document(&page.title, &main, capacity.now).0;
        file::write(path, &text)?;
        if self.json {
            let document = serde_json::json!({
                "job_id": job_id, "file": path, "bytes": text.len(), "pictures": n,
            });
            out(format_args!("{document}"));
        } else {
            let size = HumanBytes(u64::try_from(text.len()).unwrap_or(u64::MAX));
            eprintln!("the report of job {job_id} is {} ({size})", path.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the slots did for the job, in the last half hour of its claims.
async fn slots(world: &World, job_id: i64, capacity: &Capacity) -> Result<Markup, Error> {
    let attempts = world.read.attempts_of_job(job_id, MOST_ATTEMPTS).await?;
    let live = world.read.processes().await?;
    let window = Window::of(&attempts, capacity.now);
    Ok(html! {
        section.sheet {
            @if let Some(window) = window {
                @let shown: Vec<_> = attempts.iter().filter(|row| window.has(row)).cloned().collect();
                h2 { (window.title()) }
                p.quiet {
                    "Claims of this job alone, " (shown.len()) " of them: all its time, or the last half \
                     hour of it."
                }
                (timeline(world, &shown, &live, capacity.max_chunks, window))
            } @else {
                h2 { "Slots" }
                p.nothing { "Nobody has claimed a chunk of it, or its claims are not kept any more." }
            }
        }
    })
}

/// The whole file.
fn document(title: &str, main: &Markup, at: OffsetDateTime) -> Markup {
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    );
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="generator" content=(file::GENERATOR);
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) ", " (show::stamp(at)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (main) }
                footer { p {
                    "chunkctl " (env!("CARGO_PKG_VERSION")) " wrote this at " (show::stamp(at))
                    ". Times are UTC; those without a day are of that day."
                } }
            }
        }
    }
}
