//! Verbs and options of other backup programs, with snap's equivalents. clap itself would suggest the one
//! with the most similar spelling.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::process::program_name;

/// Verbs of restic, borg, rustic, kopia, bup, duplicity, tar and rsnapshot.
const VERBS: &[(&str, &str)] = &[
    ("analyze", "`snap du` shows what takes space in the repository"),
    ("archive", "`snap backup PATH` saves a snapshot"),
    ("benchmark", "snap has no benchmark of its own; `snap backup --dry-run` reads without writing"),
    ("break-lock", NO_LOCK),
    ("cache", "the cache can be deleted: `snap repair index` rebuilds it, --cache-dir sets its location"),
    ("change-passphrase", "`snap key passwd` changes the password"),
    ("compact", "`snap gc` frees what no snapshot needs"),
    ("compare", "`snap diff SNAPSHOT SNAPSHOT` compares two snapshots"),
    ("connect", "there is nothing to connect: name the repository with -r REPO or SNAP_REPO"),
    ("create", "`snap backup PATH` saves a snapshot, `snap init` makes a repository"),
    ("delete", "`snap forget SNAPSHOT` forgets a snapshot, `snap gc` then frees its space"),
    ("delete-snapshot", "`snap forget SNAPSHOT` forgets a snapshot"),
    ("download", "`snap restore SNAPSHOT --target DIR` writes files back"),
    ("expire", "`snap forget --keep-daily 7` forgets by rules"),
    ("export-tar", "`snap export SNAPSHOT -o FILE` writes a tar archive"),
    ("extract", "`snap restore SNAPSHOT --target DIR` writes files back"),
    ("fsck", "`snap check` verifies the repository"),
    ("get", "`snap cat SNAPSHOT:PATH` prints a file, `snap restore` writes files back"),
    ("grep", "`snap find PATTERN` looks for files by name"),
    ("import-tar", "`snap import ARCHIVE` reads a tar archive"),
    ("info", "`snap snapshots` lists snapshots, `snap stats` shows their sizes, `snap status` their ages"),
    ("log", "`snap snapshots` lists snapshots, `snap history PATH` the versions of a file"),
    ("logs", "`snap status` shows the results of the last runs"),
    ("maintenance", "`snap cleanup` forgets by rules and frees space"),
    (
        "migrate",
        "there is nothing to migrate; `snap copy --to REPO` brings snapshots into another repository",
    ),
    (
        "passwd",
        "`snap key passwd` changes the password of a repository, `snap serve passwd` sets the one of the page",
    ),
    (
        "password",
        "`snap key passwd` changes the password of a repository, `snap serve passwd` sets the one of the page",
    ),
    ("policy", "sets of sources and retention rules are in the configuration: `snap config init` writes one"),
    ("purge", "`snap gc` frees what no snapshot needs"),
    ("rebuild-index", "`snap repair index` rebuilds the index cache"),
    (
        "recover",
        "`snap undelete` brings forgotten snapshots back, `snap repair` saves what can be saved after damage",
    ),
    ("recreate", "`snap rewrite` removes paths from snapshots"),
    (
        "remove",
        "`snap forget SNAPSHOT` forgets a snapshot, `snap rewrite --exclude PATH` removes a path from all",
    ),
    (
        "rename",
        "snapshots have no names: `snap tag SNAPSHOT --add TAG` labels one, `snap rewrite --description` describes it",
    ),
    ("repo", "`snap init` makes a repository, `snap stats` and `snap status` describe it"),
    ("repo-create", "`snap init` makes a repository"),
    ("repo-info", "`snap stats` shows the size of the repository"),
    ("repo-list", "`snap snapshots` lists snapshots"),
    ("repoinfo", "`snap stats` shows the size of the repository"),
    ("repository", "`snap init` makes a repository, `snap stats` and `snap status` describe it"),
    ("rm", "`snap forget SNAPSHOT` forgets a snapshot"),
    ("save", "`snap backup PATH` saves a snapshot"),
    ("search", "`snap find PATTERN` looks for files by name"),
    (
        "self-update",
        "snap does not update itself: use the package manager that installed it, or `cargo install`",
    ),
    ("show", "`snap ls SNAPSHOT` lists a snapshot, `snap cat SNAPSHOT:PATH` prints a file"),
    ("snapshot", "`snap snapshots` lists snapshots, `snap backup PATH` saves one"),
    ("tree", "`snap ls SNAPSHOT` lists the files in a snapshot"),
    ("umount", UNMOUNT),
    ("undo", "`snap undelete` brings forgotten snapshots back"),
    ("unlock", NO_LOCK),
    ("unmount", UNMOUNT),
    ("upgrade", "snap does not update itself: use the package manager that installed it, or `cargo install`"),
    ("verify", "`snap check` verifies the repository, `snap drill` tests a restore"),
    ("version", "`snap --version` prints the version"),
    ("versions", "`snap history PATH` lists the versions of a file"),
    ("webdav", "`snap serve` shows the snapshots to a browser and to WebDAV"),
];

