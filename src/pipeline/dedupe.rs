//! Exact duplicates: the first sample with a content hash is kept.

use std::collections::HashMap;

/// Content hashes of the samples kept so far, with their keys.
#[derive(Debug, Default)]
pub(super) struct Kept {
    keys: HashMap<Vec<u8>, String>,
}

impl Kept {
    /// The key under which these bytes are kept already; else keeps them under `key`.
    pub(super) fn keep(&mut self, sha256: &[u8], key: &str) -> Option<String> {
        if let Some(kept) = self.keys.get(sha256) {
            return Some(kept.clone());
        }
        self.keys.insert(sha256.to_vec(), key.to_owned());
        None
    }

    /// Every kept hash with its key.
    pub(super) fn into_hashes(self) -> Vec<(Vec<u8>, String)> {
        self.keys.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_is_kept_and_the_others_name_it() {
        let mut kept = Kept::default();
        assert_eq!(kept.keep(b"a", "1"), None);
        assert_eq!(kept.keep(b"b", "2"), None);
        assert_eq!(kept.keep(b"a", "3"), Some("1".into()));
        let mut hashes = kept.into_hashes();
        hashes.sort();
        assert_eq!(hashes, [(b"a".to_vec(), "1".into()), (b"b".to_vec(), "2".into())]);
    }
}
