//! What the rows of tables have in common: a head that says what the columns hold, and rows of cells.

use super::{
    Error, Nameless, Names, Row, SetAside, Told,
    names::Field,
    row::{Doubt, RowBuilder, Value},
    shown,
};
use crate::urls::{restored, told};
use chunk_handler::chunk::{
    ITEM_LIMIT,
    source::{is_blank, is_web_url, trimmed},
};

/// What a column holds.
#[derive(Debug)]
enum Column {
    /// What an item has, or (none) a key of its meta; the name.
    Named(Option<Field>, String),
    /// A number that somebody's export put before each row; how many cells were left out.
    Nameless(usize),
    /// What `chunkctl urls` says of a URL beside the item, if it wrote the row; the name.
    Beside(&'static str, String),
}

/// A table's first line.
#[derive(Debug)]
pub(super) struct Head {
    columns: Vec<Column>,
    set_aside: Vec<SetAside>,
    pub(super) delimiter: char,
    /// Whether it has the columns of one that `chunkctl urls` wrote.
    pub(super) is_told: bool,
}

impl Head {
    /// By its cells, in any case of the letters.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] for one without a column of URLs, or one that an option names, or with two
    /// columns of one name.
    pub(super) fn new<'c>(
        (line, text, delimiter): (usize, &str, char),
        cells: impl Iterator<Item = &'c str>,
        options: &Names,
    ) -> Result<Self, Error> {
        let broken = |problem| Error::Broken { line, problem };
        if text.len() > ITEM_LIMIT {
            // Each row would be above the limit, for its meta has the names.
            let len = text.len();
            return Err(broken(format!("the first line has {len} bytes, and may have 64 KiB")));
        }
        let names: Vec<&str> = cells.map(trimmed).collect();
        let mut named: Vec<&str> = names.iter().copied().filter(|name| !name.is_empty()).collect();
        named.sort_unstable();
        if let Some(name) = named.windows(2).find(|pair| pair.first() == pair.last()) {
            let name = shown(name.first().copied().unwrap_or_default());
            return Err(broken(format!("two columns are called `{name}`; rename one of them")));
        }
        if let Some(problem) = missing(options, &names) {
            return Err(broken(problem));
        }
        let meanings = options.meanings(&names);
        if !meanings.contains(&Some(Field::Url)) {
            let between = match delimiter {
                '\t' => "tabs",
                ';' => "semicolons",
                _ => "commas",
            };
            return Err(broken(format!(
                "the table has no url column between {between} in its first line, which is `{}`; {}",
                shown(trimmed(text)),
                how_to_name(&names)
            )));
        }
        let told = told::columns(&names);
        let is_told = told::is_table(&told);
        let column = |(name, (field, told)): (&&str, (Option<Field>, Option<&'static str>))| match (
            *name, field, told,
        ) {
            ("", ..) => Column::Nameless(0),
            (name, None, Some(told)) => Column::Beside(told, name.to_owned()),
            (name, field, _) => Column::Named(field, name.to_owned()),
        };
        let columns = names.iter().zip(meanings.into_iter().zip(told)).map(column).collect();
        Ok(Self { columns, set_aside: options.set_aside(&names), delimiter, is_told })
    }

    /// Of a table without one: its columns are told.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub(super) fn of_columns(
        columns: &[String],
        delimiter: char,
        options: &Names,
    ) -> Result<Self, Error> {
        let text = columns.join(",");
        let cells = columns.iter().map(String::as_str);
        Self::new((1, &text, delimiter), cells, options)
    }