const NO_LOCK: &str =
    "there is nothing to unlock: no lock outlives its process, and several processes can run at once";
const UNMOUNT: &str = "`fusermount3 -u DIR` (or `umount DIR`) ends a mount";

/// Options, with the verb to which they belong if it matters.
const OPTIONS: &[(Option<&str>, &str, &str)] = &[
    (None, "--repository-file", "the location is given with -r REPO, SNAP_REPO or the configuration"),
    (None, "--repository", "-r REPO, or --repo REPO"),
    (
        None,
        "--password",
        "passwords are not taken from the command line, where everybody can see them: use --password-file, \
         --password-command or SNAP_PASSWORD",
    ),
    (None, "--no-lock", "there are no locks to skip: reading never disturbs a writer"),
    (None, "--retry-lock", "there are no locks to wait for: several processes can run at once"),
    (None, "--lock-wait", "there are no locks to wait for: several processes can run at once"),
    (None, "--no-cache", "--cache-dir DIR keeps the cache elsewhere; it can be deleted"),
    (None, "--compression-level", "--compression LEVEL, of `snap init`, `snap backup` and `snap copy`"),
    (None, "--progress", "progress is shown on a terminal; -q turns it off"),
    (None, "--stats", "a summary is printed anyway; --json prints it for programs"),
    (Some("backup"), "--no-scan", "nothing to skip: the count runs during the backup and costs nothing"),
    (Some("backup"), "--exclude-from", "--exclude-file FILE reads patterns from a file"),
    (
        Some("backup"),
        "--iexclude-file",
        "--exclude-file FILE reads patterns; --iexclude PATTERN ignores case",
    ),
    (Some("backup"), "--exclude-cache", "--exclude-caches"),
    (
        Some("backup"),
        "--exclude-nodump",
        "snap does not read the nodump flag: --exclude-if-present FILE marks directories",
    ),
    (Some("backup"), "--force", "--full reads every byte again"),
    (Some("backup"), "--with-atime", "access times are not saved"),
    (Some("backup"), "--noatime", "access times are not saved"),
    (
        Some("backup"),
        "--skip-if-unchanged",
        "this is the default: a run that finds no changes saves no snapshot",
    ),
    (Some("backup"), "--files-from-raw", "--files-from FILE reads names, one per line"),
    (Some("backup"), "--files-from-verbatim", "--files-from FILE reads names literally, one per line"),
    (
        Some("backup"),
        "--time",
        "a backup records the current time; `snap import --time TIME` records another one",
    ),
    (Some("backup"), "--to", "the repository is given with -r REPO or SNAP_REPO"),
    (Some("backup"), "--comment", "--description TEXT"),
    (Some("backup"), "--label", "--tag TAG, or --description TEXT"),
    (
        Some("backup"),
        "--delete",
        "nothing is mirrored: each snapshot is the state of the source at its time; `snap forget` removes \
         old ones",
    ),
    (Some("restore"), "--to", "--target DIR, or -t DIR"),
    (Some("restore"), "--destination", "--target DIR, or -t DIR"),
    (Some("restore"), "--output", "--target DIR, or -t DIR"),
    (Some("restore"), "--dest", "--target DIR, or -t DIR"),
    (Some("restore"), "--dir", "--target DIR, or -t DIR"),
    (Some("restore"), "--into", "--target DIR, or -t DIR"),
    (Some("restore"), "--out", "--target DIR, or -t DIR"),
    (Some("restore"), "--restore-to", "--target DIR, or -t DIR"),
    (Some("restore"), "--path-to", "--target DIR, or -t DIR"),
    (Some("restore"), "--numeric-owner", "--numeric-ids"),
    (Some("restore"), "--force", "--overwrite always, which is the default"),
    (Some("restore"), "--skip-existing", "--overwrite never"),
    (Some("restore"), "--ignore-existing", "--overwrite never"),
    (Some("restore"), "--update", "--overwrite if-newer"),
    (Some("restore"), "--snapshot", "the snapshot is an argument: snap restore SNAPSHOT --target DIR"),
    (Some("mount"), "--read-only", "a mount is always read only"),
    (Some("forget"), "--keep", "--keep-last N"),
    (Some("forget"), "--all", "name the snapshots, or give rules: --keep-last N"),
    (Some("forget"), "--unsafe-allow-remove-all", "--allow-remove-all"),
    (Some("check"), "--verify-data", "--read-data reads every byte"),
    (Some("check"), "--repair", "`snap repair` saves what can be saved"),
    (Some("copy"), "--from-repo", "-r names the repository to copy from, --to the one to copy to"),
    (Some("copy"), "--repo2", "--to REPO"),
    (Some("diff"), "--metadata", "differences of metadata are shown anyway; --no-metadata leaves them out"),
    (Some("init"), "--encryption", "a repository is encrypted unless --no-encryption is given"),
    (Some("init"), "--encrypt", "a repository is encrypted unless --no-encryption is given"),
    (
        Some("init"),
        "--copy-chunker-params",
        "`snap copy --init` makes a repository that shares chunks with the first one",
    ),
];

