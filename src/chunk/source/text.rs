//! The text of a list: its lines, and what of them is blank.

/// The lines, each with its number from 1: they end in LF, CR LF or CR.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let parts = text.split('\n').map(|part| part.strip_suffix('\r').unwrap_or(part));
    (1..).zip(parts.flat_map(|part| part.split('\r')))
}

/// A text without blanks around it. Files that were joined have byte order marks inside.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Whether a character shows nothing.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_any_way() {
        let all: Vec<(usize, &str)> = lines("a\nb\r\nc\rd\n\re\r\r\nf").collect();
        let texts = ["a", "b", "c", "d", "", "e", "", "f"];
        assert_eq!(all, (1..).zip(texts).collect::<Vec<_>>());
    }
}
