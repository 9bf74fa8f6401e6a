//! The overview in `snap --help`: the verbs grouped by task.

use std::collections::BTreeSet;

use clap::Command;

const TASKS: &[(&str, &[&str])] = &[
    (
        "Back up and restore",
        &["init", "backup", "snapshots", "ls", "cat", "restore", "mount", "browse", "serve"],
    ),
    ("Find and compare", &["find", "history", "diff", "du", "stats"]),
    (
        "Remove and protect snapshots",
        &["forget", "undelete", "gc", "cleanup", "tag", "pin", "unpin", "rewrite"],
    ),
    ("Monitor, verify and repair", &["status", "alarm", "heal", "audit", "check", "drill", "repair"]),
    ("Second copies, other formats", &["copy", "sync", "export", "import", "restic"]),
    ("Set up", &["config", "schedule", "daemon", "key", "completions", "man", "help"]),
];

const OTHERS: &str = "Others";

const MORE: &str = "`snap help COMMAND` prints a description and examples. Topics: `snap help environment` (all variables), \
    `snap help patterns` (what --exclude and --include match), `snap help selectors` (how to name a snapshot), \
    `snap help terminal` (progress, colours, the pager).";

/// Replaces clap's flat list of verbs by lists per task.
pub(super) fn add_to(top: Command) -> Command {
    let style = *top.get_styles().get_header();
    let tasks = tasks(&top, style);
    let codes = top.get_after_help().map(ToString::to_string).unwrap_or_default();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}{tasks}\n\n{style}Global options:{style:#}\n{{options}}{{after-help}}"
    );
    top.after_help(format!("{MORE}\n\n{codes}")).help_template(template)
}

fn tasks(top: &Command, style: clap::builder::styling::Style) -> String {
    let mut left: BTreeSet<&str> = top.get_subcommands().map(Command::get_name).collect();
    let mut text = String::new();
    for (task, names) in TASKS {
        let there: Vec<&Command> = names.iter().filter_map(|name| top.find_subcommand(name)).collect();
        left.retain(|name| there.iter().all(|verb| verb.get_name() != *name));
        text += &section(task, &there, style);
    }
    let others: Vec<&Command> = left.iter().filter_map(|name| top.find_subcommand(name)).collect();
    if !others.is_empty() {
        text += &section(OTHERS, &others, style);
    }
    text
}

fn section(task: &str, verbs: &[&Command], style: clap::builder::styling::Style) -> String {
    let mut text = format!("\n\n{style}{task}:{style:#}");
    for verb in verbs {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        text += &format!("\n  {:<12} {about}", verb.get_name());
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{OTHERS, tasks};

    #[test]
    fn every_verb_has_its_task() {
        let text = tasks(&crate::cli::Cli::command(), clap::builder::styling::Style::new());
        assert!(!text.contains(OTHERS), "give the last ones a place in TASKS: {text}");
    }
}
