//! The parsed file before its values have types: tables, lists and scalars, each with its place. Profiles and
//! defaults are merged here.

use std::mem;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// An error in the file, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) what: String,
}

/// A place in the file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    pub(crate) line: usize,
    column: usize,
    pub(crate) is_in_profile: bool,
}

impl Origin {
    /// Returns the place at a byte offset.
    fn at(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        Self { line, column, is_in_profile: false }
    }

    pub(super) fn diagnostic(self, what: String) -> Diagnostic {
        Diagnostic { line: self.line, column: self.column, what }
    }
}

/// A value with its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(super) item: Item,
    /// A scalar as `config show` prints it: after substitution, without secrets. Reading it fills this in.
    pub(super) shown: String,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone)]
pub(super) enum Item {
    Text(String),
    /// An integer as it is written.
    Number(String),
    Bool(bool),
    List(Vec<Node>),
    /// In the order of the file.
    Table(Vec<Entry>),
    /// A value of a type that no key has, and the name of the type.
    Other(&'static str),
}

impl Default for Item {
    fn default() -> Self {
        Self::Table(Vec::new())
    }
}

/// A key of a table with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The place of the name.
    pub(super) at: Origin,
    pub(super) node: Node,
}

impl Node {
    /// Parses a file.
    ///
    /// # Errors
    /// It is not TOML.
    pub(super) fn parse(text: &str) -> Result<Self, Diagnostic> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self { item: Item::from_table(text, table.get_ref()), ..Self::default() }),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                Err(Origin::at(text, at).diagnostic(error.message().to_owned()))
            }
        }
    }

    fn from_value(text: &str, value: &Spanned<DeValue<'_>>) -> Self {
        let item = match value.get_ref() {
            DeValue::String(string) => Item::Text(string.clone().into_owned()),
            DeValue::Integer(number) => Item::Number(number.to_string()),
            DeValue::Boolean(on) => Item::Bool(*on),
            DeValue::Float(_) => Item::Other("a number"),
            DeValue::Datetime(_) => Item::Other("a date"),
            DeValue::Array(array) => {
                Item::List(array.iter().map(|item| Self::from_value(text, item)).collect())
            }
            DeValue::Table(table) => Item::from_table(text, table),
        };
        Self { item, shown: String::new(), origin: Origin::at(text, value.span().start) }
    }

    /// Returns the entries of a table; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        if let Item::Table(entries) = &self.item { entries } else { &[] }
    }

    /// Returns the value of a key.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.name == name).map(|entry| &entry.node)
    }

    /// Removes a key, and returns its value.
    pub(super) fn take(&mut self, name: &str) -> Option<Self> {
        let Item::Table(entries) = &mut self.item else { return None };
        let at = entries.iter().position(|entry| entry.name == name)?;
        Some(entries.remove(at).node)
    }

    /// Merges another value into this one: tables key by key, all else is replaced.
    pub(super) fn merge_from(&mut self, over: Self) {
        self.origin = over.origin;
        match (&mut self.item, over.item) {
            (Item::Table(under), Item::Table(over)) => {
                for entry in over {
                    match under.iter_mut().find(|known| known.name == entry.name) {
                        Some(known) => known.node.merge_from(entry.node),
                        None => under.push(entry),
                    }
                }
            }
            (under, over) => *under = over,
        }
    }

    /// Merges each set into a copy of the defaults.
    pub(super) fn merge_defaults_into_sets(&mut self) {
        let Some(defaults) = self.get("defaults").cloned() else { return };
        let Item::Table(entries) = &mut self.item else { return };
        let sets = entries.iter_mut().find(|entry| entry.name == "sets").map(|entry| &mut entry.node.item);
        if let Some(Item::Table(sets)) = sets {
            for set in sets {
                let own = mem::replace(&mut set.node, defaults.clone());
                set.node.merge_from(own);
            }
        }
    }

    /// Marks everything in this value as part of a profile.
    pub(super) fn mark_as_profile(&mut self) {
        self.origin.is_in_profile = true;
        match &mut self.item {
            Item::Table(entries) => entries.iter_mut().for_each(|entry| entry.node.mark_as_profile()),
            Item::List(items) => items.iter_mut().for_each(Self::mark_as_profile),
            _ => {}
        }
    }

    /// Returns the value in TOML for `config show`.
    pub(crate) fn shown(&self) -> String {
        match &self.item {
            Item::Table(entries) => {
                let pairs = entries.iter().map(|entry| format!("{} = {}", entry.name, entry.node.shown()));
                format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
            }
            Item::List(items) => {
                format!("[{}]", items.iter().map(Self::shown).collect::<Vec<_>>().join(", "))
            }
            _ => self.shown.clone(),
        }
    }
}

impl Item {
    fn from_table(text: &str, table: &DeTable<'_>) -> Self {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let entry = |(name, value): (&Spanned<_>, _)| {
            let at = Origin::at(text, name.span().start);
            Entry {
                name: AsRef::<str>::as_ref(name.get_ref()).to_owned(),
                at,
                node: Node::from_value(text, value),
            }
        };
        Self::Table(entries.into_iter().map(entry).collect())
    }

    /// Names the type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}
