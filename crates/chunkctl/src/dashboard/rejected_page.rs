//! Messages that could never work.

use super::{
    answer::{self, Page, Trouble},
    asked::Asked,
    paging::Newest,
    show,
    table::{Column, table},
    world::World,
};
use axum::{extract::State, response::Response};
use chunk_handler::state::RejectedMessage;
use maud::{Markup, html};
use std::sync::Arc;

/// What is shown of a message.
const CHARACTERS: i32 = 600;
const COLUMNS: [Column; 4] =
    [("Received", false), ("Queue", false), ("Reason", false), ("Message", false)];

/// `/rejected`.
pub(super) async fn page(State(world): State<Arc<World>>, asked: Asked) -> Response {
    answer::live(&world, &asked, async |_turn, _| read(&world, &asked).await).await
}

async fn read(world: &World, asked: &Asked) -> Result<Page, Trouble> {
    let queue = asked.filter("queue");
    let page = Newest::of(asked);
    let asking = world.read.rejected_page(queue, page.offset(), Newest::limit(), CHARACTERS);
    let mut messages = asking.await?;
    let links = page.cut(asked, &mut messages);
    let nothing = if page.is_first() { "None was rejected." } else { "There are no more." };
    let rows: Vec<Markup> = messages.iter().map(|message| row(world, message)).collect();
    let main = html! {
        p { "They can never work, and nobody tries them again. Correct what sends them, then send anew." }
        @if let Some(queue) = queue {
            p { "Only queue " code { (queue) } ". " a href=(asked.with("queue", None)) { "Show all" } }
        }
        section.sheet {
            (table("Rejected messages, the newest first", &COLUMNS, &rows, nothing))
            (links)
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
