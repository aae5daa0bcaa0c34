//! What all pages have: head, navigation, banners.

use super::{answer::Reading, asked::written, clock, show, world::World};
use chunk_handler::state::Capacity;
use maud::{DOCTYPE, Markup, html};
use time::{Duration, OffsetDateTime};

/// How long it is told what was done.
const NOTICE: Duration = Duration::minutes(1);

const SECTIONS: [(&str, &str); 3] =
    [("/", "Overview"), ("/jobs", "Jobs"), ("/rejected", "Rejected")];

/// A whole document. `address`: of the page, where the navigation shows it. A live one is fetched again by
/// the script.
pub(super) fn document(
    title: &str,
    address: Option<&str>,
    is_live: bool,
    read_at: Option<OffsetDateTime>,
    main: &Markup,
) -> Markup {
    let is_here = |path: &str| {
        let path_of_page = address.unwrap_or_default().split('?').next().unwrap_or_default();
        path == path_of_page || (path != "/" && path_of_page.starts_with(path))
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · chunks" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
                @if is_live { script src="/script.js" defer {} }
            }
            body {
                a.skip href="#live" { "Skip to content" }
                header.bar {
                    nav aria-label="Sections" {
                        ul {
                            @for (path, name) in SECTIONS {
                                li { a href=(path) aria-current=[is_here(path).then_some("page")] { (name) } }
                            }
                        }
                    }
                    @if is_live {
                        p #fresh {
                            @match read_at {
                                Some(at) => { "As of " (show::clock(at)) " UTC" }
                                None => { "Not read yet" }
                            }
                        }
                        button #pause type="button" aria-pressed="false" hidden { "Pause updates" }
                    }
                }
                main #live tabindex="-1" data-live=[is_live.then_some("")] { (main) }
                footer { p { "chunkctl " (env!("CARGO_PKG_VERSION")) ". Times are UTC." } }
            }
        }
    }
}

/// What is replaced when it changes: banners, heading, and what the page says.
pub(super) fn main(world: &World, address: &str, reading: &Reading, banner: &Markup) -> Markup {
    let notice = world.notice.lock().clone();
    let notice = notice.filter(|(at, _)| clock::now() - *at < NOTICE);
    html! {
        (banner)
        @if let Some((at, text)) = notice {
            p.banner.done { strong { "Done " (show::moment(at)) ": " } (show::prose(&text)) }
        }
        (paused(world, &reading.capacity, address))
        h1 { (reading.page.title) }
        (reading.page.main)
    }
}

/// That intake is paused, if it is.
pub(super) fn paused(world: &World, capacity: &Capacity, address: &str) -> Markup {
    html! {
        @if let Some(until) = capacity.paused_until {
            div.banner.paused {
                p {
                    strong { "Intake is paused " }
                    "until "
                    @if capacity.is_paused_for_good() { "somebody resumes it" } @else { (show::moment(until)) }
                    ". No chunk starts; running ones go on."
                }
                @if world.allow_control { (action("Resume intake…", "resume", &[], address)) }
                @else { p { code { "chunkctl control resume" } " lifts it." } }
            }
        }
    }
}

/// That the database does not answer, and of when what is shown is.
pub(super) fn away(since: OffsetDateTime, cause: &str, read_at: Option<OffsetDateTime>) -> Markup {
    html! {
        div.banner.away {
            p { strong { "No answer from the database since " (show::moment(since)) ". " }
                (shown(read_at)) }
            p { (cause) }
        }
    }
}

/// That the database answers, and not in time.
pub(super) fn slow(read_at: Option<OffsetDateTime>) -> Markup {
    html! {
        div.banner.away {
            p { strong { "The database is slow: this page was not said within 2 s. " } (shown(read_at)) }
            p { "It has too much to do, or somebody holds a lock. "
                code { "select pid, wait_event, query from pg_stat_activity where state <> 'idle'" }
                " says who." }
        }
    }
}

fn shown(read_at: Option<OffsetDateTime>) -> Markup {
    html! {
        @match read_at {
            Some(at) => { "Shown is what it said at " (show::moment(at)) "." }
            None => { "This page has not been read before; it comes when the database answers." }
        }
    }
}

/// What went wrong, with the ways on.
pub(super) fn problem(title: &str, text: &str) -> Markup {
    html! {
        h1 { (title) }
        p { (show::prose(text)) }
        p { a href="/" { "Overview" } " · " a href="/jobs" { "Jobs" } }
    }
}

/// A link to the form of an action, which leads back to `address`.
pub(super) fn action(
    label: &str,
    action: &str,
    fields: &[(&str, String)],
    address: &str,
) -> Markup {
    let mut filters = fields.to_vec();
    filters.push(("back", address.to_owned()));
    html! { a.button href=(written(&format!("/control/{action}"), &filters)) { (label) } }
}
