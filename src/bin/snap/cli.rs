//! The command line as clap parses it, and the dispatch to its verb. Only `main` and the modules that
//! describe the command line depend on it.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgMatches, FromArgMatches, Parser, Subcommand};
use snap_backup::Result;

use crate::args::global::Global;
use crate::args::keep::{Cleanup, Forget};
#[cfg(feature = "browse")]
use crate::commands::browse;
#[cfg(feature = "mount")]
use crate::commands::mount;
#[cfg(feature = "serve")]
use crate::commands::serve;
use crate::commands::{
    alarm, audit, backup, cat, check, cleanup, completions, config, copy, daemon, diff, drill, du, export,
    find, forget, gc, heal, history, import, init, key, ls, repair, restore, rewrite, schedule, snapshots,
    stats, status, sync, undelete,
};
use crate::context::Context;
use crate::exit::Outcome;
use crate::process::{priority, threads};
use crate::schedule::job_process::follow_parent;
use crate::{context, help, password, restic};

/// Encrypted, deduplicated and compressed backups
#[derive(Debug, Parser)]
#[command(name = "snap", version, propagate_version = true, disable_help_subcommand = true, after_help = CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Cli {
    /// Parses a command line. A flag that supplies a password takes precedence over every variable that does.
    ///
    /// # Errors
    /// The arguments are invalid, or only ask for help.
    pub(crate) fn of_arguments(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut command = help::command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(|err| err.format(&mut command))?;
        cli.choose_passwords(&matches).map_err(|why| command.error(ErrorKind::ArgumentConflict, why))?;
        Ok(cli)
    }

    fn choose_passwords(&mut self, matches: &ArgMatches) -> Result<(), String> {
        let Global { password_file, password_command, .. } = &mut self.global;
        let ids = ["password_file", "password_command"];
        password::choose(
            matches,
            ids,
            password_file,
            password_command,
            crate::args::global::PASSWORD_VARIABLE,
        )?;
        match (&mut self.verb, matches.subcommand()) {
            (Verb::Copy(args), Some((_, matches))) => args.other.choose_password(matches),
            _ => Ok(()),
        }
    }
}

const CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done with problems, 10 no repository, \
    12 wrong or no password, 20 damage found, 21 storage full, 22 forget refused, 23 backup overdue, \
    24 alarm about an unusual backup, 25 command of a drill failed, 26 out of time (partial snapshot saved), \
    75 skipped, 130 interrupted.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a repository
    Init(init::Init),
    /// Back up files and directories as a new snapshot
    Backup(Box<backup::Backup>),
    /// List snapshots
    #[command(visible_alias = "list")]
    Snapshots(snapshots::Snapshots),
    /// List the files in a snapshot, or in a directory of it
    Ls(ls::Ls),
    /// Print a file from a snapshot
    #[command(visible_alias = "dump")]
    Cat(cat::Cat),
    /// Restore a snapshot, or a part of it, to a directory
    Restore(restore::Restore),
    /// Mount the snapshots as directories
    #[cfg(feature = "mount")]
    Mount(mount::Mount),
    /// Browse snapshots in the terminal, and restore from there
    #[cfg(feature = "browse")]
    Browse(browse::Browse),
    /// Export a snapshot, or a part of it, as a tar archive
    Export(export::Export),
    /// Import a tar archive, past states in directories, or the history of restic or borg
    Import(Box<import::Import>),
    /// Show what differs between two snapshots, or a snapshot and a directory
    Diff(diff::Diff),
    /// Find files in all snapshots, by name, time, size, type or content
    Find(Box<find::Find>),
    /// List the versions of a file, or restore one
    History(history::History),
    /// Copy snapshots to another repository
    Copy(Box<copy::Copy>),
    /// Bring a second copy of the repository up to date
    Sync(sync::Sync),
    /// Show which directories take the most space in a snapshot or the repository
    Du(du::Du),
    /// Verify the repository
    Check(check::Check),
    /// Test a restore: restore a sample, and compare it
    Drill(drill::DrillArgs),
    /// Repair a damaged repository
    #[command(subcommand)]
    Repair(repair::Repair),
    /// Forget snapshots, by name or by rules; `snap undelete` can bring them back
    Forget(Box<Forget>),
    /// Show sizes: original, stored, and for each host and set
    Stats(stats::Stats),
    /// Serve snapshots as a web page and by WebDAV
    #[cfg(feature = "serve")]
    Serve(serve::Serve),
    /// Show how old the last backups are, and what failed
    Status(status::Status),
    /// Remove paths from snapshots, or change their attributes
    Rewrite(Box<rewrite::Rewrite>),
    /// Change the tags of snapshots
    Tag(rewrite::Tag),
    /// Protect snapshots from all retention rules
    Pin(rewrite::Pin),
    /// Remove the pin from snapshots
    Unpin(rewrite::Pin),
    /// List alarms about unusual backups, and settle them
    Alarm(alarm::Alarm),
    /// List who forgot, rewrote or purged what, and when
    Audit(audit::Audit),
    /// Restore files that have bit rot, or list them
    Heal(heal::Heal),
    /// Bring forgotten snapshots back, or list them
    Undelete(undelete::Undelete),
    /// Delete data that no snapshot needs (garbage collection)
    #[command(visible_alias = "prune")]
    Gc(gc::Collect),
    /// Forget snapshots by rules, then delete data that no snapshot needs
    Cleanup(Box<Cleanup>),
    /// Create, check and show the configuration
    #[command(subcommand)]
    Config(config::Verb),
    /// Print a script for completion in a shell
    Completions(completions::Completions),
    /// Write the manual pages
    Man(completions::Pages),
    /// Run scheduled jobs in the foreground
    Daemon(daemon::Daemon),
    /// Show the schedule, run what is due, or install it in the system
    #[command(subcommand)]
    Schedule(schedule::Verb),
    /// Manage the passwords of an encrypted repository
    #[command(subcommand)]
    Key(key::Key),
    /// Emulate restic's command line, for programs that call restic
    Restic(restic::Restic),
    /// Print the help of a command or a topic
    Help(help::Help),
}

