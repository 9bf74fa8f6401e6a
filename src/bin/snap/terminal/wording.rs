//! Translates messages of the library. They name operations and options as in rustdoc (`` `Repository::gc`
//! ``); users need the commands and flags instead.

use std::borrow::Cow;
use std::sync::OnceLock;

use regex::{Captures, Regex};
use snap_backup::Error;

/// Names of operations, and the corresponding commands. Arguments follow the name.
const VERBS: &[(&str, &str)] = &[
    ("Change::pinned(false)", "unpin"),
    ("Repository::accept", "repair known"),
    ("Repository::allow_deltas", "config set delta on"),
    ("Repository::backup", "backup"),
    ("Repository::cat", "cat"),
    ("Repository::check", "check"),
    ("Repository::find", "find"),
    ("Repository::gc", "gc"),
    ("Repository::history", "history"),
    ("Repository::import", "import -"),
    ("Repository::init", "init"),
    ("Repository::keys", "key list"),
    ("Repository::list_dir", "ls"),
    ("Repository::remove_key", "key remove"),
    ("Repository::repair_gc_records", "repair gc"),
    ("Repository::repair_index", "repair index"),
    ("Repository::repair_packs", "repair packs"),
    ("Repository::repair_parity", "repair parity"),
    ("Repository::restore", "restore"),
    ("Repository::snapshots", "snapshots"),
    ("Repository::sync_to", "sync"),
    ("Repository::trashed", "undelete"),
    ("AlarmState::Accepted", "alarm accept"),
    ("AlarmState::Cleared", "alarm clear"),
];

/// Names of options, and the corresponding flags or variables.
const OPTIONS: &[(&str, &str)] = &[
    ("AtomicFile::replace", "--force"),
    ("BackupOptions::allow_empty", "--allow-empty"),
    ("BackupOptions::isolate", "--isolate"),
    ("BackupOptions::store_as", "--as"),
    ("ExportOptions::since", "--since"),
    ("FilterOptions::larger_than", "--exclude-larger-than"),
    ("ForgetOptions::allow_remove_all", "--allow-remove-all"),
    ("ForgetOptions::force", "--force"),
    ("RestoreOptions::delete", "--delete"),
    ("RestoreOptions::exclude", "--exclude"),
    ("RestoreOptions::include", "--include"),
    ("RestUrl::with_login", "SNAP_REST_USERNAME, SNAP_REST_PASSWORD"),
    ("RewriteOptions::force", "--force"),
    ("SnapshotFilter::hosts", "--host"),
    ("SnapshotFilter::paths", "--path"),
    ("SnapshotFilter::tags", "--tag"),
];

/// Translates a message of the library to command-line terms.
pub(crate) fn translate(text: &str) -> Cow<'_, str> {
    static NAME: OnceLock<Option<Regex>> = OnceLock::new();
    let pattern = || Regex::new(r"`([A-Z][A-Za-z]*::[A-Za-z_]+)(\(([^`]*)\))?`").ok();
    match NAME.get_or_init(pattern) {
        Some(name) if text.contains("::") => name.replace_all(text, command_line_term),
        _ => Cow::Borrowed(text),
    }
}

/// Returns the message of an error with all its causes in command-line terms.
pub(crate) fn chain(error: &Error) -> String {
    translate(&error.chain()).into_owned()
}

fn command_line_term(found: &Captures<'_>) -> String {
    let part = |number: usize| found.get(number).map_or("", |part| part.as_str());
    let of = |table: &[(&str, &'static str)], name: &str| {
        table.iter().find(|(known, _)| *known == name).map(|(_, words)| *words)
    };
    let (whole, name) = ([part(1), part(2)].concat(), part(1));
    match (of(VERBS, &whole), of(VERBS, name), of(OPTIONS, name)) {
        (Some(verb), ..) => format!("`snap {verb}`"),
        (None, Some(verb), _) => format!("`{}`", format!("snap {verb} {}", part(3)).trim_end()),
        (None, None, Some(option)) => option.to_owned(),
        // The user's own text that looks like a name of the library.
        (None, None, None) => part(0).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_message_of_the_library_names_what_a_user_types() {
        let said = |text: &str| translate(text).into_owned();
        assert_eq!(said("run `Repository::repair_packs`"), "run `snap repair packs`");
        assert_eq!(said("`Repository::find('a (1)')` looks"), "`snap find 'a (1)'` looks");
        assert_eq!(said("or `Change::pinned(false)` it"), "or `snap unpin` it");
        assert_eq!(said("give `AtomicFile::replace` to"), "give --force to");
        for own in ["a::b", "`My::name` is missing", "`Repository::gc is missing"] {
            assert_eq!(said(own), own);
        }
    }

    fn sources(folder: &Path, found: &mut String) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                if entry.file_name() != "bin" {
                    sources(&entry.path(), found);
                }
            } else {
                let text = fs::read_to_string(entry.path()).unwrap();
                found.extend(text.lines().filter(|line| !line.trim_start().starts_with("//")));
            }
        }
    }

    #[test]
    fn library_names_in_messages_have_words_and_no_others() {
        let mut texts = String::new();
        sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut texts);
        let name = Regex::new(r"`([A-Z][A-Za-z]*::[A-Za-z_]+(\(false\))?)").unwrap();
        let named: BTreeSet<&str> =
            name.captures_iter(&texts).map(|found| found.get(1).unwrap().as_str()).collect();
        let known: BTreeSet<&str> = VERBS.iter().chain(OPTIONS).map(|(name, _)| *name).collect();
        assert_eq!(named, known);
    }

    #[test]
    fn every_named_command_and_option_exists() {
        let reference = include_str!("../../../../docs/cli.md");
        let headings: Vec<&str> = reference.lines().map(|line| line.trim_start_matches(['#', ' '])).collect();
        for (_, verb) in VERBS {
            let verb = format!("snap {}", verb.trim_end_matches(" -").trim_end_matches(" delta on"));
            assert!(headings.contains(&verb.as_str()), "{verb}");
        }
        for (_, option) in OPTIONS.iter().filter(|(_, option)| option.starts_with("--")) {
            let is_there = [" ", "`", ","].iter().any(|end| reference.contains(&format!("{option}{end}")));
            assert!(is_there, "{option}");
        }
    }
}
