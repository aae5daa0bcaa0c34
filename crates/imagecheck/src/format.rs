//! The formats that are known.

use serde::{Deserialize, Serialize};

/// An image format, decided by the content, never by a name or a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the formats")]
pub enum Format {
    Jpeg,
    Png,
    Gif,
    Bmp,
    Webp,
    Tiff,
}

impl Format {
    /// The lower-case word for the format, the same one that serde writes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Webp => "webp",
            Self::Tiff => "tiff",
        }
    }

    /// The usual file extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Webp => "webp",
            Self::Tiff => "tif",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_writes_the_word_of_the_format() {
        for (format, word) in [
            (Format::Jpeg, "jpeg"),
            (Format::Png, "png"),
            (Format::Gif, "gif"),
            (Format::Bmp, "bmp"),
            (Format::Webp, "webp"),
            (Format::Tiff, "tiff"),
        ] {
            assert_eq!(format.as_str(), word);
            assert_eq!(serde_json::to_value(format).unwrap(), word);
            assert_eq!(serde_json::from_value::<Format>(word.into()).unwrap(), format);
        }
    }
}
