//! Tables that scroll by themselves, by keyboard too, so that no page scrolls sideways.

use maud::{Markup, html};

/// A column: its heading, and whether it has numbers.
pub(super) type Column = (&'static str, bool);

/// A table with a caption; `rows` are its `tr`, whose first cell may be a `th scope="row"`. Without rows it
/// says `nothing`.
pub(super) fn table(caption: &str, columns: &[Column], rows: &[Markup], nothing: &str) -> Markup {
    html! {
        @if rows.is_empty() {
            h2.caption { span { (caption) } }
            p.nothing { (nothing) }
        } @else {
            div.scroll role="region" aria-label=(caption) tabindex="0" {
                table {
                    caption { span { (caption) } }
                    thead { tr {
                        @for (name, is_number) in columns {
                            th scope="col" class=[is_number.then_some("n")] { (name) }
                        }
                    } }
                    tbody { @for row in rows { (row) } }
                }
            }
        }
    }
}
