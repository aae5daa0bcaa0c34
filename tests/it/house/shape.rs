//! The shape of the code as data: who may use whom, and what may stand where.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};
use support::{checkout, rig::Rig};

/// Who may use whom, from the ground up: a module uses only modules above its own line. `fetch/...`
/// and its like are stages of the pipeline; a module's other files count as the module.
const MODULES: &[(&str, &[&str])] = &[
    // Pure: nothing of ours.
    ("redact", &[]),
    ("words", &[]),
    ("chunk", &[]),
    // A violation shows values, so it goes through redact.
    ("settings", &["redact"]),
    // What is open is data; who opens and probes stands above.
    ("circuit", &[]),
    // The clock of the process: who waits asks it.
    ("stall", &[]),
    ("descriptors", &[]),
    ("turns", &[]),
    // Clients and what is counted.
    ("spool", &["settings"]),
    ("identity", &["settings"]),
    ("state", &["redact", "chunk", "settings", "stall", "identity"]),
    ("storage", &["redact", "settings", "stall", "identity"]),
    // The lists are blobs that settings name.
    ("blocklist", &["redact", "chunk", "settings", "storage"]),
    // What an endpoint says is shown in one line. Metrics count totals, the budget and the health row; an event says what a claim answered.
    ("telemetry", &["redact", "chunk", "settings", "spool", "identity", "state"]),
    // Everything that acts stands above the process.
    (
        "process",
        &["redact", "circuit", "settings", "spool", "state", "storage", "blocklist", "telemetry"],
    ),
    ("wake", &["chunk", "state", "storage", "process"]),
    ("jobs", &["redact", "words", "chunk", "state", "storage", "process", "wake"]),
    // The stages, then the pipeline that wires them.
    ("pipeline/dedupe", &["chunk"]),
    ("pipeline/refused", &["chunk"]),
    // What both the downloads and the inspection judge by.
    ("pipeline/filters", &["chunk", "pipeline/refused"]),
    ("pipeline/shard", &["chunk"]),
    ("pipeline/upload", &["chunk", "stall", "state", "storage"]),
    (
        "pipeline/fetch",
        &[
            "chunk",
            "settings",
            "stall",
            "spool",
            "descriptors",
            "turns",
            "blocklist",
            "pipeline/refused",
            "pipeline/filters",
        ],
    ),
    // The end of the pipeline takes what its stages made; the pipeline's types are in its face.
    (
        "pipeline/collect",
        &[
            "redact",
            "chunk",
            "state",
            "pipeline",
            "pipeline/dedupe",
            "pipeline/shard",
            "pipeline/upload",
        ],
    ),
    (
        "pipeline",
        &[
            "chunk",
            "settings",
            "stall",
            "spool",
            "state",
            "storage",
            "turns",
            "blocklist",
            "pipeline/dedupe",
            "pipeline/refused",
            "pipeline/filters",
            "pipeline/shard",
            "pipeline/fetch",
            "pipeline/upload",
            "pipeline/collect",
        ],
    ),
    ("admission", &["redact", "chunk", "spool", "state", "process"]),
    (
        "run",
        &[
            "redact",
            "chunk",
            "circuit",
            "settings",
            "stall",
            "spool",
            "state",
            "storage",
            "telemetry",
            "process",
            "wake",
            "jobs",
            "pipeline",
            "pipeline/upload",
            "admission",
        ],
    ),
    (
        "upkeep",
        &[
            "redact",
            "chunk",
            "circuit",
            "stall",
            "spool",
            "state",
            "storage",
            "telemetry",
            "process",
            "wake",
            "jobs",
        ],
    ),
    (
        "health",
        &["redact", "settings", "identity", "state", "storage", "telemetry", "process", "upkeep"],
    ),
    (
        "background",
        &["redact", "circuit", "stall", "state", "storage", "telemetry", "process", "upkeep"],
    ),
    (
        "host",
        &[
            "redact",
            "chunk",
            "state",
            "storage",
            "telemetry",
            "process",
            "jobs",
            "admission",
            "run",
            "health",
        ],
    ),
    ("lib", &[]),
    (
        "main",
        &[
            "descriptors",
            "settings",
            "spool",
            "state",
            "storage",
            "telemetry",
            "process",
            "pipeline",
            "run",
            "upkeep",
            "health",
            "background",
            "host",
        ],
    ),
];

