//! Parses text to validated values. Every complaint has line and column, and parsing continues after it, so
//! that one run reports all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use snap_backup::ops::schedule::cron::Cron;
use snap_backup::ops::schedule::window::Window;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Key, Kind, nearest};
use super::node::{Node, Origin, Table, Value};
use super::substitute::substitute;
use crate::args::{keep, pace, values};

/// An error in the file, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) what: String,
}

/// Parses one file.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// Start of relative paths.
    dir: &'a Path,
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// The selected profile. Variables in other profiles are not expanded.
    chosen: Option<&'a str>,
    profile: Option<Arc<str>>,
    pub(super) complaints: Vec<Complaint>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &'a str,
        dir: &'a Path,
        chosen: Option<&'a str>,
        variable: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self { text, dir, variable, chosen, profile: None, complaints: Vec::new() }
    }

    /// Parses the whole file, as far as possible.
    pub(super) fn read(&mut self, keys: &[Key]) -> Table {
        match DeTable::parse(self.text) {
            Ok(table) => self.table(table.get_ref(), keys, ""),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                self.complain(at, error.message().to_owned());
                Table::default()
            }
        }
    }

    fn table(&mut self, table: &DeTable<'_>, keys: &[Key], path: &str) -> Table {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut read = Table::default();
        for (name, value) in entries {
            let text = name.get_ref().as_ref();
            let Some(key) = keys.iter().find(|key| key.name == text) else {
                self.complain(name.span().start, unknown(text, keys, path));
                continue;
            };
            let node = self.value(value, &key.kind, &join(path, text));
            read.0.extend(node.map(|node| (text.to_owned(), node)));
        }
        read
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, kind: &Kind, path: &str) -> Option<Node> {
        let at = value.span().start;
        let (value, shown) = match (kind, value.get_ref()) {
            (Kind::Table(keys), DeValue::Table(table)) => {
                (Value::Table(self.table(table, keys, path)), String::new())
            }
            (Kind::Named(keys), DeValue::Table(table)) => {
                (Value::Table(self.named(table, keys, path)), String::new())
            }
            (Kind::List(kind), DeValue::Array(array)) => {
                let items = array.iter().filter_map(|item| self.value(item, kind, path)).collect();
                (Value::List(items), String::new())
            }
            (Kind::List(kind), _) => {
                let item = self.value(value, kind, path)?;
                (Value::List(vec![item]), String::new())
            }
            (Kind::Bool, DeValue::Boolean(on)) => (Value::Bool(*on), on.to_string()),
            (
                Kind::Number
                | Kind::Threads
                | Kind::Nice
                | Kind::Count
                | Kind::Size
                | Kind::Rate
                | Kind::Level,
                DeValue::Integer(number),
            ) => {
                let text = number.to_string();
                (self.scalar(&text, kind, at, path)?, text)
            }
            (kind, DeValue::String(text))
                if !matches!(
                    kind,
                    Kind::Bool | Kind::Number | Kind::Threads | Kind::Nice | Kind::Table(_) | Kind::Named(_)
                ) =>
            {
                let text = self.substituted(text, kind, at)?;
                (self.scalar(&text, kind, at, path)?, text)
            }
            (kind, other) => {
                self.complain(at, format!("`{path}` is to be {}, not {}", wanted(kind), found(other)));
                return None;
            }
        };
        let Complaint { line, column, .. } = self.spot(at, String::new());
        Some(Node { value, shown, origin: Origin { line, column, profile: self.profile.clone() } })
    }

    /// Parses tables whose names the user chooses.
    fn named(&mut self, table: &DeTable<'_>, keys: &'static [Key], path: &str) -> Table {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut read = Table::default();
        for (name, value) in entries {
            let text = name.get_ref().as_ref();
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
            if text.is_empty() || text.starts_with(['-', '.']) || !text.chars().all(plain) {
                let why = format!(
                    "`{text}` is no name: letters, digits, - _ and . are, and - and . not at the beginning"
                );
                self.complain(name.span().start, why);
                continue;
            }
            if path == "profiles" {
                self.profile = Some(text.into());
            }
            let node = self.value(value, &Kind::Table(keys), &join(path, text));
            if path == "profiles" {
                self.profile = None;
            }
            read.0.extend(node.map(|node| (text.to_owned(), node)));
        }
        read
    }

    /// Expands variables. Commands are left to the shell, which has the same variables.
    fn substituted(&mut self, text: &str, kind: &Kind, at: usize) -> Option<String> {
        let asleep = self.profile.as_deref().is_some_and(|profile| Some(profile) != self.chosen);
        if matches!(kind, Kind::Command | Kind::SecretCommand) || asleep {
            return Some(text.to_owned());
        }
        substitute(text, self.variable).map_err(|why| self.complain(at, why)).ok()
    }

    fn scalar(&mut self, text: &str, kind: &Kind, at: usize, path: &str) -> Option<Value> {
        let asleep = self.profile.as_deref().is_some_and(|profile| Some(profile) != self.chosen);
        if asleep && text.contains("${") {
            return Some(Value::Text(text.to_owned()));
        }
        match scalar(text, kind, self.dir) {
            Ok(value) => Some(value),
            Err(why) => {
                // A secret is not printed even if it is invalid.
                let hidden = matches!(kind, Kind::Secret | Kind::SecretCommand);
                let what = if hidden { String::new() } else { format!(" = \"{text}\"") };
                self.complain(at, format!("`{path}`{what}: {why}"));
                None
            }
        }
    }

    fn complain(&mut self, at: usize, what: String) {
        let complaint = self.spot(at, what);
        self.complaints.push(complaint);
    }

    /// Creates a complaint at a byte offset. Lines and columns count from 1, columns in characters.
    fn spot(&self, at: usize, what: String) -> Complaint {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        Complaint { line, column, what }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn unknown(name: &str, keys: &[Key], path: &str) -> String {
    let place = if path.is_empty() { String::new() } else { format!(" in [{path}]") };
    if name == "password" {
        return format!(
            "unknown key `password`{place}: a password does not belong into this file; name a password-file or a password-command"
        );
    }
    match nearest(name, keys.iter().map(|key| key.name)) {
        Some(near) => format!("unknown key `{name}`{place}: did you mean `{near}`?"),
        None => {
            let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
            format!("unknown key `{name}`{place}: known are {}", known.join(", "))
        }
    }
}

fn wanted(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Number | Kind::Threads | Kind::Nice => "a whole number",
        Kind::List(Kind::Table(_)) => "a list of tables",
        Kind::List(_) => "a list of texts",
        Kind::Table(_) => "a table",
        Kind::Named(_) => "a table of tables",
        Kind::Count | Kind::Size | Kind::Rate | Kind::Level | Kind::Line => "a number or a text",
        _ => "a text",
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn scalar(text: &str, kind: &Kind, dir: &Path) -> Result<Value, String> {
    Ok(match kind {
        Kind::Secret | Kind::SecretCommand => Value::Secret(non_empty(text)?),
        Kind::Command => Value::Text(non_empty(text)?),
        Kind::Path => Value::Path(path(&non_empty(text)?, dir)?),
        Kind::Pattern => Value::Text(pattern(text)?),
        Kind::Repository => repository(&non_empty(text)?, dir)?,
        Kind::Location => location(&non_empty(text)?, dir)?,
        Kind::Number => Value::Number(text.parse().map_err(|_| "a whole number from 0 on".to_owned())?),
        Kind::Duration => Value::Duration(values::duration(text)?),
        Kind::Size => Value::Size(values::size(text)?),
        Kind::Rate => Value::Size(values::rate(text)?),
        Kind::Age => Value::Age(values::age(text)?),
        Kind::Count => Value::Count(keep::number(text)?),
        Kind::Level => Value::Level(values::level(text)?),
        Kind::Window => Value::Window(Window::parse(text)?),
        Kind::Time => Value::Duration(pace::some_time(text)?),
        Kind::Threads => Value::Number(pace::threads(text)? as u64),
        Kind::Nice => Value::Number(pace::nice(text)?.unsigned_abs().into()),
        Kind::Line => Value::Line(values::line(text)?),
        Kind::Share if text == "off" => Value::Share(None),
        Kind::Share => Value::Share(Some(values::share(text)?)),
        Kind::Reread => Value::Share(Some(values::reread(text)?)),
        Kind::Data => {
            if !matches!(text, "none" | "all") {
                values::subset(text).map_err(|why| format!("none, all, {why}"))?;
            }
            Value::Text(text.to_owned())
        }
        Kind::Cron if text == "off" => Value::Cron(None),
        Kind::Cron => Value::Cron(Some(Box::new(Cron::parse(text)?))),
        Kind::Zone => Value::Zone(
            TimeZone::get(text)
                .map_err(|_| "a time zone that this machine knows, like Europe/Berlin".to_owned())?,
        ),
        Kind::Choice(words) if !words.contains(&text) => {
            let near = nearest(text, words.iter().copied());
            let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(format!("one of {}{near}", words.join(", ")));
        }
        _ => Value::Text(text.to_owned()),
    })
}

fn non_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// Resolves a path: a relative one starts at the directory of the file, whatever the working directory is;
/// `~` and `~/` are the home directory.
fn path(text: &str, dir: &Path) -> Result<PathBuf, String> {
    if let Some(rest) = below_home(text)? {
        return Ok(home()?.join(rest).components().collect());
    }
    // Normalized as absolute paths are everywhere in the program: without `.`.
    Ok(dir.join(text).components().collect())
}

/// Returns what follows a leading `~/` or `~`.
fn below_home(text: &str) -> Result<Option<&str>, String> {
    let Some(rest) = text.strip_prefix('~') else { return Ok(None) };
    match rest.strip_prefix('/') {
        Some(rest) => Ok(Some(rest)),
        None if rest.is_empty() => Ok(Some("")),
        None => {
            Err(format!("a path; `~` stands for your own home only (./{text} is a name that begins with ~)"))
        }
    }
}

fn home() -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    home.map(PathBuf::from).ok_or_else(|| "a path without `~`, since HOME is not set".to_owned())
}

/// Expands a leading `~/` of a pattern, which no shell does here.
fn pattern(text: &str) -> Result<String, String> {
    let (not, rest) = text.strip_prefix('!').map_or(("", text), |rest| ("!", rest));
    let Some(rest) = rest.strip_prefix("~/") else { return Ok(text.to_owned()) };
    let home = home()?.into_os_string().into_string().map_err(|_| "no `~/`: HOME is not UTF-8".to_owned())?;
    let mut pattern = not.to_owned();
    for c in home.trim_end_matches('/').chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    Ok(format!("{pattern}/{rest}"))
}

/// Parses a repository: a text with a slash is a location, one without is a name.
fn repository(text: &str, dir: &Path) -> Result<Value, String> {
    let is_path = text.contains('/') || matches!(text, "." | ".." | "~");
    if is_path { location(text, dir) } else { Ok(Value::Text(text.to_owned())) }
}

/// Parses a location: a path, unless it begins with a scheme.
fn location(text: &str, dir: &Path) -> Result<Value, String> {
    let has_scheme = text.split(['/', '.']).next().is_some_and(|start| start.contains(':'));
    if has_scheme { Ok(Value::Text(text.to_owned())) } else { Ok(Value::Path(path(text, dir)?)) }
}
