//! The head of an answer, read as curl and browsers read it, and written again as the rules want it.
//!
//! Servers break the rules of RFC 9112 in many ways that every browser takes. The HTTP library
//! refuses some of them, and drops a whole field because of one odd byte, which may be an opt-out.
//! So the head is read here first, line by line, and the library gets what it means: the status and
//! the fields that anybody looks at, in their plainest spelling. How long the body is follows from
//! them: see `Fields::framing`.

/// What cannot be taken for the head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("invalid answer: it does not begin as HTTP does")]
    NotHttp,
    #[error("invalid answer: the head is too large")]
    TooLarge,
}

/// Stands in the head when its lengths are no numbers, or differ: the body goes on until the connection
/// ends, and is nothing unless the picture in it is whole.
pub(super) const NO_LENGTH: &str = "no-length";

/// The fields that are looked at. What a server says besides (cookies, policies, warnings of PHP)
/// goes no further.
const KEPT: [(&str, Lines); 12] = [
    ("connection", Lines::Rewritten),
    ("content-encoding", Lines::List),
    ("content-length", Lines::Rewritten),
    ("content-range", Lines::First),
    ("content-signal", Lines::List),
    ("content-type", Lines::First),
    ("content-usage", Lines::List),
    ("location", Lines::First),
    ("retry-after", Lines::First),
    ("tdm-reservation", Lines::List),
    ("transfer-encoding", Lines::Rewritten),
    ("x-robots-tag", Lines::Apart),
];
/// Stands between the lines of a field whose lines do not make one list: an `X-Robots-Tag` names its
/// agents anew in each. No value has it, since a tab is read as a blank.
pub(super) const BETWEEN_LINES: u8 = b'\t';
/// Bytes of a head with its interim answers (1xx), of which any number may come; curl takes 300 KB.
const MAX_BYTES: usize = 300 * 1024;
/// Bytes that are held of it at once: the line under way and the fields that are kept. The longest that
/// servers were seen to send are policies of 20 KB, which go no further; one of 64 KiB is taken.
const MAX_HELD: usize = 80 * 1024;
/// Lines of a head with its interim answers; curl takes 5000.
const MAX_LINES: usize = 5000;

/// Reads a head as its bytes come.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// The line under way.
    line: Vec<u8>,
    bytes: usize,
    lines: usize,
    status: Option<Status>,
    fields: Fields,
    /// Whether a line that begins with a blank goes on with a field that is kept, or with nothing.
    goes_on: GoesOn,
}

#[derive(Debug, Clone, Copy)]
struct Status {
    code: u16,
    /// HTTP/1.0, whose connections end with the answer unless it says otherwise.
    is_old: bool,
}

/// What becomes of a field that has several lines. The library gets one: it takes a hundred in all, and
/// servers send more.
#[derive(Debug, Clone, Copy)]
enum Lines {
    /// It is written anew, as what all of it means.
    Rewritten,
    First,
    List,
    /// One value, with [`BETWEEN_LINES`].
    Apart,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum GoesOn {
    /// Directly after the status: the line is a field with blanks before it.
    #[default]
    Nothing,
    Kept,
    Dropped,
}

/// The kept fields in their order, names in lower case, values without control bytes.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Vec<u8>)>);

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(u64),
    UntilClose,
    /// What is said of it makes no sense.
    Nonsense,
}

impl HeadReader {
    /// Takes bytes of the connection. When the head ends in them: the head as the HTTP library wants
    /// it, and how many of the bytes belonged to it.
    ///
    /// # Errors
    ///
    /// [`Broken`]: what comes is no answer, or does not end.
    pub(super) fn push(&mut self, input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Broken> {
        let mut rest = input;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            self.take(line)?;
            let mut line = std::mem::take(&mut self.line);
            while matches!(line.last(), Some(b'\n' | b'\r')) {
                line.pop();
            }
            if let Some(head) = self.line(&line)? {
                return Ok(Some((head, input.len() - rest.len())));
            }
        }
        self.take(rest)?;
        let is_http = b"HTTP/".iter().zip(&self.line).all(|(a, b)| a.eq_ignore_ascii_case(b));
        if self.status.is_none() && !is_http { Err(Broken::NotHttp) } else { Ok(None) }
    }

