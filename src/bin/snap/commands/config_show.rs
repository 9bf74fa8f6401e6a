//! `snap config show`: shows the effective settings and where each comes from. Secrets are not shown.

use std::env;
use std::ffi::{OsStr, OsString};

use serde_json::{Value, json};
use snap_backup::Result;

use crate::args::global::Global;
use crate::compat::Legacy;
use crate::config::Config;
use crate::config::document::Node;
use crate::config::field::Field;
use crate::config::model::{RepositorySettings, SetSettings};
use crate::config::types::{HIDDEN, quoted};
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
        let node = config.document.get("repositories").and_then(|all| all.get(&entry.name));
        fill(config, &path, &RepositorySettings::schema(), node, &mut lines);
    }
    for set in &sets {
        let node = config.document.get("sets").and_then(|all| all.get(&set.name));
        fill(config, &format!("sets.{}", name(&set.name)), &SetSettings::schema(), node, &mut lines);
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
    let mut put = |key: &str, value: String, from: String| {
        lines.push(Line { key: key.to_owned(), value, from });
    };
    let shown = |value: &OsStr| quoted(&output::redacted(&value.to_string_lossy()));
    let given = |value: &Option<OsString>, variable: &str, flag: &str| -> Option<(String, String)> {
        let value = value.as_ref().filter(|value| !value.is_empty())?;
        let by_variable = env::var_os(variable).is_some_and(|set| set == *value);
        Some((shown(value), if by_variable { variable.to_owned() } else { flag.to_owned() }))
    };
    let of_file = |key: &str| config.document.get(key).map(|node| (node.shown(), origin(config, node)));
    let legacy = || {
        let repository = Legacy::from_environment()?.repository;
        Some((shown(&repository), "the legacy script's INCREMENTAL_BACKUP_PATH".to_owned()))
    };
    let only = || config.default_repository().map(|name| (shown(&name), "the only repository".to_owned()));
    let repository = given(&global.repo, "SNAP_REPO", "-r").or_else(|| of_file("repository")).or_else(only);
    if let Some((value, from)) = repository.or_else(legacy) {
        put("repository", value, from);
    }
    for (key, value, variable, flag) in [
        ("password-file", &global.password_file, "SNAP_PASSWORD_FILE", "--password-file"),
        ("key-file", &global.key_file, "SNAP_KEY_FILE", "--key-file"),
        ("cache-dir", &global.cache_dir, "SNAP_CACHE_DIR", "--cache-dir"),
        ("state-dir", &global.state_dir, "SNAP_STATE_DIR", "--state-dir"),
    ] {
        if let Some((value, from)) = given(value, variable, flag).or_else(|| of_file(key)) {
            put(key, value, from);
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

/// Adds all keys of a table, which the schema lists, with their values or defaults.
fn fill(config: &Config, path: &str, schema: &Value, table: Option<&Node>, lines: &mut Vec<Line>) {
    let properties = |schema: &Value| schema.get("properties").and_then(Value::as_object).cloned();
    for (key, schema) in properties(schema).into_iter().flatten() {
        let at = format!("{path}.{key}");
        let node = table.and_then(|table| table.get(&key));
        if properties(&schema).is_some() {
            fill(config, &at, &schema, node, lines);
        } else if let Some(node) = node {
            lines.push(Line { key: at, value: node.shown(), from: origin(config, node) });
        } else if let Some(default) = schema.get("default") {
            lines.push(Line { key: at, value: in_toml(default), from: "default".to_owned() });
        }
    }
}

/// Writes a default as TOML.
fn in_toml(value: &Value) -> String {
    match value.as_array() {
        Some(items) => format!("[{}]", items.iter().map(in_toml).collect::<Vec<_>>().join(", ")),
        None => value.to_string(),
    }
}

fn origin(config: &Config, node: &Node) -> String {
    let profile = config.profile.as_ref().filter(|_| node.origin.is_in_profile);
    let profile = profile.map(|profile| format!("profile {profile}, ")).unwrap_or_default();
    format!("{profile}line {}", node.origin.line)
}

fn name(text: &str) -> String {
    if text.contains('.') { quoted(text) } else { text.to_owned() }
}
