//! What people should know of the rows of a list when they submit it: those that cannot be used, those
//! that may not be what was meant, and what is left out (I15).

use crate::list::{Doubt, Nameless, SetAside, shown};
use chunk_handler::chunk::{Item, Output, OutputText, source::is_web_url};
use serde::Serialize;

/// Rows of a kind that are shown.
const SHOWN: usize = 5;

/// All that is to be said of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Remarks {
    /// Rows that cannot be used.
    pub(crate) unusable: Unusable,
    /// Rows that may not be what was meant.
    pub(crate) doubtful: Doubtful,
    /// Columns without a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) nameless: Vec<Nameless>,
    /// Columns that mean the same as a better one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) set_aside: Vec<SetAside>,
    /// What the shards are to hold and no row has: `caption`, `label`, `class`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_in_list: Vec<&'static str>,
    /// What some row has.
    #[serde(skip)]
    pub(crate) filled: Filled,
}

/// What some row of a list has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    caption: bool,
    label: bool,
    class: bool,
}

impl Filled {
    /// Adds what a row has.
    pub(crate) fn add(&mut self, item: &Item) {
        self.caption |= item.caption.is_some();
        self.label |= item.label.is_some();
        self.class |= item.class.is_some();
    }
}

/// Where a row is in the job, as in manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    /// The chunk.
    pub(crate) chunk_index: usize,
    /// Its place in the chunk, from 0.
    pub(crate) idx: usize,
}

/// Rows without an http(s) URL, or above the limit. They are items of manifests, too: failed,
/// `url_refused`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Unusable {
    /// How many.
    pub(crate) rows: usize,
    /// Those of them that are above 64 KiB.
    pub(crate) too_large: usize,
    /// Those of them in which no http(s) URL is seen.
    #[serde(skip)]
    pub(crate) without_url: usize,
    /// The first of them.
    first: Vec<ShownRow>,
}

/// Rows that are items, although they may not be what was meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Doubtful {
    /// How many.
    pub(crate) rows: usize,
    /// The first of them.
    first: Vec<ShownRow>,
}

/// A row as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ShownRow {
    #[serde(flatten)]
    place: Place,
    /// What it has in place of a URL.
    url: String,
    /// What is wrong, if that is not what stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Unusable {
    /// Adds a row, if it is one.
    pub(crate) fn add(&mut self, place: Place, item: &Item) {
        let problem = item.refused.map(|_| "above 64 KiB (item_too_large)".to_owned());
        let has_url = is_web_url(&item.url);
        if problem.is_none() && has_url {
            return;
        }
        self.rows += 1;
        self.without_url += usize::from(!has_url);
        self.too_large += usize::from(problem.is_some());
        add(&mut self.first, place, item, problem);
    }

    fn warning(&self, of_rows: usize) -> Option<String> {
        let why = match (self.rows, self.too_large) {
            (0, _) => return None,
            (_, 0) => "have no http(s) URL",
            (rows, too_large) if rows == too_large => "are above 64 KiB",
            _ => "have no http(s) URL or are above 64 KiB",
        };
        let rows = self.rows;
        let text = format!(
            "{rows} of {of_rows} rows {why}; each is in its manifest, as failed (url_refused)"
        );
        Some(with_rows(text, &self.first, rows))
    }
}

impl Doubtful {
    /// Adds a row.
    pub(crate) fn add(&mut self, place: Place, item: &Item, doubt: Doubt) {
        self.rows += 1;
        add(&mut self.first, place, item, Some(doubt.to_string()));
    }

    fn warning(&self, of_rows: usize) -> Option<String> {
        let rows = self.rows;
        let text = format!("{rows} of {of_rows} rows may not be what was meant; all are submitted");
        (rows > 0).then(|| with_rows(text, &self.first, rows))
    }
}

impl Remarks {
    /// Keeps what shards are to hold beside their images, and no row has.
    pub(crate) fn look_for(&mut self, output: &Output) {
        let Filled { caption, label, class } = self.filled;
        let text = output.text.filter(|text| match text {
            OutputText::Caption => !caption,
            OutputText::Label => !label,
        });
        let class = (output.class && !class).then_some("class");
        self.not_in_list = text.map(OutputText::word).into_iter().chain(class).collect();
    }

