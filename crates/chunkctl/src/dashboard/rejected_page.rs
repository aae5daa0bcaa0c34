//! Messages that could never work.

use super::{
    answer::{self, Page, Trouble},
    asked::Asked,
    show,
    table::{Column, table},
    world::World,
};
use axum::{extract::State, response::Response};
use chunk_handler::state::RejectedMessage;
use maud::{Markup, html};
use std::sync::Arc;

const PER_PAGE: usize = 50;
const LAST_PAGE: i64 = 200;
/// What is shown of a message.
const CHARACTERS: i32 = 600;
const COLUMNS: [Column; 4] =
    [("Received", false), ("Queue", false), ("Reason", false), ("Message", false)];

/// `/rejected`.
pub(super) async fn page(State(world): State<Arc<World>>, asked: Asked) -> Response {
    answer::live(&world, &asked, read(&world, &asked)).await
}

async fn read(world: &World, asked: &Asked) -> Result<Page, Trouble> {
    let queue = asked.filter("queue");
    let at = asked.number::<i64>("page").unwrap_or(1).clamp(1, LAST_PAGE);
    let per_page = i64::try_from(PER_PAGE).unwrap_or(i64::MAX);
    let offset = (at - 1).saturating_mul(per_page);
    let mut messages = world.read.rejected_page(queue, offset, per_page + 1, CHARACTERS).await?;
    let has_more = messages.len() > PER_PAGE && at < LAST_PAGE;
    messages.truncate(PER_PAGE);
    let rows: Vec<Markup> = messages.iter().map(|message| row(world, message)).collect();
    let to_page = |page: i64| asked.with("page", Some(&page.to_string()));
    let main = html! {
        p { "They can never work, and nobody tries them again. Correct what sends them, then send anew." }
        @if let Some(queue) = queue {
            p { "Only queue " code { (queue) } ". " a href=(asked.with("queue", None)) { "Show all" } }
        }
        section.sheet {
            (table("Rejected messages, the newest first", &COLUMNS, &rows, "None was rejected."))
            @if at > 1 || has_more {
                nav.row aria-label="Pages" {
                    @if at > 1 { a href=(to_page(at - 1)) { "Newer" } }
                    span { "Page " (at) }
                    @if has_more { a href=(to_page(at + 1)) { "Older" } }
                }
            }
        }
    };
    Ok(Page { title: "Rejected messages".into(), main })
}

fn row(world: &World, message: &RejectedMessage) -> Markup {
    let is_cut = message.body.chars().count() >= usize::try_from(CHARACTERS).unwrap_or(usize::MAX);
    html! { tr {
        th scope="row" { (show::moment(message.received_at)) }
        td { (message.queue) }
        td.long { (world.shown_text(&message.reason)) }
        td.long { pre { (world.shown_text(&message.body)) @if is_cut { "…" } } }
    } }
}
