//! restic's command line, JSON and exit codes on a repository of snap's: `snap restic ...`, or the program
//! called by the name `restic`. This is only a translation: each verb calls the same operation as snap's own
//! verb, and reports the result as restic does. `docs/restic.md` lists what is mapped and what is refused.

mod choose;
mod cli;
mod codes;
mod flags;
mod ids;
mod install;
mod lines;
mod place;
mod shapes;
mod variables;
mod verbs;
mod watch;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};
use snap_backup::{Error, Result};

use crate::context::Context;
use crate::exit::Outcome;
use crate::process::threads;
use crate::schedule::job_process::follow_parent;
use crate::terminal::output;
use cli::{Cli, Verb};
use codes::{End, refused};
use verbs::{backup, change, compare, find, forget, ls, objects, restore, snapshots};

/// `snap restic`, as snap's own command line has it. It is read before that (see [`words`]), since the flags
/// of both differ.
#[derive(Debug, clap::Args)]
pub(crate) struct Restic {
    /// Create a link named `restic` to this program in this directory
    #[arg(long, value_name = "DIR")]
    install: Option<PathBuf>,
    /// A restic command line
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Returns the arguments of a restic command line; `None` if it is not one. The program must have been called
/// by that name, or by its own with `restic` as first argument.
pub(crate) fn words(all: &[OsString]) -> Option<&[OsString]> {
    let (program, rest) = all.split_first()?;
    if Path::new(program).file_name() == Some(OsStr::new(install::NAME)) {
        return Some(rest);
    }
    match rest.split_first() {
        Some((first, rest)) if first == install::NAME => {
            let asks_snap = rest.first().is_some_and(|word| word.to_string_lossy().starts_with("--install"));
            (!asks_snap).then_some(rest)
        }
        _ => None,
    }
}

/// Runs `snap restic` if it was parsed as a verb of snap: with `--install`, or with global options before it.
pub(crate) fn run(args: &Restic) -> Result<Outcome> {
    match &args.install {
        Some(dir) => install::run(dir).map(|()| Outcome::Done),
        None => match code(&args.words) {
            0 => Ok(Outcome::Done),
            code => Ok(Outcome::Failed(code)),
        },
    }
}

/// Runs a restic command line.
pub(crate) fn main(words: &[OsString]) -> ExitCode {
    ExitCode::from(code(words))
}

fn code(words: &[OsString]) -> u8 {
    let mut command = as_go_reads_flags(Cli::command().color(clap::ColorChoice::Never));
    let words = plain_flags(words, &switches(&command));
    let parsed = command
        .try_get_matches_from_mut(std::iter::once(OsString::from(install::NAME)).chain(words.iter().cloned()))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => {
            let json = cli.global.json;
            codes::finish(dispatch(&cli), json)
        }
        Err(error) => refuse(&error, words.iter().any(|word| word == "--json")),
    }
}

/// Lets flags that need a value take the next argument even if it begins with a hyphen, as Go's flag parser
/// does.
fn as_go_reads_flags(command: Command) -> Command {
    let takes_any = |arg: Arg| {
        if arg.get_action().takes_values() && !arg.is_positional() {
            arg.allow_hyphen_values(true)
        } else {
            arg
        }
    };
    command.mut_args(takes_any).mut_subcommands(as_go_reads_flags)
}

/// Returns the flags of all verbs that take no value.
fn switches(command: &Command) -> HashSet<String> {
    let with_action = |is_switch: bool| -> HashSet<String> {
        let verbs = std::iter::once(command).chain(command.get_subcommands());
        let args = verbs.flat_map(Command::get_arguments);
        let chosen = args.filter(|arg| matches!(arg.get_action(), ArgAction::SetTrue) == is_switch);
        chosen.filter_map(Arg::get_long).map(|name| format!("--{name}")).collect()
    };
    with_action(true).difference(&with_action(false)).cloned().collect()
}

/// Converts boolean and counting flags with values, which Go's flag parser accepts: `--json=true`,
/// `--verbose=2`.
fn plain_flags(words: &[OsString], switches: &HashSet<String>) -> Vec<OsString> {
    let mut plain = Vec::with_capacity(words.len());
    let mut words = words.iter();
    for word in words.by_ref() {
        let text = word.to_string_lossy();
        match text.split_once('=') {
            _ if text == "--" => {
                plain.push(word.clone());
                break;
            }
            Some(("--verbose", number)) if number.parse::<u8>().is_ok_and(|number| number < 10) => {
                let number = number.parse().unwrap_or(0);
                plain.extend(std::iter::repeat_n(OsString::from("--verbose"), number));
            }
            Some((flag, "true")) if switches.contains(flag) => plain.push(flag.into()),
            Some((flag, "false")) if switches.contains(flag) => {}
            _ => plain.push(word.clone()),
        }
    }
    plain.extend(words.cloned());
    plain
}

