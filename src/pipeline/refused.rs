//! A URL that has no sample, with what is known of what it led to.

use crate::chunk::{Detail, Reason, Rejection};
use imagecheck::{Format, ImageInfo, Level, Refusal, identify, inspect};
use std::io::{BufRead, Seek};

/// Why a URL has no sample, and what its body is, as far as it was read.
#[derive(Debug)]
pub(super) struct Refused {
    pub rejection: Rejection,
    pub format: Option<Format>,
    /// Pixels, as the header says.
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// Bytes of the whole body.
    pub file_size: Option<u64>,
}

/// There is no whole body, or nothing of it was read.
impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, format: None, width: None, height: None, file_size: None }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Rejection::from(reason).into()
    }
}

impl Refused {
    /// A picture that was read, and is not kept for something else.
    pub(super) fn picture(rejection: Rejection, info: &ImageInfo, file_size: u64) -> Self {
        Self {
            rejection,
            format: Some(info.format),
            width: Some(info.width),
            height: Some(info.height),
            file_size: Some(file_size),
        }
    }
}

/// Inspects a body. Of one that is refused it is found out what it is, and which part is to blame.
pub(super) fn examine<R: BufRead + Seek>(
    body: &mut R,
    len: u64,
    level: Level,
) -> Result<ImageInfo, Refused> {
    inspect(body, len, level).map_err(|refusal| {
        let header = inspect(body, len, Level::Fast);
        let format = identify(body, len).ok();
        let mut of_container =
            || level != Level::Slow || inspect(body, len, Level::Medium).is_err();
        let (reason, detail) = match refusal {
            Refusal::Empty => (Reason::Empty, None),
            Refusal::NotImage => (Reason::NotImage, None),
            Refusal::TooLarge if header.is_err() => (Reason::TooLarge, Some(Detail::Pixels)),
            Refusal::TooLarge => (Reason::TooLarge, Some(Detail::Cost)),
            Refusal::DecodeBudget => (Reason::TooLarge, Some(Detail::DecodeBudget)),
            Refusal::UnsupportedFormat if format.is_none() => {
                (Reason::UnsupportedFormat, Some(Detail::Format))
            }
            Refusal::UnsupportedFormat => (Reason::UnsupportedFormat, Some(Detail::Variant)),
            // A picture that loaders do not open is like one of a format that they do not know.
            Refusal::Metadata => (Reason::UnsupportedFormat, Some(Detail::Metadata)),
            Refusal::Truncated => (Reason::Truncated, Some(Detail::Container)),
            Refusal::Corrupt if of_container() => (Reason::Corrupt, Some(Detail::Container)),
            Refusal::Corrupt => (Reason::Corrupt, Some(Detail::Codes)),
        };
        Refused {
            rejection: Rejection { reason, detail },
            format,
            width: header.map(|info| info.width).ok(),
            height: header.map(|info| info.height).ok(),
            file_size: Some(len),
        }
    })
}
