//! How values of the file become fields of structs. Every diagnostic has line and column, and reading
//! continues after it, so that one run reports all of them; a deserializer of serde ends at the first.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::document::{Diagnostic, Item, Node, Origin};
use super::nearest;

/// What reading depends on, and the diagnostics so far.
pub(crate) struct Reader<'a> {
    /// Start of relative paths.
    pub(super) dir: &'a Path,
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The selected profile.
    profile: Option<&'a str>,
    /// Whether the value is in a profile that is not selected. Variables there are not expanded.
    pub(super) in_other_profile: bool,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Tables and their keys, to say where a misplaced key of the top level belongs.
    homes: [(&'static str, &'static [&'static str]); 2],
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        dir: &'a Path,
        profile: Option<&'a str>,
        variable: &'a dyn Fn(&str) -> Option<String>,
        homes: [(&'static str, &'static [&'static str]); 2],
    ) -> Self {
        Self { dir, variable, profile, in_other_profile: false, diagnostics: Vec::new(), homes }
    }

    pub(super) fn report(&mut self, origin: Origin, what: String) {
        self.diagnostics.push(origin.diagnostic(what));
    }

    pub(super) fn report_type(&mut self, node: &Node, path: &str, wanted: &str) {
        self.report(node.origin, format!("`{path}` must be {wanted}, not {}", node.item.kind()));
    }

    /// Reads a table with these keys.
    pub(super) fn table(
        &mut self,
        node: &mut Node,
        path: &str,
        keys: &[String],
        mut read: impl FnMut(&mut Self, &str, &mut Node, &str),
    ) -> Option<()> {
        let Item::Table(entries) = &mut node.item else {
            self.report_type(node, path, "a table");
            return None;
        };
        for entry in entries {
            if keys.contains(&entry.name) {
                read(self, &entry.name, &mut entry.node, &join(path, &entry.name));
            } else {
                self.report(entry.at, self.describe_unknown_key(&entry.name, keys, path));
            }
        }
        Some(())
    }

    fn describe_unknown_key(&self, name: &str, keys: &[String], path: &str) -> String {
        let place = if path.is_empty() { String::new() } else { format!(" in [{path}]") };
        if name == "password" {
            return format!(
                "unknown key `password`{place}: this file must not contain passwords; use password-file or \
                 password-command"
            );
        }
        let has = |fields: &[&str]| fields.iter().any(|field| key(field) == name);
        let homes: Vec<&str> =
            self.homes.iter().filter(|(_, fields)| has(fields)).map(|(home, _)| *home).collect();
        if path.is_empty() && !homes.is_empty() {
            return format!("unknown key `{name}`: it belongs in {}", homes.join(", or in "));
        }
        match nearest(name, keys.iter().map(String::as_str)) {
            Some(near) => format!("unknown key `{name}`{place}: did you mean `{near}`?"),
            None => format!("unknown key `{name}`{place}: the known keys are {}", keys.join(", ")),
        }
    }
}

/// A type of values.
pub(crate) trait Field: Sized {
    /// Reads a value, and fills in how it is shown. Returns `None` if it reported a diagnostic.
    fn read(node: &mut Node, path: &str, reader: &mut Reader<'_>) -> Option<Self>;

    /// Returns the JSON schema of the values.
    fn schema() -> Value;
}

/// A type whose default is shown.
pub(crate) trait Shown {
    /// Returns a default as both JSON and TOML write it; null if there is none.
    fn json(&self) -> Value {
        Value::Null
    }
}

impl<T: Field> Field for Option<T> {
    fn read(node: &mut Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, path, reader).map(Some)
    }

    fn schema() -> Value {
        T::schema()
    }
}

impl<T> Shown for Option<T> {}

/// A list; a single value needs no brackets.
impl<T: Field> Field for Vec<T> {
    fn read(node: &mut Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.item, Item::List(_)) {
            let only = Node { origin: node.origin, ..std::mem::take(node) };
            *node = Node { origin: only.origin, item: Item::List(vec![only]), ..Node::default() };
        }
        let Item::List(items) = &mut node.item else { return None };
        Some(items.iter_mut().filter_map(|item| T::read(item, path, reader)).collect())
    }

    fn schema() -> Value {
        let item = T::schema();
        json!({"oneOf": [item, {"type": "array", "items": item}]})
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn json(&self) -> Value {
        self.iter().map(Shown::json).collect()
    }
}

/// A value with its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(super) origin: Origin,
}

impl<T: Field> Field for Placed<T> {
    fn read(node: &mut Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { value: T::read(node, path, reader)?, origin: node.origin })
    }

    fn schema() -> Value {
        T::schema()
    }
}

impl<T: Shown> Shown for Placed<T> {
    fn json(&self) -> Value {
        self.value.json()
    }
}

/// A table with a name that the user chooses.
#[derive(Debug, Clone)]
pub(crate) struct Named<T> {
    pub(crate) name: String,
    pub(crate) settings: T,
    pub(super) origin: Origin,
}

impl<T: Field> Field for Vec<Named<T>> {
    fn read(node: &mut Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let Item::Table(entries) = &mut node.item else {
            reader.report_type(node, path, "a table of tables");
            return None;
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry.name.clone();
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(plain) {
                let why = format!(
                    "`{name}` is not a valid name: use letters, digits, -, _ and ., and begin with a \
                     letter, a digit or _"
                );
                reader.report(entry.at, why);
                continue;
            }
            let before = reader.in_other_profile;
            reader.in_other_profile |= path == "profiles" && reader.profile != Some(&name);
            let settings = T::read(&mut entry.node, &join(path, &name), reader);
            reader.in_other_profile = before;
            all.extend(settings.map(|settings| Named { name, settings, origin: entry.node.origin }));
        }
        Some(all)
    }

    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

impl<T> Shown for Vec<Named<T>> {}

/// Defines the tables of the file: for each key a field with its type, its default unless that is the type's,
/// and its description.
macro_rules! tables {
    ($($(#[$attribute:meta])* $name:ident {
        $($field:ident: $type:ty $(= $default:expr)? => $help:literal,)*
    })*) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
        }

        impl $name {
            pub(super) const FIELDS: &[&str] = &[$(stringify!($field)),*];
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: tables!(@default $($default)?),)* }
            }
        }

        impl Field for $name {
            fn read(node: &mut Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
                let mut all = Self::default();
                let keys: Vec<String> = Self::FIELDS.iter().map(|field| key(field)).collect();
                reader.table(node, path, &keys, |reader, name, node, path| {
                    $(if name == key(stringify!($field)) {
                        if let Some(value) = Field::read(node, path, reader) {
                            all.$field = value;
                        }
                    })*
                })?;
                Some(all)
            }

            fn schema() -> Value {
                let default = Self::default();
                table_schema([
                    $((key(stringify!($field)), <$type>::schema(), $help, default.$field.json())),*
                ])
            }
        }

        impl Shown for $name {}
    )*};
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}
pub(super) use tables;

/// Returns the key of a field.
pub(super) fn key(field: &str) -> String {
    field.replace('_', "-")
}

/// Returns the schema of a table, from names, schemas, descriptions and defaults of its keys.
pub(super) fn table_schema(keys: impl IntoIterator<Item = (String, Value, &'static str, Value)>) -> Value {
    let mut properties = Map::new();
    for (name, mut schema, help, default) in keys {
        if let Some(map) = schema.as_object_mut() {
            map.insert("description".to_owned(), help.into());
            if !default.is_null() {
                map.insert("default".to_owned(), default);
            }
        }
        properties.insert(name, schema);
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
