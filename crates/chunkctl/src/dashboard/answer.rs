//! Answers: a page that was read, the last reading of it while the database is away, or why there is none.

use super::{
    asked::Asked,
    clock, layout,
    world::{Turn, World},
};
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use chunk_handler::{
    redact::cause_chain,
    state::{Capacity, Error},
};
use maud::{Markup, html};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use time::OffsetDateTime;

/// A page as it was read.
pub(super) struct Page {
    /// Of the window and of the page, as text.
    pub(super) title: String,
    /// What stands below its heading.
    pub(super) main: Markup,
}

/// Why there is no page.
pub(super) enum Trouble {
    /// There is no such thing; what there is instead.
    Unknown(String),
    /// The database did not answer.
    Database(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// A page with the time of its reading.
pub(super) struct Reading {
    pub(super) page: Page,
    pub(super) capacity: Capacity,
    /// What the reading took.
    cost: Duration,
    since: Instant,
}

impl Reading {
    /// When it began, by the database.
    pub(super) fn at(&self) -> OffsetDateTime {
        self.capacity.now
    }

    /// A reading that took long serves for a while, whoever asks: a page that is open takes a tenth of the
    /// database's time at most.
    fn serves(&self) -> bool {
        self.cost > CHEAP && self.since.elapsed() < (self.cost * 10).min(LONGEST_SERVED)
    }
}

/// The last reading of each address.
#[derive(Default)]
pub(super) struct Kept {
    readings: HashMap<String, Arc<Reading>>,
    away_since: Option<OffsetDateTime>,
}

/// A reading that takes no longer is made each time.
const CHEAP: Duration = Duration::from_millis(500);
const SLOW: &str = "not said within 2 s";
const DENIED: &str = "this login may not read it";
const LONGEST_SERVED: Duration = Duration::from_secs(10);
/// Addresses whose last reading is kept: more than one looks at.
const MOST_KEPT: usize = 64;
/// Bytes of those: a page of long URLs and captions has some 100 kB.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The time of the reading, for the script.
const READ_AT: HeaderName = HeaderName::from_static("x-read-at");

impl Kept {
    fn serving(&self, address: &str) -> Option<Arc<Reading>> {
        self.readings.get(address).filter(|reading| reading.serves()).cloned()
    }

    /// Something was changed: each page is read anew.
    pub(super) fn forget(&mut self) {
        self.readings.clear();
    }

    fn keep(&mut self, address: &str, reading: &Arc<Reading>) {
        self.away_since = None;
        self.readings.remove(address);
        let size = |reading: &Reading| reading.page.main.0.len();
        let sum = |readings: &HashMap<_, Arc<_>>| readings.values().map(|r| size(r)).sum::<usize>();
        while self.readings.len() >= MOST_KEPT || sum(&self.readings) + size(reading) > MOST_BYTES {
            let oldest = self.readings.iter().min_by_key(|(_, reading)| reading.since);
            let Some(oldest) = oldest.map(|(address, _)| address.clone()) else { return };
            self.readings.remove(&oldest);
        }
        self.readings.insert(address.to_owned(), Arc::clone(reading));
    }
}

/// Reads a page and answers with it. While the database is away the last reading stays, and says so. The turn
/// is given back before storage is asked, for whose answer no other page waits.
pub(super) async fn live(
    world: &World,
    asked: &Asked,
    read: impl AsyncFnOnce(Turn<'_>, &Capacity) -> Result<Page, Trouble>,
) -> Response {
    // Who waits for others is not told that the database is away, and may find what they read.
    let turn = world.turn().await;
    let serving = world.kept.lock().serving(&asked.address);
    if let Some(reading) = serving {
        return whole(world, asked, &reading, &html! {});
    }
    let begun = Instant::now();
    let read = async {
        let capacity = world.capacity().await?;
        let page = read(turn, &capacity).await?;
        let (since, cost) = (Instant::now(), begun.elapsed());
        Ok(Arc::new(Reading { page, capacity, cost, since }))
    };
    match read.await {
        Ok(reading) => {
            world.kept.lock().keep(&asked.address, &reading);
            whole(world, asked, &reading, &html! {})
        }
        Err(Trouble::Unknown(text)) => problem(StatusCode::NOT_FOUND, "Not found", &text),
        Err(Trouble::Database(error)) => unanswered(world, asked, &error),
    }
}

/// The last reading, or that there is none, and why.
fn unanswered(world: &World, asked: &Asked, error: &Error) -> Response {
    let cause = cause_chain(error);
    if error.is_denied() {
        let text = format!("This login may not read all that the page shows: {cause}.");
        return problem(StatusCode::SERVICE_UNAVAILABLE, "Not for this login", &text);
    }
    let (since, last) = {
        let mut kept = world.kept.lock();
        // What is slow is not away.
        let since = kept.away_since.unwrap_or_else(clock::now);
        kept.away_since = (!error.is_slow()).then_some(since);
        (since, kept.readings.get(&asked.address).cloned())
    };
    let read_at = last.as_ref().map(|reading| reading.at());
    let banner = match error.is_slow() {
        true => layout::slow(read_at),
        false => layout::away(since, &cause, read_at),
    };
    match last {
        Some(reading) => whole(world, asked, &reading, &banner),
        None => {
            let main = html! { (banner) h1 { "No answer" } };
            let document = layout::document("No answer", None, true, None, &main);
            html(StatusCode::SERVICE_UNAVAILABLE, &document)
        }
    }
}

/// The page with what stands above it, or that the browser has it already.
fn whole(world: &World, asked: &Asked, reading: &Reading, banner: &Markup) -> Response {
    let main = layout::main(world, &asked.address, reading, banner);
    let digest = Sha256::digest(&main.0);
    let tag: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let mut answer = if asked.has.as_ref() == Some(&tag) {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        let title = &reading.page.title;
        let document =
            layout::document(title, Some(&asked.address), true, Some(reading.at()), &main);
        html(StatusCode::OK, &document)
    };
    let read_at = super::show::clock(reading.at());
    for (name, value) in [(header::ETAG, tag), (READ_AT, read_at)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

/// A page that is not fetched again: a form, or what went wrong.
pub(super) fn still(status: StatusCode, title: &str, main: &Markup) -> Response {
    html(status, &layout::document(title, None, false, None, main))
}

/// A page that says what went wrong and what to do.
pub(super) fn problem(status: StatusCode, title: &str, text: &str) -> Response {
    still(status, title, &layout::problem(title, text))
}

fn html(status: StatusCode, document: &Markup) -> Response {
    file(status, "text/html; charset=utf-8", document.0.clone())
}

/// A line of text, for what no page of ours asks.
pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    file(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// A part of a page, or what stands in its place.
pub(super) type Part<T> = Result<T, &'static str>;

/// What stands where there are no rows: why the part is not there, or that there is nothing in it.
pub(super) fn nothing<'a, T>(part: &Part<T>, said: &'a str) -> &'a str {
    part.as_ref().err().copied().unwrap_or(said)
}

/// What was read. Where the server ended the statement, or the login may not read this, the rest of the
/// page stays.
///
/// # Errors
///
/// Every other error of the database.
pub(super) fn part<T>(read: Result<T, Error>) -> Result<Part<T>, Error> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_slow() => Ok(Err(SLOW)),
        Err(error) if error.is_denied() => Ok(Err(DENIED)),
        Err(error) => Err(error),
    }
}

/// Any text.
pub(super) fn file(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
