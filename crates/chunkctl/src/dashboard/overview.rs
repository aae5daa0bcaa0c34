//! The fleet at a glance.

mod event;
mod lanes;
mod process;
mod window;

pub(super) use window::Window;

use super::{
    answer::{self, Page, Part, Trouble, nothing, part},
    asked::{Asked, written},
    layout,
    show::{self, MOST_COUNTED},
    table::{Column, table},
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

/// Claims that are looked at.
const MOST_ATTEMPTS: i64 = 3000;
const MOST_PROCESSES: i64 = 2000;
const SHOWN_REASONS: i64 = 15;
const SHOWN_HEALTH: i64 = 8;
const SHOWN_EVENTS: usize = 25;
/// Chunks of an event that are named.
const NAMED_CHUNKS: usize = 6;

/// `/`.
pub(super) async fn page(State(world): State<Arc<World>>, asked: Asked) -> Response {
    answer::live(&world, &asked, async |_turn, capacity| read(&world, &asked, capacity).await).await
}

async fn read(world: &World, asked: &Asked, capacity: &Capacity) -> Result<Page, Trouble> {
    let database = &world.read;
    let live = part(database.processes().await)?;
    let attempts = part(database.recent_attempts(MOST_ATTEMPTS).await)?;
    let temps = part(database.process_temp(MOST_PROCESSES).await)?;
    let rate = part(database.images_per_second().await)?;
    let waiting = part(database.waiting_chunks(MOST_COUNTED + 1).await)?;
    let verdicts = part(database.recent_verdicts(MOST_ATTEMPTS).await)?;
    let reasons = part(database.recent_reasons(MOST_ATTEMPTS, SHOWN_REASONS).await)?;
    let health = part(database.health_readings(SHOWN_HEALTH).await)?;
    let rejected = part(database.rejected_today(MOST_COUNTED + 1).await)?;

    let window = Window::live(capacity.now);
    let main = html! {
        (facts(capacity, rate, waiting, live.as_ref().map(Vec::len).map_err(|why| *why)))
        @if world.allow_control && capacity.paused_until.is_none() {
            p.row { (layout::action("Pause intake…", "pause", &[], &asked.address)) }
        }
        section.sheet {
            h2 { "Slots, last 30 minutes" }
            @match &attempts {
                Ok(attempts) => {
                    (timeline(world, attempts, live.as_deref().unwrap_or_default(), capacity.max_chunks, window))
                    (left_out(attempts))
                }
                Err(why) => p.nothing { (why) }
            }
        }
        section.sheet {
            (process::processes(&live, &temps, attempts.as_deref().unwrap_or_default(), capacity))
        }
        div.pair {
            section.sheet { (verdict_table(verdicts, &reasons)) }
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
    rate: Part<f64>,
    waiting: Part<Waiting>,
    processes: Part<usize>,
) -> Markup {
    let rate = rate.map_or_else(str::to_owned, |rate| format!("{rate:.1}"));
    let processes = processes.map_or_else(str::to_owned, |n| n.to_string());
    let (chunks, oldest) = match waiting {
        Ok(Waiting { chunks, oldest_seconds: Some(age) }) => {
            (show::counted(chunks), show::age(age))
        }
        Ok(Waiting { chunks, oldest_seconds: None }) => {
            (show::counted(chunks), "none waits".to_owned())
        }
        Err(why) => (why.to_owned(), why.to_owned()),
    };
    html! {
        dl.facts {
            div { dt { "Active chunks" } dd { (capacity.active_chunks) " of " (capacity.max_chunks) } }
            div { dt { "Images/s, last 5 min" } dd { (rate) } }
            div { dt { "Chunks waiting" } dd { (chunks) } }
            div { dt { "Longest wait" } dd { (oldest) } }
            div { dt { "Processes" } dd { (processes) } }
            div { dt { "Profile" } dd.small { (capacity.environment) } }
        }
    }
}

/// That not all claims were looked at, where that is so.
fn left_out(attempts: &[AttemptRow]) -> Markup {
    let completed = |attempt: &&AttemptRow| attempt.outcome.as_deref() == Some("completed");
    let rows = || attempts.iter().filter(completed);
    let first = rows().map(|attempt| attempt.claimed_at).min();
    let is_all = i64::try_from(rows().count()).is_ok_and(|n| n < MOST_ATTEMPTS);
    html! {
        @if let Some(first) = first.filter(|_| !is_all) {
            p.quiet { "Of the claims that completed the newest " (MOST_ATTEMPTS) " are shown, from " (show::moment(first)) " on." }
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

fn verdict_table(verdicts: Part<Verdicts>, reasons: &Part<Vec<JobReason>>) -> Markup {
    const COLUMNS: [Column; 3] = [("Verdict", false), ("Images", true), ("Share", true)];
    let nothing = nothing(&verdicts, "No chunk completed.");
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
        @if !rows.is_empty() {
            @if verdicts.chunks >= MOST_ATTEMPTS { p.quiet { "Of the newest " (verdicts.chunks) " of them." } }
            (reason_table(reasons, all))
        }
    }
}

/// Reasons with their images, and their share of `all`.
pub(super) fn reason_table(reasons: &Part<Vec<JobReason>>, all: i64) -> Markup {
    const COLUMNS: [Column; 3] = [("Reason", false), ("Images", true), ("Share", true)];
    let said = if all == 0 { "No image has a verdict." } else { "All of them are." };
    let rows: Vec<Markup> =
        reasons.iter().flatten().map(|row| reason_row(&row.reason, row.images, all)).collect();
    table("Why images are not in the dataset", &COLUMNS, &rows, nothing(reasons, said))
}

fn reason_row(word: &str, n: i64, all: i64) -> Markup {
    html! { tr {
        th scope="row" { (word) }
        td.n { (show::count(n)) }
        td.n { (show::percent(n, all)) }
    } }
}

fn health_table(health: &Part<Vec<HealthReading>>) -> Markup {
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
    let none = "There was none yet; the timer runs every five minutes.";
    let rows: Vec<Markup> = health.iter().flatten().map(row).collect();
    table("Health checks", &COLUMNS, &rows, nothing(health, none))
}

fn rejected_table(rejected: &Part<Vec<QueueCount>>) -> Markup {
    const COLUMNS: [Column; 2] = [("Queue", false), ("Rejected messages", true)];
    let row = |count: &QueueCount| {
        let address = written("/rejected", &[("queue", &count.queue)]);
        html! { tr {
            th scope="row" { a href=(address) { (count.queue) } }
            td.n { (show::counted(count.messages)) }
        } }
    };
    let rows: Vec<Markup> = rejected.iter().flatten().map(row).collect();
    let nothing = nothing(rejected, "None was rejected.");
    table("Messages rejected in the last 24 hours", &COLUMNS, &rows, nothing)
}
