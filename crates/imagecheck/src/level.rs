//! How deeply an image is checked.

use serde::{Deserialize, Serialize};

/// How deeply an image is checked; each level checks all that the one before it checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The signature and the dimensions.
    Fast,
    /// The container too, to its end.
    #[default]
    Medium,
    /// A strict decode too, which gives the perceptual hash. It exists with the feature `decode`.
    #[cfg(feature = "decode")]
    Slow,
}

impl Level {
    /// All levels of this build, the shallowest first.
    pub const ALL: &[Self] = &[
        Self::Fast,
        Self::Medium,
        #[cfg(feature = "decode")]
        Self::Slow,
    ];

    /// Whether the level decodes the image.
    pub(crate) fn decodes(self) -> bool {
        match self {
            Self::Fast | Self::Medium => false,
            #[cfg(feature = "decode")]
            Self::Slow => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_writes_the_word_of_the_level() {
        for (level, word) in Level::ALL.iter().zip(["fast", "medium", "slow"]) {
            assert_eq!(serde_json::to_value(level).unwrap(), word);
            assert_eq!(serde_json::from_value::<Level>(word.into()).unwrap(), *level);
        }
        assert_eq!(Level::default(), Level::Medium);
    }

    /// A build that cannot decode refuses the word, instead of checking less than it asks for.
    #[test]
    fn slow_is_a_word_only_where_it_can_be_done() {
        let slow = serde_json::from_value::<Level>("slow".into());
        assert_eq!(slow.is_ok(), cfg!(feature = "decode"));
    }
}
