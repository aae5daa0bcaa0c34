//! What the columns and keys of lists mean by their names: the same in a file that is submitted and in a
//! blob.

/// What a column or key of a list says of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Where it is.
    Url,
    /// What it shows, as a text.
    Caption,
    /// Its label.
    Label,
    /// Its class, an integer.
    Class,
    /// Anything.
    Meta,
}

impl Field {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Url, Self::Caption, Self::Label, Self::Class, Self::Meta];

    /// What it is called, in any case. Of several that are there the first is meant.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Url => &["url", "image_url", "uri"],
            Self::Caption => &["caption", "text"],
            Self::Label => &["label"],
            Self::Class => &["class"],
            Self::Meta => &["meta"],
        }
    }

    /// Which of some keys or columns is it.
    pub fn of<'n>(self, names: impl Iterator<Item = &'n str> + Clone) -> Option<&'n str> {
        self.names().iter().find_map(|known| meant(names.clone(), known))
    }
}

/// Which of some keys or columns is meant by a name, in any case: the one in small letters; without
/// it, the last in the order of characters. The others keep their names.
pub fn meant<'a>(names: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    names.filter(|given| given.eq_ignore_ascii_case(name)).max()
}
