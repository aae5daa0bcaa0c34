//! What columns and keys mean, by their names or by an option.

pub(crate) use chunk_handler::chunk::source::Field;
use chunk_handler::chunk::source::meant;
use serde::Serialize;

/// What people say of the names in a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// Those that are another's than they seem, with the option that says so.
    pub(crate) chosen: Vec<Chosen>,
    /// The columns of tables without a head.
    pub(crate) columns: Option<Vec<String>>,
}

/// A name that an option gives.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    /// What it means.
    pub(crate) field: Field,
    /// Of the column or key.
    pub(crate) name: String,
    /// `--url-column`, ...
    pub(crate) option: &'static str,
}

impl Chosen {
    /// The one of some names that it names.
    pub(super) fn of<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        found(names, &self.name)
    }
}

/// A column that means the same as a better one, and is kept in the meta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SetAside {
    /// Its name.
    pub(crate) column: String,
    /// The one that is meant.
    pub(crate) same_as: String,
}

impl Names {
    /// What each of some names means; none: it is a key of the meta.
    pub(super) fn meanings(&self, names: &[&str]) -> Vec<Option<Field>> {
        let mut meanings = vec![None; names.len()];
        let mut give = |name: &str, field| {
            for (meaning, _) in meanings.iter_mut().zip(names).filter(|(_, own)| **own == name) {
                *meaning = Some(field);
            }
        };
        for field in Field::ALL {
            if let Some(name) = self.name_of(field, names) {
                give(name, field);
            }
        }
        meanings
    }

    /// The one of some names that is a field's.
    fn name_of<'n>(&self, field: Field, names: &[&'n str]) -> Option<&'n str> {
        if let Some(chosen) = self.chosen.iter().find(|chosen| chosen.field == field) {
            return found(names, &chosen.name);
        }
        let is_taken = |name: &str| self.chosen.iter().any(|c| found(names, &c.name) == Some(name));
        field.of(names.iter().copied().filter(|name| !is_taken(name)))
    }

    /// The first option whose column is not there.
    pub(super) fn missing(&self, names: &[&str]) -> Option<&Chosen> {
        self.chosen.iter().find(|chosen| found(names, &chosen.name).is_none())
    }

    /// Two options that name the same one, with its name.
    pub(super) fn twice(&self, names: &[&str]) -> Option<(&Chosen, &Chosen)> {
        let is_same = |one: &str, other: &str| {
            one == other || found(names, one).is_some_and(|name| Some(name) == found(names, other))
        };
        let mut pairs = self
            .chosen
            .iter()
            .enumerate()
            .flat_map(|(at, one)| self.chosen.iter().take(at).map(move |before| (before, one)));
        pairs.find(|(one, other)| is_same(&one.name, &other.name))
    }

    /// The columns that mean what another one already means. Where an option chose, that was meant.
    pub(super) fn set_aside(&self, names: &[&str]) -> Vec<SetAside> {
        let mut all = Vec::new();
        let meanings = self.meanings(names);
        for field in Field::ALL {
            let at = meanings.iter().position(|meaning| *meaning == Some(field));
            let Some(same_as) = at.and_then(|at| names.get(at)) else { continue };
            let is_same =
                |name: &str| field.names().iter().any(|known| known.eq_ignore_ascii_case(name));
            let others = names
                .iter()
                .zip(&meanings)
                .filter(|(name, meaning)| meaning.is_none() && is_same(name) && is_same(same_as));
            all.extend(others.map(|(name, _)| SetAside {
                column: (*name).to_owned(),
                same_as: (*same_as).to_owned(),
            }));
        }
        all
    }

    /// What the options change, for the format that is kept with the job: a list that is read otherwise
    /// is another one.
    pub(crate) fn words(&self) -> String {
        let chosen = self.chosen.iter().map(|chosen| format!("{} {}", chosen.option, chosen.name));
        let columns = self.columns.iter().map(|names| format!("--columns {}", names.join(",")));
        let all: Vec<String> = columns.chain(chosen).collect();
        if all.is_empty() { String::new() } else { format!(" with {}", all.join(" ")) }
    }
}

/// A name as it is written, or else in any case.
fn found<'n>(names: &[&'n str], name: &str) -> Option<&'n str> {
    let exact = names.iter().find(|own| **own == name).copied();
    exact.or_else(|| meant(names.iter().copied(), name))
}
