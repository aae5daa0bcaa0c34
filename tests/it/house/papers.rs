//! The papers and the code agree: each id and each case that a comment names has a row in a table of
//! `doc/`, each document and each link that is named is there, and each name in backticks that the
//! papers take from the code is still in the code.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use support::catalogue::numbers;

/// Where people write: everything else in the checkout is data, or made by tools.
const PLACES: [&str; 7] = ["src", "crates", "tests", "xtask", "infra", "doc", ""];
/// The kinds of ids: invariants, rules of the host, and the requirements.
const KINDS: [&str; 10] = ["I", "H", "S", "P", "X", "F", "M", "B", "PR", "C"];

/// A file, and what people are to read in it: comments of code, all of a paper.
struct Source {
    path: PathBuf,
    lines: Vec<(usize, String)>,
}

impl Source {
    fn new(path: PathBuf, text: &str) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let after = |mark: &str| {
            let cut = |(n, line): (usize, &str)| Some((n, line.split_once(mark)?.1.to_owned()));
            (1..).zip(text.lines()).filter_map(cut).collect()
        };
        let lines = match extension {
            Some("rs") => comments(text),
            Some("sql") => after("--"),
            Some("toml" | "py") => after("#"),
            _ => (1..).zip(text.lines().map(str::to_owned)).collect(),
        };
        Self { path, lines }
    }

    fn is_paper(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "md")
    }
}

/// The comments of Rust code with their lines; what looks like one inside a string is none.
fn comments(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut line, mut rest) = (Vec::new(), 1, text);
    while let Some(c) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            let len = rest.find('\n').unwrap_or(rest.len());
            found.push((line, rest[..len].to_owned()));
            len
        } else if rest.starts_with("r\"") || rest.starts_with("r#") {
            let n_marks = rest[1..].chars().take_while(|c| *c == '#').count();
            let end = format!("\"{}", "#".repeat(n_marks));
            // Else a raw identifier, `r#type`.
            let is_string = rest[1 + n_marks..].starts_with('"');
            let start = 2 + n_marks;
            if is_string { start + rest[start..].find(&end).unwrap() + end.len() } else { start }
        } else if c == '"' {
            quoted(rest, '"')
        } else if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') && c == '\'' {
            quoted(rest, '\'')
        } else {
            c.len_utf8()
        };
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    found
}

/// The length of a literal, with its marks.
fn quoted(text: &str, mark: char) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == mark && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn is_id(word: &str) -> bool {
    let kind = word.trim_end_matches(|c: char| c.is_ascii_digit());
    kind.len() < word.len() && KINDS.contains(&kind)
}

/// The cases that a line names, as `case 7`.
fn cases(line: &str) -> Vec<String> {
    numbers(line).into_iter().map(|number| format!("case {number}")).collect()
}

/// Names of documents, and words in backticks that are cited by section like one.
fn documents(line: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || "_/.-".contains(c);
    let paths = line.split(|c: char| !is_part(c) && c != ':').filter(|w| !w.contains("://"));
    let paths = paths.flat_map(|word| word.split(':')).map(|word| word.trim_end_matches('.'));
    let paths = paths.filter(|path| path.ends_with(".md") && path.len() > 3).map(str::to_owned);
    let cited = line.match_indices("`, section").map(|(end, _)| line[..end].rsplit('`').next());
    let cited = cited.flatten().filter(|name| !name.ends_with(".md"));
    paths.chain(cited.map(|name| format!("doc/{name}.md"))).collect()
}

/// Targets of Markdown links that lead to files.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

/// Names of code in backticks: lower case, with an underscore.
fn names(line: &str) -> Vec<&str> {
    let is_name = |text: &&str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        text.contains('_') && text.chars().all(is_part)
    };
    line.split('`').skip(1).step_by(2).filter(is_name).collect()
}

/// What is named and not there, each with file and line.
fn findings(
    sources: &[Source],
    defined: &BTreeSet<String>,
    code: &BTreeSet<String>,
    exists: impl Fn(&Path) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let directory = source.path.parent().unwrap_or(Path::new(""));
        let names_code = source.path.starts_with("doc");
        let mut is_fenced = false;
        for (n, line) in &source.lines {
            let mut report =
                |what: String| found.push(format!("{}:{n}: {what}", source.path.display()));
            is_fenced ^= source.is_paper() && line.trim_start().starts_with("```");
            if !is_fenced {
                let ids = words(line).filter(|word| is_id(word)).map(str::to_owned);
                for id in ids.chain(cases(line)).filter(|id| !defined.contains(id)) {
                    report(format!("{id} has no row in a table of doc/"));
                }
            }
            for name in documents(line) {
                if !exists(Path::new(&name)) && !exists(&directory.join(&name)) {
                    report(format!("there is no document {name}"));
                }
            }
            if source.is_paper() {
                for link in links(line).into_iter().filter(|link| !exists(&directory.join(link))) {
                    report(format!("the link to {link} leads nowhere"));
                }
            }
            for name in names(line).into_iter().filter(|name| names_code && !code.contains(*name)) {
                report(format!("`{name}` is not in the code"));
            }
        }
    }
    found
}

