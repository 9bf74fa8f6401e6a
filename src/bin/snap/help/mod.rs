//! The parts of `--help` that clap does not generate: a paragraph, examples and groups of options for every
//! verb; an overview of the verbs by task; and topics that concern several verbs. The texts are data
//! separate from the verbs, so that a flag and its place in the help can change independently; tests ensure
//! that they match.

mod apply;
#[cfg(test)]
mod documents;
mod environment;
mod manual;
mod overview;
mod topics;
mod verbs_keep;
mod verbs_read;
mod verbs_run;
mod verbs_write;

use clap::{Args, Command, CommandFactory};
use snap_backup::{Error, Result};

use crate::args::synonyms;
use crate::cli::Cli;
use crate::exit::Outcome;
use crate::process::program_name;
use crate::terminal::pager;
#[cfg(test)]
pub(crate) use environment::markdown as environment_markdown;
pub(crate) use manual::section_five;

/// The help of a verb.
struct VerbHelp {
    /// Name as typed, without `snap`: `backup`, `repair packs`.
    name: &'static str,
    /// What the verb does, for a new user.
    paragraph: &'static str,
    /// Examples: a purpose and its command.
    examples: &'static [(&'static str, &'static str)],
    /// Headings, and the long names of the options below them.
    groups: &'static [(&'static str, &'static [&'static str])],
}

/// Iterates over all verbs with a help text.
fn all() -> impl Iterator<Item = &'static VerbHelp> {
    let parts = [verbs_write::VERBS, verbs_read::VERBS, verbs_keep::VERBS, verbs_run::VERBS];
    parts.into_iter().flatten()
}

/// Returns the complete clap command.
pub(crate) fn command() -> Command {
    let mut top = overview::add_to(Cli::command());
    for verb in all() {
        let path: Vec<&str> = verb.name.split(' ').collect();
        top = apply::at_path(top, &path, &|command| apply::to_verb(command, verb));
    }
    program_name::command(top)
}

#[derive(Debug, Args)]
pub(crate) struct Help {
    /// A command (backup, repair packs), or a topic: environment, patterns, selectors, terminal
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

/// Runs `snap help [COMMAND|TOPIC]`.
///
/// # Errors
/// There is no such verb or topic.
pub(crate) fn run(args: &Help) -> Result<Outcome> {
    if let [word] = args.words.as_slice()
        && let Some(text) = topics::text(word)
    {
        pager::print_paged(&program_name::text(text.trim_end()))?;
        return Ok(Outcome::Done);
    }
    let mut top = command();
    top.build();
    let mut found = &mut top;
    for (depth, word) in args.words.iter().enumerate() {
        let Some(next) = found.find_subcommand_mut(word) else {
            return Err(unknown(word, depth));
        };
        found = next;
    }
    // A closed output is not a failure.
    let _ = found.print_long_help();
    Ok(Outcome::Done)
}

fn unknown(word: &str, depth: usize) -> Error {
    let advice = if depth == 0 { synonyms::of_verb(word) } else { None };
    let rest = match advice {
        Some(advice) => advice.to_owned(),
        None => format!("`snap help` lists the commands; topics are {}", topics::NAMES.join(", ")),
    };
    Error::Usage(format!("there is no help on '{word}': {rest}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Command;

    use super::{all, command};

    fn find<'a>(top: &'a Command, name: &str) -> Option<&'a Command> {
        name.split(' ').try_fold(top, |command, word| command.find_subcommand(word))
    }

    fn own_options(command: &Command) -> BTreeSet<String> {
        let own = |arg: &&clap::Arg| !arg.is_global_set() && !arg.is_hide_set();
        let long = command.get_arguments().filter(own).filter_map(clap::Arg::get_long);
        long.filter(|name| !matches!(*name, "help" | "version")).map(str::to_owned).collect()
    }

    /// Collects the names of all verbs and subcommands.
    fn names(command: &Command, before: &str, into: &mut BTreeSet<String>) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let name = format!("{before}{}", verb.get_name());
            names(verb, &format!("{name} "), into);
            into.insert(name);
        }
    }

    #[test]
    #[cfg_attr(not(all(feature = "serve", feature = "mount")), ignore = "it lists all verbs")]
    fn every_verb_has_a_paragraph_and_two_or_three_examples() {
        let mut top = command();
        top.build();
        let mut wanted = BTreeSet::new();
        names(&top, "", &mut wanted);
        let told: BTreeSet<String> = all().map(|verb| verb.name.to_owned()).collect();
        assert_eq!(told, wanted, "help/verbs_*.rs has one entry for each verb");
        for verb in all() {
            assert!((2..=3).contains(&verb.examples.len()), "{} has {:?}", verb.name, verb.examples);
            assert!(verb.paragraph.len() > 60, "{}", verb.name);
        }
    }

    #[test]
    fn every_example_is_a_command_line_that_snap_accepts() {
        for (verb, (_, line)) in all().flat_map(|verb| verb.examples.iter().map(move |one| (verb, one))) {
            assert!(line.len() < 76, "too wide: {line}");
            for part in line.split('|').map(str::trim).filter(|part| part.starts_with("snap ")) {
                // Of shell syntax, the examples use only quotes without spaces, redirections and pipes.
                let part = part.split(" > ").next().unwrap_or(part);
                let words = part.split(' ').map(|word| word.trim_matches(['"', '\'']));
                let parsed = command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{}: {line}: {}", verb.name, parsed.unwrap_err());
            }
        }
    }

    /// An option in no group is listed under `Options`.
    #[test]
    fn groups_name_existing_options_once_each() {
        let mut top = command();
        top.build();
        for verb in all().filter(|verb| !verb.groups.is_empty()) {
            let Some(command) = find(&top, verb.name) else { continue };
            let names: Vec<&str> = verb.groups.iter().flat_map(|(_, names)| *names).copied().collect();
            let set: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(set.len(), names.len(), "{} names an option twice", verb.name);
            let unknown: Vec<_> = set.difference(&own_options(command)).cloned().collect();
            assert!(unknown.is_empty(), "help/verbs_*.rs: `snap {}` has no {unknown:?}", verb.name);
        }
    }
}
