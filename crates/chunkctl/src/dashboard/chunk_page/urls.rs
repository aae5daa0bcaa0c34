//! What became of each URL, with filters.

use super::SHOW;
use crate::dashboard::{
    asked::Asked,
    paging::{Words, links},
    show,
    table::{Column, table},
    world::World,
};
use crate::words;
use chunk_handler::chunk::{ItemReport, Manifest, Status};
use maud::{Markup, html};
use std::borrow::Cow;

const PER_PAGE: usize = 100;
/// Of a label or a caption.
const SHOWN_CHARACTERS: usize = 500;
const WORDS: Words = Words { label: "Pages of URLs", before: "Before", next: "Next" };
const VERDICTS: [Status; 4] = [Status::Valid, Status::Duplicate, Status::Invalid, Status::Failed];
const COLUMNS: [Column; 6] = [
    ("Place", true),
    ("Verdict", false),
    ("Reason", false),
    ("URL", false),
    ("Label and caption", false),
    ("Sample", false),
];

/// The word of manifests, with its mark: never colour alone.
fn verdict(status: Status) -> (&'static str, &'static str, &'static str) {
    match status {
        Status::Valid => ("valid", "✓", "completed"),
        Status::Duplicate => ("duplicate", "=", "cancelled"),
        Status::Invalid => ("invalid", "!", "pending"),
        Status::Failed => ("failed", "✕", "failed"),
    }
}

/// The filters and the URLs that pass them.
pub(super) fn urls(world: &World, asked: &Asked, manifest: &Manifest) -> Markup {
    let found: Vec<&ItemReport> =
        manifest.items.iter().filter(|item| passes(world, asked, item)).collect();
    let pages = found.len().div_ceil(PER_PAGE).max(1);
    let at = asked.number::<usize>("page").unwrap_or(1).clamp(1, pages);
    let rows: Vec<Markup> = found
        .iter()
        .skip((at - 1) * PER_PAGE)
        .take(PER_PAGE)
        .map(|item| row(world, manifest, item))
        .collect();
    html! {
        section.sheet {
            (filters(asked, manifest))
            p.quiet { (found.len()) " of " (words::count(manifest.items.len(), "URL")) "." }
            (table("URLs", &COLUMNS, &rows, "No URL is like that."))
            (links(asked, "page", at, format_args!("Page {at} of {pages}"), at < pages, &WORDS))
        }
    }
}

/// What is searched is what is shown, so that nobody can guess at what is hidden; in any case.
fn passes(world: &World, asked: &Asked, item: &ItemReport) -> bool {
    let is_word = |wanted: Option<&str>, word: Option<&str>| wanted.is_none_or(|w| Some(w) == word);
    let reason = item.reason.map(|reason| reason.to_string());
    is_word(asked.filter("verdict"), Some(verdict(item.status).0))
        && is_word(asked.filter("reason"), reason.as_deref())
        && asked.filter("search").is_none_or(|search| {
            let search = search.to_lowercase();
            let has = |text: &str| text.to_lowercase().contains(&search);
            let texts = [item.label.as_ref(), item.caption.as_ref(), item.key.as_ref()];
            has(&world.shown_url(&item.url))
                || texts.into_iter().flatten().any(|text| has(&world.shown_words(text)))
        })
}

fn filters(asked: &Asked, manifest: &Manifest) -> Markup {
    let (chosen, reason) = (asked.filter("verdict"), asked.filter("reason"));
    html! {
        form.filter method="get" {
            div {
                label for="verdict" { "Verdict" }
                select #verdict name="verdict" {
                    option value="" selected[chosen.is_none()] { "any" }
                    @for (word, ..) in VERDICTS.map(verdict) {
                        option value=(word) selected[chosen == Some(word)] { (word) }
                    }
                }
            }
            div {
                label for="reason" { "Reason" }
                select #reason name="reason" {
                    option value="" selected[reason.is_none()] { "any" }
                    @for (word, n) in &manifest.totals.errors {
                        option value=(word) selected[reason == Some(word)] { (word) " (" (n) ")" }
                    }
                    @if let Some(word) = reason && !manifest.totals.errors.contains_key(word) {
                        option value=(word) selected { (word) }
                    }
                }
            }
            div {
                label for="search" { "In URL, label, caption or key" }
                input #search type="search" name="search" value=(asked.filter("search").unwrap_or_default());
            }
            @if let Some(shown) = asked.filter(SHOW) { input type="hidden" name=(SHOW) value=(shown); }
            button type="submit" { "Show" }
        }
    }
}

fn row(world: &World, manifest: &Manifest, item: &ItemReport) -> Markup {
    let (word, mark, class) = verdict(item.status);
    html! { tr {
        th.n scope="row" { (item.idx) }
        td { span.state.(class) { span aria-hidden="true" { (mark) } " " (word) } }
        td {
            (item.reason.map(|reason| reason.to_string()).unwrap_or_default())
            @if let Some(detail) = item.detail.and_then(|detail| serde_json::to_value(detail).ok()) {
                " (" (detail.as_str().unwrap_or_default()) ")"
            }
        }
        td.long { (world.shown_url(&item.url)) }
        td.long {
            @if let Some(label) = &item.label { (shortened(&world.shown_words(label))) " " }
            @if let Some(caption) = &item.caption { (shortened(&world.shown_words(caption))) }
        }
        td { (sample(manifest, item)) }
    } }
}

/// The beginning of a text: a caption may have 64 kB, and the list has all of it.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

/// The sample that shows the picture: its own, or the one that was kept in its place.
fn sample(manifest: &Manifest, item: &ItemReport) -> Markup {
    let kept = item.duplicate_of.as_deref();
    let Some(key) = item.key.as_deref().or(kept) else { return html! {} };
    html! {
        @if kept.is_some() { "kept: " }
        @match super::place_of_key(manifest.id.job_id, key) {
            Some(place) => a href=(place) { (key) },
            None => (key),
        }
        @if let (Some(width), Some(height)) = (item.width, item.height) { " " (width) "×" (height) }
        @if let Some(size) = item.file_size.and_then(|size| i64::try_from(size).ok()) {
            " " (show::bytes(size))
        }
    }
}