    /// Whether the body is in chunks.
    pub(super) fn has_chunks(&self) -> bool {
        self.fields.framing() == Framing::Chunked
    }

    /// Whether the body may be compressed on its way, which is not what `Content-Encoding` says of it.
    pub(super) fn is_packed(&self) -> bool {
        self.fields.is_packed()
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.bytes += bytes.len();
        if self.bytes > MAX_BYTES || self.line.len() + bytes.len() + self.fields.bytes() > MAX_HELD
        {
            return Err(Broken::TooLarge);
        }
        // Blanks before an answer are nothing, and would be gone through again with each read.
        let starts = self.status.is_none() && self.line.is_empty();
        self.line.extend_from_slice(if starts { bytes.trim_ascii_start() } else { bytes });
        Ok(())
    }

    /// One line without its end; the head when it was the last.
    fn line(&mut self, line: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        self.lines += 1;
        if self.lines > MAX_LINES {
            return Err(Broken::TooLarge);
        }
        let Some(status) = self.status else {
            if !line.trim_ascii().is_empty() {
                self.status = Some(Status::parse(line.trim_ascii_start()).ok_or(Broken::NotHttp)?);
            }
            return Ok(None);
        };
        match line {
            [] if status.is_interim() => {
                (self.status, self.fields) = (None, Fields::default());
                self.goes_on = GoesOn::Nothing;
                Ok(None)
            }
            [] => Ok(Some(self.fields.head(status))),
            [b' ' | b'\t', ..] if self.goes_on != GoesOn::Nothing => {
                if self.goes_on == GoesOn::Kept {
                    self.fields.go_on(line);
                }
                Ok(None)
            }
            _ => {
                let is_kept = self.fields.add(line);
                self.goes_on = if is_kept { GoesOn::Kept } else { GoesOn::Dropped };
                Ok(None)
            }
        }
    }
}

impl Status {
    /// `HTTP/1.1 200 OK`, with or without a reason phrase, whatever bytes that has. Of which version the
    /// answer says to be means nothing here: curl takes `HTTP/2 200`, browsers any.
    fn parse(line: &[u8]) -> Option<Self> {
        let (http, rest) = line.split_at_checked(b"HTTP/".len())?;
        let blank = rest.iter().position(u8::is_ascii_whitespace)?;
        let (version, rest) = rest.split_at_checked(blank)?;
        let is_http = http.eq_ignore_ascii_case(b"HTTP/")
            && version.first().is_some_and(u8::is_ascii_digit)
            && version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        let (code, after) = rest.trim_ascii_start().split_at_checked(3)?;
        let ends = !after.first().is_some_and(u8::is_ascii_digit);
        let code: u16 = str::from_utf8(code).ok()?.parse().ok()?;
        let is_old = version.starts_with(b"0") || matches!(version, b"1.0" | b"1");
        (is_http && ends && code >= 100).then_some(Self { code, is_old })
    }

    /// 101 is none: after it no HTTP comes.
    fn is_interim(self) -> bool {
        matches!(self.code, 100 | 102..=199)
    }
}

impl Fields {
    /// Adds the field of a line, if it is one that is looked at.
    fn add(&mut self, line: &[u8]) -> bool {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
        let (name, value) = line.split_at(colon);
        let Some(kept) = KEPT.iter().map(|(kept, _)| *kept).find(|kept| is_name(name, kept)) else {
            return false;
        };
        self.0.push((kept, plain(kept, value.get(1..).unwrap_or_default())));
        true
    }