/// Reports an invalid command line with restic's message and exit code.
fn refuse(error: &clap::Error, json: bool) -> u8 {
    let what = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingSubcommand => {
            let _ = error.print();
            return 0;
        }
        ErrorKind::InvalidSubcommand => {
            let name = what(clap::error::ContextKind::InvalidSubcommand);
            output::eprint(&output::printable(&format!("unknown command \"{name}\" for \"restic\"")));
            return 1;
        }
        _ => {}
    }
    let text = error.to_string();
    let told: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let told = told.join(" ");
    let told = told.trim_start_matches("error: ");
    let message = match error.kind() {
        ErrorKind::UnknownArgument => format!("unknown flag: {}", what(clap::error::ContextKind::InvalidArg)),
        _ => format!("Fatal: {told}"),
    };
    codes::finish(Ok(End::Code(1, message)), json)
}

fn dispatch(cli: &Cli) -> Result<End> {
    follow_parent();
    if cli.global.verbose > 0 {
        output::show_object_ids();
    }
    match &cli.verb {
        Verb::Version => return objects::version(cli.global.json),
        Verb::Recover(_) => {
            return Err(refused("recover", "`snap undelete` brings forgotten snapshots back"));
        }
        Verb::Generate(_) => {
            return Err(refused("generate", "`snap completions` and `snap man` write snap's own"));
        }
        Verb::SelfUpdate(_) => {
            return Err(refused("self-update", "this is snap: update it the way it was installed"));
        }
        Verb::Options(_) => return Err(refused("options", "there are no extended options")),
        Verb::Features(_) => return Err(refused("features", "there are no feature flags")),
        _ => {}
    }
    threads::check()?;
    variables::refuse(&cli.global)?;
    let global = variables::global(&cli.global)?;
    if global.repo.is_none() && !matches!(cli.verb, Verb::Cache(_)) {
        return Err(Error::Usage("Please specify repository location (-r or --repository-file)".to_owned()));
    }
    let level = variables::level(&cli.global)?;
    let context = Context::plain(global);
    let result = verb(&context, &cli.verb, level);
    context.recorder.end(&outcome(&result));
    result
}

fn verb(context: &Context, verb: &Verb, level: Option<i32>) -> Result<End> {
    match verb {
        Verb::Backup(args) => backup::run(context, args, level),
        Verb::Cache(args) => objects::cache(context, args),
        Verb::Cat(args) => objects::cat(context, &args.words),
        Verb::Check(args) => change::check(context, args),
        Verb::Copy(args) => change::copy(context, args, level),
        Verb::Diff(args) => compare::diff(context, args),
        Verb::Dump(args) => restore::dump(context, args),
        Verb::Find(args) => find::run(context, args),
        Verb::Forget(args) => forget::run(context, args),
        Verb::Init(args) => objects::init(context, args, level),
        Verb::Key(args) => objects::key(context, args),
        Verb::List(args) => objects::list(context, &args.words),
        Verb::Ls(args) => ls::run(context, args),
        Verb::Migrate(_) => output::print("available migrations:\nno migrations found").map(|()| End::Done),
        Verb::Mount(args) => mount(context, args),
        Verb::Prune(args) => forget::prune(context, args),
        Verb::Repair(args) => change::repair(context, args),
        Verb::Restore(args) => restore::run(context, args),
        Verb::Rewrite(args) => change::rewrite(context, args),
        Verb::Snapshots(args) => snapshots::run(context, args),
        Verb::Stats(args) => compare::stats(context, args),
        Verb::Tag(args) => change::tag(context, args),
        // There are no locks to remove, but the repository must exist.
        Verb::Unlock(_) => context.with(|_| Ok(End::Done)),
        _ => Err(Error::Bug { what: "verbs that need no repository come first" }),
    }
}

#[cfg(feature = "mount")]
fn mount(context: &Context, args: &flags::Mount) -> Result<End> {
    for (given, name) in [
        (!args.path_template.is_empty(), "--path-template"),
        (args.time_template.is_some(), "--time-template"),
        (args.owner_root, "--owner-root"),
        (args.no_default_permissions, "--no-default-permissions"),
    ] {
        if given {
            return Err(refused(name, "the names of snapshots are fixed, and modes and owners are enforced"));
        }
    }
    let target = crate::mount::check(&args.target)?;
    context.guard().check(&target)?;
    let selection = choose::selection(&args.filters)?;
    let options =
        snap_backup::ops::mount::Options { selection, numeric_ids: false, others: args.allow_other };
    context.with(|repo| {
        crate::mount::serve(repo, &target, options, args.allow_other, || {
            let target = output::printable(&target.display().to_string());
            output::print(&format!(
                "Now serving the repository at {target}\nUse another terminal or tool to browse the contents of this \
                 folder.\nWhen finished, quit with Ctrl-c here or umount the mountpoint."
            ))
        })
    })?;
    Ok(End::Done)
}

#[cfg(not(feature = "mount"))]
fn mount(_: &Context, _: &flags::Mount) -> Result<End> {
    Err(refused("mount", "this program was built without it"))
}

/// Converts the result for the run log.
fn outcome(result: &Result<End>) -> Result<Outcome> {
    match result {
        Ok(End::Done) => Ok(Outcome::Done),
        Ok(End::Code(codes::INCOMPLETE, _)) => Ok(Outcome::Problems),
        Ok(End::Code(code, _)) => Ok(Outcome::Failed(*code)),
        Err(error) if error.is_broken_pipe() => Ok(Outcome::Done),
        Err(Error::Interrupted) => Ok(Outcome::Interrupted),
        Err(error) => Ok(Outcome::Failed(codes::code(error))),
    }
}
