//! The context of a verb: the global options with what the configuration adds, and the repository they name.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::rc::Rc;
use std::sync::Arc;

use snap_backup::model::config::CipherKind;
use snap_backup::repo::repository::{Discovered, OpenOptions, Repository};
use snap_backup::run_log::Record;
use snap_backup::storage::Storage;
use snap_backup::{Error, Result};

use crate::args::global::Global;
use crate::args::repository_url;
use crate::compat::Legacy;
use crate::config::{Config, Entry, Set, passed_over};
use crate::password;
use crate::run_log::Recorder;
use crate::terminal::output;

/// What every verb may need of the global options.
pub(crate) struct Context {
    /// What was given.
    pub(crate) given: Global,
    /// That, with what the configuration says where nothing was given.
    pub(crate) global: Global,
    pub(crate) config: Rc<Config>,
    /// The set that the work is for.
    pub(crate) set: Option<Set>,
    /// What the old script's variables say.
    pub(crate) legacy: Option<Legacy>,
    /// Writes down what this run does.
    pub(crate) recorder: Recorder,
}

impl Context {
    /// From here on this run is one that `status` tells of, unless it is a dry one. To be called before anything can
    /// fail; where the repository has no name there is nothing to tell of.
    pub(crate) fn begin(&self, verb: &str, dry_run: bool, fill: impl FnOnce(&mut Record)) {
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

    /// The same for one set: what the old script's variables say counts no more.
    pub(crate) fn for_set(&self, set: &Set) -> Self {
        let global = self.config.complete(&self.given, Some(set));
        let given = self.given.clone();
        let (config, recorder) = (Rc::clone(&self.config), Recorder::new(&global));
        Self { given, global, config, set: Some(set.clone()), legacy: None, recorder }
    }

    /// The same once more.
    pub(crate) fn again(&self) -> Self {
        let (given, global, config) = (self.given.clone(), self.global.clone(), Rc::clone(&self.config));
        let recorder = Recorder::new(&global);
        Self { given, global, config, set: self.set.clone(), legacy: Legacy::from_environment(), recorder }
    }

    /// The same for a repository, by its name in the configuration or where it is.
    pub(crate) fn for_repository(&self, name: impl Into<OsString>) -> Self {
        let given = Global { repo: Some(name.into()), ..self.given.clone() };
        let global = self.config.complete(&given, None);
        let (config, recorder) = (Rc::clone(&self.config), Recorder::new(&global));
        Self { given, global, config, set: None, legacy: None, recorder }
    }

    /// What the configuration says of the repository.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.config.entry(self.global.repo.as_deref()?)
    }

    /// The storage that -r, SNAP_REPO or the old script's variable names; it need not hold a repository yet.
    pub(crate) fn storage(&self) -> Result<Arc<dyn Storage>> {
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
    pub(crate) fn legacy_alone(&self) -> Option<&Legacy> {
        let named = self.global.repo.as_deref().is_some_and(|repo| !repo.is_empty());
        self.legacy.as_ref().filter(|_| !named)
    }

    /// Opens the repository, runs `work`, and says what the repository warned of meanwhile.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Repository) -> Result<T>) -> Result<T> {
        let repo = self.open(self.storage()?)?;
        self.watch(&repo, work)
    }

    /// As `with`, for a repository that is open.
    pub(crate) fn watch<T>(
        &self,
        repo: &Repository,
        work: impl FnOnce(&Repository) -> Result<T>,
    ) -> Result<T> {
        self.warn_of_openness(repo);
        self.pass_on_warnings(repo);
        let result = work(repo);
        self.pass_on_warnings(repo);
        result
    }

    pub(crate) fn open(&self, storage: Arc<dyn Storage>) -> Result<Repository> {
        let found = Repository::find(&*storage)?.with_key(self.global.key());
        let access = self.access(&found, &storage.location())?;
        self.open_found(storage, found, access)
    }

    /// Who types a password may mistype it.
    pub(crate) fn open_found(
        &self,
        storage: Arc<dyn Storage>,
        found: Discovered,
        mut access: OpenOptions,
    ) -> Result<Repository> {
        self.open_asking(storage, &found, &mut access)
    }

    /// As `open_found`; `access` is then what opened it.
    pub(crate) fn open_asking(
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
    pub(crate) fn warn_of_openness(&self, repo: &Repository) {
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
    pub(crate) fn has_heard_of_openness(&self, repo: &Repository) -> bool {
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
    pub(crate) fn access(&self, found: &Discovered, location: &str) -> Result<OpenOptions> {
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

    pub(crate) fn pass_on_warnings(&self, repo: &Repository) {
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
    pub(crate) fn tell_unmatched(&self, patterns: &[String]) {
        if self.global.verbose > 0 && !self.global.json {
            for pattern in patterns {
                let text = format!("snap: the pattern '{pattern}' matched nothing");
                output::complain(&output::printable(&text));
            }
        }
    }

    /// Whether sentences about success are wanted.
    pub(crate) fn talks(&self) -> bool {
        !self.global.quiet
    }
}

/// The configuration; that one in the working directory was passed over is said where no other takes its place.
pub(crate) fn load_config(global: &Global) -> Result<Config> {
    let config = Config::load(global)?;
    if let (None, false, Some(why)) = (&config.file, global.quiet, passed_over()) {
        output::warn(global.json, why);
    }
    Ok(config)
}