    /// What people should know before the job runs.
    pub(crate) fn warnings(&self, of_rows: usize) -> Vec<String> {
        let nameless = self.nameless.iter().map(|Nameless { column, cells }| {
            format!(
                "column {column} has no name, and its {cells} cells are left out; a name in the first \
                 line keeps them in the meta"
            )
        });
        let set_aside = self.set_aside.iter().map(|SetAside { column, same_as }| {
            let (column, same_as) = (shown(column), shown(same_as));
            format!("column `{column}` means the same as `{same_as}`, and is kept in the meta")
        });
        let rows = [self.unusable.warning(of_rows), self.doubtful.warning(of_rows)];
        let not_in_list = self.not_in_list.iter().map(|name| match *name {
            "class" => {
                "no row has a class, and each .cls of the shards is -1 (--class); a column or key of \
                 another name is named with --class-column"
                    .to_owned()
            }
            name => format!(
                "no row has a {name}, and each .txt of the shards is empty (--text {name}); a column or \
                 key of another name is named with --{name}-column"
            ),
        });
        let columns = nameless.chain(set_aside).chain(not_in_list);
        rows.into_iter().flatten().chain(columns).collect()
    }
}

fn add(first: &mut Vec<ShownRow>, place: Place, item: &Item, problem: Option<String>) {
    if first.len() < SHOWN {
        first.push(ShownRow { place, url: shown(&item.url), problem });
    }
}