/// Options that destroy something.
const DESTRUCTIVE: [&str; 5] = ["--allow-remove-all", "--delete", "--empty-trash", "--force", "--prune"];

/// Returns the equivalent of another program's verb.
pub(crate) fn of_verb(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    VERBS.iter().find(|(name, _)| *name == word).map(|(_, advice)| *advice)
}

/// Returns the equivalent of another program's option for a verb of snap.
pub(crate) fn of_option(verb: Option<&str>, option: &str) -> Option<&'static str> {
    let option = option.split('=').next().unwrap_or(option);
    let fits = |of: &Option<&str>| of.is_none() || *of == verb;
    OPTIONS.iter().find(|(of, name, _)| fits(of) && *name == option).map(|(.., advice)| *advice)
}

/// Replaces clap's suggestion of the most similar spelling by the advice, and the usage line, which contains
/// the suggestion too.
pub(crate) fn advise(error: &mut clap::Error, top: &clap::Command, verb: Option<&str>) {
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let advice = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            text(error, ContextKind::InvalidSubcommand).and_then(|word| of_verb(&word))
        }
        ErrorKind::UnknownArgument => {
            text(error, ContextKind::InvalidArg).and_then(|option| of_option(verb, &option))
        }
        _ => None,
    };
    let typed = text(error, ContextKind::InvalidArg).unwrap_or_default();
    let is_dangerous = text(error, ContextKind::SuggestedArg).is_some_and(|flag| is_dangerous(&typed, &flag));
    if advice.is_none() && !is_dangerous {
        return;
    }
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedCommand] {
        error.remove(kind);
    }
    if let Some(advice) = advice {
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![program_name::message(advice).into_owned().into()]),
        );
    }
    if let Some(verb) = verb.and_then(|verb| top.find_subcommand(verb)) {
        let name = format!("{} {}", top.get_name(), verb.get_name());
        let usage = verb.clone().bin_name(name).render_usage();
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
}

