//! The context of a verb: the global options with what the configuration adds, and the repository they name.

use std::ffi::OsString;
use std::rc::Rc;
use std::sync::Arc;

use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::{Discovered, Repository};
use snap_backup::run_log::RunRecord;
use snap_backup::run_log::known::KnownPlace;
use snap_backup::storage::Storage;
use snap_backup::{Error, Result};

use crate::args::global::Global;
use crate::args::repository_url;
use crate::compat::Legacy;
use crate::config::model::{RepositorySettings, SetSettings};
use crate::config::{Config, Entry, Set, ignored_file_message};
use crate::process::command_line;
use crate::run_log::Recorder;
use crate::terminal::{output, repository_messages};
use crate::{password, trust};

/// The options and settings that every verb may need.
pub(crate) struct Context {
    /// Options of the command line.
    pub(crate) given: Global,
    /// The same, completed from the configuration.
    pub(crate) global: Global,
    pub(crate) config: Rc<Config>,
    /// The set that the verb works on.
    pub(crate) set: Option<Set>,
    /// Settings from the variables of the legacy backup script.
    pub(crate) legacy: Option<Legacy>,
    /// Records this run in the run log.
    pub(crate) recorder: Recorder,
}

impl Context {
    /// Begins the record of this run for `status`, unless it is a dry run. Must be called before anything can
    /// fail. Without a repository there is nothing to record.
    pub(crate) fn begin(&self, verb: &str, dry_run: bool, fill: impl FnOnce(&mut RunRecord)) {
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

    /// Returns a context without a configuration file and without the legacy script's variables.
    pub(crate) fn plain(global: Global) -> Self {
        let recorder = Recorder::new(&global);
        let (given, config) = (global.clone(), Rc::default());
        Self { given, global, config, set: None, legacy: None, recorder }
    }

    pub(crate) fn new(given: Global, config: Config) -> Self {
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

    /// Returns the context of a set, in which the variables of the legacy backup script have no effect.
    pub(crate) fn for_set(&self, set: &Set) -> Self {
        self.derive(self.given.clone(), Some(set))
    }

    /// Returns the context of a repository, given by its name in the configuration or its location.
    pub(crate) fn for_repository(&self, name: impl Into<OsString>) -> Self {
        self.derive(Global { repo: Some(name.into()), ..self.given.clone() }, None)
    }

    /// Returns a copy with a new recorder; the legacy script's variables are read again.
    pub(crate) fn with_new_recorder(&self) -> Self {
        let legacy = Legacy::from_environment();
        Self { global: self.global.clone(), legacy, ..self.derive(self.given.clone(), self.set.as_ref()) }
    }

    /// Returns a context with the same configuration, a new recorder, and without the legacy script's
    /// variables.
    fn derive(&self, given: Global, set: Option<&Set>) -> Self {
        let global = self.config.complete(&given, set);
        let (config, recorder) = (Rc::clone(&self.config), Recorder::new(&global));
        Self { given, global, config, set: set.cloned(), legacy: None, recorder }
    }

    /// Returns the configuration of the repository.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.config.entry(self.global.repo.as_deref()?)
    }

    /// Returns the settings of the repository, or the defaults.
    pub(crate) fn repository_settings(&self) -> RepositorySettings {
        self.entry().map(|entry| entry.settings.clone()).unwrap_or_default()
    }

    /// Returns the settings of the set, or the defaults.
    pub(crate) fn set_settings(&self) -> SetSettings {
        self.set.as_ref().map(|set| set.settings.clone()).unwrap_or_default()
    }

    /// Returns the storage that -r, SNAP_REPO or the legacy script's variable names. It need not contain a
    /// repository.
    pub(crate) fn storage(&self) -> Result<Arc<dyn Storage>> {
        let legacy = self.legacy.as_ref().map(|legacy| legacy.repository.as_os_str());
        let repo = self.global.repo().or(legacy).ok_or_else(|| {
            Error::Usage(
                "no repository given: use -r REPO, SNAP_REPO or snap.toml (`snap config init` creates it)"
                    .to_owned(),
            )
        })?;
        self.config.expect_name(repo)?;
        let storage = repository_url::open(repo, &self.global)?;
        if repository_url::exposes_login(repo) {
            trust::warn_of_plain_login(&self.global, &storage.location());
        }
        Ok(storage)
    }

    /// Returns the legacy script's settings if only they name the repository.
    pub(crate) fn legacy_alone(&self) -> Option<&Legacy> {
        self.legacy.as_ref().filter(|_| self.global.repo().is_none())
    }

    /// Opens the repository, runs `work`, and prints the repository's warnings.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Repository) -> Result<T>) -> Result<T> {
        let repo = self.open(self.storage()?)?;
        self.with_open(&repo, work)
    }

