//! `snap config show`: shows the effective settings and where each comes from. Secrets are not shown.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde_json::json;
use snap_backup::Result;

use crate::args::global::Global;
use crate::compat::Legacy;
use crate::config::keys::{Key, Kind};
use crate::config::node::{Node, Table, Value};
use crate::config::{Config, keys};
use crate::exit::Outcome;
use crate::terminal::output;

/// A value as TOML, with a description of its origin.
struct Line {
    key: String,
    value: String,
    from: String,
}

pub(crate) fn run(global: &Global, config: &Config, sets: &[String]) -> Result<Outcome> {
    let mut lines = Vec::new();
    let sets = if sets.is_empty() { config.sets().to_vec() } else { config.named_sets(sets)? };
    top(global, config, &mut lines);
    for entry in config.repositories() {
        let path = format!("repositories.{}", name(&entry.name));
        let table = config.root.table("repositories").and_then(|all| all.table(&entry.name));
        fill(&path, keys::REPOSITORY, table.unwrap_or(&Table::default()), &mut lines);
    }
    for set in &sets {
        fill(&format!("sets.{}", name(&set.name)), keys::SET, &set.table, &mut lines);
    }
    if global.json {
        for Line { key, value, from } in &lines {
            output::print(
                &json!({"message_type": "value", "key": key, "value": value, "from": from}).to_string(),
            )?;
        }
        return Ok(Outcome::Done);
    }
    if let Some(file) = &config.file {
        let profile = config.profile.as_ref().map(|name| format!(", profile {name}")).unwrap_or_default();
        output::print(&format!("# {}{profile}", file.display()))?;
    }
    let width =
        lines.iter().map(|line| line.key.len() + line.value.len() + 3).filter(|width| *width < 70).max();
    let width = width.unwrap_or_default();
    for Line { key, value, from } in lines {
        let text = format!("{key} = {value}");
        let text = output::padded(&text, width, false);
        output::print(&output::printable(&format!("{text}  # {from}")))?;
    }
    Ok(Outcome::Done)
}

/// Adds the settings of a command without a set.
fn top(global: &Global, config: &Config, lines: &mut Vec<Line>) {
    let mut put = |key: &str, value: &OsStr, from: String| {
        let value = quoted(&output::redacted(&value.to_string_lossy()));
        lines.push(Line { key: key.to_owned(), value, from });
    };
    let given = |value: &Option<OsString>, variable: &str, flag: &str| -> Option<(OsString, String)> {
        let value = value.clone().filter(|value| !value.is_empty())?;
        let by_variable = env::var_os(variable).is_some_and(|set| set == value);
        Some((value, if by_variable { variable.to_owned() } else { flag.to_owned() }))
    };
    let of_file = |key: &str| config.root.location(key).map(|value| (value, origin(config.root.at(key))));
    let legacy = || {
        let repository = Legacy::from_environment()?.repository;
        Some((repository, "the old script's INCREMENTAL_BACKUP_PATH".to_owned()))
    };
    let only = || config.default_repository().map(|name| (name, "the only one there is".to_owned()));
    let repository = given(&global.repo, "SNAP_REPO", "-r").or_else(|| of_file("repository")).or_else(only);
    if let Some((value, from)) = repository.or_else(legacy) {
        put("repository", &value, from);
    }
    for (key, value, variable, flag) in [
        ("password-file", &global.password_file, "SNAP_PASSWORD_FILE", "--password-file"),
        ("key-file", &global.key_file, "SNAP_KEY_FILE", "--key-file"),
        ("cache-dir", &global.cache_dir, "SNAP_CACHE_DIR", "--cache-dir"),
        ("state-dir", &global.state_dir, "SNAP_STATE_DIR", "--state-dir"),
    ] {
        if let Some((value, from)) = given(value, variable, flag).or_else(|| of_file(key)) {
            put(key, &value, from);
        }
    }
    for (key, is_given, from) in [
        (
            "password-command",
            global.password_command().is_some(),
            "--password-command or SNAP_PASSWORD_COMMAND",
        ),
        ("password", env::var_os("SNAP_PASSWORD").is_some_and(|set| !set.is_empty()), "SNAP_PASSWORD"),
    ] {
        if is_given {
            lines.push(Line { key: key.to_owned(), value: HIDDEN.to_owned(), from: from.to_owned() });
        }
    }
}

const HIDDEN: &str = "\"(hidden)\"";

/// Adds all keys of a table with their values or defaults.
fn fill(path: &str, keys: &[Key], table: &Table, lines: &mut Vec<Line>) {
    for key in keys {
        let at = format!("{path}.{}", key.name);
        let node = table.get(key.name);
        if let Kind::Table(keys) = key.kind {
            fill(&at, keys, table.table(key.name).unwrap_or(&Table::default()), lines);
        } else if let Some(node) = node {
            lines.push(Line { key: at, value: shown(node), from: origin(Some(node)) });
        } else if !key.default.is_empty() {
            lines.push(Line { key: at, value: key.default.to_owned(), from: "default".to_owned() });
        }
    }
}

fn shown(node: &Node) -> String {
    match &node.value {
        Value::Secret(_) => HIDDEN.to_owned(),
        Value::Bool(_) | Value::Number(_) => node.shown.clone(),
        Value::Path(path) => quoted(&output::redacted(&String::from_utf8_lossy(path.as_os_str().as_bytes()))),
        Value::Table(table) => {
            let pair = |(name, node): &(String, Node)| format!("{name} = {}", shown(node));
            format!("{{ {} }}", table.0.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        _ => quoted(&output::redacted(&node.shown)),
    }
}

fn origin(node: Option<&Node>) -> String {
    let Some(node) = node else { return String::new() };
    match &node.origin.profile {
        Some(profile) => format!("profile {profile}, line {}", node.origin.line),
        None => format!("line {}", node.origin.line),
    }
}

/// Quotes a text for TOML. A JSON string is valid TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn name(text: &str) -> String {
    if text.contains('.') { quoted(text) } else { text.to_owned() }
}