/// Returns whether an option must not be suggested, because it destroys something and the user may have meant
/// another one. If only a hyphen or the end of the name is missing, the meaning is certain.
fn is_dangerous(typed: &str, suggested: &str) -> bool {
    let letters = |option: &str| -> String {
        let name = option.split([' ', '=']).next().unwrap_or(option);
        name.chars().filter(char::is_ascii_alphanumeric).collect()
    };
    let (typed, suggested) = (letters(typed), letters(suggested));
    DESTRUCTIVE.iter().any(|option| letters(option) == suggested)
        && !(typed.len() > 3 && suggested.starts_with(&typed))
}

/// Returns the verb of a command line that may contain errors elsewhere.
pub(crate) fn verb_of<'a>(top: &clap::Command, words: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut known = words.filter_map(|word| top.find_subcommand(word));
    known.next().map(|verb| verb.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::{OPTIONS, VERBS, advise, verb_of};

    fn find<'a>(top: &'a Command, name: &str) -> Option<&'a Command> {
        top.get_subcommands().find(|verb| verb.get_name() == name)
    }

    /// An entry for an existing verb or option would never be used.
    #[test]
    fn synonyms_are_no_existing_commands_or_options() {
        let mut top = crate::cli::Cli::command();
        top.build();
        for (name, _) in VERBS {
            assert!(top.find_subcommand(name).is_none(), "{name}");
        }
        for (verb, option, _) in OPTIONS {
            let Some(verb) = verb else { continue };
            let Some(verb) = find(&top, verb) else { continue };
            let known =
                |arg: &clap::Arg| arg.get_long().is_some_and(|long| option.strip_prefix("--") == Some(long));
            assert!(!verb.get_arguments().any(known), "{} {option}", verb.get_name());
        }
    }

    #[test]
    fn advice_names_existing_commands() {
        let top = crate::cli::Cli::command();
        let advice =
            VERBS.iter().map(|(_, advice)| *advice).chain(OPTIONS.iter().map(|(.., advice)| *advice));
        for advice in advice {
            for part in advice.split("`snap ").skip(1) {
                let verb = part.split([' ', '`']).next().unwrap();
                let optional = matches!(verb, "browse" | "mount" | "serve");
                assert!(verb.starts_with('-') || optional || top.find_subcommand(verb).is_some(), "{advice}");
            }
        }
    }

    #[test]
    fn names_from_other_programs_get_advice() {
        for (line, wanted) in [
            ("snap extract latest", "snap restore"),
            ("snap -r x unlock", "no lock outlives"),
            ("snap restore latest --to x", "--target DIR"),
            ("snap backup --exclude-from=x y", "--exclude-file"),
            ("snap backup . --no-scan", "costs nothing"),
            ("snap list --no-lock", "no locks"),
            ("snap restore latest --dest x", "--target DIR"),
            ("snap repo-list", "snap snapshots"),
            // The nearest spelling is --delete.
            ("snap restore latest --deleat x", "unexpected argument"),
        ] {
            let top = crate::help::command();
            let mut error = top.clone().try_get_matches_from(line.split(' ')).unwrap_err();
            advise(&mut error, &top, verb_of(&top, line.split(' ').skip(1)).as_deref());
            let text = error.to_string();
            assert!(text.contains(wanted) && !text.contains("similar"), "{line}: {text}");
            assert!(!text.contains("--delete"), "{line}: {text}");
            assert!(!text.contains("<RATE>") && !text.contains("--exclude <"), "{line}: {text}");
        }
        for (typed, suggested, is) in [
            ("--dest", "--delete", true),
            ("--delet", "--delete", false),
            ("--emptytrash", "--empty-trash", false),
            ("--forget", "--force", true),
            ("--tagg", "--tag", false),
        ] {
            assert_eq!(super::is_dangerous(typed, suggested), is, "{typed}");
        }
    }
}
