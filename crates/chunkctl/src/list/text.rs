//! The text of a file in pieces: its encoding, and its lines. Memory does not grow with the file.

use super::{Error, unpack::Unpacked};
use chunk_handler::chunk::source::{is_blank, trimmed};
use std::{io::Read as _, ops::ControlFlow};

/// Why bytes are no text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EncodingError {
    /// A byte of another encoding.
    #[error(
        "line {line}, byte {byte} is 0x{value:02X}, which is not UTF-8 there; save it as UTF-8"
    )]
    NotUtf8 {
        /// From 1.
        line: usize,
        /// Of the line, from 1.
        byte: usize,
        /// The byte.
        value: u8,
    },
    /// Half of a character.
    #[error(
        "line {line}, byte {byte} is not UTF-16, as the byte order mark says; save it as UTF-8"
    )]
    NotUtf16 {
        /// From 1.
        line: usize,
        /// Of the line, from 1.
        byte: usize,
    },
}

/// Bytes that are decoded at once.
const STEP: usize = 64 * 1024;
/// The most that is kept of a line, or of what else is one row: far above an item, so that its cells
/// are seen.
pub(super) const MOST_OF_A_ROW: usize = 16 << 20;
/// The most of a file's start that is looked at to say what it is.
const MOST_OF_THE_START: usize = 1 << 20;

/// How the bytes are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16Little,
    Utf16Big,
}

/// A place in a text of which the lines end in LF, CR LF or CR.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// From 1.
    pub(super) line: usize,
    /// What of the line lies before it.
    pub(super) before: Before,
    after_cr: bool,
}

/// The length of a line's start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    /// In UTF-8.
    pub(super) bytes: usize,
    /// In UTF-16.
    units: usize,
}

impl Place {
    pub(super) fn start() -> Self {
        Self { line: 1, before: Before::default(), after_cr: false }
    }

    /// Goes on behind some text.
    pub(super) fn pass(&mut self, text: &str) {
        for part in text.split_inclusive(['\n', '\r']) {
            match part.as_bytes() {
                // The other half of a line end.
                b"\n" if self.after_cr => {}
                [.., b'\n' | b'\r'] => {
                    self.line += 1;
                    self.before = Before::default();
                }
                _ => {
                    self.before.bytes += part.len();
                    self.before.units += match part.is_ascii() {
                        true => part.len(),
                        false => part.encode_utf16().count(),
                    };
                }
            }
            self.after_cr = part.ends_with('\r');
        }
    }
}

/// A text that is being read.
#[derive(Debug)]
pub(super) struct Text {
    bytes: Unpacked,
    /// None: nothing was decoded yet.
    encoding: Option<Encoding>,
    /// Read and not decoded.
    raw: Vec<u8>,
    is_at_end: bool,
    /// What was decoded before anybody took it.
    ahead: String,
    piece: String,
    /// Where what was decoded ends.
    decoded: Place,
    /// Where the text begins that is handed out: blank lines before it are not.
    begin: Place,
}

impl Text {
    /// Of bytes, of which the first are read.
    ///
    /// # Errors
    ///
    /// When they cannot be.
    pub(super) fn open(bytes: Unpacked) -> Result<Self, Error> {
        let mut text = Self {
            bytes,
            encoding: None,
            raw: Vec::new(),
            is_at_end: false,
            ahead: String::new(),
            piece: String::new(),
            decoded: Place::start(),
            begin: Place::start(),
        };
        text.read()?;
        Ok(text)
    }

    /// The first bytes, as long as nothing is decoded.
    pub(super) fn first_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The text from its first line that is not blank on, as far as it says what the text is: that line
    /// and something behind it, if there is something and it is not too long. Empty: all is blank.
    ///
    /// # Errors
    ///
    /// [`Error::Encoding`], or when the file cannot be read.
    pub(super) fn start(&mut self) -> Result<&str, Error> {
        while !is_enough(&self.ahead) {
            if trimmed(&self.ahead).is_empty() {
                self.begin.pass(&self.ahead);
                self.ahead.clear();
            }
            if !self.decode()? {
                break;
            }
            self.ahead.push_str(&self.piece);
        }
        Ok(&self.ahead)
    }

    /// Where the text begins that [`Self::next`] hands out.
    pub(super) fn begin(&self) -> Place {
        self.begin.clone()
    }