/// The one arrow that runs back up: the pipeline's types are in its face, where all stages see them.
const BACK_UP: (&str, &str) = ("pipeline/collect", "pipeline");

/// A source file: its place under `src`, and its text without tests.
struct Source {
    place: String,
    text: String,
}

fn sources() -> Vec<Source> {
    sources_below("src")
}

fn sources_below(root: &str) -> Vec<Source> {
    let root = checkout::root().join(root);
    let mut directories = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for path in fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                let place = path.strip_prefix(&root).unwrap().display().to_string();
                sources.push(Source { place, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    sources
}

impl Source {
    /// The text before its tests, which stand at the end, without comments.
    fn product(&self) -> String {
        let text = self.text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = text.lines().map(|line| match line.find("//") {
            // Not the slashes of a URL in a string.
            Some(at) if !line[..at].ends_with(':') => &line[..at],
            _ => line,
        });
        code.collect::<Vec<_>>().join("\n")
    }

    /// Its module path.
    fn module(&self) -> Vec<String> {
        self.place.trim_end_matches(".rs").split('/').map(str::to_owned).collect()
    }
}

/// The name of a module path in the table.
fn node(path: &[String]) -> String {
    match path {
        [] => "lib".to_owned(),
        [pipeline, stage, ..] if pipeline == "pipeline" && is_stage(stage) => {
            format!("pipeline/{stage}")
        }
        [module, ..] => module.clone(),
    }
}

/// Stages have files; types and functions of the pipeline have none.
fn is_stage(name: &str) -> bool {
    let stages = checkout::root().join("src/pipeline");
    stages.join(format!("{name}.rs")).exists()
}

/// Every module that the file's paths lead to.
fn used(source: &Source) -> BTreeSet<String> {
    let (code, own) = (source.product(), source.module());
    let mut found = BTreeSet::new();
    for start in ["crate::", "chunk_handler::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut base = if start == "super::" { own[..own.len() - 1].to_vec() } else { vec![] };
            let mut rest = &code[at + start.len()..];
            while let Some(further) = rest.strip_prefix("super::") {
                base.pop();
                rest = further;
            }
            let mut paths = Vec::new();
            read_tree(rest, &base, &mut paths);
            found.extend(paths.iter().map(|path| node(path)));
        }
    }
    // The pipeline wires the stages that it declares.
    let declared = code.lines().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
    found.extend(declared.map(|name| node(&[own.clone(), vec![name.to_owned()]].concat())));
    found
}

/// Reads a path or a tree of `use`; returns what follows it.
fn read_tree<'a>(text: &'a str, base: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let after = read_tree(rest, base, paths);
            assert!(after.len() < rest.len(), "cannot read {}", &rest[..rest.len().min(60)]);
            rest = after;
            rest = rest.trim_start();
            if let Some(alias) = rest.strip_prefix("as ") {
                rest = alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let path = [base, &[name.to_owned()]].concat();
    match rest.strip_prefix("::") {
        Some(further) if further.starts_with(|c: char| c.is_alphabetic() || "{*_".contains(c)) => {
            read_tree(further, &path, paths)
        }
        _ => {
            paths.push(path);
            rest
        }
    }
}

/// Every edge of the real tree, with the first file that has it.
fn edges() -> BTreeMap<(String, String), String> {
    let mut edges = BTreeMap::new();
    for source in sources() {
        let from = node(&source.module());
        for to in used(&source).into_iter().filter(|to| *to != from) {
            edges.entry((from.clone(), to)).or_insert_with(|| source.place.clone());
        }
    }
    edges
}

fn uses(from: &str) -> &'static [&'static str] {
    MODULES.iter().find(|(module, _)| *module == from).map(|(_, to)| *to).unwrap_or_default()
}

/// Modules use only whom the table lets them use, and the table allows nothing that is not used.
#[test]
fn the_table_is_what_the_code_does() {
    let edges = edges();
    let strange: Vec<String> = edges
        .iter()
        .filter(|((from, to), _)| !uses(from).contains(&to.as_str()))
        .map(|((from, to), place)| format!("{from} -> {to} (src/{place})"))
        .collect();
    assert!(strange.is_empty(), "not in the table: {strange:#?}");
    let has = |from: &str, to: &str| edges.contains_key(&(from.to_owned(), to.to_owned()));
    for (from, to) in MODULES.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to))) {
        assert!(has(from, to), "{from} -> {to} is gone from the code");
    }
}

