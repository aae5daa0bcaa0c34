use super::*;

/// The head that the library gets, and how many bytes were left over.
fn read(bytes: &[u8]) -> Result<Option<(String, usize)>, Broken> {
    let read = HeadReader::default().push(bytes)?;
    Ok(read.map(|(head, used)| (String::from_utf8_lossy(&head).into_owned(), bytes.len() - used)))
}

fn head(bytes: &[u8]) -> String {
    read(bytes).unwrap().unwrap().0
}

/// Case 171: wherever the bytes are cut on their way, the head is the same.
#[test]
fn a_head_in_pieces_is_the_same_head() {
    let bytes = b"\r\nHTTP/1.0 103 x\r\nLocation: /x\r\n\r\nHTTP/1.0 200 OK\r\nX-Robots-Tag:\r\n noai,\r\n\
        \tb\r\nPHP Warning: x\r\nhello\r\n world\r\nContent-Length : 5\r\nconnection: Keep-Alive\r\n\r\nbody!";
    let whole = "HTTP/1.1 200\r\ncontent-length: 5\r\nx-robots-tag:  noai, b\r\n\r\n";
    assert_eq!(head(bytes).replace(":  ", ": "), whole.replace(":  ", ": "));
    for size in 1..bytes.len() {
        let mut reader = HeadReader::default();
        let mut found = None;
        let mut seen = 0;
        for piece in bytes.chunks(size) {
            found = reader.push(piece).unwrap();
            if let Some((_, used)) = &found {
                seen += used;
                break;
            }
            seen += piece.len();
        }
        assert_eq!(String::from_utf8(found.unwrap().0).unwrap(), head(bytes), "{size}");
        assert_eq!(&bytes[seen..], b"body!", "{size}");
    }
}

/// Case 171: no byte, wherever it stands, hides the field that follows or the one that it is in.
#[test]
fn no_byte_hides_a_field() {
    for byte in (0..=255).filter(|byte| *byte != b'\n') {
        for around in ["X-A: b", "X-A", ":", "X-Robots-Tag: noai, "] {
            for at in 0..=around.len() {
                let mut line = around.as_bytes().to_vec();
                line.insert(at, byte);
                let opt_out = b"\r\nX-Robots-Tag: noindex\r\n\r\n";
                let bytes = [&b"HTTP/1.1 200 OK\r\n"[..], &line, opt_out].concat();
                // An empty line is the end of a head, whoever reads it.
                let is_end = line.iter().all(|byte| *byte == b'\r');
                let found = head(&bytes);
                let own = ["x-robots-tag: noindex\r\n", "\tnoindex\r\n"];
                assert!(is_end || own.iter().any(|own| found.contains(own)), "{bytes:?}");
            }
        }
        if byte != b':' {
            let line = [&b"HTTP/1.1 200 OK\r\nX-Robots-Tag: a,"[..], &[byte], b", noai\r\n\r\n"];
            assert!(head(&line.concat()).contains(", noai\r\n"), "{byte}");
        }
    }
}

/// Case 171: what does not end is given up, however it does not end.
#[test]
fn heads_are_bounded() {
    let endless = |piece: &[u8]| {
        let mut reader = HeadReader::default();
        let code = if piece.starts_with(b"\r\n") { "103" } else { "200" };
        reader.push(format!("HTTP/1.1 {code} X\r\n").as_bytes()).unwrap();
        let mut sent = 0;
        loop {
            sent += piece.len();
            match reader.push(piece) {
                Err(broken) => return (broken, sent),
                Ok(head) => assert!(head.is_none() && sent < 2 * MAX_BYTES),
            }
        }
    };
    for piece in [
        &b"aaaaaaaa"[..],
        b"X: y\r\n",
        b" \r\n",
        b"X-Robots-Tag: a\r\n",
        b"Location: /\r\n x\r\n",
        b"\r\nHTTP/1.1 103 Early Hints\r\n",
    ] {
        assert_eq!(endless(piece).0, Broken::TooLarge, "{piece:?}");
    }
    assert_eq!(HeadReader::default().push(b"SSH-2.0-x"), Err(Broken::NotHttp));
    assert_eq!(HeadReader::default().push(b"\r\nHTT"), Ok(None));
}

/// Case 172, 174: which of the ways to end a body counts.
#[test]
fn a_body_has_one_length() {
    let framing = |fields: &str| head(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
    let (chunked, five) = ("transfer-encoding: chunked\r\n\r\n", "content-length: 5\r\n\r\n");
    for (fields, end) in [
        ("Content-Length: 7\r\nTransfer-Encoding: gzip, Chunked\r\n", chunked),
        ("Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", five),
        ("Content-Length: 5 , 5\r\nContent-Length: 05\r\n", five),
        ("", "HTTP/1.1 200\r\n\r\n"),
    ] {
        let found = framing(fields);
        assert!(found.ends_with(end), "{fields}: {found}");
    }
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 99999999999999999999\r\n",
    ] {
        assert_eq!(framing(fields), "HTTP/1.1 200\r\nno-length: 1\r\n\r\n");
    }
    assert!(!framing("No-Length: 1\r\n").contains("no-length"), "only we say so");
}

