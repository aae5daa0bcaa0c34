//! Duplicates: the first sample of each content hash is kept; the first that looks alike is named.

use crate::chunk::NearDuplicate;
use imagecheck::PerceptualHash;
use std::collections::HashMap;

/// Content hashes and perceptual hashes of the samples kept so far, with their keys.
#[derive(Debug, Default)]
pub(super) struct Kept {
    keys: HashMap<Vec<u8>, String>,
    /// In the order of their arrival.
    phashes: Vec<(PerceptualHash, String)>,
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

    /// Whether these bytes are kept already.
    pub(super) fn has(&self, sha256: &[u8]) -> bool {
        self.keys.contains_key(sha256)
    }

    /// The first sample that looks like this one, which is kept under `key` all the same.
    ///
    /// Compares with every one: ten thousand take some microseconds.
    pub(super) fn compare(&mut self, phash: PerceptualHash, key: &str) -> Option<NearDuplicate> {
        let near = self.phashes.iter().find_map(|(other, of)| {
            let distance = phash.distance(*other);
            (distance <= PerceptualHash::NEAR).then(|| NearDuplicate { of: of.clone(), distance })
        });
        self.phashes.push((phash, key.to_owned()));
        near
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
        assert_eq!(kept.keep(b"b", "4"), Some("2".into()));
        assert_eq!(kept.keys.len(), 2);
    }

    #[test]
    fn the_first_sample_within_the_distance_is_named() {
        let look = |n: u32| PerceptualHash::from_bits((0..256).map(|at| at < n));
        let near = |of: &str, distance| Some(NearDuplicate { of: of.into(), distance });
        let mut kept = Kept::default();
        assert_eq!(kept.compare(look(0), "1"), None);
        assert_eq!(kept.compare(look(PerceptualHash::NEAR), "2"), near("1", PerceptualHash::NEAR));
        assert_eq!(kept.compare(look(PerceptualHash::NEAR + 1), "3"), near("2", 1));
        assert_eq!(kept.compare(look(1), "4"), near("1", 1));
        assert_eq!(kept.compare(look(200), "5"), None);
        assert_eq!(kept.compare(look(200), "6"), near("5", 0));
    }
}
