//! The table of chunks that are not completed: the grid in words, with filters.

use crate::dashboard::{
    answer::{Part, nothing},
    asked::Asked,
    layout, show,
    table::{Column, table},
    world::World,
};
use chunk_handler::{
    chunk::ErrorCode,
    state::{FailureCode, OpenChunk},
};
use maud::{Markup, html};

/// Chunks that are shown.
pub(super) const SHOWN: usize = 40;
const STATES: [(&str, &str); 3] =
    [("failed", "failed"), ("processing", "running"), ("pending", "pending")];
const COLUMNS: [Column; 8] = [
    ("Chunk", false),
    ("State", false),
    ("Attempts", true),
    ("Images done", true),
    ("Why", false),
    ("Process", false),
    ("Not before", false),
    ("Changed", false),
];

/// The state that is asked for, if there is such a one; in the database's word or in the page's.
pub(super) fn state(asked: &Asked) -> Option<&'static str> {
    let wanted = asked.filter("chunks")?;
    STATES.into_iter().find(|state| wanted == state.0 || wanted == state.1).map(|state| state.0)
}

/// Chunks of one state, or of one error code.
pub(super) fn filters(asked: &Asked, codes: &[FailureCode]) -> Markup {
    let (state, code) = (state(asked), asked.filter("code"));
    html! {
        form.filter method="get" {
            div {
                label for="chunks" { "State" }
                select #chunks name="chunks" {
                    option value="" selected[state.is_none()] { "all that are open" }
                    @for (value, word) in STATES {
                        option value=(value) selected[state == Some(value)] { (word) }
                    }
                }
            }
            div {
                label for="code" { "Error code" }
                select #code name="code" {
                    option value="" selected[code.is_none()] { "any" }
                    @for FailureCode { error_code, .. } in codes {
                        option value=(error_code) selected[code == Some(error_code)] { (error_code) }
                    }
                    @if let Some(code) = code && codes.iter().all(|known| known.error_code != code) {
                        option value=(code) selected { (code) }
                    }
                }
            }
            button type="submit" { "Show" }
        }
    }
}

/// The chunks; one more than are shown says that there are more.
pub(super) fn chunks(
    world: &World,
    asked: &Asked,
    job_id: i64,
    chunks: &Part<Vec<OpenChunk>>,
) -> Markup {
    let nothing = nothing(chunks, "There is none.");
    let chunks = chunks.as_deref().unwrap_or_default();
    let rows: Vec<Markup> =
        chunks.iter().take(SHOWN).map(|chunk| row(world, asked, job_id, chunk)).collect();
    html! {
        (table("Chunks that are not completed", &COLUMNS, &rows, nothing))
        @if chunks.len() > SHOWN { p.quiet { "The first " (SHOWN) "."
            @if world.is_served { " Filter to see others." }  } }
    }
}

fn row(world: &World, asked: &Asked, job_id: i64, chunk: &OpenChunk) -> Markup {
    let index = chunk.chunk_index;
    let done =
        chunk.items_done.map(|done| format!("{done} of {}", show::maybe(chunk.images_total)));
    let fields = [("job_id", job_id.to_string()), ("chunk_index", index.to_string())];
    html! { tr {
        th scope="row" { (world.link(&format!("/jobs/{job_id}/chunks/{index}"), &index.to_string())) }
        td { (show::state(&chunk.status)) }
        td.n { (chunk.attempt) }
        td.n { (done.as_deref().unwrap_or("–")) }
        td.long {
            @if let Some(code) = &chunk.error_code {
                strong { (code) } " "
                (show::prose(&world.shown_text(chunk.error_message.as_deref().unwrap_or_default())))
                @if chunk.status == "failed" {
                    @if world.allow_control {
                        " " (layout::action("Retry…", "retry", &fields, &asked.address))
                    }
                }
            }
        }
        td { (chunk.owner.as_deref().unwrap_or("–")) }
        td { @if let Some(at) = chunk.not_before { (show::moment(at)) } @else { "–" } }
        td { (show::moment(chunk.updated_at)) }
    } }
}

/// Failed chunks by error code, with what to do.
pub(super) fn codes(world: &World, asked: &Asked, job_id: i64, codes: &[FailureCode]) -> Markup {
    const COLUMNS: [Column; 3] = [("Error code", false), ("Chunks", true), ("What to do", false)];
    let row = |failures: &FailureCode| {
        let code = failures.error_code.as_str();
        let known = ErrorCode::parse(code);
        let advice = known.map_or("see the messages, then retry", ErrorCode::advice);
        let fields = [("job_id", job_id.to_string()), ("error_code", code.to_owned())];
        html! { tr {
            th scope="row" { (world.link(&asked.with("code", Some(code)), code)) }
            td.n { (show::count(failures.chunks)) }
            td.long {
                (show::prose(advice)) " "
                @if world.allow_control && known.is_some() {
                    (layout::action("Retry these…", "retry", &fields, &asked.address))
                }
            }
        } }
    };
    let rows: Vec<Markup> = codes.iter().map(row).collect();
    html! { @if !rows.is_empty() { (table("Failed chunks by error code", &COLUMNS, &rows, "")) } }
}
