//! `doctor` where the settings cannot be used: nothing else can be asked, and this is what to set first.

use crate::out;
use chunk_handler::settings::Violation;
use serde_json::{Value, json};

/// What nothing works without, and what it is.
const FIRST: [(&str, &str); 2] = [
    ("DATABASE_URL", "postgres://USER:PASSWORD@HOST:5432/DATABASE, the fleet's database"),
    (
        "ChunkStorage",
        "the connection string of the fleet's storage account, or UseDevelopmentStorage=true",
    ),
];
/// Where settings stand.
const WHERE: &str = "set them in the environment, or as Values of local.settings.json in the working \
    directory; an app's own are shown by `az functionapp config appsettings list`";

/// Says what to set first; the violations themselves are told as those of every command.
pub(crate) fn say_what_to_set(violations: &[Violation], json: bool) {
    if json {
        out(format_args!("{}", as_json(violations)));
    } else {
        out(format_args!("{}", as_text(violations)));
    }
}

fn as_text(violations: &[Violation]) -> String {
    let mut lines = vec!["checks".to_owned()];
    for Violation { name, .. } in violations {
        lines.push(format!("  FAILED  settings: {name}"));
    }
    lines.push("  nothing else was asked".to_owned());
    lines.extend([String::new(), "set first".to_owned()]);
    let is_missing = |name: &str| violations.iter().any(|violation| violation.name == name);
    for (name, what) in FIRST.iter().filter(|(name, _)| is_missing(name)) {
        lines.push(format!("  {name}: {what}"));
    }
    for Violation { name, problem, .. } in violations {
        if !FIRST.iter().any(|(first, _)| first == name) {
            lines.push(format!("  {name}: {problem}"));
        }
    }
    lines.push(format!("  {WHERE}"));
    lines.join("\n")
}

/// The document of `doctor`, of which only the settings are known.
pub(super) fn as_json(violations: &[Violation]) -> Value {
    let remedy = |name: &str| {
        let first = FIRST.iter().find(|(first, _)| *first == name);
        first.map_or_else(|| WHERE.to_owned(), |(_, what)| format!("{what}; {WHERE}"))
    };
    let check = |violation: &Violation| {
        json!({
            "what": "settings", "ok": false, "found": null, "problem": violation.to_string(),
            "remedy": remedy(&violation.name),
        })
    };
    json!({
        "profile": null,
        "settings": [],
        "streaming_max_chunks": null,
        "materialized_max_chunks": null,
        "max_chunks_by_storage": null,
        "materialized_chunk_mb": null,
        "chunk_temp_share_mb": null,
        "platform_quota_mb": null,
        "fleet": null,
        "own": null,
        "kept": [],
        "warnings": [],
        "checks": violations.iter().map(check).collect::<Vec<_>>(),
    })
}
