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

/// A content-addressed, deduplicating snapshot store: fast, small, safe backups.
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

const CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 done with problems, 10 no repository, \
    12 wrong or no password, 20 damage found, 21 storage full, 22 nothing may be forgotten so, \
    23 overdue, 24 alarm: a backup is unlike those before it, 25 the command of a drill failed, \
    26 time was up: a partial snapshot, 75 skipped, 130 interrupted.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a repository
    Init(init::Init),
    /// Save files and directories as a new snapshot
    Backup(Box<backup::Backup>),
    /// List snapshots
    #[command(visible_alias = "list")]
    Snapshots(snapshots::Snapshots),
    /// List a snapshot, or a directory of it
    Ls(ls::Ls),
    /// Print a file of a snapshot
    #[command(visible_alias = "dump")]
    Cat(cat::Cat),
    /// Write a snapshot, or a part of it, to a directory
    Restore(restore::Restore),
    /// Show the snapshots as directories
    #[cfg(feature = "mount")]
    Mount(mount::Mount),
    /// Look around in snapshots in the terminal, and restore from there
    #[cfg(feature = "browse")]
    Browse(browse::Browse),
    /// Write a snapshot, or a part of it, as a tar archive
    Export(export::Export),
    /// Read a tar archive, or the directory of the script that snap replaces, into snapshots
    Import(Box<import::Import>),
    /// Say what differs between two snapshots, or between a snapshot and a directory
    Diff(diff::Diff),
    /// Look for files by name, time, size, kind or content, in all snapshots
    Find(Box<find::Find>),
    /// Say what versions of a file there are, and restore one
    History(history::History),
    /// Copy snapshots into another repository
    Copy(Box<copy::Copy>),
    /// Keep a second copy of the repository elsewhere
    Sync(sync::Sync),
    /// Say which directories fill a snapshot, or the repository
    Du(du::Du),
    /// Verify the repository
    Check(check::Check),
    /// Restore a sample to a scratch directory and compare it
    Drill(drill::DrillArgs),
    /// Save what can be saved of a damaged repository
    #[command(subcommand)]
    Repair(repair::Repair),
    /// Forget snapshots, by name or by what to keep: they can be brought back until a collection purges them
    Forget(Box<Forget>),
    /// Say how much there is, how small it is stored, and whose it is
    Stats(stats::Stats),
    /// Show snapshots to a browser and to WebDAV, read only
    #[cfg(feature = "serve")]
    Serve(serve::Serve),
    /// Say how long ago what was backed up, and what is wrong
    Status(status::Status),
    /// Take paths out of snapshots, or change what they say of themselves
    Rewrite(Box<rewrite::Rewrite>),
    /// Change the tags of snapshots
    Tag(rewrite::Tag),
    /// Let no rule forget snapshots
    Pin(rewrite::Pin),
    /// Let rules forget pinned snapshots again
    Unpin(rewrite::Pin),
    /// List the alarms that backups gave, and settle them
    Alarm(alarm::Alarm),
    /// List who forgot, rewrote or purged what, and when
    Audit(audit::Audit),
    /// Put the good bytes of files with bit rot back, or list such files
    Heal(heal::Heal),
    /// Bring forgotten snapshots back, or list them
    Undelete(undelete::Undelete),
    /// Delete what no snapshot needs, beside whatever else is running
    #[command(visible_alias = "prune")]
    Gc(gc::Collect),
    /// Forget what nothing says to keep, then collect
    Cleanup(Box<Cleanup>),
    /// Make, check and explain the configuration
    #[command(subcommand)]
    Config(config::Verb),
    /// Print what a shell needs to complete snap's command line
    Completions(completions::Completions),
    /// Write the manual pages
    Man(completions::Pages),
    /// Keep the schedule: run what is due when it is due, in the foreground
    Daemon(daemon::Daemon),
    /// Show the schedule, run what is due, or have the system do so
    #[command(subcommand)]
    Schedule(schedule::Verb),
    /// Manage the passwords of an encrypted repository
    #[command(subcommand)]
    Key(key::Key),
    /// Answer to restic's command line, for programs that call restic
    Restic(restic::Restic),
    /// Print the help of a verb, or of a topic
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