/// The table runs from the ground up: no circle, and one arrow back up, which is named.
#[test]
fn modules_use_only_those_below_them() {
    let floor = |name: &str| MODULES.iter().position(|(module, _)| *module == name).unwrap();
    for (from, to) in MODULES.iter().flat_map(|(from, to)| to.iter().map(move |to| (*from, *to))) {
        assert!(floor(to) < floor(from) || (from, to) == BACK_UP, "{from} -> {to}");
    }
}

/// Nested trees, renames, paths in code and several `super` are read.
#[test]
fn trees_of_use_are_read() {
    let text = "use crate::{chunk::{ChunkId, Item as I}, spool, state::{self, Database}};\n\
        use super::super::{upload::Guard, Error};\n\
        // use crate::never;\n\
        fn f() { crate::settings::Settings::load(); not_crate::x(); }\n\
        #[cfg(test)]\nmod tests { use crate::host; }";
    let source = Source { place: "pipeline/fetch/answer.rs".into(), text: text.into() };
    let found: Vec<String> = used(&source).into_iter().collect();
    assert_eq!(found, ["chunk", "pipeline", "pipeline/upload", "settings", "spool", "state"]);
}

/// No file is longer than 400 lines, none has unfinished business without a number.
#[test]
fn files_are_short_and_finished() {
    let sources: Vec<Source> =
        ["src", "crates", "xtask/src"].into_iter().flat_map(sources_below).collect();
    let long: Vec<String> = sources
        .iter()
        .map(|source| (source.text.lines().count(), &source.place))
        .filter(|(lines, _)| *lines > 400)
        .map(|(lines, place)| format!("{place}: {lines} lines"))
        .collect();
    let unfinished = sources.iter().filter(|s| s.text.contains("TODO") || s.text.contains("FIXME"));
    let unfinished: Vec<&str> = unfinished.map(|source| source.place.as_str()).collect();
    assert!(long.is_empty(), "{long:?}");
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

/// The environment is read in settings only, SQL is written in state only.
#[test]
fn the_environment_and_sql_have_one_owner() {
    for source in sources() {
        let (code, place) = (source.product(), &source.place);
        if !place.starts_with("settings") {
            let reads = ["env::var", "env::vars", "env::set_var", "env::remove_var"];
            let found = reads.into_iter().find(|read| code.contains(read));
            assert_eq!(found, None, "src/{place} reads the environment");
        }
        if !place.starts_with("state") {
            // The driver's own parser decides which DATABASE_URL is a violation.
            let code = code.replace("sqlx::postgres::PgConnectOptions", "");
            let code = code.replace("sqlx::postgres::PgSslMode", "");
            assert!(!code.contains("sqlx::"), "src/{place} uses sqlx");
        }
    }
}

/// Each statement begins with its name, which the server's log then has.
#[test]
fn every_statement_begins_with_its_name() {
    let mut nameless = Vec::new();
    let mut named = 0;
    for source in sources().iter().filter(|source| source.place.starts_with("state")) {
        let code = source.product();
        let calls = code.split("sqlx::").skip(1).filter(|call| {
            ["query(", "query_as(", "query_scalar(", "raw_sql("].iter().any(|f| call.starts_with(f))
        });
        for call in calls {
            let statement = call.split('"').nth(1).unwrap_or_default();
            let name = statement.strip_prefix("-- ").unwrap_or_default();
            let name = name.split(['\n', '\\']).next().unwrap_or_default();
            let is_name =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            named += usize::from(is_name);
            if !is_name {
                nameless.push(format!("src/{}: {statement}", source.place));
            }
        }
    }
    assert!(named > 20, "only {named} statements were found");
    assert!(nameless.is_empty(), "{nameless:#?}");
}

/// Each column that can be null has a comment, which says what null means.
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_can_be_null_are_explained() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let silent: Vec<String> = rig
        .value(
            "select coalesce(array_agg(c.relname || '.' || a.attname order by 1), '{}')
            from pg_attribute a join pg_class c on c.oid = a.attrelid
            where c.relnamespace = 'chunk_handler'::regnamespace
                and c.relname in ('chunk', 'job', 'fleet') and c.relkind = 'r'
                and a.attnum > 0 and not a.attisdropped and not a.attnotnull
                and col_description(c.oid, a.attnum) is null",
        )
        .await;
    assert!(silent.is_empty(), "no comment on {}", silent.join(", "));
}
