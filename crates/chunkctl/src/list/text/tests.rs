//! Texts in every encoding, cut into pieces anywhere.

use super::*;
use crate::{list::tests::file_of, progress::Progress};
use fastrand::Rng;

/// A text, in pieces of whatever length; the lines before its beginning are blank.
fn decoded(bytes: &[u8]) -> Result<String, EncodingError> {
    let bytes = Unpacked::open(file_of(bytes), Progress::hidden()).unwrap();
    let mut text = Text::open(bytes).unwrap();
    let mut all = String::new();
    loop {
        match text.next() {
            Ok(Some(piece)) => all.push_str(piece),
            Ok(None) => return Ok(all),
            Err(Error::Encoding(error)) => return Err(error),
            Err(error) => panic!("{error}"),
        }
    }
}

fn utf16_bytes(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(to_bytes).collect()
}

#[test]
fn a_byte_order_mark_says_the_encoding() {
    let text = "http://a/ü\r\n𝄞\n";
    // Characters end wherever pieces do.
    for text in [text.to_owned(), text.repeat(20_000), format!("x{}", text.repeat(20_000))] {
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            utf16_bytes(&text, u16::to_le_bytes),
            utf16_bytes(&text, u16::to_be_bytes),
        ] {
            assert!(decoded(&bytes).unwrap() == text);
        }
    }
    for empty in [b"".as_slice(), b"\xff\xfe", b"\xef\xbb\xbf"] {
        assert_eq!(decoded(empty).unwrap(), "");
    }
}

/// Also behind the first piece of the file.
#[test]
fn what_is_no_text_is_named_with_line_and_byte() {
    let error = |bytes: &[u8]| decoded(bytes).unwrap_err();
    let not_utf8 = |line, byte, value| EncodingError::NotUtf8 { line, byte, value };
    assert_eq!(error(b"http://a\r\nhttp://b/\xe9"), not_utf8(2, 10, 0xe9));
    assert_eq!(error(b"\xef\xbb\xbf\xfc"), not_utf8(1, 1, 0xfc));
    assert_eq!(error(b"a\rb\n\rc\xff\n"), not_utf8(4, 2, 0xff));
    assert_eq!(error(b"a\nb\xc3"), not_utf8(2, 2, 0xc3));
    let long = [&b"0123456\r\n".repeat(30_000)[..], b"ab\xe9"].concat();
    assert_eq!(error(&long), not_utf8(30_001, 3, 0xe9));
    for lines in [0, 30_000] {
        let text = format!("{}a\nbc", "0123456\r\n".repeat(lines));
        let mut cut = utf16_bytes(&text, u16::to_le_bytes);
        cut.pop();
        assert_eq!(error(&cut), EncodingError::NotUtf16 { line: lines + 2, byte: 3 });
    }
    let lone = [0xff, 0xfe, b'a', 0, 0, 0xd8, b'b', 0];
    assert_eq!(error(&lone), EncodingError::NotUtf16 { line: 1, byte: 3 });
    let shown = "line 2, byte 10 is 0xE9, which is not UTF-8 there; save it as UTF-8";
    assert_eq!(not_utf8(2, 10, 0xe9).to_string(), shown);
}

/// The lines of a text and their numbers do not depend on where its pieces end.
#[test]
fn lines_have_their_numbers_wherever_pieces_end() {
    let rng = &mut Rng::with_seed(11);
    for _ in 0..20 {
        let mut text = String::new();
        while text.len() < 200_000 {
            text.extend((0..rng.usize(..900)).map(|_| ['a', 'ü', '𝄞'][rng.usize(..3)]));
            text.push_str(["\n", "\r\n", "\r", "\n\n", "\r\r\n"][rng.usize(..5)]);
        }
        let mut found = Vec::new();
        let bytes = Unpacked::open(file_of(text.as_bytes()), Progress::hidden()).unwrap();
        let taken = Text::open(bytes).unwrap().lines(|number, line| {
            found.push((number, line.to_owned()));
            Ok(ControlFlow::Continue(()))
        });
        taken.unwrap();
        let all = chunk_handler::chunk::source::lines(&text);
        // Between CR and LF there may be an empty line more, which is no row.
        found.retain(|(_, line)| !line.is_empty());
        let expected: Vec<_> = all.filter(|(_, line)| !line.is_empty()).collect();
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().map(|(n, line)| (*n, line.as_str())).eq(expected));
    }
}

/// A line of any length costs no more memory than the most of a row, and what is cut is seen.
#[test]
fn a_line_above_the_most_is_cut_and_shows_it() {
    let long = "x".repeat(MOST_OF_A_ROW + 100);
    for (text, len, is_cut) in [
        (format!("{long}\nend"), MOST_OF_A_ROW + 3, true),
        (format!("{}{}\nend", "x".repeat(MOST_OF_A_ROW), " ".repeat(70_000)), MOST_OF_A_ROW, false),
    ] {
        let bytes = Unpacked::open(file_of(text.as_bytes()), Progress::hidden()).unwrap();
        let mut lines = Vec::new();
        let taken = Text::open(bytes).unwrap().lines(|_, line| {
            lines.push(line.to_owned());
            Ok(ControlFlow::Continue(()))
        });
        taken.unwrap();
        assert_eq!((lines[0].len(), lines[0].ends_with('\u{fffd}')), (len, is_cut));
        assert_eq!(lines[1], "end");
    }
}
