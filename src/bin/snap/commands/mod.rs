//! One file per verb: open, call the library, print.

mod backup;
mod backup_summary;
#[cfg(feature = "browse")]
mod browse;
mod cat;
mod check;
mod cleanup;
mod completions;
mod config;
mod copy;
mod daemon;
mod destination;
mod diff;
mod drill;
mod du;
mod export;
mod find;
mod forget;
pub(crate) mod gc;
mod history;
mod hooks;
mod import;
mod init;
mod key;
mod known;
mod ls;
mod mirror;
#[cfg(feature = "mount")]
mod mount;
mod protected;
mod repair;
mod restore;
mod rewrite;
mod schedule;
mod scrub;
mod select;
mod selector;
#[cfg(feature = "serve")]
mod serve;
mod sets;
mod show;
mod snapshots;
mod stats;
mod status;
mod sync;
mod undelete;

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::rc::Rc;
use std::sync::Arc;

use clap::Subcommand;
use snap_backup::model::config::CipherKind;
use snap_backup::repo::repository::{Discovered, OpenOptions, Repository};
use snap_backup::run_log::Record;
use snap_backup::storage::Storage;
use snap_backup::{Error, Result};

use crate::args::{Cli, Global};
use crate::compat::Legacy;
use crate::config::{Config, Entry, Set, passed_over};
use crate::exit::Outcome;
use crate::keep_args::{Cleanup, Forget};
use crate::run_log::Recorder;
use crate::schedule::job_process::follow_parent;
use crate::{help, output, password, repository_url, threads};

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
    /// Print the help of a verb, or of a topic
    Help(help::Help),
}

/// Runs the verb.
pub(crate) fn run(cli: Cli) -> Result<Outcome> {
    follow_parent();
    // What helps where the configuration is wrong must not need it.
    match &cli.verb {
        Verb::Config(args) => return config::run(&cli.global, args),
        Verb::Completions(args) => return completions::completions(args),
        Verb::Man(args) => return completions::man(&cli.global, args),
        Verb::Help(args) => return help::run(args),
        _ => {}
    }
    threads::check()?;
    let config = load(&cli.global)?;
    let context = Context::new(cli.global, config);
    let result = dispatch(&context, cli.verb);
    context.recorder.end(&result);
    result
}

/// The configuration; that one in the working directory was passed over is said where no other takes its place.
fn load(global: &Global) -> Result<Config> {
    let config = Config::load(global)?;
    if let (None, false, Some(why)) = (&config.file, global.quiet, passed_over()) {
        output::warn(global.json, why);
    }
    Ok(config)
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
        Verb::Undelete(args) => undelete::run(context, &args),
        Verb::Gc(args) => gc::run(context, &args),
        Verb::Cleanup(args) => cleanup::run(context, &args),
        Verb::Key(args) => key::run(context, &args),
        Verb::Help(args) => help::run(&args),
    }
}

/// What every verb may need of the global options.
struct Context {
    /// What was given.
    given: Global,
    /// That, with what the configuration says where nothing was given.
    global: Global,
    config: Rc<Config>,
    /// The set that the work is for.
    set: Option<Set>,
    /// What the old script's variables say.
    legacy: Option<Legacy>,
    /// Writes down what this run does.
    recorder: Recorder,
}

impl Context {
    /// From here on this run is one that `status` tells of, unless it is a dry one. To be called before anything can
    /// fail; where the repository has no name there is nothing to tell of.
    fn begin(&self, verb: &str, dry_run: bool, fill: impl FnOnce(&mut Record)) {
        if let Ok(storage) = self.storage()
            && !dry_run
        {
            self.recorder.begin(verb, &storage.location(), |record| {
                record.set = self.set.as_ref().map(|set| set.name.clone());
                record.due = self.due();
                fill(record);
            });
        }
    }

    fn new(given: Global, config: Config) -> Self {
        let global = config.complete(&given, None);
        let recorder = Recorder::new(&global);
        Self {
            given,
            global,
            config: Rc::new(config),
            set: None,
            legacy: Legacy::from_environment(),
            recorder,
        }
    }

    /// The same for one set: what the old script's variables say counts no more.
    fn for_set(&self, set: &Set) -> Self {
        let global = self.config.complete(&self.given, Some(set));
        let given = self.given.clone();
        let (config, recorder) = (Rc::clone(&self.config), Recorder::new(&global));
        Self { given, global, config, set: Some(set.clone()), legacy: None, recorder }
    }

    /// The same once more.
    fn again(&self) -> Self {
        let (given, global, config) = (self.given.clone(), self.global.clone(), Rc::clone(&self.config));
        let recorder = Recorder::new(&global);
        Self { given, global, config, set: self.set.clone(), legacy: Legacy::from_environment(), recorder }
    }

    /// The same for a repository, by its name in the configuration or where it is.
    fn for_repository(&self, name: impl Into<OsString>) -> Self {
        let given = Global { repo: Some(name.into()), ..self.given.clone() };
        let global = self.config.complete(&given, None);
        let (config, recorder) = (Rc::clone(&self.config), Recorder::new(&global));
        Self { given, global, config, set: None, legacy: None, recorder }
    }

