//! Whether the head of an answer asks that its picture stays out of datasets.
//!
//! Four headers say so. `X-Robots-Tag`, as
//! [Google](https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag) describes
//! it: directives for everybody, and, after `agent:`, for that agent until the next is named.
//! `tdm-reservation: 1`, of the [TDM Reservation Protocol](https://www.w3.org/community/reports/tdmrep/CG-FINAL-tdmrep-20240510/).
//! `Content-Usage: train-ai=n`, of the [IETF's draft](https://datatracker.ietf.org/doc/draft-ietf-aipref-attach/).
//! `Content-Signal: ai-train=no`, [Cloudflare's](https://contentsignals.org/).
//! Only the answer with the picture counts, as img2dataset reads it: a redirect speaks for its own
//! address, and a refusal gives no picture.

use super::head::BETWEEN_LINES;
use crate::chunk::Detail;
use hyper::header::HeaderMap;
use time::{Date, Month, OffsetDateTime};

/// `noindex`, `noimageindex` and `none`, which includes the first, are Google's; `noai` and `noimageai`
/// `DeviantArt`'s, as img2dataset reads them; `noml` is <https://noml.info>'s.
const OPT_OUTS: [&str; 6] = ["noindex", "noimageindex", "none", "noai", "noimageai", "noml"];
/// Words that are never the name of an agent, although a colon may follow.
const KNOWN: [&str; 13] = [
    "index",
    "follow",
    "nofollow",
    "noarchive",
    "nosnippet",
    "notranslate",
    "noindex",
    "noimageindex",
    "none",
    "noai",
    "noimageai",
    "noml",
    "x-robots-tag",
];
/// Headers of pairs, the name that means what we do, and what is told of it.
const PREFERENCES: [(&str, &str, Detail); 2] = [
    ("content-usage", "train-ai", Detail::ContentUsage),
    ("content-signal", "ai-train", Detail::ContentSignal),
];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Names that mean every agent.
const EVERYBODY: [&str; 3] = ["*", "robots", "all"];

/// Which header opts out; none: none does. What concerns only other agents than that of our
/// `user_agent` does not count.
pub(super) fn opt_out(headers: &HeaderMap, user_agent: &str) -> Option<Detail> {
    let any = |name, is_no: &dyn Fn(&str) -> bool| {
        let values = headers.get_all(name).iter();
        let mut lines = values.flat_map(|value| value.as_bytes().split(|c| *c == BETWEEN_LINES));
        lines.any(|line| readings(line).any(|text| is_no(&text)))
    };
    let own = product(user_agent);
    if any("x-robots-tag", &|text| robots_opt_out(text, &own)) {
        return Some(Detail::XRobotsTag);
    }
    let is_reserved = |text: &str| text.split([' ', ',']).any(|word| word == "1");
    if any("tdm-reservation", &is_reserved) {
        return Some(Detail::TdmReservation);
    }
    let mut preferences = PREFERENCES.into_iter();
    let denied = preferences.find(|(header, wish, _)| any(header, &|text| denies(text, wish)));
    denied.map(|(_, _, detail)| detail)
}

/// Whether pairs such as `search=y, train-ai=n` deny what we do. Between the two is a blank when they
/// are read.
fn denies(text: &str, wish: &str) -> bool {
    let mut words = text.split([' ', ',']).map(directive).filter(|word| !word.is_empty());
    let mut is_named = false;
    words.any(|word| {
        let is_denied = is_named && matches!(word, "n" | "no");
        is_named = word == wish;
        is_denied
    })
}

/// The name by which an origin knows us: the first product of the header, or, in `Mozilla/5.0
/// (compatible; Name/1.0)`, the one that is said to be compatible.
pub(super) fn product(user_agent: &str) -> String {
    let user_agent = user_agent.to_ascii_lowercase();
    let compatible = user_agent.split_once("compatible;").map(|(_, rest)| rest);
    let mut words = compatible.unwrap_or(&user_agent).split([' ', '/', ';', '(', ')']);
    words.find(|word| !word.is_empty()).unwrap_or_default().to_owned()
}

/// A value in lower case, each colon a word of its own, but for those of a time of day, and only
/// blanks and commas between words. Only commas are published; semicolons, blanks and quotes are met.
/// Bytes beyond ASCII hide nothing: the value is read with blanks in their place, and without them.
/// Nor does a comment in the name of an agent, which may be our whole `User-Agent`.
fn readings(value: &[u8]) -> impl Iterator<Item = String> {
    let without: Vec<u8> = value.iter().copied().filter(u8::is_ascii).collect();
    let is_odd = without.len() < value.len();
    let bare = without_comments(&without);
    let has_comments = bare.len() < without.len();
    let blanked = spread(value);
    let odd = is_odd.then(|| spread(&without));
    [Some(blanked), odd, has_comments.then(|| spread(&bare))].into_iter().flatten()
}

