//! Exif as far as it stops a loader.
//!
//! `datasets` reads its header and raises for one that is none. Where it says that the picture is
//! turned, `datasets` turns it back, and Pillow then writes all fields again, each as the type that
//! its tag has: it raises for a value that does not fit, like a text for a number. What else the
//! fields say may be anything; loaders warn about it and go on.
//!
//! Source: Pillow, `Image.Exif`, `ImageOps.exif_transpose`, `TiffImagePlugin.PREFIXES`,
//! `ImageFileDirectory_v2` and `TiffTags`.

mod tags;

use tags::{Form, NAMES};

/// What Exif begins with in a JPEG, and by mistake in other formats too.
pub(crate) const PREFIX: &[u8] = b"Exif\0\0";

/// The most bytes that are looked at: what a segment of a JPEG can have.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

/// The most fields of a directory that are looked at. Cameras write some ten.
const MAX_FIELDS: usize = 200;

const ORIENTATION: u16 = 0x112;
const X_RESOLUTION: u16 = 0x11A;
const RESOLUTION_UNIT: u16 = 0x128;
const PHOTOMETRIC_INTERPRETATION: u16 = 262;

/// The directories that are written again, named by the fields that lead to them.
const MAIN: u16 = 0;
const EXIF: u16 = 34_665;
const GPS: u16 = 34_853;
const INTEROPERABILITY: u16 = 40_965;

/// What makes a loader raise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Faults {
    /// It has no header.
    pub(crate) header: bool,
    /// The picture is turned, and a value does not fit its tag.
    pub(crate) rewrite: bool,
    /// The resolution is a text or a byte that Pillow takes for a fraction. It reads it only in a
    /// JPEG that has no other.
    pub(crate) resolution: bool,
}

impl Faults {
    /// Looks at Exif, up to [`MAX_BYTES`] of it.
    pub(crate) fn of(exif: &[u8]) -> Self {
        let file = exif.strip_prefix(PREFIX).unwrap_or(exif);
        let file = file.strip_prefix(PREFIX).unwrap_or(file);
        let (header, first) = match file {
            [] => return Self::default(),
            [a, b, c, d, first @ ..] if first.len() >= 4 => ([*a, *b, *c, *d], first),
            _ => return Self { header: true, ..Self::default() },
        };
        // Two of them have their bytes in the wrong order, and are read.
        if ![*b"II\x2a\0", *b"MM\0\x2a", *b"II\0\x2a", *b"MM\x2a\0", *b"MM\0\x2b"].contains(&header)
        {
            return Self { header: true, ..Self::default() };
        }
        let file = File { bytes: file, is_big_endian: header.starts_with(b"MM") };
        let at = file.number(first.get(..4).unwrap_or_default());
        let fields = file.directory(at);
        let find = |tag| fields.iter().find(|field| field.tag == tag);
        Self {
            header: false,
            rewrite: find(ORIENTATION).is_some_and(Field::is_turned)
                && !file.is_writable(MAIN, &fields),
            resolution: find(RESOLUTION_UNIT).is_some()
                && find(X_RESOLUTION).is_some_and(Field::is_cut_fraction),
        }
    }

    /// Whether a loader raises that reads no resolution from Exif.
    pub(crate) fn stop_loaders(self) -> bool {
        self.header || self.rewrite
    }
}

#[derive(Clone, Copy)]
struct File<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl<'a> File<'a> {
    /// An unsigned number of at most eight bytes.
    fn number(self, bytes: &[u8]) -> u64 {
        let join = |n: u64, byte: &u8| n << 8 | u64::from(*byte);
        if self.is_big_endian {
            bytes.iter().fold(0, join)
        } else {
            bytes.iter().rev().fold(0, join)
        }
    }