/// The first cells of the tables of a paper in `doc/`; a number is a case where cases are listed.
fn definitions(source: &Source) -> Vec<String> {
    let is_list_of_cases = source.path.ends_with("cases.md");
    let rows = source.lines.iter().filter_map(|(_, line)| line.strip_prefix('|'));
    let cells = rows.filter_map(|row| row.split('|').next()).map(str::trim);
    let definition = |cell: &str| match cell.parse::<u32>() {
        Ok(case) => is_list_of_cases.then(|| format!("case {case}")),
        Err(_) => Some(cell.to_owned()),
    };
    cells.filter_map(definition).collect()
}

/// Files of these places, with their paths from the root.
fn read(root: &Path, place: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(root.join(place)).into_iter().flatten().flatten() {
        let path = place.join(entry.file_name());
        if entry.path().is_dir() && !place.as_os_str().is_empty() {
            read(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push((path, text));
        }
    }
}

#[test]
fn every_id_document_and_name_resolves() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    PLACES.iter().for_each(|place| read(root, Path::new(place), &mut files));
    let is = |path: &Path, kinds: &[&str]| {
        kinds.iter().any(|kind| path.extension().is_some_and(|e| e == *kind))
    };
    let of_code = files.iter().filter(|(path, _)| is(path, &["rs", "sql", "json", "toml"]));
    let code = of_code.flat_map(|(_, text)| words(text)).map(str::to_owned).collect();
    let of_people = files.iter().filter(|(path, _)| is(path, &["rs", "sql", "toml", "py", "md"]));
    let sources: Vec<Source> =
        of_people.map(|(path, text)| Source::new(path.clone(), text)).collect();
    let papers = sources.iter().filter(|source| source.path.starts_with("doc"));
    let defined: BTreeSet<String> = papers.flat_map(definitions).collect();
    assert!(defined.contains("I1") && defined.contains("case 132"), "the tables are read");
    let found = findings(&sources, &defined, &code, |path| root.join(path).exists());
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

/// The control: what is made up is found, where it is written; what only looks like it is not.
#[test]
fn what_is_made_up_is_found() {
    let code = "/// I5, I99: Cases 1-3 and 200.\nlet a = \"// I98 `x`\"; // H77 (`gone`, section 2)\n\
        /* */ let q = '\"'; // see absent.md, README.md\nlet r = r#\"\"// I97\"#; // S5X xI96 B2_ U4\n";
    let paper = "| I7 | a row |\n[here](gone.md#top) [there](README.md) [web](https://a.b/c.md)\n\
        `known_name` and `lost_name`\n```\nI95\n```\n";
    let sources = [
        Source::new("src/a.rs".into(), code),
        Source::new("doc/b.md".into(), paper),
        Source::new("src/c.sql".into(), "select 'I94'; -- PR33\n"),
    ];
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(sources.iter().flat_map(definitions).collect::<Vec<_>>(), ["I7"]);
    let defined = set(&["I5", "I7", "case 1", "case 3"]);
    let exists = |path: &Path| path == Path::new("README.md") || path == Path::new("doc/README.md");
    assert_eq!(
        findings(&sources, &defined, &set(&["known_name"]), exists),
        [
            "src/a.rs:1: I99 has no row in a table of doc/",
            "src/a.rs:1: case 2 has no row in a table of doc/",
            "src/a.rs:1: case 200 has no row in a table of doc/",
            "src/a.rs:2: H77 has no row in a table of doc/",
            "src/a.rs:2: there is no document doc/gone.md",
            "src/a.rs:3: there is no document absent.md",
            "doc/b.md:2: there is no document gone.md",
            "doc/b.md:2: the link to gone.md leads nowhere",
            "doc/b.md:3: `lost_name` is not in the code",
            "src/c.sql:1: PR33 has no row in a table of doc/",
        ]
    );
}
