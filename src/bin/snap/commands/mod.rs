//! One file per verb: open, call the library, print.

mod backup;
mod cat;
mod check;
mod init;
mod key;
mod ls;
mod restore;
mod snapshots;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use snap_backup::store::local::LocalStorage;
use snap_backup::store::repository::{Access, Repository};
use snap_backup::store::storage::Storage;
use snap_backup::{Error, Result};

use crate::args::{Cli, Global, Verb};
use crate::report::Outcome;
use crate::{output, password};

/// Runs the verb.
pub(crate) fn run(cli: Cli) -> Result<Outcome> {
    let context = Context { global: cli.global };
    match cli.verb {
        Verb::Init(args) => init::run(&context, &args),
        Verb::Backup(args) => backup::run(&context, &args),
        Verb::Snapshots(args) => snapshots::run(&context, &args),
        Verb::Ls(args) => ls::run(&context, &args),
        Verb::Cat(args) => cat::run(&context, &args),
        Verb::Restore(args) => restore::run(&context, args),
        Verb::Check(args) => check::run(&context, args),
        Verb::Key(args) => key::run(&context, &args),
    }
}

/// What every verb may need of the global options.
struct Context {
    global: Global,
}

impl Context {
    /// The storage that -r names; it need not hold a repository yet.
    fn storage(&self) -> Result<Arc<dyn Storage>> {
        let repo = self.global.repo.as_deref().unwrap_or_default();
        if repo.is_empty() {
            return Err(Error::Usage("no repository given: name one with -r REPO or SNAP_REPO".to_owned()));
        }
        Ok(Arc::new(LocalStorage::new(local_path(repo)?)))
    }

    /// Opens the repository, runs `work`, and says what the repository warned of meanwhile.
    fn with<T>(&self, work: impl FnOnce(&Repository) -> Result<T>) -> Result<T> {
        let repo = self.open(self.storage()?)?;
        self.watch(&repo, work)
    }

    /// As `with`, for a repository that is open.
    fn watch<T>(&self, repo: &Repository, work: impl FnOnce(&Repository) -> Result<T>) -> Result<T> {
        self.pass_on_warnings(repo);
        let result = work(repo);
        self.pass_on_warnings(repo);
        result
    }

    fn open(&self, storage: Arc<dyn Storage>) -> Result<Repository> {
        let password = if Repository::is_encrypted(&*storage)? {
            password::existing(&self.global)?
        } else if password::is_given(&self.global) {
            return Err(Error::Refused(
                "a password was given but the repository is unencrypted: it may not be the one you mean \
                 (pass --insecure-no-password to open it anyway)"
                    .to_owned(),
            ));
        } else {
            None
        };
        Repository::open(storage, &Access { password, cache: self.global.cache() })
    }

    fn pass_on_warnings(&self, repo: &Repository) {
        for warning in repo.warnings() {
            output::warn(self.global.json, &warning);
        }
    }

    /// Whether sentences about success are wanted.
    fn talks(&self) -> bool {
        !self.global.quiet
    }
}

/// The directory that a repository's name means.
fn local_path(repo: &OsStr) -> Result<&Path> {
    let bytes = repo.as_bytes();
    if let Some(path) = bytes.strip_prefix(b"file://") {
        return Ok(Path::new(OsStr::from_bytes(path)));
    }
    if bytes.windows(3).any(|part| part == b"://") {
        let name = output::path(bytes);
        return Err(Error::Usage(format!(
            "{name} is not a directory: only plain paths and file:// are known"
        )));
    }
    Ok(Path::new(repo))
}

/// Done, or done with problems.
fn outcome(problems: &[(Vec<u8>, String)]) -> Outcome {
    if problems.is_empty() { Outcome::Done } else { Outcome::Problems }
}
