//! Fills that are told by their pattern, and not by colour alone.

use maud::{Markup, html};

/// A pattern `{prefix}{look}` for `fill="url(#...)"`; `class` has its colour. It is 8 units wide, unless a
/// transform says otherwise.
pub(super) fn pattern(prefix: &str, look: &str, class: &str, transform: Option<&str>) -> Markup {
    let stripes = match look {
        "failed" => "M0 8L8 0M-2 2L2 -2M6 10L10 6",
        "running" => "M0 4H3",
        "released" => "M4 0V8",
        "expired" => "M0 0L8 8M6 -2L10 2M-2 6L2 10",
        "pending" => "M1 1H3V3H1ZM5 5H7V7H5Z",
        _ => "",
    };
    html! {
        pattern id={ (prefix) (look) } width="8" height="8" patternUnits="userSpaceOnUse"
            patternTransform=[transform] {
            rect.(class) width="8" height="8" {}
            @if !stripes.is_empty() { path.stripe d=(stripes) {} }
        }
    }
}