    /// A folded line: its break is a blank (RFC 9112, section 5.2).
    fn go_on(&mut self, line: &[u8]) {
        if let Some((name, value)) = self.0.last_mut() {
            value.push(b' ');
            value.extend(plain(name, line));
        }
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, value)| value.len()).sum()
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(kept, _)| *kept == name).map(|(_, value)| value.as_slice())
    }

    /// The elements of a field that is a list, of all its lines.
    fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.of(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// The transfer codings, without their parameters.
    fn codings(&self) -> impl Iterator<Item = &[u8]> {
        self.list("transfer-encoding").map(|coding| {
            let coding = coding.split(|byte| *byte == b';').next().unwrap_or_default();
            let coding = coding.trim_ascii();
            let bare = coding.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            bare.unwrap_or(coding)
        })
    }

    /// Whether the body may be packed. Beside a length without chunks the coding means nothing, as for browsers
    /// and curl: the length is that of the bytes that come.
    fn is_packed(&self) -> bool {
        let names = [&b"gzip"[..], b"x-gzip", b"deflate"];
        let is_named =
            self.codings().any(|coding| names.iter().any(|name| coding.eq_ignore_ascii_case(name)));
        is_named && (self.is_chunked() || self.of("content-length").next().is_none())
    }

    fn is_chunked(&self) -> bool {
        self.codings().any(|coding| coding.eq_ignore_ascii_case(b"chunked"))
    }

    /// `chunked` in any spelling counts also beside a length, in HTTP/1.0 and among other codings, as
    /// for curl; a coding of which nobody knows anything counts as none. A length that is stated
    /// several times counts when all of them agree. What follows the digits is ignored, as curl does.
    fn framing(&self) -> Framing {
        if self.is_chunked() {
            return Framing::Chunked;
        }
        let lengths = self.list("content-length").map(length).map(|n| n.map(Framing::Length));
        let agreed = lengths.reduce(|one, other| one.filter(|_| one == other));
        agreed.map_or(Framing::UntilClose, |agreed| agreed.unwrap_or(Framing::Nonsense))
    }

    fn head(&self, status: Status) -> Vec<u8> {
        let says = |word: &[u8]| self.list("connection").any(|it| it.eq_ignore_ascii_case(word));
        let closes = says(b"close") || (status.is_old && !says(b"keep-alive"));
        let mut head = format!("HTTP/1.1 {}\r\n", status.code).into_bytes();
        head.extend_from_slice(if closes { b"connection: close\r\n" } else { b"" });
        match self.framing() {
            Framing::Chunked => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::Length(n) => head.extend(format!("content-length: {n}\r\n").into_bytes()),
            Framing::UntilClose => {}
            Framing::Nonsense => head.extend([NO_LENGTH.as_bytes(), b": 1\r\n"].concat()),
        }
        for (name, lines) in KEPT {
            let said: Vec<&[u8]> = self.of(name).collect();
            let value = match (lines, said.first()) {
                (Lines::Rewritten, _) | (_, None) => continue,
                (Lines::First, Some(first)) => first.to_vec(),
                (Lines::List, Some(_)) => said.join(&b", "[..]),
                (Lines::Apart, Some(_)) => said.join(&[BETWEEN_LINES][..]),
            };
            head.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// Whether these bytes before a colon are the name, whatever blanks and odd bytes are around it.
fn is_name(bytes: &[u8], name: &str) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let from = bytes.iter().position(is_letter);
    let to = bytes.iter().rposition(is_letter);
    let bare = from.zip(to).and_then(|(from, to)| bytes.get(from..=to));
    bare.is_some_and(|bare| bare.eq_ignore_ascii_case(name.as_bytes()))
}

/// The value as any reader may have it: a control byte is a blank, and what lies around is cut. In an
/// opt-out it is an odd byte like those beyond ASCII, so that it can hide no directive. Of a URL tabs
/// and line ends are no part (<https://url.spec.whatwg.org/#concept-basic-url-parser>).
fn plain(name: &str, value: &[u8]) -> Vec<u8> {
    let is_opt_out = matches!(name, "x-robots-tag" | "content-usage" | "content-signal");
    let plain = |byte: &u8| match byte {
        b'\t' | b'\r' if name == "location" => None,
        b'\t' => Some(b' '),
        byte if byte.is_ascii_control() => Some(if is_opt_out { 0xff } else { b' ' }),
        byte => Some(*byte),
    };
    value.iter().filter_map(plain).collect::<Vec<u8>>().trim_ascii().to_vec()
}

/// The number that a length begins with; none for one that no body has.
fn length(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = text.get(..digits).and_then(|digits| str::from_utf8(digits).ok())?;
    // The HTTP library keeps the largest numbers for itself.
    digits.parse().ok().filter(|n| *n < u64::MAX / 2)
}

#[cfg(test)]
mod tests;