    /// What the configuration says of the repository.
    fn entry(&self) -> Option<&Entry> {
        self.config.entry(self.global.repo.as_deref()?)
    }

    /// The storage that -r, SNAP_REPO or the old script's variable names; it need not hold a repository yet.
    fn storage(&self) -> Result<Arc<dyn Storage>> {
        let named = self.global.repo.as_deref().filter(|repo| !repo.is_empty());
        let repo = named.or(self.legacy.as_ref().map(|legacy| legacy.repository.as_os_str()));
        let repo = repo.ok_or_else(|| {
            Error::Usage(
                "no repository given: name one with -r REPO or SNAP_REPO, or in snap.toml (`snap config init`)"
                    .to_owned(),
            )
        })?;
        self.config.expect_name(repo)?;
        repository_url::open(repo, &self.global)
    }

    /// What the old script's variables say, where they alone name the repository.
    fn legacy_alone(&self) -> Option<&Legacy> {
        let named = self.global.repo.as_deref().is_some_and(|repo| !repo.is_empty());
        self.legacy.as_ref().filter(|_| !named)
    }

    /// Opens the repository, runs `work`, and says what the repository warned of meanwhile.
    fn with<T>(&self, work: impl FnOnce(&Repository) -> Result<T>) -> Result<T> {
        let repo = self.open(self.storage()?)?;
        self.watch(&repo, work)
    }

    /// As `with`, for a repository that is open.
    fn watch<T>(&self, repo: &Repository, work: impl FnOnce(&Repository) -> Result<T>) -> Result<T> {
        self.warn_of_openness(repo);
        self.pass_on_warnings(repo);
        let result = work(repo);
        self.pass_on_warnings(repo);
        result
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Repository> {
        let found = Repository::find(&*storage)?.with_key(self.global.key());
        let access = self.access(&found, &storage.location())?;
        self.open_found(storage, found, access)
    }

    /// Who types a password may mistype it.
    fn open_found(
        &self,
        storage: Arc<dyn Storage>,
        found: Discovered,
        mut access: OpenOptions,
    ) -> Result<Repository> {
        self.open_asking(storage, &found, &mut access)
    }

    /// As `open_found`; `access` is then what opened it.
    fn open_asking(
        &self,
        storage: Arc<dyn Storage>,
        found: &Discovered,
        access: &mut OpenOptions,
    ) -> Result<Repository> {
        let tries = if password::is_asked_for(&self.global) { password::TRIES } else { 1 };
        for _ in 1..tries {
            match Repository::open_found(Arc::clone(&storage), found.clone(), access) {
                Err(Error::WrongPassword { location, .. }) => {
                    access.password = Some(password::again(&location)?)
                }
                result => return result,
            }
        }
        Repository::open_found(storage, found.clone(), access)
    }

    /// The script knew no encryption, so nobody chose to have none. That is said once, and not to who has chosen it since.
    fn warn_of_openness(&self, repo: &Repository) {
        let is_open = self.legacy_alone().is_some() && repo.config().cipher == CipherKind::None;
        if is_open && !self.global.insecure_no_password && !self.has_heard_of_openness(repo) {
            output::warn(
                self.global.json,
                &format!(
                    "the repository at {} is not encrypted: whoever can read it can read what is saved in it",
                    repo.location()
                ),
            );
        }
    }

    /// Whether this machine has said before that the repository is not encrypted; from here on it has.
    fn has_heard_of_openness(&self, repo: &Repository) -> bool {
        let Some(dir) = self.global.state().map(|dir| dir.join("unencrypted")) else {
            return self.global.quiet;
        };
        let file = dir.join(repo.config().repo.hex());
        // Where nothing can be remembered, it is said again.
        if file.exists() {
            return true;
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        let _ = made.and_then(|()| std::fs::write(&file, ""));
        false
    }

    /// What opening takes; may ask for a password.
    fn access(&self, found: &Discovered, location: &str) -> Result<OpenOptions> {
        let password = if found.is_encrypted() {
            password::existing(&self.global, location)?
        } else if password::is_given(&self.global) {
            return Err(Error::Refused(
                "a password was given but the repository is unencrypted: it may not be the one you mean \
                 (pass --insecure-no-password to open it anyway)"
                    .to_owned(),
            ));
        } else {
            None
        };
        Ok(OpenOptions { password, cache: self.global.cache(), state: self.global.state(), accept: false })
    }

    fn pass_on_warnings(&self, repo: &Repository) {
        for warning in repo.warnings() {
            output::warn(self.global.json, &warning);
        }
        for note in repo.notes() {
            if self.talks() {
                output::note(self.global.json, &note);
            }
        }
    }

    /// Patterns that matched nothing, for who wants to know: they may be slips.
    fn tell_unmatched(&self, patterns: &[String]) {
        if self.global.verbose > 0 && !self.global.json {
            for pattern in patterns {
                let text = format!("snap: the pattern '{pattern}' matched nothing");
                output::complain(&output::printable(&text));
            }
        }
    }

    /// Whether sentences about success are wanted.
    fn talks(&self) -> bool {
        !self.global.quiet
    }
}

/// Done, or done with problems.
fn outcome(problems: &[(Vec<u8>, String)]) -> Outcome {
    if problems.is_empty() { Outcome::Done } else { Outcome::Problems }
}