/// A warning with the first of its rows, a line each.
fn with_rows(mut text: String, first: &[ShownRow], rows: usize) -> String {
    for ShownRow { place: Place { chunk_index, idx }, url, problem } in first {
        let problem = problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
        text.push_str(&format!("\n  chunk {chunk_index}, idx {idx}: `{url}`{problem}"));
    }
    if rows > first.len() {
        text.push_str("\n  ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::judged;

    fn warnings(name: &str, text: &str, chunk_size: usize) -> Vec<String> {
        let judged = judged(&[(name, text)], chunk_size).unwrap();
        judged.remarks.warnings(judged.n)
    }

    /// Case 194, I15: each has its place in a chunk, the first five are shown, and a secret is not.
    #[test]
    fn rows_that_cannot_be_used_are_counted_and_shown() {
        let table = "url\nhttp://a\nftp://u:p@a/b?sig=1\nno url\n\"\"\nhttp://b\n{\u{1b}\nx\ny\n";
        let warnings = |table| warnings("a.csv", table, 3);
        let warning = warnings(table);
        assert_eq!(
            warning[0].lines().collect::<Vec<_>>(),
            [
                "6 of 8 rows have no http(s) URL; each is in its manifest, as failed (url_refused)",
                "  chunk 0, idx 1: `ftp://a/b`",
                "  chunk 0, idx 2: `no url`",
                "  chunk 1, idx 0: ``",
                "  chunk 1, idx 2: `{\\u{1b}`",
                "  chunk 2, idx 0: `x`",
                "  ...",
            ]
        );
        assert_eq!(warning.len(), 1);
        assert!(warnings("url\nhttp://a\n").is_empty());
    }

    /// Case 260: cells that moved to other columns are seen, in every kind of table.
    #[test]
    fn rows_with_other_cells_than_the_head_are_counted_and_shown() {
        for (name, rows) in [
            ("a.tsv", "u\t\"a\tb\"\nhttp://a\t\"two\nlines\"\nhttp://b\tx\nhttp://c\n"),
            ("a.csv", "u,a,b\nhttp://a,\"two\"\nlines\nhttp://b,x\nhttp://c\n"),
            ("a.csv", "u;a;b\nhttp://a;two\nlines\nhttp://b;x,y\nhttp://c\n"),
        ] {
            let head = ["url\tlabel", "url,label", "url;label"];
            let head = head.into_iter().find(|head| {
                let delimiter = head.trim_start_matches("url").trim_end_matches("label");
                rows.starts_with(&format!("u{delimiter}"))
            });
            let warnings = warnings(name, &format!("{}\n{rows}", head.unwrap()), 9);
            let lines: Vec<&str> = warnings.last().unwrap().lines().collect();
            assert_eq!(
                lines,
                [
                    "3 of 5 rows may not be what was meant; all are submitted",
                    "  chunk 0, idx 0: `u`: 3 cells, and 2 in the first line",
                    &format!(
                        "  chunk 0, idx 2: `{}`: 1 cell, and 2 in the first line",
                        if name == "a.tsv" { "lines\"" } else { "lines" }
                    ),
                    "  chunk 0, idx 4: `http://c/`: 1 cell, and 2 in the first line",
                ],
                "{name}"
            );
        }
    }

    /// A shard is asked for what no row has: said before the job runs.
    #[test]
    fn what_no_row_has_is_said_when_shards_are_to_hold_it() {
        let said = |table: &str, text, class| {
            let judged = judged(&[("a.csv", table)], 9).unwrap();
            let mut remarks = judged.remarks;
            remarks.look_for(&Output { text, class, ..Output::default() });
            (remarks.warnings(judged.n), remarks.not_in_list)
        };
        let (caption, label) = (Some(OutputText::Caption), Some(OutputText::Label));
        let bare = "url,title,class\nhttp://a,x,\nhttp://b,y,cat\n";
        let (warnings, not_in_list) = said(bare, caption, true);
        assert_eq!(not_in_list, ["caption", "class"]);
        assert!(
            warnings[1].starts_with("no row has a caption, and each .txt of the shards is empty")
        );
        assert!(warnings[2].starts_with("no row has a class, and each .cls of the shards is -1"));
        assert_eq!(said(bare, label, false).1, ["label"]);
        assert!(said(bare, None, false).1.is_empty());
        let all = "url,text,label,class\nhttp://a,x,,\nhttp://b,,y,3\n";
        for text in [caption, label] {
            assert_eq!(said(all, text, true), (Vec::new(), Vec::new()));
        }
    }

    /// Cases 266-268: what else can be read, and may mean something else.
    #[test]
    fn rows_and_columns_that_may_mean_something_else_are_named() {
        let text =
            warnings("a.txt", "http://a/1, \"a, b\"\nhttp://a/2\nhttp://a/3,b\nhttp://a/4,", 9);
        assert_eq!(
            text,
            ["2 of 4 rows may not be what was meant; all are submitted\n  chunk 0, idx 0: \
              `http://a/1,%20%22a,%20b%22`: more than a URL, and all of it is taken as one\n  \
              chunk 0, idx 3: `http://a/4,`: more than a URL, and all of it is taken as one"]
        );
        let quote =
            warnings("a.csv", "url,label\nhttp://a,\"say \\\"hi\\\"\"\nhttp://b,\"a\"\n", 9);
        assert!(quote[0].contains("idx 0: `http://a/`: a quote inside a quoted cell"), "{quote:?}");
        assert_eq!(quote.len(), 1);
        let nameless = warnings("a.csv", "url,,label,\nhttp://a,1,x,\nhttp://b,,y,\n", 9);
        let words = "column 2 has no name, and its 1 cells are left out; a name in the first line \
                     keeps them in the meta";
        assert_eq!(nameless, [words]);
    }

    /// Case 261: told like others that cannot be used.
    #[test]
    fn rows_above_the_limit_are_counted_and_shown() {
        let long = format!("{{\"url\":\"http://a\",\"meta\":\"{}\"}}\n", "x".repeat(70_000));
        let said = warnings("a.jsonl", &format!("{long}{{\"url\":\"http://b\"}}\n"), 9);
        assert_eq!(
            said,
            ["1 of 2 rows are above 64 KiB; each is in its manifest, as failed (url_refused)\n  \
              chunk 0, idx 0: `http://a/`: above 64 KiB (item_too_large)"]
        );
        let both = warnings("a.jsonl", &format!("7\n{long}{{\"url\":\"http://b\"}}"), 9);
        assert!(
            both[0].starts_with("2 of 3 rows have no http(s) URL or are above 64 KiB;"),
            "{both:?}"
        );
    }
}