    fn piece(self, at: u64, len: u64) -> Option<&'a [u8]> {
        let from = usize::try_from(at).ok()?;
        self.bytes.get(from..)?.get(..usize::try_from(len).ok()?)
    }

    /// The fields of a directory that Pillow takes: it passes over empty ones, types that it does not
    /// know, repeated tags and more data than the file has, and stops where data is cut.
    fn directory(self, at: u64) -> Vec<Field<'a>> {
        let mut fields: Vec<Field<'a>> = Vec::new();
        let rest = usize::try_from(at).ok().and_then(|at| self.bytes.get(at..));
        let Some((n_fields, entries)) = rest.and_then(|rest| rest.split_at_checked(2)) else {
            return fields;
        };
        let n_fields = self.number(n_fields);
        let n_fields = usize::try_from(n_fields).unwrap_or(usize::MAX).min(MAX_FIELDS);
        let mut far_bytes: u64 = 0;
        for entry in entries.chunks_exact(12).take(n_fields) {
            let [t0, t1, k0, k1, c0, c1, c2, c3, place @ ..] = entry else {
                break;
            };
            let tag = u16::try_from(self.number(&[*t0, *t1])).unwrap_or_default();
            let Some((form, width)) = form(self.number(&[*k0, *k1])) else {
                continue;
            };
            let len = self.number(&[*c0, *c1, *c2, *c3]) * u64::from(width);
            if len == 0 || fields.iter().any(|field| field.tag == tag) {
                continue;
            }
            let data = if len > 4 {
                far_bytes += len;
                if far_bytes > u64::try_from(self.bytes.len()).unwrap_or(u64::MAX) {
                    continue;
                }
                self.piece(self.number(place), len)
            } else {
                place.get(..usize::try_from(len).unwrap_or(usize::MAX))
            };
            let Some(data) = data else {
                break;
            };
            fields.push(Field { tag, form, width: width.into(), data, file: self });
        }
        fields
    }

    /// Whether Pillow can write the fields of a directory, and those of the directories below it.
    fn is_writable(self, directory: u16, fields: &[Field<'a>]) -> bool {
        fields.iter().all(|field| match (directory, field.tag) {
            (MAIN, ORIENTATION) => true,
            (MAIN, EXIF | GPS) | (EXIF, INTEROPERABILITY) => match field.numbers().next() {
                Some(Number::Whole(at)) => u64::try_from(at)
                    .is_ok_and(|at| self.is_writable(field.tag, &self.directory(at))),
                _ => true,
            },
            _ => field.is_writable(directory),
        })
    }
}

/// What Pillow reads a value as.
#[derive(Clone, Copy, PartialEq)]
enum Read {
    Bytes,
    Text,
    Whole,
    SignedWhole,
    Ratio,
    SignedRatio,
    Float,
}

/// What the types of TIFF are read as, and the bytes of one value.
fn form(kind: u64) -> Option<(Read, u8)> {
    Some(match kind {
        1 | 7 => (Read::Bytes, 1),
        2 => (Read::Text, 1),
        3 => (Read::Whole, 2),
        4 | 13 => (Read::Whole, 4),
        5 => (Read::Ratio, 8),
        6 => (Read::SignedWhole, 1),
        8 => (Read::SignedWhole, 2),
        9 => (Read::SignedWhole, 4),
        10 => (Read::SignedRatio, 8),
        11 => (Read::Float, 4),
        12 => (Read::Float, 8),
        16 => (Read::Whole, 8),
        _ => return None,
    })
}

struct Field<'a> {
    tag: u16,
    form: Read,
    width: usize,
    data: &'a [u8],
    file: File<'a>,
}

#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Ratio(i128, i128),
    Float(f64),
}

