use super::*;
use fastrand::Rng;
use hyper::header::HeaderValue;

const AGENT: &str = "pixcrawler-chunk-handler/0.1.0 (+https://example.com)";

/// What the values of a header say.
fn said(name: &'static str, values: &[Vec<u8>]) -> Option<Detail> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    opt_out(&headers, AGENT)
}

fn tag(value: &str) -> Option<Detail> {
    said("x-robots-tag", &[value.into()])
}

/// Cases 77, 186.
#[test]
fn directives_are_read_as_published() {
    for value in [
        "none",
        "NoArchive, None",
        "all, noai",
        "noml",
        "noai;noimageai",
        "nofollow noindex",
        "\"noai\"",
        "*: noindex",
        "robots: noai",
        "pixcrawler: noai",
        "PixCrawler-Chunk-Handler/0.1.0 : noai",
        "otherbot: noindex, nofollow, pixcrawler: noai",
        "otherbot: nofollow, *: noai",
        "googlebot: pixcrawler: noai",
        "pixcrawler-chunk-handler/0.1.0 (+https://example.com): noai",
        "otherbot: nofollow, pixcrawler-chunk-handler/0.1.0 (+https://example.com): noai",
        "noai.",
        "+noai",
        "noai/1",
        "noai_",
        "X-Robots-Tag: noai",
        "nofollow: noai",
        "noarchive: noindex",
        "max-snippet:-1, noai",
        "max-image-preview:large noai",
        "max-image-preview:, none",
        "unavailable_after: 25 Jun 2010 15:00:00 PST, noai",
        "unavailable_after: Wed, 25 Jun 2010 15:00:00 GMT, noai",
        "unavailable_after: Wednesday, 25-Jun-10 15:00:00 GMT+02:00, noai",
        "unavailable_after: 2010-06-25T15:00:00+00:00, noai",
        "pixcrawler: unavailable_after: Wed, 25 Jun 2010 15:00:00 GMT, noai",
        "unavailable_after: 25 Jun 2010 15:00:00 PST",
        "unavailable_after: Wed Jun 25 15:00:00 2010",
        "unavailable_after: 2010-06-25",
        "unavailable_after: 25-Jun-99 15:00:00 GMT",
    ] {
        assert_eq!(tag(value), Some(Detail::XRobotsTag), "{value}");
    }
    for value in [
        "",
        ":",
        ": ,:",
        "all",
        "nofollow",
        "index, follow",
        "googlebot: none",
        "otherbot: noarchive, noai",
        "pix: noai",
        "pixcrawlers: noai",
        "pixcrawler: nofollow, otherbot: noai",
        "max-image-preview: none",
        "max-image-preview:none, max-snippet: 0",
        "otherbot: max-snippet: -1, noai",
        "otherbot: unavailable_after: Wed, 25 Jun 2010 15:00:00 GMT, noai",
        "noaim, xnoindex",
        "unavailable_after: never",
        "unavailable_after: 31 Feb 2010",
        "unavailable_after:, 2069-06-25, 2010-06-25",
        "unavailable_after: 25 Oct 2069 00:00:00 GMT, max-snippet: 5",
    ] {
        assert_eq!(tag(value), None, "{value}");
    }
    let reserved = |value: &str| said("tdm-reservation", &[value.into()]);
    for value in ["1", " 1 ", "0, 1", "1;"] {
        assert_eq!(reserved(value), Some(Detail::TdmReservation), "{value}");
    }
    assert_eq!(["0", "", "11"].map(reserved), [None; 3]);
}

/// Case 186: our name is the one that the setting says.
#[test]
fn the_product_is_that_of_the_user_agent() {
    for (user_agent, name) in [
        (AGENT, "pixcrawler-chunk-handler"),
        ("MyBot", "mybot"),
        ("My Bot/2.0", "my"),
        ("Mozilla/5.0 (X11) Firefox/72.0 (compatible; img2dataset; +https://x)", "img2dataset"),
        ("", ""),
    ] {
        assert_eq!(product(user_agent), name);
    }
    let headers = [("x-robots-tag", "mybot: noai")]
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
    let headers = HeaderMap::from_iter(headers);
    assert_eq!(opt_out(&headers, "MyBot/1"), Some(Detail::XRobotsTag));
    assert_eq!([AGENT, ""].map(|user_agent| opt_out(&headers, user_agent)), [None; 2]);
}

/// One of these, in any case.
fn one(rng: &mut Rng, of: &[&str]) -> String {
    let word = of.get(rng.usize(..of.len())).copied().unwrap_or_default();
    match rng.u8(..3) {
        0 => word.to_owned(),
        1 => word.to_uppercase(),
        _ => word.chars().map(|c| if rng.bool() { c.to_ascii_uppercase() } else { c }).collect(),
    }
}

/// What asks for nothing, and names no agent.
const IDLE: [&str; 14] = [
    "all",
    "nofollow",
    "noarchive",
    "indexifembedded",
    "max-snippet:-1",
    "max-snippet: 0",
    "max-image-preview:large",
    "max-image-preview : none",
    "max-video-preview: 10",
    "unavailable_after: 25 Jun 2069 15:00:00 PST",
    "unavailable_after: Tuesday, 25-Jun-69 15:00:00 GMT+01:00",
    "unavailable_after: 2069-06-25T15:00:00Z",
    "caf\u{e9}",
    "",
];
/// What opts out since it is over.
const PAST: [&str; 4] = [
    "unavailable_after: 25 Jun 2010 15:00:00 PST",
    "unavailable_after: Friday, 25-Jun-10 15:00:00 GMT+01:00",
    "unavailable_after: Sat, 02 Oct 2010 15:00:00 GMT",
    "unavailable_after: 2010-06-25T15:00:00Z",
];
const OTHERS: [&str; 5] = ["googlebot", "Other Bot", "bot-2/1.0", "gpt_bot", "pixcrawlers"];
const OURS: [&str; 4] = ["pixcrawler", "pixcrawler-chunk-handler", "*", "PixCrawler/3"];