/// Runs the verb.
pub(crate) fn run(cli: Cli) -> Result<Outcome> {
    follow_parent();
    // These verbs must work even if the configuration is invalid.
    match &cli.verb {
        Verb::Config(args) => return config::run(&cli.global, args),
        Verb::Completions(args) => return completions::completions(args),
        Verb::Man(args) => return completions::man(&cli.global, args),
        Verb::Help(args) => return help::run(args),
        Verb::Restic(args) => return restic::run(args),
        _ => {}
    }
    // Priorities must be set before any thread starts, because threads inherit them.
    let _ = priority::apply(&cli.global);
    threads::check()?;
    let config = context::load_config(&cli.global)?;
    let mut global = cli.global;
    global.with_write_key =
        matches!(cli.verb, Verb::Backup(_) | Verb::Status(_) | Verb::Daemon(_) | Verb::Schedule(_));
    let context = Context::new(global, config);
    let result = dispatch(&context, cli.verb);
    context.recorder.end(&result);
    result
}

fn dispatch(context: &Context, verb: Verb) -> Result<Outcome> {
    match verb {
        Verb::Daemon(args) => daemon::run(context, &args),
        Verb::Schedule(args) => schedule::run(context, &args),
        Verb::Config(args) => config::run(&context.given, &args),
        Verb::Init(args) => init::run(context, &args),
        Verb::Backup(args) => backup::run(context, &args),
        Verb::Snapshots(args) => snapshots::run(context, &args),
        Verb::Ls(args) => ls::run(context, &args),
        Verb::Cat(args) => cat::run(context, &args),
        Verb::Restore(args) => restore::run(context, args),
        #[cfg(feature = "mount")]
        Verb::Mount(args) => mount::run(context, &args),
        #[cfg(feature = "browse")]
        Verb::Browse(_) => browse::run(context),
        Verb::Check(args) => check::run(context, args),
        Verb::Repair(args) => repair::run(context, args),
        Verb::Export(args) => export::run(context, &args),
        Verb::Diff(args) => diff::run(context, &args),
        Verb::Find(args) => find::run(context, *args),
        Verb::History(args) => history::run(context, &args),
        Verb::Du(args) => du::run(context, &args),
        Verb::Copy(args) => copy::run(context, &args),
        Verb::Sync(args) => sync::run(context, &args),
        Verb::Rewrite(args) => rewrite::run(context, &args),
        Verb::Tag(args) => rewrite::tag(context, &args),
        Verb::Pin(args) => rewrite::pin(context, &args, true),
        Verb::Unpin(args) => rewrite::pin(context, &args, false),
        Verb::Import(args) => import::run(context, &args),
        Verb::Forget(args) => forget::run(context, &args),
        Verb::Stats(args) => stats::run(context, &args),
        #[cfg(feature = "serve")]
        Verb::Serve(args) => serve::run(context, &args),
        Verb::Status(args) => status::run(context, &args),
        Verb::Drill(args) => drill::run(context, &args),
        Verb::Completions(args) => completions::completions(&args),
        Verb::Man(args) => completions::man(&context.given, &args),
        Verb::Alarm(args) => alarm::run(context, &args),
        Verb::Audit(args) => audit::run(context, &args),
        Verb::Heal(args) => heal::run(context, &args),
        Verb::Undelete(args) => undelete::run(context, &args),
        Verb::Gc(args) => gc::run(context, &args),
        Verb::Cleanup(args) => cleanup::run(context, &args),
        Verb::Key(args) => key::run(context, &args),
        Verb::Help(args) => help::run(&args),
        Verb::Restic(args) => restic::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