/// Case 219: any number of lines comes to the library as a few, and each of them counts as it did.
#[test]
fn fields_of_many_lines_become_one() {
    let many: String = (0..200).map(|n| format!("X-Robots-Tag: bot{n}: noai\r\n")).collect();
    let fields = "Content-Encoding: a\r\nLocation: /1\r\nLocation: /2\r\ncontent-encoding: b,c\r\n\
        TDM-Reservation: 0\r\nTDM-Reservation: 1\r\n";
    let found = head(format!("HTTP/1.1 200 OK\r\n{many}{fields}\r\n").as_bytes());
    let (start, robots) = found.split_once("x-robots-tag: ").unwrap();
    let lines = "content-encoding: a, b,c\r\nlocation: /1\r\ntdm-reservation: 0, 1\r\n";
    assert_eq!(start, format!("HTTP/1.1 200\r\n{lines}"));
    let robots: Vec<&str> = robots.trim_end().split(char::from(BETWEEN_LINES)).collect();
    assert_eq!((robots.len(), robots[0], robots[199]), (200, "bot0: noai", "bot199: noai"));
    // A blank of the server is none of ours.
    let found = head(b"HTTP/1.1 200 OK\r\nX-Robots-Tag: otherbot:\tnoai\r\n\r\n");
    assert!(found.ends_with("x-robots-tag: otherbot: noai\r\n\r\n"), "{found}");
}

/// Case 219: which version an answer says to be, and how many interim ones come before it.
#[test]
fn any_version_begins_an_answer() {
    for start in ["HTTP/2 200", "HTTP/2.0 200 OK", "HTTP/1 200", "HTTP/3 200", "HTTP/1.10\t200 OK"]
    {
        let found = head(format!("{start}\r\n\r\n").as_bytes());
        assert!(found.starts_with("HTTP/1.1 200\r\n"), "{start}: {found}");
    }
    for start in ["HTTP/ 200 OK", "HTTP 200 OK", "HTTP/x.1 200", "HTTP/1.1200 OK", "HTTP/1.1 20 OK"]
    {
        assert_eq!(read(format!("{start}\r\n\r\n").as_bytes()), Err(Broken::NotHttp), "{start}");
    }
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(500);
    assert_eq!(head(&[&interim, &b"HTTP/1.1 200 OK\r\n\r\n"[..]].concat()), "HTTP/1.1 200\r\n\r\n");
}

#[test]
fn old_connections_end_unless_they_say_otherwise() {
    let closes = |version: &str, says: &str| {
        head(format!("HTTP/1.{version} 200\r\n{says}\r\n").as_bytes()).contains("connection: close")
    };
    assert!(closes("0", "") && !closes("0", "Connection: keep-alive\r\n") && !closes("1", ""));
    assert!(closes("1", "Connection: x, Close\r\n"));
}

/// A fuzz target: whatever the bytes are and wherever they are cut, the same head comes out or none does,
/// and the library gets only plain lines.
#[test]
fn fuzz_heads() {
    let mut seeds: Vec<Vec<u8>> = support::cases::rows("answers")
        .iter()
        .map(|row| row.input.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect())
        .filter(|bytes: &Vec<u8>| bytes.len() < 4096)
        .collect();
    seeds.push(b"HTTP/1.0 103 x\r\nLocation: /x\r\n\r\nHTTP/1.0 200 OK\r\n\r\n".to_vec());
    fuzz::target::run("head", &seeds, |bytes| {
        let in_pieces = |sizes: &mut dyn Iterator<Item = usize>| {
            let (mut reader, mut at) = (HeadReader::default(), 0);
            while at < bytes.len() {
                let end = bytes.len().min(at + sizes.next().unwrap().max(1));
                match reader.push(&bytes[at..end]) {
                    Ok(Some((head, used))) => return Some((head, at + used)),
                    Ok(None) => at = end,
                    Err(_) => return None,
                }
            }
            None
        };
        let whole = in_pieces(&mut std::iter::once(bytes.len()));
        assert_eq!(in_pieces(&mut std::iter::repeat(1)), whole);
        assert_eq!(in_pieces(&mut (2..)), whole);
        if let Some((head, used)) = whole {
            assert!(used <= bytes.len() && head.len() <= 2 * bytes.len() + 100, "{}", head.len());
            assert!(head.starts_with(b"HTTP/1.1 ") && head.ends_with(b"\r\n\r\n"));
            let text = &head[..head.len() - 2];
            for line in text.split(|byte| *byte == b'\n') {
                let (end, line) = line.split_last().unwrap_or((&b'\r', b""));
                assert!(*end == b'\r' && !line.iter().any(|byte| *byte < b' ' && *byte != b'\t'));
            }
        }
    });
}

/// Case 219: the codings that a body may have on its way.
#[test]
fn what_may_be_packed_is_known() {
    for (coding, may_be) in [("gzip", true), ("x-gzip", true), ("Deflate", true), ("br", false)] {
        let mut reader = HeadReader::default();
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n");
        reader.push(head.as_bytes()).unwrap();
        assert_eq!(reader.is_packed(), may_be, "{coding}");
    }
}