    /// The next piece; none: the text is over.
    ///
    /// # Errors
    ///
    /// [`Error::Encoding`], or when the file cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<&str>, Error> {
        if !self.ahead.is_empty() {
            self.piece = std::mem::take(&mut self.ahead);
            return Ok(Some(&self.piece));
        }
        Ok(if self.decode()? { Some(&self.piece) } else { None })
    }

    /// Hands out each line with its number, from 1. One above [`MOST_OF_A_ROW`] is cut, with U+FFFD in
    /// the place of what is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Encoding`], when the file cannot be read, or those of `take`.
    pub(super) fn lines(
        &mut self,
        mut take: impl FnMut(usize, &str) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut place = self.begin();
        let mut line = String::new();
        let mut number = place.line;
        while let Some(piece) = self.next()? {
            for part in piece.split_inclusive(['\n', '\r']) {
                if line.is_empty() {
                    number = place.line;
                }
                place.pass(part);
                let whole = part.strip_suffix(['\n', '\r']);
                let flow = match whole {
                    Some(whole) if line.is_empty() => take(number, whole)?,
                    Some(end) => {
                        push_most(&mut line, end);
                        let flow = take(number, &line)?;
                        line.clear();
                        flow
                    }
                    None => {
                        push_most(&mut line, part);
                        ControlFlow::Continue(())
                    }
                };
                if flow.is_break() {
                    return Ok(());
                }
            }
        }
        if !line.is_empty() && take(number, &line)?.is_break() {
            return Ok(());
        }
        Ok(())
    }

    /// The SHA-256 of the file, of which the rest is read.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(super) fn into_sha256(self) -> Result<[u8; 32], Error> {
        self.bytes.into_sha256().map_err(Error::Read)
    }

    /// Fills the raw bytes.
    fn read(&mut self) -> Result<(), Error> {
        let room = STEP.saturating_sub(self.raw.len());
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let is_packed = self.bytes.is_packed();
        let n = self.bytes.by_ref().take(room).read_to_end(&mut self.raw).map_err(|error| {
            match is_packed {
                true => Error::Packed(format!("is compressed and cannot be unpacked: {error}")),
                false => Error::Read(error),
            }
        })?;
        self.is_at_end = n == 0;
        Ok(())
    }

    /// Decodes the next piece; false: there is none.
    fn decode(&mut self) -> Result<bool, Error> {
        self.piece.clear();
        while self.piece.is_empty() {
            if self.encoding.is_some() {
                self.read()?;
            } else {
                self.encoding = Some(self.begin_decoding());
            }
            if self.raw.is_empty() && self.is_at_end {
                return Ok(false);
            }
            let decoded = match self.encoding {
                Some(Encoding::Utf16Little) => self.decode_utf16(u16::from_le_bytes),
                Some(Encoding::Utf16Big) => self.decode_utf16(u16::from_be_bytes),
                Some(Encoding::Utf8) | None => self.decode_utf8(),
            };
            decoded.map_err(Error::Encoding)?;
            self.decoded.pass(&self.piece);
        }
        Ok(true)
    }

    /// The encoding by the first bytes, without the mark that says it.
    fn begin_decoding(&mut self) -> Encoding {
        let (encoding, mark) = match self.raw.as_slice() {
            [0xff, 0xfe, ..] => (Encoding::Utf16Little, 2),
            [0xfe, 0xff, ..] => (Encoding::Utf16Big, 2),
            [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
            _ => (Encoding::Utf8, 0),
        };
        self.raw.drain(..mark);
        encoding
    }

    fn decode_utf8(&mut self) -> Result<(), EncodingError> {
        let (good, is_broken) = match std::str::from_utf8(&self.raw) {
            Ok(text) => (text.len(), false),
            Err(error) => (error.valid_up_to(), self.is_at_end || error.error_len().is_some()),
        };
        let (text, rest) = self.raw.split_at(good);
        self.piece.push_str(std::str::from_utf8(text).unwrap_or_default());
        if is_broken {
            let mut place = self.decoded.clone();
            place.pass(&self.piece);
            let value = rest.first().copied().unwrap_or_default();
            let byte = place.before.bytes + 1;
            return Err(EncodingError::NotUtf8 { line: place.line, byte, value });
        }
        self.raw.drain(..good);
        Ok(())
    }

    fn decode_utf16(&mut self, unit: fn([u8; 2]) -> u16) -> Result<(), EncodingError> {
        let (pairs, half) = self.raw.as_chunks::<2>();
        let mut units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        // The other half of a pair may follow.
        let is_first_half = units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
        if is_first_half && !self.is_at_end {
            units.pop();
        }
        let mut is_broken = self.is_at_end && !half.is_empty();
        for c in char::decode_utf16(units.iter().copied()) {
            let Ok(c) = c else {
                is_broken = true;
                break;
            };
            self.piece.push(c);
        }
        if is_broken {
            let mut place = self.decoded.clone();
            place.pass(&self.piece);
            return Err(EncodingError::NotUtf16 {
                line: place.line,
                byte: 2 * place.before.units + 1,
            });
        }
        self.raw.drain(..2 * units.len());
        Ok(())
    }
}

/// Whether a start says what a text is.
fn is_enough(start: &str) -> bool {
    let line = start.trim_start_matches(is_blank);
    let has_more = line.split_once(['\n', '\r']).is_some_and(|(_, rest)| !trimmed(rest).is_empty());
    has_more || start.len() > MOST_OF_THE_START
}

/// Appends a part to a line, as far as there is room.
pub(super) fn push_most(line: &mut String, part: &str) {
    if line.len() > MOST_OF_A_ROW {
        return;
    }
    let room = MOST_OF_A_ROW.saturating_sub(line.len());
    let (fits, rest) = part.split_at(part.floor_char_boundary(room));
    line.push_str(fits);
    if !trimmed(rest).is_empty() {
        while line.len() <= MOST_OF_A_ROW {
            line.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests;