/// What is outside of parentheses that are closed.
fn without_comments(value: &[u8]) -> Vec<u8> {
    let mut bare = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(open) = rest.iter().position(|byte| *byte == b'(') {
        let (before, comment) = rest.split_at(open);
        bare.extend_from_slice(before);
        let Some(close) = comment.iter().position(|byte| *byte == b')') else {
            rest = comment;
            break;
        };
        rest = comment.get(close + 1..).unwrap_or_default();
    }
    bare.extend_from_slice(rest);
    bare
}

fn spread(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len() + 8);
    let mut previous = ' ';
    let mut rest = value.iter().map(|byte| char::from(byte.to_ascii_lowercase())).peekable();
    while let Some(c) = rest.next() {
        let is_time = previous.is_ascii_digit() && rest.peek().is_some_and(char::is_ascii_digit);
        match c {
            ':' if !is_time => text.push_str(" : "),
            ',' | ';' => text.push(','),
            c if c.is_ascii_alphanumeric() || "-_*/.+:".contains(c) => text.push(c),
            _ => text.push(' '),
        }
        previous = c;
    }
    text
}

/// Whether such a reading has a directive for us that keeps pictures out of datasets.
fn robots_opt_out(text: &str, own: &str) -> bool {
    let mut concerns_us = true;
    let mut after_name = false;
    let mut parts = text.split(',');
    while let Some(part) = parts.next() {
        let mut words = part.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let has_colon = words.next_if_eq(&":").is_some();
            if OPT_OUTS.contains(&directive(word)) && concerns_us {
                return true;
            }
            match word {
                // In `max-image-preview: none` there is no `none`.
                limit if limit.starts_with("max-") && has_colon => _ = words.next(),
                "unavailable_after" => {
                    // A comma stands behind the day of the week.
                    let is_here = words.clone().any(|word| word.starts_with(is_digit));
                    let next = parts.clone().take(usize::from(!is_here));
                    let next = next.flat_map(str::split_whitespace);
                    if concerns_us && is_past(words.clone().chain(next)) {
                        return true;
                    }
                }
                // People repeat the header's name, and write a colon behind a directive.
                known if KNOWN.contains(&directive(known)) => {}
                // Names in a row share what follows.
                name if has_colon => {
                    concerns_us = is_own(name, own) || (after_name && concerns_us);
                    after_name = true;
                    continue;
                }
                _ => {}
            }
            after_name = false;
        }
    }
    false
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Whether words begin with a date before today, in any of the spellings of RFC 822, RFC 850 and ISO
/// 8601, which are published, and that of C.
fn is_past<'w>(words: impl Iterator<Item = &'w str>) -> bool {
    let (mut month, mut numbers) = (None, Vec::new());
    for word in words.take(6) {
        let day = word.split('t').next().filter(|_| word.starts_with(is_digit)).unwrap_or(word);
        for part in day.split('-').filter(|part| !part.contains(':')) {
            let named = part.get(..3).and_then(|start| MONTHS.iter().position(|m| *m == start));
            month = month.or(named.map(|n| n + 1));
            numbers.extend(part.parse::<u16>().ok());
        }
    }
    date(month, &numbers).is_some_and(|date| date < OffsetDateTime::now_utc().date())
}

fn date(month: Option<usize>, numbers: &[u16]) -> Option<Date> {
    let (year, month, day) = match (month, numbers) {
        (None, [year, month, day, ..]) => (*year, usize::from(*month), *day),
        (Some(month), [day, year, ..]) => (*year, month, *day),
        _ => return None,
    };
    let year = match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    };
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()
}

/// A word without what is around it: `noai.`, `+noai`, `noai/1`.
fn directive(word: &str) -> &str {
    let around = ['.', '+', '/', '_'];
    word.trim_matches(around).split('/').next().unwrap_or_default().trim_matches(around)
}

/// Whether directives for the agent are for us.
fn is_own(agent: &str, own: &str) -> bool {
    let agent = agent.split('/').next().unwrap_or_default();
    EVERYBODY.contains(&agent) || names(agent, own)
}

/// Whether the name of an agent is our `own`, both in lower case. A name is also that of its variants, as
/// `googlebot` is that of `googlebot-image`.
pub(super) fn names(agent: &str, own: &str) -> bool {
    let variant = own.strip_prefix(agent).filter(|_| !agent.is_empty());
    variant.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests;
