//! The text of a list: its encoding and its lines.

use std::borrow::Cow;

/// Why bytes are no text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// Nobody writes lists so on purpose.
    #[error("it is UTF-32; save it as UTF-8")]
    Utf32,
    /// A byte that no text begins with.
    #[error(
        "line 1, byte {0} is zero: it is UTF-16 without a byte order mark, or no text; save it as \
         UTF-8"
    )]
    Zero(usize),
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

/// Where a zero byte means that it is no UTF-8: text in UTF-16 has one in its first character.
const FIRST: usize = 256;

/// The text of bytes: UTF-8, or UTF-16 with a byte order mark, which is left out.
///
/// # Errors
///
/// [`EncodingError`] for everything else.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, EncodingError> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Err(EncodingError::Utf32),
        [0xff, 0xfe, units @ ..] => utf16(units, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, units @ ..] => utf16(units, u16::from_be_bytes).map(Cow::Owned),
        [0xef, 0xbb, 0xbf, text @ ..] | text => utf8(text).map(Cow::Borrowed),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, EncodingError> {
    let first_line = bytes.iter().take(FIRST).take_while(|byte| !matches!(byte, b'\n' | b'\r'));
    if let Some(at) = first_line.into_iter().position(|byte| *byte == 0) {
        return Err(EncodingError::Zero(at + 1));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let (good, bad) = bytes.split_at(error.valid_up_to());
        let (line, before) = place(std::str::from_utf8(good).unwrap_or_default());
        let value = bad.first().copied().unwrap_or_default();
        EncodingError::NotUtf8 { line, byte: before.len() + 1, value }
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, EncodingError> {
    let (units, half) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(units.len());
    let broken = |text: &str| {
        let (line, before) = place(text);
        EncodingError::NotUtf16 { line, byte: 2 * before.encode_utf16().count() + 1 }
    };
    for c in char::decode_utf16(units.iter().map(|pair| unit(*pair))) {
        match c {
            Ok(c) => text.push(c),
            Err(_) => return Err(broken(&text)),
        }
    }
    if half.is_empty() { Ok(text) } else { Err(broken(&text)) }
}

/// The line, from 1, that a text ends in, and what of the line the text has.
pub fn place(text: &str) -> (usize, &str) {
    let count = |end: &str| text.matches(end).count();
    let line = 1 + count("\n") + count("\r") - count("\r\n");
    (line, text.rsplit(['\n', '\r']).next().unwrap_or_default())
}

/// The lines, each with its number from 1: they end in LF, CR LF or CR.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let parts = text.split('\n').map(|part| part.strip_suffix('\r').unwrap_or(part));
    (1..).zip(parts.flat_map(|part| part.split('\r')))
}

/// A text without blanks around it. Files that were joined have byte order marks inside.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Whether a character shows nothing.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16_bytes(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(to_bytes).collect()
    }

    #[test]
    fn a_byte_order_mark_says_the_encoding() {
        let text = "http://a/ü\r\n𝄞\n";
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            utf16_bytes(text, u16::to_le_bytes),
            utf16_bytes(text, u16::to_be_bytes),
        ] {
            assert_eq!(decode(&bytes).unwrap(), text);
        }
        for empty in [b"".as_slice(), b"\xff\xfe", b"\xef\xbb\xbf"] {
            assert_eq!(decode(empty).unwrap(), "");
        }
    }

    #[test]
    fn what_is_no_text_is_named_with_line_and_byte() {
        let error = |bytes: &[u8]| decode(bytes).unwrap_err();
        assert_eq!(error(b"\xff\xfe\0\0h\0\0\0"), EncodingError::Utf32);
        assert_eq!(error(b"\0\0\xfe\xff\0\0\0h"), EncodingError::Utf32);
        assert_eq!(error(b"h\0t\0t\0p\0"), EncodingError::Zero(2));
        assert_eq!(error(b"\0h\0t\0t\0p"), EncodingError::Zero(1));
        let not_utf8 = |line, byte, value| EncodingError::NotUtf8 { line, byte, value };
        assert_eq!(error(b"http://a\r\nhttp://b/\xe9"), not_utf8(2, 10, 0xe9));
        assert_eq!(error(b"\xef\xbb\xbf\xfc"), not_utf8(1, 1, 0xfc));
        assert_eq!(error(b"a\rb\n\rc\xff\n"), not_utf8(4, 2, 0xff));
        let mut cut = utf16_bytes("a\nbc", u16::to_le_bytes);
        cut.pop();
        assert_eq!(error(&cut), EncodingError::NotUtf16 { line: 2, byte: 3 });
        let lone = [0xff, 0xfe, b'a', 0, 0, 0xd8, b'b', 0];
        assert_eq!(error(&lone), EncodingError::NotUtf16 { line: 1, byte: 3 });
        let shown = "line 2, byte 10 is 0xE9, which is not UTF-8 there; save it as UTF-8";
        assert_eq!(not_utf8(2, 10, 0xe9).to_string(), shown);
    }

    #[test]
    fn lines_end_in_any_way() {
        let all: Vec<(usize, &str)> = lines("a\nb\r\nc\rd\n\re\r\r\nf").collect();
        let texts = ["a", "b", "c", "d", "", "e", "", "f"];
        assert_eq!(all, (1..).zip(texts).collect::<Vec<_>>());
        assert_eq!(place("a\nb\r\nc\rd"), (4, "d"));
    }
}
