//! A picture made small. Its bytes are a stranger's: its decoder gets some memory and some time, and may
//! panic.

use crate::guarded::guarded;
use axum::body::Bytes;
use image::{
    DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, ImageResult, Limits,
    codecs::jpeg::JpegEncoder,
};
use imagecheck::Format;
use std::{io::Cursor, thread, time::Duration};
use tokio::{sync::oneshot, time::timeout};

/// Pixels of the longer side.
const SIDE: u32 = 160;
const QUALITY: u8 = 80;
/// What a decoder may hold.
const MOST_BYTES: u64 = 256 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

const UNREAD: &str = "No decoder here reads it.";
const LARGE: &str = "It is too large to be made small here.";
const LONG: &str = "It takes too long to be made small.";

/// A picture as any browser shows it.
#[derive(Debug)]
pub(super) struct Small {
    /// Its media type.
    pub(super) kind: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// Makes a picture small, or says why not.
pub(super) async fn small(bytes: Bytes) -> Result<Small, &'static str> {
    let (tell, told) = oneshot::channel();
    // No thread of the runtime, which waits at its end for what it began.
    thread::spawn(move || tell.send(guarded(|| made(&bytes))).is_ok());
    match timeout(PATIENCE, told).await {
        Ok(Ok(Some(Ok(made)))) => Ok(made),
        Ok(Ok(Some(Err(ImageError::Limits(_))))) => Err(LARGE),
        Ok(_) => Err(UNREAD),
        Err(_) => Err(LONG),
    }
}

fn made(bytes: &[u8]) -> ImageResult<Small> {
    let whole = decoded(bytes)?;
    let is_large = whole.width() > SIDE || whole.height() > SIDE;
    let small = if is_large { whole.thumbnail(SIDE, SIDE) } else { whole };
    let mut bytes = Cursor::new(Vec::new());
    // JPEG knows no transparency.
    let kind = if small.color().has_alpha() {
        small.into_rgba8().write_to(&mut bytes, ImageFormat::Png)?;
        "image/png"
    } else {
        JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&small.into_rgb8())?;
        "image/jpeg"
    };
    Ok(Small { kind, bytes: bytes.into_inner() })
}

/// The picture as it stands upright.
fn decoded(bytes: &[u8]) -> ImageResult<DynamicImage> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let format = match imagecheck::identify(&mut Cursor::new(bytes), length) {
        Ok(Format::Jpeg) => ImageFormat::Jpeg,
        Ok(Format::Png) => ImageFormat::Png,
        Ok(Format::Gif) => ImageFormat::Gif,
        Ok(Format::Bmp) => ImageFormat::Bmp,
        Ok(Format::Webp) => ImageFormat::WebP,
        Ok(Format::Tiff) => ImageFormat::Tiff,
        Err(refusal) => return Err(ImageError::IoError(std::io::Error::other(refusal))),
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    // Not all decoders count the pixels themselves.
    limits.reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage, Rgba, RgbaImage};

    fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn noise(width: u32, height: u32) -> DynamicImage {
        let mut random = fastrand::Rng::with_seed(1);
        RgbaImage::from_fn(width, height, |_, _| Rgba(std::array::from_fn(|_| random.u8(..))))
            .into()
    }

    /// Each format becomes small, also the worst of them: 24 such pictures stay below 4 MB.
    #[tokio::test]
    async fn pictures_become_small() {
        let plain = DynamicImage::from(RgbImage::from_pixel(400, 200, Rgb([200, 10, 10])));
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::Gif,
            ImageFormat::Bmp,
            ImageFormat::WebP,
            ImageFormat::Tiff,
        ] {
            let small = small(written(&plain, format).into()).await.unwrap();
            let read = decoded(&small.bytes).unwrap();
            assert_eq!((read.width(), read.height()), (160, 80), "{format:?}");
        }
        let worst = small(written(&noise(400, 400), ImageFormat::Png).into()).await.unwrap();
        assert_eq!(worst.kind, "image/png");
        assert!(worst.bytes.len() * 24 * 4 / 3 < 4_000_000, "{}", worst.bytes.len());
        let tiny = small(written(&noise(3, 2), ImageFormat::Png).into()).await.unwrap();
        assert_eq!(decoded(&tiny.bytes).unwrap().width(), 3, "it is not made larger");
    }

    #[tokio::test]
    async fn what_no_decoder_reads_is_said() {
        let whole = written(&noise(40, 40), ImageFormat::Png);
        for bytes in [&b""[..], b"<svg/>", &whole[..whole.len() / 2]] {
            assert_eq!(small(bytes.to_vec().into()).await.unwrap_err(), UNREAD);
        }
        // The header of a BMP of 12,000 by 12,000 pixels in 24 bits, and no more of it.
        let mut large = written(&DynamicImage::new_rgb8(1, 1), ImageFormat::Bmp);
        for at in [18, 22] {
            large[at..at + 4].copy_from_slice(&12_000_u32.to_le_bytes());
        }
        assert_eq!(small(large.into()).await.unwrap_err(), LARGE);
    }
}
