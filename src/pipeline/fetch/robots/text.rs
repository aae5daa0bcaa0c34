//! The text of a robots.txt, as [RFC 9309](https://www.rfc-editor.org/rfc/rfc9309) reads it.
//!
//! Not a library. `texting_robots` is not kept (the last release is of 2023, with `nom`, `regex` and
//! `lazy_static`), nor is `robotstxt` (of 2020). `robotxt` is kept, but takes `User-agent: name/1.0` for nobody,
//! knows no names of variants (see [`consent::names`]), and has no bound for what one URL costs: a stranger
//! may write 50,000 patterns with a star.
//!
//! More than the RFC is taken where Google's parser takes it and what is meant is clear: words that are
//! often misspelled, a line without its colon, what follows the name of an agent.

use crate::pipeline::fetch::consent;
use std::cmp::Reverse;

/// Bytes that are read; what comes after them does not count (RFC 9309, section 2.5).
pub(super) const LIMIT: usize = 500 * 1024;
/// Bytes that patterns with stars may cost one URL: thousands of them, for most paths.
const MOST_STEPS: usize = 4 * 1024 * 1024;
const AGENT: [&str; 3] = ["user-agent", "useragent", "user agent"];
const DISALLOW: [&str; 6] =
    ["disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw"];

/// The rules of a robots.txt that are for us, the one that counts first: the longest, and of two that are
/// equally long the one that allows.
#[derive(Debug, Default)]
pub(super) struct Robots(Box<[Rule]>);

#[derive(Debug)]
struct Rule {
    /// As [`normal`] writes it. A `*` is any text, a `$` at the end is the end of the URL.
    pattern: Box<str>,
    allows: bool,
}

impl Robots {
    /// The rules for an agent of this name: those of all groups that name it best, else of all for
    /// everybody.
    pub(super) fn parse(text: &[u8], own: &str) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let (mut rules, mut best) = (Vec::new(), None);
        // How well the group names us, and whether the next agent begins another group.
        let (mut group, mut has_rules) = (None, false);
        for line in whole_lines(text) {
            let Some((word, value)) = parts(line) else { continue };
            if AGENT.contains(&&*word) {
                group = if has_rules { None } else { group }.max(names_us(value, own));
                has_rules = false;
                if group > best {
                    best = group;
                    rules.clear();
                }
                continue;
            }
            let allows = word == "allow";
            if !allows && !DISALLOW.contains(&&*word) {
                continue;
            }
            has_rules = true;
            if group.is_some() && group == best && !value.is_empty() {
                rules.push(Rule { pattern: pattern(value), allows });
            }
        }
        rules.sort_by_key(|rule| (Reverse(rule.pattern.len()), !rule.allows));
        Self(rules.into())
    }

    /// Whether a URL of this path and query may be asked for. What costs too much to tell may not.
    pub(super) fn allow(&self, path_and_query: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let path = normal(path_and_query.as_bytes(), false);
        let mut steps = 0;
        for rule in &self.0 {
            let (matches, cost) = rule.matches(&path);
            steps += cost;
            if matches || steps > MOST_STEPS {
                return matches && rule.allows;
            }
        }
        true
    }

    /// Bytes of memory, about.
    pub(super) fn weight(&self) -> usize {
        let of_rule = |rule: &Rule| size_of::<Rule>() + rule.pattern.len().max(16) + 16;
        self.0.iter().map(of_rule).sum()
    }
}

impl Rule {
    /// Whether it is about a path, and how many bytes were looked at for a pattern with a star. Each part
    /// between stars is looked for where it comes first, which leaves the most to those behind it: so the
    /// cost is linear.
    fn matches(&self, path: &str) -> (bool, usize) {
        let (pattern, has_end) = match self.pattern.strip_suffix('$') {
            Some(pattern) => (pattern, true),
            None => (&*self.pattern, false),
        };
        let mut parts = pattern.split('*');
        let Some(mut rest) = path.strip_prefix(parts.next().unwrap_or_default()) else {
            return (false, 0);
        };
        let Some(last) = parts.next_back() else { return (!has_end || rest.is_empty(), 0) };
        let cost = pattern.len() + rest.len();
        for part in parts {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return (false, cost),
            }
        }
        (if has_end { rest.ends_with(last) } else { rest.contains(last) }, cost)
    }
}

/// Lines within [`LIMIT`]. One that goes beyond it does not count: half of it may say something else.
fn whole_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let text = match text.get(..=LIMIT) {
        Some(start) => start.get(..start.iter().rposition(is_end).unwrap_or(0)).unwrap_or_default(),
        None => text,
    };
    text.split(is_end)
}

/// The word of a line, in lower case, and what is said of it.
fn parts(line: &[u8]) -> Option<(String, &[u8])> {
    let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
    let colon = line.iter().position(|byte| *byte == b':');
    let at = colon.or_else(|| line.iter().position(u8::is_ascii_whitespace))?;
    let (word, value) = line.split_at_checked(at)?;
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    // Without a colon it may be a sentence.
    if colon.is_none() && value.iter().any(u8::is_ascii_whitespace) {
        return None;
    }
    // None of the words is longer, and a line may have half a megabyte.
    let word = word.trim_ascii();
    let word = str::from_utf8(word).ok().filter(|word| word.len() <= 16)?.to_ascii_lowercase();
    Some((word, value))
}

/// How well the name of an agent stands for us: the longer name better, and everybody worst.
fn names_us(value: &[u8], own: &str) -> Option<usize> {
    let is_behind = |byte: &u8| byte.is_ascii_whitespace() || b"/;(,".contains(byte);
    let name = value.split(is_behind).next().unwrap_or_default();
    let name = str::from_utf8(name).ok().filter(|name| name.len() <= own.len().max(1))?;
    let name = name.to_ascii_lowercase();
    match &*name {
        "*" => Some(0),
        name => consent::names(name, own).then_some(name.len()),
    }
}

/// A rule's path. One that begins with no slash is meant to.
fn pattern(value: &[u8]) -> Box<str> {
    let (path, end) = match value.strip_suffix(b"$") {
        Some(path) => (path, "$"),
        None => (value, ""),
    };
    let start = if matches!(path.first(), Some(b'/' | b'*')) { "" } else { "/" };
    [start, &normal(path, true), end].concat().into()
}

/// A path in one spelling, so that equal ones are equal bytes (RFC 9309, section 2.2.2): letters, digits
/// and `-._~` plain, what separates (`/?&` and the like) as it is written, everything else, and `*` and `$`
/// that mean themselves, percent-encoded. In a query `:` and `/` are plain, however they are written, as in the RFC's table.
fn normal(path: &[u8], is_pattern: bool) -> String {
    let mut text = String::with_capacity(path.len());
    let (mut rest, mut is_query) = (path, false);
    while let Some((&first, after)) = rest.split_first() {
        let decoded = if first == b'%' { decoded(after) } else { None };
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
        let byte = decoded.unwrap_or(first);
        let is_raw = decoded.is_none();
        is_query |= is_raw && byte == b'?';
        let is_plain = byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || is_raw && b":/?#[]@!&()+,;=".contains(&byte)
            || is_query && b":/".contains(&byte)
            || is_raw && is_pattern && byte == b'*';
        match is_plain {
            true => text.push(char::from(byte)),
            false => text.push_str(percent_encoding::percent_encode_byte(byte)),
        }
    }
    text
}

/// The byte that two hex digits are.
fn decoded(digits: &[u8]) -> Option<u8> {
    let digits = str::from_utf8(digits.get(..2)?).ok()?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests;