impl Field<'_> {
    /// The values, none where they are bytes or a text.
    fn numbers(&self) -> impl Iterator<Item = Number> {
        let is_number = !matches!(self.form, Read::Bytes | Read::Text);
        let data = if is_number { self.data } else { &[] };
        data.chunks_exact(self.width).map(|bytes| self.decode(bytes))
    }

    fn decode(&self, bytes: &[u8]) -> Number {
        let unsigned = |bytes| i128::from(self.file.number(bytes));
        let signed = |bytes: &[u8]| {
            let unused = 64_usize.saturating_sub(8 * bytes.len());
            i128::from((self.file.number(bytes) << unused).cast_signed() >> unused)
        };
        let halves = || bytes.split_at_checked(4).unwrap_or_default();
        match self.form {
            Read::SignedWhole => Number::Whole(signed(bytes)),
            Read::Ratio => Number::Ratio(unsigned(halves().0), unsigned(halves().1)),
            Read::SignedRatio => Number::Ratio(signed(halves().0), signed(halves().1)),
            Read::Float => {
                let bits = self.file.number(bytes);
                Number::Float(match u32::try_from(bits) {
                    Ok(bits) if bytes.len() == 4 => f32::from_bits(bits).into(),
                    _ => f64::from_bits(bits),
                })
            }
            Read::Bytes | Read::Text | Read::Whole => Number::Whole(unsigned(bytes)),
        }
    }

    /// The bytes of a text without the zero at its end.
    fn text(&self) -> &[u8] {
        self.data.strip_suffix(&[0]).unwrap_or(self.data)
    }

    /// Whether this is an orientation from 2 to 8, of whatever type of number.
    fn is_turned(&self) -> bool {
        match self.numbers().next() {
            Some(Number::Whole(n)) => (2..=8).contains(&n),
            Some(Number::Ratio(n, d)) => (2..=8).any(|turn| d != 0 && n == turn * d),
            Some(Number::Float(n)) => (2..=8).any(|turn| f64::from(turn) == n),
            None => false,
        }
    }

    /// Whether Pillow finds the first part of a fraction here, and no second.
    fn is_cut_fraction(&self) -> bool {
        match self.form {
            Read::Bytes => self.data.len() == 1,
            Read::Text => matches!(self.text(), [] | [b'0'..=b'9']),
            _ => false,
        }
    }

    /// Whether Pillow can write the field with the type of its tag.
    fn is_writable(&self, directory: u16) -> bool {
        // Pillow loses it.
        if (directory, self.tag) == (MAIN, PHOTOMETRIC_INTERPRETATION)
            && self.numbers().nth(1).is_some()
        {
            return false;
        }
        let Some((form, is_one)) = tags::lookup(directory, self.tag) else {
            // The type is chosen after the value, and none has eight bytes.
            return self.numbers().all(|n| !matches!(n, Number::Whole(n) if n >> 32 > 0));
        };
        let is_text = self.form == Read::Text;
        let is_bytes = self.form == Read::Bytes;
        let mut numbers = self.numbers().take(if is_one { 1 } else { usize::MAX });
        let mut within = |max: u32| numbers.all(|n| is_within(n, max));
        match form {
            Form::Bytes if is_text => false,
            Form::Bytes => self.numbers().take(1).all(is_byte),
            Form::Text | Form::Undefined if is_text || is_bytes => true,
            Form::Text => numbers.all(|n| matches!(n, Number::Whole(_))) && self.is_one(is_one),
            Form::Undefined => numbers.all(is_whole) && self.is_one(is_one),
            Form::Short | Form::Long if is_text => NAMES.contains(&(self.tag, self.text())),
            Form::SignedRatio if is_text => self.data.iter().any(u8::is_ascii_digit),
            _ if is_text || is_bytes => false,
            Form::Short => within(u16::MAX.into()),
            Form::Long => within(u32::MAX),
            Form::Ratio => numbers.all(is_fraction),
            Form::SignedRatio => numbers.all(|n| !matches!(n, Number::Float(n) if !n.is_finite())),
            Form::Double => true,
        }
    }

    /// Whether one value is written: of a tag with one value, Pillow takes the first.
    fn is_one(&self, is_one: bool) -> bool {
        is_one || self.data.len() == self.width
    }
}

fn is_within(number: Number, max: u32) -> bool {
    matches!(number, Number::Whole(n) if (0..=max.into()).contains(&n))
}

/// Fractions are cut to whole numbers.
fn is_byte(number: Number) -> bool {
    let n = match number {
        Number::Whole(n) => Some(n),
        Number::Ratio(n, d) => n.checked_div(d),
        Number::Float(_) => None,
    };
    n.is_some_and(|n| (0..=255).contains(&n))
}

fn is_whole(number: Number) -> bool {
    matches!(number, Number::Whole(_) | Number::Ratio(_, ..=-1 | 1..))
}

/// Not below zero; of fractions with nothing below the line, the upper part counts. What is too
/// small or too large becomes zero or nothing below the line, and loses its sign.
fn is_fraction(number: Number) -> bool {
    match number {
        Number::Whole(n) => n >= 0,
        Number::Ratio(n, 0) => n >= 0,
        Number::Ratio(n, d) => n * d >= 0,
        Number::Float(n) => !n.is_nan() && !(-1e9..=-1e-9).contains(&n),
    }
}

#[cfg(test)]
mod tests;