    /// Like `with`, for a repository that is already open.
    pub(crate) fn with_open<T>(
        &self,
        repo: &Repository,
        work: impl FnOnce(&Repository) -> Result<T>,
    ) -> Result<T> {
        trust::warn_if_unencrypted(&self.global, self.legacy_alone().is_some(), repo);
        self.pass_on_warnings(repo);
        let result = work(repo);
        self.pass_on_warnings(repo);
        result
    }

    /// Finds the repository without opening it.
    pub(crate) fn find(&self, storage: &dyn Storage) -> Result<Discovered> {
        let known = self.known(storage);
        Ok(Repository::discover(storage)?.known_by(&known).with_key(self.global.key()))
    }

    /// Returns what this machine knows of the storage's location.
    pub(crate) fn known(&self, storage: &dyn Storage) -> KnownPlace {
        KnownPlace::new(self.global.state().as_deref(), &storage.location())
    }

    pub(crate) fn open(&self, storage: Arc<dyn Storage>) -> Result<Repository> {
        let found = self.find(&*storage)?;
        let mut access = self.access(&found, &storage.location())?;
        self.open_found(storage, &found, &mut access)
    }

    /// Opens the repository; asks again if a typed password was wrong. Afterwards `access` contains the right
    /// one.
    pub(crate) fn open_found(
        &self,
        storage: Arc<dyn Storage>,
        found: &Discovered,
        access: &mut OpenOptions,
    ) -> Result<Repository> {
        let repo = self.unlock(storage, found, access)?;
        if !self.global.with_write_key {
            repo.may_read()?;
        }
        Ok(repo.used_by(command_line::text()))
    }

    fn unlock(
        &self,
        storage: Arc<dyn Storage>,
        found: &Discovered,
        access: &mut OpenOptions,
    ) -> Result<Repository> {
        let tries = if password::is_asked_for(&self.global) { password::TRIES } else { 1 };
        for _ in 1..tries {
            match Repository::open_found(Arc::clone(&storage), found.clone(), access) {
                Err(Error::WrongPassword { location, .. }) => {
                    access.password = Some(password::ask_again(&self.global, &location)?)
                }
                result => return result,
            }
        }
        Repository::open_found(storage, found.clone(), access)
    }

    /// Returns what is needed to open the repository; may ask for a password.
    pub(crate) fn access(&self, found: &Discovered, location: &str) -> Result<OpenOptions> {
        let password = if found.is_encrypted() {
            password::of_repository(&self.global, location)?
        } else if password::is_given(&self.global) {
            return Err(Error::Refused(
                "a password was given, but the repository is not encrypted: it may be the wrong one (pass \
                 --insecure-no-password to open it anyway)"
                    .to_owned(),
            ));
        } else {
            None
        };
        let (cache, state, control) =
            (self.global.cache(), self.global.state(), repository_messages::control());
        Ok(OpenOptions { password, cache, state, accept: false, control })
    }

    pub(crate) fn pass_on_warnings(&self, repo: &Repository) {
        repository_messages::print(repo, self.global.json, self.prints_success());
    }

    /// Prints the patterns that matched nothing, which may be mistakes, in verbose mode.
    pub(crate) fn print_unmatched(&self, patterns: &[String]) {
        if self.global.verbose > 0 && !self.global.json {
            for pattern in patterns {
                let text = format!("snap: the pattern '{pattern}' matched nothing");
                output::eprint(&output::printable(&text));
            }
        }
    }

    /// Returns whether to print messages about success.
    pub(crate) fn prints_success(&self) -> bool {
        !self.global.quiet
    }
}

/// Loads the configuration. Warns if a file in the working directory was ignored and no other one is used.
pub(crate) fn load_config(global: &Global) -> Result<Config> {
    let config = Config::load(global)?;
    if let (None, false, Some(why)) = (&config.file, global.quiet, ignored_file_message()) {
        output::warn(global.json, why);
    }
    Ok(config)
}
