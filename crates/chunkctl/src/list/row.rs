//! A row of a list: its item, and what makes it doubtful.

use crate::urls::told::Told;
use chunk_handler::chunk::{
    ITEM_LIMIT, Item,
    source::{is_blank, is_web_url},
};
use serde::Serialize;

/// A row that is not blank.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    /// What it says.
    pub(crate) item: Item,
    /// Why it may not be what was meant.
    pub(crate) doubt: Option<Doubt>,
    /// Which URL it is about, when `chunkctl urls` wrote it.
    pub(crate) told: Option<Told>,
}

/// Why a row may not be what was meant, although it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// More or fewer cells than the head: the others may be in the wrong columns.
    Cells {
        /// Of the row.
        n: usize,
        /// Of the head.
        head: usize,
    },
    /// A quote inside a quoted cell of a CSV that is not doubled.
    Quote,
    /// A line of text with more than a URL, which is taken as one.
    MoreThanUrl,
}

/// A column without a name, whose cells are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Nameless {
    /// From 1.
    pub(crate) column: usize,
    /// Its cells that are not blank.
    pub(crate) cells: usize,
}

impl Row {
    /// A line of a text list.
    pub(super) fn of_text(line: &str) -> Self {
        if line.len() > ITEM_LIMIT {
            return Item::too_large(line, None).into();
        }
        let is_part = |c| is_blank(c) || c == '"';
        let has_more = line.contains(is_part) || line.ends_with([',', ';']);
        let has_more = has_more && is_web_url(line);
        Self { item: Item::of_url(line), doubt: has_more.then_some(Doubt::MoreThanUrl), told: None }
    }
}

impl From<Item> for Row {
    fn from(item: Item) -> Self {
        Self { item, doubt: None, told: None }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cells { n: 1, head } => write!(f, "1 cell, and {head} in the first line"),
            Self::Cells { n, head } => write!(f, "{n} cells, and {head} in the first line"),
            Self::Quote => f.write_str("a quote inside a quoted cell is not doubled"),
            Self::MoreThanUrl => f.write_str("more than a URL, and all of it is taken as one"),
        }
    }
}
