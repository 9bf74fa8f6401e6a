//! The types of single values: how each is written, and what it means in the program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::check;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::policy::Count;
use snap_backup::ops::schedule::cron::Cron;
use snap_backup::ops::schedule::window::Window;
use snap_backup::repo::write::delta_writer::Delta;

use super::document::{Item, Node};
use super::field::{Field, Reader, Shown};
use super::substitute::substitute;
use super::{nearest, paths};
use crate::args::values::SizeLimit;
use crate::args::{pace, values};
use crate::terminal::output;

/// How a value is written in the file.
enum Form {
    Text,
    /// A text that matches a regular expression.
    Like(&'static str),
    /// A text that is never printed.
    Secret,
    /// A shell command. The shell expands variables itself.
    Command,
    /// Like `Command`, but never printed.
    SecretCommand,
    /// A text or a whole number.
    Either,
    /// A whole number, with its minimum and maximum.
    Number(u64, Option<u64>),
    Bool,
}

/// A type of single values.
trait Scalar: Sized {
    const FORM: Form;

    /// Parses the text of the file after substitution. The error completes "this is not ...".
    fn parse(text: &str, dir: &Path) -> Result<Self, String>;

    /// Returns the path if the value is one. It is shown as it was resolved.
    fn path(&self) -> Option<&OsStr> {
        None
    }

    fn schema() -> Value {
        match Self::FORM {
            Form::Bool => json!({"type": "boolean"}),
            Form::Number(min, None) => json!({"type": "integer", "minimum": min}),
            Form::Number(min, Some(max)) => json!({"type": "integer", "minimum": min, "maximum": max}),
            Form::Either => json!({"type": ["integer", "string"]}),
            Form::Like(pattern) => json!({"type": "string", "pattern": pattern}),
            _ => json!({"type": "string"}),
        }
    }
}

impl<T: Scalar> Field for T {
    fn read(node: &mut Node, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match (T::FORM, &node.item) {
            (Form::Bool, Item::Bool(on)) => on.to_string(),
            (Form::Number(..) | Form::Either, Item::Number(number)) => number.clone(),
            (Form::Command | Form::SecretCommand, Item::Text(text)) => text.clone(),
            (form, Item::Text(text)) if !matches!(form, Form::Bool | Form::Number(..)) => {
                let text = if reader.in_other_profile {
                    Ok(text.clone())
                } else {
                    substitute(text, reader.variable)
                };
                text.map_err(|why| reader.report(node.origin, why)).ok()?
            }
            (form, _) => {
                let wanted = match form {
                    Form::Bool => "true or false",
                    Form::Number(..) => "a whole number",
                    Form::Either => "a number or a string",
                    _ => "a string",
                };
                reader.report_type(node, path, wanted);
                return None;
            }
        };
        if reader.in_other_profile && text.contains("${") {
            return None;
        }
        let is_secret = matches!(T::FORM, Form::Secret | Form::SecretCommand);
        match T::parse(&text, reader.dir) {
            Ok(value) => {
                let redacted = |text: &str| quoted(&output::redacted(text));
                node.shown = match (T::FORM, value.path()) {
                    _ if is_secret => HIDDEN.to_owned(),
                    (Form::Bool | Form::Number(..), _) => text,
                    (_, Some(path)) => redacted(&path.to_string_lossy()),
                    (_, None) => redacted(&text),
                };
                Some(value)
            }
            Err(why) => {
                // A secret is not printed even if it is invalid.
                let what = if is_secret { String::new() } else { format!(" = \"{text}\"") };
                reader.report(node.origin, format!("`{path}`{what}: {why}"));
                None
            }
        }
    }

