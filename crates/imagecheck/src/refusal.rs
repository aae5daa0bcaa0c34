//! Why an image is not accepted.

/// Why the bytes are not an image that may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// There are no bytes.
    #[error("the body has no bytes")]
    Empty,
    /// More pixels a side or in all than allowed.
    #[error("the image is larger than the limits allow")]
    TooLarge,
    /// At level slow, a decode that would take more memory or time than one picture may.
    #[error("the image's decode would take more than the limits allow")]
    DecodeBudget,
    /// The bytes are not those of an image.
    #[error("the bytes are not an image")]
    NotImage,
    /// An image of a format that is not listed, or a variant of a listed format that common readers
    /// do not show.
    #[error("the image is in a format or a variant that is not supported")]
    UnsupportedFormat,
    /// The image is whole, and what it carries beside its pixels, a text, a colour profile or Exif,
    /// makes the loaders of data sets refuse it: too large when inflated, or malformed.
    #[error("the image's metadata makes loaders refuse it")]
    Metadata,
    /// The bytes end before the image does.
    #[error("the bytes end before the image does")]
    Truncated,
    /// The container contradicts itself or its specification, or, at level slow, the pixels cannot
    /// be decoded.
    #[error("the image contradicts itself or its specification")]
    Corrupt,
}
