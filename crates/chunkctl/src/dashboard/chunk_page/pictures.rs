//! The pictures of a chunk as a contact sheet, and those that look alike side by side.
//!
//! They are blurred until asked for: nobody knows what strangers put there.

use super::{SHOW, place_of_key};
use crate::dashboard::{
    asked::Asked,
    paging::{Words, links},
};
use chunk_handler::chunk::{ItemReport, Manifest, Status};
use imagecheck::Format;
use maud::{Markup, html};

const PER_SHEET: usize = 24;
/// Pairs that look alike, at most.
const PAIRS: usize = 12;
const SHEET: &str = "sheet";
const WORDS: Words = Words { label: "Sheets of pictures", before: "Before", next: "Next" };

/// The contact sheet and the near duplicates.
pub(super) fn pictures(asked: &Asked, manifest: &Manifest) -> Markup {
    let valid: Vec<&ItemReport> =
        manifest.items.iter().filter(|item| item.status == Status::Valid).collect();
    let sheets = valid.len().div_ceil(PER_SHEET).max(1);
    let at = asked.number::<usize>(SHEET).unwrap_or(1).clamp(1, sheets);
    let is_shown = asked.filter(SHOW) == Some("shown");
    html! {
        section.sheet {
            h2 { "Pictures" }
            p.row {
                @if is_shown { a.button href=(asked.with(SHOW, None)) { "Blur pictures" } }
                @else { a.button href=(asked.with(SHOW, Some("shown"))) { "Show pictures" } }
            }
            @if valid.is_empty() { p.nothing { "The shard has no picture." } }
            ul.pictures.blurred[!is_shown] {
                @for item in valid.iter().skip((at - 1) * PER_SHEET).take(PER_SHEET) {
                    li { (figure(manifest, item)) }
                }
            }
            (links(asked, SHEET, at, format_args!("Sheet {at} of {sheets}"), at < sheets, &WORDS))
            (near(manifest, &valid, is_shown))
        }
    }
}

/// A picture with its key, or that no browser shows it.
fn figure(manifest: &Manifest, item: &ItemReport) -> Markup {
    let key = item.key.as_deref().unwrap_or_default();
    let place = place_of_key(manifest.id.job_id, key).unwrap_or_default();
    html! {
        figure {
            @if item.format == Some(Format::Tiff) { p { "TIFF: no browser shows it." } }
            @else { img src=(place) alt={ "Sample " (key) } loading="lazy" width="160" height="160"; }
            figcaption { a href=(place) { (key) } }
        }
    }
}

/// Pairs that look alike, with the number of bits in which their hashes differ.
fn near(manifest: &Manifest, valid: &[&ItemReport], is_shown: bool) -> Markup {
    let pairs: Vec<_> = valid
        .iter()
        .filter_map(|item| {
            let near = item.near_duplicate.as_ref()?;
            let first = valid.iter().find(|first| first.key.as_ref() == Some(&near.of))?;
            Some((first, item, near.distance))
        })
        .take(PAIRS)
        .collect();
    html! {
        @if !pairs.is_empty() {
            h2 { "Pictures that look alike" }
            ul.pairs.blurred[!is_shown] {
                @for (first, second, distance) in &pairs {
                    li {
                        div.row { (figure(manifest, first)) (figure(manifest, second)) }
                        p { (distance) " of 256 bits differ" }
                    }
                }
            }
            p.quiet { "At most " (PAIRS) " pairs are shown; the manifest has all." }
        }
    }
}
