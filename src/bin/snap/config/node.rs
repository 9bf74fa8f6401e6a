//! Validated values of the file, each with its origin.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::policy::Count;
use snap_backup::ops::schedule::cron::Cron;
use snap_backup::ops::schedule::window::Window;

use crate::args::values::Line;

/// The origin of a value: its position in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The profile that contains it.
    pub(crate) profile: Option<Arc<str>>,
}

/// A value with its origin.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// The text in the file after substitution; empty for a list or a table.
    pub(crate) shown: String,
    pub(crate) origin: Origin,
}

/// A validated value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Secret(String),
    Path(PathBuf),
    Bool(bool),
    Number(u64),
    Duration(Duration),
    Size(u64),
    Age(Age),
    Count(Count),
    Level(i32),
    /// Maximum size of a repository.
    Line(Line),
    Window(Window),
    /// Millionths; `None`: off.
    Share(Option<u64>),
    /// `None` means off.
    Cron(Option<Box<Cron>>),
    Zone(TimeZone),
    List(Vec<Node>),
    Table(Table),
}

/// Names and values, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table(pub(crate) Vec<(String, Node)>);

impl Table {
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }

    /// Returns the value at a dotted path.
    pub(crate) fn at(&self, path: &str) -> Option<&Node> {
        match path.split_once('.') {
            None => self.get(path),
            Some((first, rest)) => self.table(first)?.at(rest),
        }
    }

    pub(crate) fn table(&self, name: &str) -> Option<&Table> {
        match &self.get(name)?.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Merges another table into this one: tables that both have are merged key by key, all else is replaced.
    pub(crate) fn put_over(&mut self, over: Table) {
        for (name, node) in over.0 {
            let there = self.0.iter_mut().find(|(known, _)| *known == name);
            match (there, node) {
                (
                    Some((_, Node { value: Value::Table(under), origin, .. })),
                    Node { value: Value::Table(over), origin: newer, .. },
                ) => {
                    under.put_over(over);
                    *origin = newer;
                }
                (Some((_, there)), node) => *there = node,
                (None, node) => self.0.push((name, node)),
            }
        }
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        match &self.at(path)?.value {
            Value::Text(text) | Value::Secret(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn texts(&self, path: &str) -> Vec<String> {
        let text = |node: &Node| match &node.value {
            Value::Text(text) | Value::Secret(text) => Some(text.clone()),
            _ => None,
        };
        self.list(path).iter().filter_map(text).collect()
    }

    pub(crate) fn path(&self, path: &str) -> Option<&Path> {
        match &self.at(path)?.value {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    pub(crate) fn paths(&self, path: &str) -> Vec<PathBuf> {
        let path_of = |node: &Node| match &node.value {
            Value::Path(path) => Some(path.clone()),
            _ => None,
        };
        self.list(path).iter().filter_map(path_of).collect()
    }

    /// Returns the tables of a list.
    pub(crate) fn tables(&self, path: &str) -> impl Iterator<Item = &Table> {
        self.list(path).iter().filter_map(|node| match &node.value {
            Value::Table(table) => Some(table),
            _ => None,
        })
    }

    /// Returns a repository's name or location.
    pub(crate) fn location(&self, path: &str) -> Option<OsString> {
        match &self.at(path)?.value {
            Value::Path(path) => Some(path.clone().into()),
            Value::Text(text) => Some(text.into()),
            _ => None,
        }
    }

    /// Returns names or locations of repositories.
    pub(crate) fn locations(&self, path: &str) -> Vec<OsString> {
        let one = |node: &Node| match &node.value {
            Value::Path(path) => Some(path.clone().into()),
            Value::Text(text) => Some(text.into()),
            _ => None,
        };
        self.list(path).iter().filter_map(one).collect()
    }

    pub(crate) fn bool(&self, path: &str) -> Option<bool> {
        match self.at(path)?.value {
            Value::Bool(on) => Some(on),
            _ => None,
        }
    }

    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        match self.at(path)?.value {
            Value::Number(number) | Value::Size(number) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn duration(&self, path: &str) -> Option<Duration> {
        match self.at(path)?.value {
            Value::Duration(duration) => Some(duration),
            _ => None,
        }
    }

    pub(crate) fn age(&self, path: &str) -> Option<Age> {
        match self.at(path)?.value {
            Value::Age(age) => Some(age),
            _ => None,
        }
    }

    pub(crate) fn count(&self, path: &str) -> Option<Count> {
        match self.at(path)?.value {
            Value::Count(count) => Some(count),
            _ => None,
        }
    }

    pub(crate) fn window(&self, path: &str) -> Option<Window> {
        match self.at(path)?.value {
            Value::Window(window) => Some(window),
            _ => None,
        }
    }

    pub(crate) fn line(&self, path: &str) -> Option<Line> {
        match self.at(path)?.value {
            Value::Line(line) => Some(line),
            _ => None,
        }
    }

    /// Returns a share: `None` if it is not given, `Some(None)` if it is off.
    pub(crate) fn share(&self, path: &str) -> Option<Option<u64>> {
        match self.at(path)?.value {
            Value::Share(share) => Some(share),
            _ => None,
        }
    }

    pub(crate) fn level(&self, path: &str) -> Option<i32> {
        match self.at(path)?.value {
            Value::Level(level) => Some(level),
            _ => None,
        }
    }

    pub(crate) fn zone(&self, path: &str) -> Option<&TimeZone> {
        match &self.at(path)?.value {
            Value::Zone(zone) => Some(zone),
            _ => None,
        }
    }

    /// Returns a schedule: `None` if it is not given, `Some(None)` if it is off.
    pub(crate) fn cron(&self, path: &str) -> Option<Option<&Cron>> {
        match &self.at(path)?.value {
            Value::Cron(cron) => Some(cron.as_deref()),
            _ => None,
        }
    }

    fn list(&self, path: &str) -> &[Node] {
        match self.at(path).map(|node| &node.value) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }
}
