//! Adds the help of a verb to its clap command.

use clap::Command;

use super::VerbHelp;

/// Changes the subcommand at a path. Without the feature that provides the subcommand, does nothing.
pub(super) fn at_path(command: Command, path: &[&str], change: &dyn Fn(Command) -> Command) -> Command {
    let Some((first, rest)) = path.split_first() else { return change(command) };
    // `mut_subcommand` would create a missing subcommand.
    if command.find_subcommand(first).is_none() {
        return command;
    }
    command.mut_subcommand(first, |below| at_path(below, rest, change))
}

/// Adds the paragraph, the examples and the headings.
pub(super) fn to_verb(command: Command, help: &VerbHelp) -> Command {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let command = command.long_about(format!("{about}.\n\n{}", help.paragraph));
    let command = examples(command, help.examples);
    command.mut_args(|arg| {
        let heading = arg.get_long().and_then(|long| heading(help, long));
        match heading {
            Some(heading) => arg.help_heading(heading),
            None => arg,
        }
    })
}

fn heading(help: &VerbHelp, long: &str) -> Option<&'static str> {
    help.groups.iter().find(|(_, names)| names.contains(&long)).map(|(heading, _)| *heading)
}

/// Adds the examples and keeps what the verb itself has at the end of its help.
fn examples(command: Command, examples: &[(&str, &str)]) -> Command {
    let style = command.get_styles().get_header();
    let mut text = format!("{style}Examples:{style:#}");
    for (purpose, line) in examples {
        text += &format!("\n  {purpose}:\n      {line}");
    }
    if let Some(own) = command.get_after_help() {
        text += &format!("\n\n{own}");
    }
    command.after_long_help(text)
}
