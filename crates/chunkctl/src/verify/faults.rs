//! What was found wrong: the first of each kind, and how many there are.

use serde::Serialize;
use std::collections::BTreeMap;

/// Faults that are kept of a kind.
const KEPT: usize = 1000;
/// Faults that people are shown of a kind.
const SHOWN: usize = 10;

/// What kind of fault. The words are read by programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A file that something names is not there.
    Missing,
    /// A file cannot be read, or not be understood.
    Unreadable,
    /// A shard's length or hash is another than its manifest says.
    Shard,
    /// The metadata of a blob say something else than the blob.
    Metadata,
    /// A manifest contradicts its name or itself.
    Manifest,
    /// An image is not at its place in the shard, or is another.
    Image,
    /// A shard has other members than the samples of its manifest, or no end.
    Member,
    /// A document contradicts the manifests.
    Document,
    /// The database contradicts storage.
    Database,
    /// Nobody names this file.
    Stray,
}

/// One fault.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// In the job's folder.
    pub(super) file: String,
    pub(super) what: String,
}

/// All faults of a run.
#[derive(Debug, Default)]
pub(super) struct Faults {
    by_kind: BTreeMap<Kind, (u64, Vec<Fault>)>,
}

impl Faults {
    /// Notes a fault. Names and values of others may hold anything: they are shown escaped.
    pub(super) fn note(&mut self, kind: Kind, file: &str, what: impl Into<String>) {
        let (n, kept) = self.by_kind.entry(kind).or_default();
        *n += 1;
        if kept.len() < KEPT {
            kept.push(Fault { kind, file: file.to_owned(), what: what.into() });
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.by_kind.values().map(|(n, _)| n).sum()
    }

    /// Whether there is one of this kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.by_kind.contains_key(&kind)
    }

    /// Those that are kept.
    pub(super) fn kept(&self) -> Vec<&Fault> {
        self.by_kind.values().flat_map(|(_, kept)| kept).collect()
    }

    /// How many there are of each kind.
    pub(super) fn counts(&self) -> BTreeMap<Kind, u64> {
        self.by_kind.iter().map(|(kind, (n, _))| (*kind, *n)).collect()
    }

    /// A line for each, as far as they are shown.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (n, kept) in self.by_kind.values() {
            let shown = kept.iter().take(SHOWN);
            lines.extend(
                shown.map(|fault| format!("{}: {}", plain(&fault.file), plain(&fault.what))),
            );
            let rest = n.saturating_sub(u64::try_from(SHOWN).unwrap_or(0));
            if rest > 0 {
                lines.push(format!("... and {rest} more like the last one"));
            }
        }
        lines
    }
}

/// A text without what a terminal would obey. Quotes stay as they are: names in it have theirs already.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many there are: a few lines, and the count.
    #[test]
    fn faults_are_shown_to_a_bound_and_counted() {
        let mut faults = Faults::default();
        for n in 0..5000 {
            faults.note(Kind::Image, "chunks/chunk_00000.tar", format!("item {n}"));
        }
        faults.note(Kind::Stray, "a\u{1b}[2Jb", "it's no \"tar\" \\u{7}");
        let lines = faults.lines();
        assert_eq!((lines.len(), faults.count(), faults.kept().len()), (12, 5001, 1001));
        assert_eq!(lines[10], "... and 4990 more like the last one");
        assert_eq!(lines[11], "a\\u{1b}[2Jb: it's no \"tar\" \\u{7}");
        assert_eq!(serde_json::to_string(&faults.counts()).unwrap(), r#"{"image":5000,"stray":1}"#);
    }
}
