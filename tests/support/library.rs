//! Backups, restores and checks through the library, as the command makes them: the repository is opened anew
//! each time, with a cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snap_backup::model::id::SnapshotId;
use snap_backup::ops::backup::Backup;
use snap_backup::ops::{backup, check, restore};
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots;
use snap_backup::storage::Storage;
use snap_backup::{Control, Result};

use super::heard::Heard;
use super::watchdog::Watchdog;
use super::{CHEAP_KDF, compare_trees};

/// A directory with sources in it, and a repository that is elsewhere.
pub struct Library {
    home: tempfile::TempDir,
    storage: Arc<dyn Storage>,
    password: Option<String>,
    heard: Heard,
    _watchdog: Watchdog,
}

impl Library {
    /// Creates the repository, encrypted if there is a password.
    pub fn on(storage: Arc<dyn Storage>, password: Option<&str>) -> Self {
        let password = password.map(|password| password.to_owned().into());
        Self::with(storage, InitOptions { password, ..InitOptions::default() })
    }

    /// Creates the repository with these options and a cache of its own.
    pub fn with(storage: Arc<dyn Storage>, options: InitOptions) -> Self {
        let home = tempfile::tempdir().unwrap();
        let password = options.password.as_ref().map(|password| password.to_string());
        let heard = Heard::default();
        let library = Self { home, storage, password, heard, _watchdog: Watchdog::start() };
        let options = InitOptions { cache: library.access().cache, kdf: CHEAP_KDF, ..options };
        Repository::init(Arc::clone(&library.storage), &options).unwrap();
        library
    }

    fn access(&self) -> OpenOptions {
        OpenOptions {
            password: self.password.clone().map(Into::into),
            cache: Some(self.cache()),
            control: self.heard.control(),
            ..OpenOptions::default()
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    pub fn open(&self) -> Repository {
        Repository::open(Arc::clone(&self.storage), &self.access()).unwrap()
    }

    /// What the repositories that it opened had to warn of since the last call.
    pub fn warnings(&self) -> Vec<String> {
        self.heard.take()
    }

    /// Backs up a source, stored under its name.
    pub fn try_backup(&self, source: &str, options: backup::Options) -> Result<backup::Report> {
        let store_as = Some(source.as_bytes().to_vec());
        let options = backup::Options { sources: vec![self.path(source)], store_as, ..options };
        Backup::begin(options, None, &Control::default())?.run(&self.open(), &Control::default())
    }

    /// Backs up; must succeed without a problem.
    pub fn backup(&self, source: &str, options: backup::Options) -> backup::Report {
        let summary = self.try_backup(source, options).unwrap_or_else(|err| panic!("{}", err.chain()));
        assert_eq!(summary.problems, []);
        summary
    }

    /// Returns the existing snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotId> {
        snapshots::list(&self.open()).unwrap().iter().map(|snapshot| snapshot.id).collect()
    }

    /// Returns every difference between the restored snapshot of a source and `original`.
    pub fn differences(
        &self,
        repo: &Repository,
        id: SnapshotId,
        source: &str,
        original: &Path,
    ) -> Vec<String> {
        let target = tempfile::tempdir_in(self.home.path()).unwrap();
        let options = restore::Options {
            selector: id.hex(),
            target: target.path().to_path_buf(),
            ..restore::Options::default()
        };
        match restore::run(repo, &options, &Control::default()) {
            Err(err) => vec![err.chain()],
            Ok(summary) if !summary.problems.is_empty() => {
                let told = summary.problems.iter();
                told.map(ToString::to_string).collect()
            }
            Ok(_) => compare_trees(original, &target.path().join(source)),
        }
    }

    /// A snapshot of a source must restore to the current source.
    pub fn assert_restores(&self, id: Option<SnapshotId>, source: &str) {
        let Some(id) = id else { panic!("no snapshot was made") };
        let differences = self.differences(&self.open(), id, source, &self.path(source));
        assert!(differences.is_empty(), "{}: {differences:#?}", id.short());
    }

    /// Returns the findings of `check --read-data`.
    pub fn errors(&self) -> Vec<String> {
        let options = check::Options { read_data: true, ..check::Options::default() };
        let errors = check::run(&self.open(), &options, &Control::default()).unwrap().errors;
        errors.iter().map(ToString::to_string).collect()
    }

    /// Writes files below a source.
    pub fn write(&self, source: &str, tree: &[(&str, &[u8])]) {
        for (name, bytes) in tree {
            let path = self.path(source).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}