/// Directives in a row, with blanks and, when `odd`, bytes beyond ASCII around each.
fn row(rng: &mut Rng, directives: &[String], odd: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for directive in directives {
        let noise = |rng: &mut Rng, bytes: &mut Vec<u8>| {
            for _ in 0..rng.usize(..3) {
                let strange = [b' ', 0x80, 0xa0, 0xc3, 0xff];
                bytes.push(strange[rng.usize(..if odd { strange.len() } else { 1 })]);
            }
        };
        noise(rng, &mut bytes);
        bytes.extend_from_slice(directive.as_bytes());
        noise(rng, &mut bytes);
        bytes.push(b',');
    }
    bytes.pop();
    bytes
}

fn directives(rng: &mut Rng, of: &[&str]) -> Vec<String> {
    (0..rng.usize(..4)).map(|_| one(rng, of)).collect()
}

/// A block of another agent, with or without opt-outs.
fn block(rng: &mut Rng) -> Vec<String> {
    let mut directives = directives(rng, &[&OPT_OUTS[..], &PAST, &IDLE].concat());
    let name = one(rng, &OTHERS);
    match directives.first_mut() {
        Some(first) => *first = format!("{name}: {first}"),
        None => directives.push(format!("{name}:nofollow")),
    }
    directives
}

/// Case 186: whatever stands around an opt-out, it is seen.
#[test]
fn an_opt_out_is_seen_whatever_is_around_it() {
    let mut rng = Rng::with_seed(77);
    for _ in 0..4_000 {
        let no = one(&mut rng, &[&OPT_OUTS[..], &PAST].concat());
        let mut all = directives(&mut rng, &IDLE);
        if rng.bool() {
            // For us by name, after blocks of others.
            for _ in 0..rng.usize(..3) {
                all.extend(block(&mut rng));
            }
            let ours = one(&mut rng, &OURS);
            let mut own = directives(&mut rng, &IDLE);
            own.push(no);
            own[0] = format!("{ours}:{}{}", [" ", ""][rng.usize(..2)], own[0]);
            all.extend(own);
        } else {
            all.push(no);
            all.extend(directives(&mut rng, &IDLE));
        }
        all.extend(block(&mut rng));
        let mut values = vec![row(&mut rng, &all, true)];
        for _ in 0..rng.usize(..3) {
            let other = block(&mut rng);
            values.insert(rng.usize(..=values.len()), row(&mut rng, &other, true));
        }
        // As the reader of heads hands them on.
        let values = vec![values.join(&[BETWEEN_LINES][..])];
        let shown = String::from_utf8_lossy(&values[0]);
        assert_eq!(said("x-robots-tag", &values), Some(Detail::XRobotsTag), "{shown:?}");
    }
}

/// Case 489: a preference against training is seen among others, in any case and with any blanks, and
/// nothing else is taken for one.
#[test]
fn a_preference_is_seen_whatever_is_around_it() {
    const OTHER: [&str; 7] =
        ["search=n", "ai-input=no", "train-ai=y", "ai-train=yes", "x-ai-train=no", "foo", "n"];
    let mut rng = Rng::with_seed(79);
    for _ in 0..4_000 {
        let (header, no, detail) = match rng.bool() {
            true => ("content-usage", ["train-ai=n", "train-ai = n"], Detail::ContentUsage),
            false => ("content-signal", ["ai-train=no", "ai-train =no"], Detail::ContentSignal),
        };
        let mut pairs: Vec<String> = (0..rng.usize(..4)).map(|_| one(&mut rng, &OTHER)).collect();
        assert_eq!(said(header, &[row(&mut rng, &pairs, false)]), None, "{pairs:?}");
        pairs.insert(rng.usize(..=pairs.len()), one(&mut rng, &no));
        let odd = rng.bool();
        let mut value = row(&mut rng, &pairs, odd);
        let separator = [b',', b';'][rng.usize(..2)];
        value.iter_mut().filter(|byte| **byte == b',').for_each(|byte| *byte = separator);
        assert_eq!(said(header, &[value]), Some(detail), "{pairs:?}");
        assert_eq!(said("x-robots-tag", &[row(&mut rng, &pairs, false)]), None, "{pairs:?}");
    }
}

/// Case 186: what is for other agents alone is not for us.
#[test]
fn what_is_for_other_agents_is_not_for_us() {
    let mut rng = Rng::with_seed(78);
    for _ in 0..4_000 {
        let mut values = Vec::new();
        for _ in 0..rng.usize(1..4) {
            let mut all = directives(&mut rng, &IDLE);
            for _ in 0..rng.usize(..4) {
                all.extend(block(&mut rng));
            }
            values.push(row(&mut rng, &all, false));
        }
        let values = vec![values.join(&[BETWEEN_LINES][..])];
        let shown = String::from_utf8_lossy(&values[0]);
        assert_eq!(said("x-robots-tag", &values), None, "{shown:?}");
    }
}
