//! The head of a job's card, which loaders read: it names the shards that have samples.

use std::collections::BTreeSet;

/// All shards that lie there.
const ALL: &str = "chunks/*.tar";

/// What is wrong with the head of a card; none: it names `with_samples`. All shards at once are right only
/// where each one counts and has a sample. The rest of it is for people, who may change it.
pub(super) fn fault(card: &str, with_samples: &[&str], are_all: bool) -> Option<String> {
    // An editor may have changed its line ends.
    let card = card.replace("\r\n", "\n");
    let named = paths(&card);
    let wanted: BTreeSet<&str> = with_samples.iter().copied().collect();
    if named == wanted || (are_all && named == BTreeSet::from([ALL]) && !wanted.is_empty()) {
        return None;
    }
    if named.contains(ALL) {
        return Some(format!(
            "its head names {ALL}, and not each of these counts and has a sample"
        ));
    }
    let lacks = wanted.difference(&named).count();
    let others = named.difference(&wanted).count();
    Some(format!(
        "its head lacks {lacks} shards that dataset.json lists with samples, and names {others} others"
    ))
}

/// The paths of shards in a head.
fn paths(card: &str) -> BTreeSet<&str> {
    let Some((head, _)) = card.strip_prefix("---\n").and_then(|card| card.split_once("\n---"))
    else {
        return BTreeSet::new();
    };
    let path = |line: &'_ str| -> usize { line.len() - line.trim_start_matches([' ', '-']).len() };
    head.lines()
        .filter_map(|line| line.get(path(line)..))
        .map(|word| word.trim_start_matches("path:").trim().trim_matches(['"', '\'']))
        .filter(|word| word.starts_with("chunks/"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A licence in the head, or a text below it, is nobody's fault; other shards are.
    #[test]
    fn a_card_names_the_shards_that_have_samples() {
        let card = |paths: &str| {
            format!(
                "---\nlicense: mit\nconfigs:\n  - split: train\n{paths}---\n\n# Mine\n- chunks/x\n"
            )
        };
        let (all, one) =
            (card("    path: chunks/*.tar\n"), card("    path:\n    - chunks/a.tar\n"));
        assert_eq!(fault(&all, &["chunks/a.tar", "chunks/b.tar"], true), None);
        let edited = one.replace('\n', "\r\n");
        assert_eq!(fault(&edited, &["chunks/a.tar"], false), None);
        assert!(fault(&all, &["chunks/a.tar"], false).is_some());
        assert!(fault(&all, &[], true).is_some());
        assert_eq!(fault(&one, &["chunks/a.tar"], true), None);
        assert_eq!(fault(&one, &["chunks/a.tar"], false), None);
        let other = fault(&one, &["chunks/b.tar"], false).unwrap();
        assert!(other.contains("lacks 1 shards") && other.contains("names 1 others"), "{other}");
        assert!(fault("# Mine", &["chunks/a.tar"], true).is_some());
        assert_eq!(fault("# Job 7", &[], false), None);
    }
}
