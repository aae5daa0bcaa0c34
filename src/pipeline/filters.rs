//! What a message wants of a picture beyond being one.
//!
//! Minimum sizes are judged when the picture was inspected. Format, most pixels and aspect ratio are judged
//! by its header alone, before anything else is said of it: where the header comes first, the rest of the
//! body is not downloaded.

use super::refused::Refused;
use crate::chunk::{Detail, Mode, Reason, Rejection, Validation};
use imagecheck::{Format, ImageInfo, Level, Refusal, identify, inspect};
use std::{
    io::{BufRead, Seek},
    sync::Arc,
};

/// What a chunk's message refuses by the header of a picture.
#[derive(Debug)]
pub(super) struct Filters(Validation);

impl Filters {
    /// None when nothing is refused so: then no header is looked at.
    pub(super) fn of(validation: &Validation) -> Option<Arc<Self>> {
        let Validation { mode, formats, max_pixels, max_aspect_ratio, .. } = validation;
        let is_asked = formats.is_some() || max_pixels.is_some() || max_aspect_ratio.is_some();
        (is_asked && *mode != Mode::ReportOnly).then(|| Arc::new(Self(validation.clone())))
    }

    /// Judges the header of a body of which perhaps not all is there: `len` is what it will have, in bytes.
    ///
    /// # Errors
    ///
    /// [`Refusal::Truncated`] when the header is not there yet; else there is no header to judge.
    pub(super) fn judge<R: BufRead + Seek>(
        &self,
        body: &mut R,
        len: u64,
    ) -> Result<Option<Refused>, Refusal> {
        let format = identify(body, len)?;
        let header = inspect(body, len, Level::Fast);
        let size = header.as_ref().ok().map(|info| (info.width, info.height));
        if let Some(rejection) = unwanted(&self.0, format, size) {
            let (width, height) = size.unzip();
            return Ok(Some(Refused { format: Some(format), width, height, ..rejection.into() }));
        }
        header.map(|_| None)
    }
}

/// What of an inspected picture the message does not want; in mode `report_only` it is kept and recorded.
pub(super) fn violations(
    validation: &Validation,
    info: &ImageInfo,
    file_size: u64,
) -> Vec<Rejection> {
    let unwanted = unwanted(validation, info.format, Some((info.width, info.height)));
    [too_small(validation, info, file_size), unwanted].into_iter().flatten().collect()
}

/// Which of the minimum sizes an image does not reach.
fn too_small(validation: &Validation, info: &ImageInfo, file_size: u64) -> Option<Rejection> {
    let (width, height) = validation.min_dimensions();
    if info.width < width || info.height < height {
        return Some(Reason::TooSmall.because(Detail::Pixels));
    }
    (file_size < validation.min_bytes()).then(|| Reason::TooSmall.because(Detail::Bytes))
}

/// The first thing that is not wanted of a picture of this format and width and height in pixels.
fn unwanted(
    validation: &Validation,
    format: Format,
    size: Option<(u32, u32)>,
) -> Option<Rejection> {
    if validation.formats.as_ref().is_some_and(|formats| !formats.contains(&format)) {
        return Some(Reason::UnsupportedFormat.because(Detail::NotWanted));
    }
    let (width, height) = size?;
    let pixels = u64::from(width) * u64::from(height);
    if validation.max_pixels.is_some_and(|most| pixels > most) {
        return Some(Reason::TooLarge.because(Detail::Pixels));
    }
    let (long, short) = (f64::from(width.max(height)), f64::from(width.min(height)));
    let is_long = validation.max_aspect_ratio.is_some_and(|most| long > most * short);
    is_long.then(|| Reason::AspectRatio.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use support::origin::picture::{Picture, picture};

    fn wants(json: &str) -> Validation {
        serde_json::from_str(json).unwrap()
    }

    /// Case 322: nobody looks at a header for which nothing is asked, or only recorded.
    #[test]
    fn without_a_filter_there_is_nothing_to_judge() {
        assert!(Filters::of(&Validation::default()).is_none());
        assert!(Filters::of(&wants(r#"{"mode":"strict","min_width":9}"#)).is_none());
        assert!(Filters::of(&wants(r#"{"mode":"report_only","max_pixels":9}"#)).is_none());
        assert!(Filters::of(&wants(r#"{"max_pixels":9}"#)).is_some());
    }

    /// Case 321: the bounds themselves are kept, and of several things the first one is said.
    #[test]
    fn each_filter_has_its_reason_and_its_bound() {
        let reason = |json: &str, size| {
            unwanted(&wants(json), Format::Png, Some(size)).map(|why| (why.reason, why.detail))
        };
        let pixels = Some((Reason::TooLarge, Some(Detail::Pixels)));
        let ratio = Some((Reason::AspectRatio, None));
        let format = Some((Reason::UnsupportedFormat, Some(Detail::NotWanted)));
        assert_eq!(reason(r#"{"max_pixels":600}"#, (30, 20)), None);
        assert_eq!(reason(r#"{"max_pixels":599}"#, (30, 20)), pixels);
        assert_eq!(reason(r#"{"max_aspect_ratio":3}"#, (300, 100)), None);
        assert_eq!(reason(r#"{"max_aspect_ratio":3}"#, (301, 100)), ratio);
        assert_eq!(reason(r#"{"max_aspect_ratio":3}"#, (100, 301)), ratio);
        assert_eq!(reason(r#"{"max_aspect_ratio":1}"#, (7, 7)), None);
        assert_eq!(reason(r#"{"formats":["jpeg","png"]}"#, (7, 7)), None);
        assert_eq!(reason(r#"{"formats":["jpeg"],"max_pixels":1}"#, (7, 7)), format);
        assert_eq!(reason(r#"{"max_pixels":1,"max_aspect_ratio":1}"#, (7, 8)), pixels);
    }

    /// Case 322: a header that has not come yet is waited for, and one that came says what the whole says.
    #[test]
    fn a_part_of_a_picture_has_the_verdict_of_the_whole() {
        let filters = Filters::of(&wants(r#"{"max_pixels":1}"#)).unwrap();
        for n in 0..12 {
            let Picture { bytes, .. } = picture(n);
            let len = u64::try_from(bytes.len()).unwrap();
            let judged = |n: usize| {
                let judged = filters.judge(&mut Cursor::new(&bytes[..n]), len);
                judged.map(|refused| refused.map(|r| (r.rejection, r.format, r.width, r.height)))
            };
            let whole = judged(bytes.len());
            assert!(matches!(whole, Ok(Some(_))), "{n}: {whole:?}");
            for n in (0..bytes.len().min(3000)).chain((3000..bytes.len()).step_by(9973)) {
                let part = judged(n);
                assert!(part == Err(Refusal::Truncated) || part == whole, "{n}: {part:?}");
            }
        }
    }
}
