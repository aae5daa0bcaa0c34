//! Text in a table that people open in a spreadsheet: what would run as a formula begins with a quote.
//! Whoever reads the table back takes that quote away, and nothing else.

use std::borrow::Cow;

/// The text of a cell.
pub(super) fn defused(text: &str) -> Cow<'_, str> {
    if is_formula(text) { format!("'{text}").into() } else { text.into() }
}

/// The text that a cell was made of.
pub(crate) fn restored(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| is_formula(text)).unwrap_or(cell)
}

/// Spreadsheets look past blanks at the start, and ours past quotes, so that a text that begins with one
/// of its own is told from one that got it here.
fn is_formula(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| c == '\'' || c.is_whitespace());
    // The wide ones count where the keyboard has them.
    text.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 360: no cell begins as a formula does, and each text comes back.
    #[test]
    fn a_cell_is_no_formula_and_comes_back() {
        assert_eq!(defused("=1+1"), "'=1+1");
        assert_eq!(defused("\t@SUM(A1)"), "'\t@SUM(A1)");
        assert_eq!(defused("'quoted'"), "'quoted'");
        let rng = &mut fastrand::Rng::with_seed(7);
        let kinds = ['=', '+', '-', '@', '＝', '\'', ' ', '\t', '\r', '\n', 'a', '"', ';', ','];
        for _ in 0..5000 {
            let text: String =
                (0..rng.usize(..6)).map(|_| kinds[rng.usize(..kinds.len())]).collect();
            let cell = defused(&text);
            assert_eq!(restored(&cell), text, "{text:?}");
            assert!(!cell.trim_start().starts_with(['=', '+', '-', '@', '＝']), "{text:?}");
        }
    }
}
