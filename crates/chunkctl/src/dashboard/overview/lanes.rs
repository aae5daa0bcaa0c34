//! The lanes: what each slot did in half an hour at most.

use super::{
    event::{Event, Kind, ended, heard},
    window::Window,
};
use crate::dashboard::{look::pattern, show};
use chunk_handler::state::{AttemptRow, LiveProcess};
use maud::{Markup, html};
use std::{collections::BTreeMap, fmt::Write as _};
use time::OffsetDateTime;

/// Units of a lane.
const UNITS: i64 = 900;
const LEFT: i64 = 46;
const WIDTH: i64 = LEFT + UNITS + 4;
const TOP: i64 = 20;
const LANE: i64 = 18;
/// The most lanes that are drawn.
const MOST_LANES: i32 = 40;

/// How a bar looks: its pattern and what the legend says.
const LOOKS: [(&str, &str, &str); 5] = [
    ("completed", "completed-fill", "completed"),
    ("running", "running-fill", "running"),
    ("failed", "failed-fill", "failed or retried"),
    ("released", "odd-fill", "released"),
    ("expired", "quiet-fill", "lease ran out, or cancelled"),
];

/// The picture with its legend. `slots`: the limit in force.
pub(super) fn lanes(
    attempts: &[AttemptRow],
    live: &[LiveProcess],
    events: &[Event],
    slots: i32,
    window: Window,
) -> Markup {
    let seen = attempts.iter().filter_map(|attempt| attempt.slot_no).max().unwrap_or(0);
    let wanted = slots.max(seen);
    let n = wanted.clamp(1, MOST_LANES);
    let height = TOP + i64::from(n) * LANE + 4;
    let bars = bars(attempts, window, n);
    let marks = marks(attempts, live, window, n);
    let summary = summary(attempts, events, slots);
    html! {
        div.scroll.lanes role="region" aria-label=(window.title()) tabindex="0" {
            svg role="img" aria-labelledby="lanes-title lanes-text" viewBox={ "0 0 " (WIDTH) " " (height) } {
                title #lanes-title { (window.title()) }
                desc #lanes-text { (summary) }
                defs { @for (look, fill, _) in LOOKS { (pattern("p-", look, fill, None)) } }
                @for (i, (time, words)) in window.ticks().iter().enumerate() {
                    @let x = at(*time, window);
                    path.axis d={ "M" (x) " " (TOP - 4) "V" (height) } {}
                    text x=(x) y="11" text-anchor=(if i == 3 { "end" } else { "middle" }) { (words) }
                }
                @for lane in 0..n {
                    rect.lane x=(LEFT) y=(y(lane)) width=(UNITS) height=(LANE - 4) {}
                    @if n <= 20 || (lane + 1) % 5 == 0 || lane == 0 {
                        text x=(LEFT - 6) y=(y(lane) + 11) text-anchor="end" { (lane + 1) }
                    }
                }
                @for (look, path) in &bars {
                    path fill={ "url(#p-" (look) ")" } d=(path) { title { (words(look)) } }
                }
                @for ((words, owner), path) in &marks {
                    path.mark d=(path) { title { (words) ": " (owner) } }
                }
                @for event in events { (line(event, window, height)) }
            }
        }
        ul.legend {
            @for (look, fill, words) in LOOKS {
                li { svg viewBox="0 0 16 16" aria-hidden="true" {
                    defs { (pattern("k-", look, fill, None)) }
                    rect width="16" height="16" fill={ "url(#k-" (look) ")" } {}
                } (words) }
            }
            li { (mark_key("M3 3l10 10M13 3L3 13", "mark")) "reclaimed" }
            li { (mark_key("M8 2l6 6l-6 6l-6-6z", "mark")) "fenced" }
            li { (mark_key("M3 4h10l-5 9z", "mark")) "released" }
            li { (mark_key("M8 0V16", "death")) "process died" }
            li { (mark_key("M8 0V16", "mark")) "process stopped" }
        }
        @if wanted > n { p.quiet { "The first " (n) " of " (wanted) " slots." } }
    }
}

fn mark_key(path: &str, class: &str) -> Markup {
    html! { svg viewBox="0 0 16 16" aria-hidden="true" { path.(class) d=(path) {} } }
}

fn y(lane: i32) -> i64 {
    TOP + i64::from(lane) * LANE
}

/// Where a time is, within the picture.
fn at(time: i64, window: Window) -> i64 {
    LEFT + (time - window.from).clamp(0, window.seconds()) * UNITS / window.seconds()
}

