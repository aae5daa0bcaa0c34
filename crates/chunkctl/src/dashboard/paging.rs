//! Going from page to page of what is too long for one.

use super::asked::Asked;
use maud::{Markup, html};
use std::fmt::Display;

/// Rows of a page of what the database has the newest of first.
const PER_PAGE: usize = 50;
/// The last page that can be asked for: further ones would take the database too long.
const LAST_PAGE: usize = 200;
const NEWEST: Words = Words { label: "Pages", before: "Newer", next: "Older" };

/// What the links are called.
#[derive(Debug)]
pub(super) struct Words {
    /// What they are, for those who cannot see them.
    pub(super) label: &'static str,
    pub(super) before: &'static str,
    pub(super) next: &'static str,
}

/// Links to the pages beside page `at`, which the filter `name` says; nothing where there is one page only.
pub(super) fn links(
    asked: &Asked,
    name: &str,
    at: usize,
    here: impl Display,
    has_next: bool,
    words: &Words,
) -> Markup {
    let to = |page: usize| asked.with(name, Some(&page.to_string()));
    html! {
        @if at > 1 || has_next {
            nav.row aria-label=(words.label) {
                @if at > 1 { a href=(to(at - 1)) { (words.before) } }
                span { (here) }
                @if has_next { a href=(to(at + 1)) { (words.next) } }
            }
        }
    }
}

/// A page of what the database has, the newest first.
#[derive(Debug)]
pub(super) struct Newest {
    at: usize,
}

impl Newest {
    pub(super) fn of(asked: &Asked) -> Self {
        Self { at: asked.number::<usize>("page").unwrap_or(1).clamp(1, LAST_PAGE) }
    }

    /// Rows to read: one more than are shown, which says whether there is a next page.
    pub(super) fn limit() -> i64 {
        i64::try_from(PER_PAGE + 1).unwrap_or(i64::MAX)
    }

    pub(super) fn is_first(&self) -> bool {
        self.at == 1
    }

    /// Rows before those of this page.
    pub(super) fn offset(&self) -> i64 {
        i64::try_from((self.at - 1) * PER_PAGE).unwrap_or(i64::MAX)
    }

    /// Cuts what was read to what is shown, and says how to go on.
    pub(super) fn cut<T>(&self, asked: &Asked, rows: &mut Vec<T>) -> Markup {
        let has_more = rows.len() > PER_PAGE;
        let has_next = has_more && self.at < LAST_PAGE;
        rows.truncate(PER_PAGE);
        html! {
            (links(asked, "page", self.at, format_args!("Page {}", self.at), has_next, &NEWEST))
            @if has_more && !has_next { p.quiet { "Older ones are not listed here; " code { "chunkctl status" } " and --limit show any." } }
        }
    }
}