    /// The row of some cells, which may be fewer than the head's, or more: those are kept by their
    /// number. Of a row above the limit nothing is kept but what the head names.
    pub(super) fn row(
        &mut self,
        raw: &str,
        cells: impl Iterator<Item = impl AsRef<str>> + Clone,
    ) -> Row {
        let mut row = RowBuilder::new(self.fields(cells.clone()));
        let is_own = row.fields.is_some();
        let mut n = 0;
        let is_whole = raw.len() <= ITEM_LIMIT;
        for (at, cell) in cells.enumerate() {
            n = at + 1;
            let cell = cell.as_ref();
            let value = if is_own { Value::Own(restored(cell)) } else { Value::Cell(cell) };
            match self.columns.get_mut(at) {
                Some(Column::Beside(..)) if is_own || cell.is_empty() => {}
                Some(Column::Beside(_, name)) => row.put(None, name, value),
                Some(Column::Named(None, _)) if self.is_told && cell.is_empty() => {}
                Some(Column::Named(None, name)) if is_own && told::is_index(name) => {}
                Some(Column::Named(field, name)) => row.put(*field, name, value),
                None if is_whole && !trimmed(cell).is_empty() => {
                    row.put(None, &format!("column {n}"), value);
                }
                Some(Column::Nameless(left_out)) => {
                    *left_out += usize::from(!trimmed(cell).is_empty());
                }
                None => {}
            }
        }
        let head = self.columns.len();
        let mut row = row.finish(raw.len());
        if n != head {
            row.doubt = Some(Doubt::Cells { n, head });
        }
        row
    }

    /// What a row says that `chunkctl urls` may have written.
    fn fields(&self, cells: impl Iterator<Item = impl AsRef<str>>) -> told::Fields {
        let mut fields = told::Fields::default();
        for (column, cell) in self.columns.iter().zip(cells) {
            if let Column::Beside(column, _) = column {
                fields.take(Some(column), cell.as_ref());
            }
        }
        fields
    }

    /// What is to be said of its columns.
    pub(super) fn told(self) -> Told {
        let of = |(column, kind): (usize, &Column)| match kind {
            Column::Nameless(cells) if *cells > 0 => Some(Nameless { column, cells: *cells }),
            Column::Nameless(_) | Column::Named(..) | Column::Beside(..) => None,
        };
        let nameless = (1..).zip(&self.columns).filter_map(of).collect();
        Told { nameless, set_aside: self.set_aside }
    }

    /// Whether a line inside a cell looks like a row, which the cell swallowed. A URL alone does not:
    /// captions have lines of that.
    pub(super) fn is_row(&self, line: &str) -> bool {
        let url = self.url_of(line.split(self.delimiter)).unwrap_or_default();
        let has_cells = line.split(self.delimiter).count() >= self.columns.len().min(2);
        has_cells && is_web_url(url) && !url.contains(is_blank)
    }

    /// The cell in the column of URLs, if there are so many.
    pub(super) fn url_of<'c>(&self, mut cells: impl Iterator<Item = &'c str>) -> Option<&'c str> {
        let is_url = |column: &Column| matches!(column, Column::Named(Some(Field::Url), _));
        let at = self.columns.iter().position(is_url)?;
        cells.nth(at).map(trimmed)
    }
}

/// What is wrong when an option names a column that is not there, or two options name one.
pub(super) fn missing(options: &Names, names: &[&str]) -> Option<String> {
    if let Some((one, other)) = options.twice(names) {
        let (one, other, name) = (one.option, other.option, shown(&one.name));
        return Some(format!("{one} and {other} name one column, `{name}`"));
    }
    let chosen = options.missing(names)?;
    let columns: Vec<String> = names.iter().map(|name| format!("`{}`", shown(name))).collect();
    Some(format!(
        "there is no column `{}`, which {} names; the columns are {}",
        shown(&chosen.name),
        chosen.option,
        columns.join(", ")
    ))
}

/// What to do about a head without a column of URLs.
fn how_to_name(names: &[&str]) -> String {
    let is_word = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "_-. ".contains(c));
    let is_like = |name: &&&str| {
        let name = name.to_ascii_lowercase();
        ["url", "uri", "link", "src", "href"].iter().any(|like| name.contains(like))
            && is_word(&name)
    };
    if names.iter().any(|name| is_web_url(name)) {
        return "name the columns with --columns url,label (as many as there are), or write a line \
                before it that names them; a file of nothing but URLs is .txt"
            .to_owned();
    }
    match names.iter().find(is_like) {
        Some(name) => format!("say --url-column '{}', or name the column url", shown(name)),
        None => "the first line is to name the columns, with commas, semicolons or (.tsv) tabs between \
                 them, and the one of URLs is to be called url, or named with --url-column; take lines \
                 before it away"
            .to_owned(),
    }
}
