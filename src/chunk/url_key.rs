//! The name of a URL in its job.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// Where a URL stands in its job: chunk and place. Written `00004_00017`, as the key of its sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UrlKey {
    /// The chunk's place in the job, 0 to 99999.
    pub chunk_index: u32,
    /// The URL's place in the chunk, 0 to 99999.
    pub idx: u32,
}

/// A text that is no key.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no key of a URL, as 00004_00017")]
pub struct NoUrlKey(String);

impl fmt::Display for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}_{:05}", self.chunk_index, self.idx)
    }
}

impl FromStr for UrlKey {
    type Err = NoUrlKey;

    fn from_str(text: &str) -> Result<Self, NoUrlKey> {
        let number = |digits: &str| {
            let is_one = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_one.then(|| digits.parse().ok()).flatten()
        };
        let (chunk_index, idx) = text.split_once('_').unwrap_or_default();
        let key = number(chunk_index).zip(number(idx));
        key.map(|(chunk_index, idx)| Self { chunk_index, idx })
            .ok_or_else(|| NoUrlKey(text.to_owned()))
    }
}

impl Serialize for UrlKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UrlKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_two_numbers_of_five_digits() {
        let key = UrlKey { chunk_index: 4, idx: 17 };
        assert_eq!("00004_00017".parse::<UrlKey>().unwrap(), key);
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"00004_00017\"");
        for text in ["", "4_17", "00004-00017", "00004_0001x", "+0004_00017", "00004_00017_1"] {
            assert!(text.parse::<UrlKey>().is_err(), "{text}");
        }
    }
}
