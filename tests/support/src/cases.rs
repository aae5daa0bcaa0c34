//! Inputs that unit tests and integration tests share: the tables of `tests/cases`.

use crate::checkout::root;

/// A line of a table.
#[derive(Debug)]
pub struct Row {
    /// Its number in `doc/cases.md`; empty where it has none.
    pub case: String,
    pub input: String,
    /// What must become of it.
    pub outcome: String,
}

/// The lines of `tests/cases/{table}.tsv`.
pub fn rows(table: &str) -> Vec<Row> {
    let path = root().join("tests/cases").join(format!("{table}.tsv"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    // The first one names the columns.
    lines.skip(1).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.split('\t').collect();
    let [case, input, outcome] = cells[..] else { panic!("not three cells: {line}") };
    Row { case: case.to_owned(), input: unescape(input), outcome: outcome.to_owned() }
}

fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{']) {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(repeat) = rest.strip_prefix("{repeat:") {
            let (what, after) = repeat.split_once(':').expect("{repeat:TEXT:TIMES}");
            let (times, after) = after.split_once('}').expect("{repeat:TEXT:TIMES}");
            result.push_str(&what.repeat(times.parse().expect("how many times")));
            rest = after;
        } else if let Some(code) = rest.strip_prefix("\\u{") {
            let (code, after) = code.split_once('}').expect("\\u{HEX}");
            let code = u32::from_str_radix(code, 16).expect("a number in hex");
            result.push(char::from_u32(code).expect("a character"));
            rest = after;
        } else if rest.starts_with('\\') {
            result.push(match rest.as_bytes().get(1) {
                Some(b't') => '\t',
                Some(b'r') => '\r',
                Some(b'n') => '\n',
                Some(b'\\') => '\\',
                _ => panic!("no such escape: {rest:.10}"),
            });
            rest = &rest[2..];
        } else {
            result.push('{');
            rest = &rest[1..];
        }
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read() {
        let row = row("7\t{\\\\u\\t\\r\\n\\u{ad}{repeat:ab:2}}{port}\trefused");
        assert_eq!((row.case.as_str(), row.outcome.as_str()), ("7", "refused"));
        assert_eq!(row.input, "{\\u\t\r\n\u{ad}abab}{port}");
    }

    #[test]
    #[should_panic(expected = "not three cells")]
    fn a_line_without_its_cells_is_found() {
        row("7\tinput");
    }
}
