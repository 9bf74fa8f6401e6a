//! Generates `docs/cli.md`, the reference of all verbs and flags, from the clap command. `SNAP_BLESS=1
//! cargo test --bin snap reference` writes it.

use std::fs;
use std::path::Path;

use clap::{Arg, Command};

use crate::help;

const HEAD: &str = "# Commands and flags

This page is generated from the program, and a test compares both. `snap COMMAND --help` prints the same. `snap man DIR`
writes manual pages, and `snap completions SHELL` prints completions for a shell (`source <(snap completions bash)`).
The environment variable after `or` sets the same value as the flag.
";

#[test]
#[cfg_attr(not(feature = "serve"), ignore = "it lists all verbs")]
fn the_reference_is_what_the_program_knows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let text = reference();
    if std::env::var_os("SNAP_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(there.lines()).find(|(wanted, found)| wanted != found);
    assert!(
        text == there,
        "docs/cli.md differs from the program, first in {differs:?}: SNAP_BLESS=1 cargo test --bin snap \
         reference"
    );
}

fn reference() -> String {
    let mut top = help::command();
    top.build();
    let mut text = HEAD.to_owned();
    text += &section(&top, "snap", 2, &|arg| arg.is_global_set());
    text += &format!("\n{}\n", top.get_after_help().map(ToString::to_string).unwrap_or_default());
    verbs(&top, "snap", 2, &mut text);
    text + &help::environment_markdown()
}

fn verbs(command: &Command, name: &str, level: usize, text: &mut String) {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help" && !verb.is_hide_set()) {
        let name = format!("{name} {}", verb.get_name());
        *text += &section(verb, &name, level, &|arg| !arg.is_global_set());
        verbs(verb, &name, level + 1, text);
    }
}

fn section(command: &Command, name: &str, level: usize, shown: &dyn Fn(&Arg) -> bool) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("\n{} {name}\n{about}", "#".repeat(level));
    let aliases: Vec<String> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    if !aliases.is_empty() {
        text += &format!(" (also {})", aliases.join(", "));
    }
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<&str> = usage.trim_start_matches("Usage: ").lines().map(str::trim).collect();
    text += &format!("\n```\n{}\n```\n", usage.join("\n"));
    if let Some(long) = command.get_long_about().filter(|_| level > 2 || name != "snap") {
        let long = long.to_string();
        text += &format!("{}\n\n", long.split_once("\n\n").map_or(long.as_str(), |(_, paragraph)| paragraph));
    }
    text += &options(command, shown);
    match command.get_after_long_help() {
        Some(end) => text + &format!("\n```\n{end}\n```\n"),
        None => text,
    }
}

/// Formats options under their headings, in the order of each heading's first option.
fn options(command: &Command, shown: &dyn Fn(&Arg) -> bool) -> String {
    let own =
        |arg: &&Arg| shown(arg) && !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    let mut groups: Vec<(Option<&str>, String)> = Vec::new();
    for arg in command.get_arguments().filter(own) {
        let heading = arg.get_help_heading().filter(|_| !arg.is_positional() && !arg.is_global_set());
        match groups.iter_mut().find(|(known, _)| *known == heading) {
            Some((_, text)) => *text += &line(arg),
            None => groups.push((heading, line(arg))),
        }
    }
    groups.sort_by_key(|(heading, _)| heading.is_some());
    let titled = |(heading, text)| match heading {
        Some(heading) => format!("\n{heading}:\n\n{text}"),
        None => text,
    };
    groups.into_iter().map(titled).collect()
}

fn line(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let value = if arg.get_action().takes_values() { values.join(" ") } else { String::new() };
    let mut names: Vec<String> = arg.get_short().map(|short| format!("-{short}")).into_iter().collect();
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let mut name = names.join("`, `");
    if !value.is_empty() {
        name += if name.is_empty() { "" } else { " " };
        name += &value;
    }
    let mut text = format!("- `{name}`: {}", arg.get_help().map(ToString::to_string).unwrap_or_default());
    let possible: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !possible.is_empty() && arg.get_action().takes_values() {
        text += &format!("; one of {}", possible.join(", "));
    }
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        text += &format!("; default {}", defaults.join(" "));
    }
    if let Some(variable) = arg.get_env() {
        text += &format!("; or `{}`", variable.to_string_lossy());
    }
    text + "\n"
}
