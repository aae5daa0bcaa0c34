//! What type Pillow writes each tag with.
//!
//! Source: Pillow 13, `TiffTags.TAGS_V2` and `TiffTags.TAGS_V2_GROUPS`.

use super::{EXIF, GPS, INTEROPERABILITY, MAIN};

/// What a value is written as.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Bytes,
    Text,
    Short,
    Long,
    Ratio,
    SignedRatio,
    Double,
    Undefined,
}

/// The type of a tag in a directory, and whether it has one value.
pub(super) fn lookup(directory: u16, tag: u16) -> Option<(Form, bool)> {
    Some(match (directory, tag) {
        (
            MAIN,
            254 | 256 | 257 | 278 | 288 | 289 | 292 | 293 | 322 | 323 | 513 | 514 | 32_997 | 32_998
            | 34_665 | 34_853 | 40_965 | 45_057 | 45_060 | 45_313 | 45_569 | 45_572,
        ) => (Form::Long, true),
        (
            MAIN,
            255 | 259 | 262 | 263 | 264 | 265 | 266 | 277 | 284 | 290 | 296 | 317 | 332 | 334 | 512
            | 515 | 531 | 32_995 | 50_741,
        ) => (Form::Short, true),
        (
            MAIN,
            258 | 280 | 281 | 291 | 297 | 301 | 320 | 321 | 336 | 338 | 339 | 342 | 517 | 518 | 530
            | 32_996,
        ) => (Form::Short, false),
        (MAIN, 269 | 270 | 271 | 272 | 285 | 305 | 306 | 315 | 316 | 333 | 337 | 33_432) => {
            (Form::Text, true)
        }
        (MAIN, 273 | 279 | 324 | 325 | 330 | 519 | 520 | 521 | 50_838) => (Form::Long, false),
        (MAIN, 282 | 283 | 286 | 287 | 45_570 | 45_571 | 45_574 | 50_780) => (Form::Ratio, true),
        (MAIN, 318 | 319 | 529 | 532) => (Form::Ratio, false),
        (MAIN, 340 | 341) => (Form::Double, false),
        (
            MAIN,
            347 | 33_723 | 34_675 | 36_864 | 37_724 | 40_960 | 41_730 | 45_056 | 45_058 | 50_839,
        ) => (Form::Undefined, true),
        (MAIN, 700 | 34_377) => (Form::Bytes, false),
        (MAIN, 45_059) => (Form::Undefined, false),
        (MAIN, 45_573 | 45_575 | 45_576 | 45_577 | 45_578 | 45_579 | 45_580 | 45_581) => {
            (Form::SignedRatio, true)
        }
        (EXIF, 36_864 | 40_960 | 41_730) => (Form::Undefined, true),
        (EXIF, 40_965) => (Form::Long, true),
        (GPS, 0) => (Form::Bytes, false),
        (GPS, 1 | 3 | 8 | 9 | 10 | 12 | 14 | 16 | 18 | 19 | 21 | 23 | 25 | 29) => {
            (Form::Text, false)
        }
        (GPS, 2 | 4 | 7 | 20 | 22) => (Form::Ratio, false),
        (GPS, 5) => (Form::Bytes, true),
        (GPS, 6 | 11 | 13 | 15 | 17 | 24 | 26 | 31) => (Form::Ratio, true),
        (GPS, 27 | 28) => (Form::Undefined, false),
        (GPS, 30) => (Form::Short, true),
        (INTEROPERABILITY, 1) => (Form::Text, true),
        (INTEROPERABILITY, 2) => (Form::Undefined, true),
        _ => return None,
    })
}

/// The texts that are read as numbers of their tags.
pub(super) const NAMES: &[(u16, &[u8])] = &[
    (259, b"Uncompressed"),
    (259, b"CCITT 1d"),
    (259, b"Group 3 Fax"),
    (259, b"Group 4 Fax"),
    (259, b"LZW"),
    (259, b"JPEG"),
    (259, b"PackBits"),
    (262, b"WhiteIsZero"),
    (262, b"BlackIsZero"),
    (262, b"RGB"),
    (262, b"RGB Palette"),
    (262, b"Transparency Mask"),
    (262, b"CMYK"),
    (262, b"YCbCr"),
    (262, b"CieLAB"),
    (262, b"CFA"),
    (262, b"LinearRaw"),
    (284, b"Contiguous"),
    (284, b"Separate"),
    (296, b"none"),
    (296, b"inch"),
    (296, b"cm"),
    (317, b"none"),
    (317, b"Horizontal Differencing"),
    (50_741, b"Unsafe"),
    (50_741, b"Safe"),
];
