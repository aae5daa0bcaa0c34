//! The fleet at a glance.

mod event;
mod lanes;
mod process;
mod window;

pub(super) use window::Window;

use super::{
    answer::{self, Page, Trouble, in_time},
    asked::{Asked, written},
    layout,
    show::{self, MOST_COUNTED},
    table::{Column, SLOW, table},
    world::World,
};
use axum::{extract::State, response::Response};
use chunk_handler::{
    chunk::ChunkId,
    state::{
        AttemptRow, Capacity, HealthReading, JobReason, LiveProcess, QueueCount, Verdicts, Waiting,
    },
};
use event::Event;
use maud::{Markup, html};
use std::sync::Arc;
use time::OffsetDateTime;

/// Claims that are looked at.
const MOST_ATTEMPTS: i64 = 3000;
const MOST_PROCESSES: i64 = 100;
const SHOWN_REASONS: i64 = 15;
const SHOWN_HEALTH: i64 = 8;
const SHOWN_EVENTS: usize = 25;
/// Chunks of an event that are named.
const NAMED_CHUNKS: usize = 6;

/// `/`.
pub(super) async fn page(State(world): State<Arc<World>>, asked: Asked) -> Response {
    answer::live(&world, &asked, read(&world, &asked)).await
}

async fn read(world: &World, asked: &Asked) -> Result<Page, Trouble> {
    let database = &world.read;
    let capacity = database.capacity().await?;
    let live = database.processes().await?;
    let attempts = database.recent_attempts(MOST_ATTEMPTS).await?;
    let temps = database.process_temp(MOST_PROCESSES).await?;
    let rate = in_time(database.images_per_second().await)?;
    let waiting = in_time(database.waiting_chunks(MOST_COUNTED + 1).await)?;
    let verdicts = in_time(database.recent_verdicts(MOST_ATTEMPTS).await)?;
    let reasons = in_time(database.recent_reasons(MOST_ATTEMPTS, SHOWN_REASONS).await)?;
    let health = database.health_readings(SHOWN_HEALTH).await?;
    let rejected = database.rejected_today(MOST_COUNTED + 1).await?;

    let window = Window::live(OffsetDateTime::now_utc());
    let main = html! {
        (facts(&capacity, rate, waiting, live.len()))
        @if world.allow_control && capacity.paused_until.is_none() {
            p.row { (layout::action("Pause intake…", "pause", &[], &asked.address)) }
        }
        section.sheet {
            h2 { "Slots, last 30 minutes" }
            (timeline(world, &attempts, &live, capacity.max_chunks, window))
        }
        section.sheet { (process::processes(&live, &temps, &attempts, &capacity)) }
        div.pair {
            section.sheet { (verdict_table(verdicts, reasons.as_deref())) }
            div {
                section.sheet { (health_table(&health)) }
                section.sheet { (rejected_table(&rejected)) }
            }
        }
    };
    Ok(Page { title: "Overview".into(), main })
}

fn facts(
    capacity: &Capacity,
    rate: Option<f64>,
    waiting: Option<Waiting>,
    processes: usize,
) -> Markup {
    let rate = rate.map_or_else(|| SLOW.to_owned(), |rate| format!("{rate:.1}"));
    let (chunks, oldest) = match waiting {
        Some(Waiting { chunks, oldest_seconds: Some(age) }) => {
            (show::counted(chunks), show::age(age))
        }
        Some(Waiting { chunks, oldest_seconds: None }) => {
            (show::counted(chunks), "none waits".to_owned())
        }
        None => (SLOW.to_owned(), SLOW.to_owned()),
    };
    html! {
        dl.facts {
            div { dt { "Active chunks" } dd { (capacity.active_chunks) " of " (capacity.max_chunks) } }
            div { dt { "Images/s, last 5 min" } dd { (rate) } }
            div { dt { "Chunks waiting" } dd { (chunks) } }
            div { dt { "Oldest of them" } dd { (oldest) } }
            div { dt { "Processes" } dd { (processes) } }
            div { dt { "Profile" } dd.small { (capacity.environment) } }
        }
    }
}

/// What the slots did, as a picture and as a table of what happened to them.
pub(super) fn timeline(
    world: &World,
    attempts: &[AttemptRow],
    live: &[LiveProcess],
    slots: i32,
    window: Window,
) -> Markup {
    let happened = event::events(attempts, live);
    html! {
        (lanes::lanes(attempts, live, &happened, slots, window))
        (events(world, &happened))
    }
}