fn look(outcome: Option<&str>) -> &'static str {
    match outcome {
        None => "running",
        Some("completed") => "completed",
        Some("failed" | "retried") => "failed",
        Some("released") => "released",
        Some(_) => "expired",
    }
}

/// What the legend says of a look.
fn words(look: &str) -> &'static str {
    LOOKS.iter().find(|(other, ..)| *other == look).map_or("", |(.., words)| words)
}

/// A lane from 0 of an attempt that is drawn.
fn lane(attempt: &AttemptRow, n: i32) -> Option<i32> {
    attempt.slot_no.map(|slot| slot - 1).filter(|lane| (0..n).contains(lane))
}

/// One path for each look. Bars of a lane that touch and look alike are one.
fn bars(attempts: &[AttemptRow], window: Window, n: i32) -> Vec<(&'static str, String)> {
    let mut spans: BTreeMap<(&str, i32), Vec<(i64, i64)>> = BTreeMap::new();
    for attempt in attempts {
        let Some(lane) = lane(attempt, n) else { continue };
        let end = attempt.finished_at.map_or(window.until, OffsetDateTime::unix_timestamp);
        let (from, to) = (at(attempt.claimed_at.unix_timestamp(), window), at(end, window));
        spans
            .entry((look(attempt.outcome.as_deref()), lane))
            .or_default()
            .push((from, to.max(from + 1)));
    }
    let mut paths: BTreeMap<&str, String> = BTreeMap::new();
    for ((look, lane), mut spans) in spans {
        spans.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::new();
        for (from, to) in spans {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        let path = paths.entry(look).or_default();
        for (from, to) in joined {
            let (width, height) = (to - from, LANE - 4);
            write!(path, "M{from} {}h{width}v{height}h-{width}z", y(lane)).unwrap_or_default();
        }
    }
    paths.into_iter().collect()
}

/// A shape at the end of each claim that was reclaimed, fenced or released: a path for each process and for
/// what became of its claims.
fn marks<'a>(
    attempts: &'a [AttemptRow],
    live: &[LiveProcess],
    window: Window,
    n: i32,
) -> BTreeMap<(&'static str, &'a str), String> {
    let heard = heard(attempts, live);
    let mut paths: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for attempt in attempts {
        let (Some(lane), Some((kind, end))) = (lane(attempt, n), ended(attempt, &heard)) else {
            continue;
        };
        let (words, shape) = match kind {
            Kind::Died => ("reclaimed", "m-4-4l8 8m0-8l-8 8"),
            Kind::Fenced => ("fenced", "m0-5l5 5l-5 5l-5-5z"),
            Kind::Released | Kind::Stopped => ("released", "m-4-4h8l-4 8z"),
            Kind::Retried | Kind::Failed => continue,
        };
        let (x, y) = (at(end.unix_timestamp(), window), y(lane) + (LANE - 4) / 2);
        let path = paths.entry((words, &attempt.owner)).or_default();
        write!(path, "M{x} {y}{shape}").unwrap_or_default();
    }
    paths
}

/// A line through all lanes where a process ended.
fn line(event: &Event, window: Window, height: i64) -> Markup {
    let class = match event.kind {
        Kind::Died => "death",
        Kind::Stopped => "mark",
        Kind::Fenced | Kind::Released | Kind::Retried | Kind::Failed => return html! {},
    };
    let x = at(event.at.unix_timestamp(), window);
    html! {
        path.(class) d={ "M" (x) " " (TOP - 6) "V" (height) } {
            title { (event.kind.words()) " " (show::clock(event.at)) " " (event.owner) }
        }
    }
}

/// The picture in words.
fn summary(attempts: &[AttemptRow], events: &[Event], slots: i32) -> String {
    let count = |wanted: &str| {
        attempts.iter().filter(|attempt| look(attempt.outcome.as_deref()) == wanted).count()
    };
    let of_kind = |kind: Kind| events.iter().filter(|event| event.kind == kind).count();
    format!(
        "{slots} slots. Claims: {} completed, {} running, {} failed or retried, {} released, {} whose lease \
         ran out or that were cancelled. Processes: {} died, {} stopped, {} fenced. The table of events has \
         them one by one.",
        count("completed"),
        count("running"),
        count("failed"),
        count("released"),
        count("expired"),
        of_kind(Kind::Died),
        of_kind(Kind::Stopped),
        of_kind(Kind::Fenced),
    )
}