    fn schema() -> Value {
        T::schema()
    }
}

/// What is shown of a secret.
pub(crate) const HIDDEN: &str = "\"(hidden)\"";

/// Quotes a text for TOML. A JSON string is valid TOML.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

macro_rules! scalars {
    ($($type:ty: $form:expr, $parse:expr $(, path $path:expr)?;)*) => {$(
        impl Scalar for $type {
            const FORM: Form = $form;

            fn parse(text: &str, dir: &Path) -> Result<Self, String> {
                let parse: fn(&str, &Path) -> Result<Self, String> = $parse;
                parse(text, dir)
            }
            $(
            fn path(&self) -> Option<&OsStr> {
                let path: fn(&Self) -> &OsStr = $path;
                Some(path(self))
            }
            )?
        }
    )*};
}

const DURATION: Form = Form::Like("^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$");
const SHARE: Form = Form::Like("^(off|[0-9]+([.][0-9])?%)$");
const WINDOW: Form = Form::Like("^[0-9]{1,2}:[0-9]{1,2}-[0-9]{1,2}:[0-9]{1,2}$");

scalars! {
    bool: Form::Bool, |text, _| text.parse().map_err(|_| "true or false".to_owned());
    u64: Form::Number(0, None), |text, _| text.parse().map_err(|_| "a whole number of at least 0".to_owned());
    Threads: Form::Number(1, Some(1024)), |text, _| pace::threads(text).map(Self);
    Nice: Form::Number(0, Some(19)), |text, _| pace::nice(text).map(Self);
    Size: Form::Either, |text, _| values::size(text).map(Self);
    Rate: Form::Either, |text, _| values::rate(text).map(Self);
    Count: Form::Either, |text, _| values::snapshot_count(text);
    Level: Form::Either, |text, _| values::level(text).map(|level| Self(Some(level)));
    SizeLimit: Form::Either, |text, _| values::size_limit(text);
    String: Form::Text, |text, _| Ok(text.to_owned());
    Secret: Form::Secret, |text, _| non_empty(text).map(Self);
    Command: Form::Command, |text, _| non_empty(text).map(Self);
    SecretCommand: Form::SecretCommand, |text, _| non_empty(text).map(Self);
    Pattern: Form::Text, |text, _| paths::pattern(text).map(Self);
    PathBuf: Form::Text, |text, dir| paths::path(&non_empty(text)?, dir), path |path| path.as_os_str();
    Location: Form::Text, |text, dir| paths::location(&non_empty(text)?, dir).map(Self), path |it| &it.0;
    Place: Form::Text, |text, dir| paths::place(&non_empty(text)?, dir).map(Self), path |it| &it.0;
    Duration: DURATION, |text, _| values::duration(text);
    PositiveDuration: DURATION, |text, _| pace::positive_duration(text).map(Self);
    Age: Form::Text, |text, _| values::age(text);
    Window: WINDOW, |text, _| Window::parse(text);
    Share: SHARE, |text, _| or_off(text, values::share).map(Self);
    Reread: SHARE, |text, _| values::reread(text).map(Self);
    Data: Form::Text, |text, _| data(text).map(Self);
    Times: Form::Text, |text, _| or_off(text, Cron::parse).map(Self);
    TimeZone: Form::Text, |text, _| zone(text);
}

macro_rules! newtypes {
    ($derives:tt $($(#[$attribute:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$attribute])*
        #[derive $derives]
        pub(crate) struct $name(pub(crate) $inner);
    )*};
}

newtypes! { (Debug, Clone, Copy)
    /// A number of threads.
    Threads(usize);
    /// A niceness, 0 to 19.
    Nice(i32);
    /// A number of bytes, with K, M, G or T.
    Size(u64);
    /// Bytes per second; written as KiB per second, or with a unit.
    Rate(u64);
    /// A compression level; `None` is that of the repository.
    Level(Option<i32>);
    /// A duration that is not zero.
    PositiveDuration(Duration);
    /// Millionths, written as a percentage; `None` is off.
    Share(Option<u64>);
    /// Millionths, written as a percentage up to 100; 0 is off.
    Reread(u64);
}

newtypes! { (Debug, Clone)
    /// A text that is never printed.
    Secret(String);
    /// A shell command.
    Command(String);
    /// A shell command that is never printed.
    SecretCommand(String);
    /// A path pattern; a leading `~/` is the home directory.
    Pattern(String);
    /// The location of a repository.
    Location(OsString);
    /// A repository: its name or location.
    Place(OsString);
    /// How much data a check reads.
    #[derive(Default)]
    Data(check::Options);
    /// A cron expression; `None` is off.
    Times(Option<Cron>);
}

fn non_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn or_off<T>(text: &str, parse: fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text == "off" { Ok(None) } else { parse(text).map(Some) }
}

fn data(text: &str) -> Result<check::Options, String> {
    let subset = match text {
        "none" | "all" => None,
        _ => Some(values::subset(text).map_err(|why| format!("none, all, {why}"))?),
    };
    Ok(check::Options { read_data: text == "all", subset, ..check::Options::default() })
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| "a time zone that this machine knows, like Europe/Berlin".to_owned())
}

/// A type whose values are words.
trait Choice: Clone + PartialEq {
    fn words() -> Vec<(&'static str, Self)>;
}

impl Choice for SnapshotKind {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("full", Self::Full), ("incremental", Self::Incremental), ("differential", Self::Differential)]
    }
}

impl Choice for Delta {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)]
    }
}

/// A verb that can have hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job(pub(crate) &'static str);

impl Choice for Job {
    fn words() -> Vec<(&'static str, Self)> {
        ["backup", "cleanup", "forget", "check", "drill"].map(|word| (word, Self(word))).into()
    }
}

/// An event that can cause notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event(pub(crate) &'static str);

impl Choice for Event {
    fn words() -> Vec<(&'static str, Self)> {
        ["failure", "problems", "recovery", "alarm", "success"].map(|word| (word, Self(word))).into()
    }
}

impl<T: Choice> Scalar for T {
    const FORM: Form = Form::Text;

    fn parse(text: &str, _: &Path) -> Result<Self, String> {
        let words = Self::words();
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(value.clone());
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let near = nearest(text, words.iter().copied());
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        Err(format!("one of {}{near}", words.join(", ")))
    }

    fn schema() -> Value {
        let words: Vec<&str> = Self::words().iter().map(|(word, _)| *word).collect();
        json!({"type": "string", "enum": words})
    }
}

macro_rules! shown {
    ($($type:ty: $json:expr;)*) => {$(
        impl Shown for $type {
            fn json(&self) -> Value {
                let json: fn(&Self) -> Value = $json;
                json(self)
            }
        }
    )*};
}

shown! {
    bool: |on| json!(on);
    u64: |number| json!(number);
    String: |text| json!(text);
    Pattern: |pattern| json!(pattern.0);
    Command: |command| json!(command.0);
    PathBuf: |path| json!(path.to_string_lossy());
    Place: |place| json!(place.0.to_string_lossy());
    Level: |_| json!("default");
    Duration: |time| json!(format!("{:#}", SignedDuration::try_from(*time).unwrap_or_default()));
    Share: |share| share.0.map_or("off".into(), |share| format!("{}%", share as f64 / 10_000.0).into());
    Data: |data| json!(if data.0.read_data { "all" } else { "none" });
}

impl<T: Choice> Shown for T {
    fn json(&self) -> Value {
        Self::words().into_iter().find(|(_, value)| value == self).map(|(word, _)| word).into()
    }
}