fn events(world: &World, happened: &[Event]) -> Markup {
    const COLUMNS: [Column; 5] =
        [("When", false), ("What", false), ("Process", false), ("Why", false), ("Chunks", false)];
    let row = |event: &Event| {
        let named = event.chunks.iter().take(NAMED_CHUNKS);
        html! { tr {
            td { (show::moment(event.at)) }
            th scope="row" { (event.kind.words()) }
            td { (event.owner) }
            td { (event.code.as_deref().unwrap_or("–")) }
            td.long {
                @for ChunkId { job_id, chunk_index } in named {
                    (world.link(&format!("/jobs/{job_id}/chunks/{chunk_index}"), &format!("{job_id}/{chunk_index}"))) " "
                }
                @if event.chunks.len() > NAMED_CHUNKS { "and " (event.chunks.len() - NAMED_CHUNKS) " more" }
            }
        } }
    };
    let rows: Vec<Markup> = happened.iter().take(SHOWN_EVENTS).map(row).collect();
    html! {
        (table("Events of this time, the newest first", &COLUMNS, &rows,
            "Nothing was reclaimed, released, retried or failed."))
        @if happened.len() > SHOWN_EVENTS {
            p.quiet { "Older ones that are not shown: " (happened.len() - SHOWN_EVENTS) "." }
        }
    }
}

fn verdict_table(verdicts: Option<Verdicts>, reasons: Option<&[JobReason]>) -> Markup {
    const COLUMNS: [Column; 3] = [("Verdict", false), ("Images", true), ("Share", true)];
    let nothing = if verdicts.is_some() { "No chunk completed." } else { SLOW };
    let verdicts = verdicts.unwrap_or_default();
    let all = verdicts.valid + verdicts.duplicates + verdicts.invalid + verdicts.failed;
    let kinds = [
        ("valid", verdicts.valid),
        ("duplicate", verdicts.duplicates),
        ("invalid", verdicts.invalid),
        ("failed", verdicts.failed),
    ];
    let rows: Vec<Markup> = if verdicts.chunks == 0 {
        Vec::new()
    } else {
        kinds.iter().map(|(word, n)| reason_row(word, *n, all)).collect()
    };
    html! {
        (table("Verdicts of chunks completed in the last 30 minutes", &COLUMNS, &rows, nothing))
        @if !rows.is_empty() { (reason_table(reasons, all)) }
    }
}

/// Reasons with their images, and their share of `all`.
pub(super) fn reason_table(reasons: Option<&[JobReason]>, all: i64) -> Markup {
    const COLUMNS: [Column; 3] = [("Reason", false), ("Images", true), ("Share", true)];
    let nothing = if reasons.is_some() { "All of them are." } else { SLOW };
    let reasons = reasons.unwrap_or_default().iter();
    let rows: Vec<Markup> = reasons.map(|row| reason_row(&row.reason, row.images, all)).collect();
    table("Why images are not in the dataset", &COLUMNS, &rows, nothing)
}

fn reason_row(word: &str, n: i64, all: i64) -> Markup {
    html! { tr {
        th scope="row" { (word) }
        td.n { (show::count(n)) }
        td.n { (show::percent(n, all)) }
    } }
}

fn health_table(health: &[HealthReading]) -> Markup {
    const COLUMNS: [Column; 7] = [
        ("Checked", false),
        ("Active", true),
        ("Waiting", true),
        ("Queue", true),
        ("CPU", true),
        ("Memory", true),
        ("Azure Monitor", false),
    ];
    let percent =
        |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.0} %"));
    let row = |reading: &HealthReading| {
        html! { tr {
            th scope="row" { (show::moment(reading.checked_at)) }
            td.n { (reading.active_chunks) }
            td.n { (show::count(reading.pending_chunks)) }
            td.n { (show::maybe(reading.queue_depth.map(i64::from))) }
            td.n { (percent(reading.azure_cpu)) }
            td.n { (percent(reading.azure_memory)) }
            td { (reading.azure_state) }
        } }
    };
    let rows: Vec<Markup> = health.iter().map(row).collect();
    table(
        "Health checks",
        &COLUMNS,
        &rows,
        "There was none yet; the timer runs every five minutes.",
    )
}

fn rejected_table(rejected: &[QueueCount]) -> Markup {
    const COLUMNS: [Column; 2] = [("Queue", false), ("Rejected messages", true)];
    let row = |count: &QueueCount| {
        let address = written("/rejected", &[("queue", &count.queue)]);
        html! { tr {
            th scope="row" { a href=(address) { (count.queue) } }
            td.n { (show::counted(count.messages)) }
        } }
    };
    let rows: Vec<Markup> = rejected.iter().map(row).collect();
    table("Messages rejected in the last 24 hours", &COLUMNS, &rows, "None was rejected.")
}
