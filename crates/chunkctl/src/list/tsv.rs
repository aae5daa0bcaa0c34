//! Rows of a TSV: a line each, whatever quotes it has.

use super::{Error, Names, Take, Told, table::Head, text::Text};
use chunk_handler::chunk::{
    ITEM_LIMIT,
    source::{delimiter_of, is_blank},
};
use std::{borrow::Cow, ops::ControlFlow};

/// The rows of a TSV.
///
/// # Errors
///
/// [`Error::Broken`] for its head.
pub(super) fn tsv_rows(text: &mut Text, names: &Names, take: &mut Take<'_>) -> Result<Told, Error> {
    let columns = names.columns.as_ref();
    let mut head = columns.map(|columns| Head::of_columns(columns, '\t', names)).transpose()?;
    text.lines(|number, line| {
        if line.chars().all(|c| c != '\t' && is_blank(c)) {
            return Ok(ControlFlow::Continue(()));
        }
        let cells = line.split('\t').map(unquoted);
        match &mut head {
            Some(head) => Ok(take(head.row(line, cells))),
            // As Excel writes it.
            None if delimiter_of(line) == Some('\t') => Ok(ControlFlow::Continue(())),
            None => {
                // A line above the limit is refused.
                let cells: Vec<Cow<'_, str>> = cells.take(ITEM_LIMIT).collect();
                let cells = cells.iter().map(Cow::as_ref);
                head = Some(Head::new((number, line, '\t'), cells, names)?);
                Ok(ControlFlow::Continue(()))
            }
        }
    })?;
    Ok(head.map(Head::told).unwrap_or_default())
}

/// A cell without the quotes that it begins and ends with, if those inside are doubled.
fn unquoted(cell: &str) -> Cow<'_, str> {
    let inner = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('"') => Cow::Borrowed(inner),
        Some(inner) if !inner.replace("\"\"", "").contains('"') => {
            Cow::Owned(inner.replace("\"\"", "\""))
        }
        Some(_) | None => Cow::Borrowed(cell),
    }
}
