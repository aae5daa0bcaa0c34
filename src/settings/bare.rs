//! A value without what files and editors put around it.

/// Without what an editor or a file leaves at the ends: blanks, line ends, a byte order mark.
pub(super) fn trimmed(value: &str) -> &str {
    value.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// Without the pair of quotes that files of variables (`docker --env-file`) keep around a value.
pub(super) fn bare(value: &str) -> &str {
    let inner =
        ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    trimmed(inner.unwrap_or(value))
}
