//! What must hold for a repository on disk after any failure, checked through the library, so that many
//! repositories can be checked in a short time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snap_backup::ops::backup::Backup;
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::{backup, check, gc, restore};
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots;
use snap_backup::storage::local::LocalStorage;
use snap_backup::{Control, Result};

use super::compare_trees;

/// What was promised.
#[derive(Debug, Clone, Default)]
pub struct Promises {
    /// Snapshots that must exist, and the tree that each must restore to.
    pub stand: BTreeMap<String, PathBuf>,
    /// Snapshots that may exist or not, because they were being forgotten.
    pub may_stand: BTreeMap<String, PathBuf>,
    /// The id prefix of a snapshot that was acknowledged.
    pub made: Option<String>,
    /// What a snapshot with another name must restore to: one that was being made.
    pub source: PathBuf,
    /// The name of the sources in the snapshots.
    pub name: String,
}

/// Opens an unencrypted repository without a cache, because cached data is no part of the promise.
pub fn open(repo: &Path) -> Result<Repository> {
    Repository::open(Arc::new(LocalStorage::new(repo)), &OpenOptions::default())
}

impl Promises {
    /// Returns every broken promise of a repository, before any other run, and after a backup and a gc run.
    pub fn broken(&self, repo: &Path, private_dir: &Path) -> Vec<String> {
        let mut broken = self.broken_now(repo, private_dir);
        if broken.is_empty() {
            broken.extend(self.broken_later(repo, private_dir).unwrap_or_else(|err| vec![err.chain()]));
        }
        broken
    }

    pub fn broken_now(&self, repo: &Path, private_dir: &Path) -> Vec<String> {
        let repo = match open(repo) {
            Ok(repo) => repo,
            Err(err) => return vec![err.chain()],
        };
        let mut broken = self.look(&repo, private_dir).unwrap_or_else(|err| vec![err.chain()]);
        let options = check::Options { read_data: true, ..check::Options::default() };
        match check::run(&repo, &options, &Control::default()) {
            Ok(report) => broken.extend(report.errors.iter().map(|error| format!("check: {error}"))),
            Err(err) => broken.push(format!("check: {}", err.chain())),
        }
        broken
    }

    fn look(&self, repo: &Repository, private_dir: &Path) -> Result<Vec<String>> {
        let listing = snapshots::list_all(repo)?;
        let mut broken: Vec<String> =
            listing.unreadable.iter().map(|(name, err)| format!("{name}: {}", err.chain())).collect();
        let standing: Vec<String> = listing.snapshots.iter().map(|snapshot| snapshot.id.hex()).collect();
        broken
            .extend(self.stand.keys().filter(|id| !standing.contains(id)).map(|id| format!("{id} is gone")));
        let missed = self.made.iter().filter(|made| !standing.iter().any(|id| id.starts_with(made.as_str())));
        broken.extend(missed.map(|made| format!("{made} was acknowledged and is gone")));
        for id in &standing {
            let original = self.stand.get(id).or(self.may_stand.get(id)).unwrap_or(&self.source);
            let target = tempfile::tempdir_in(private_dir).unwrap();
            let options = restore::Options {
                selector: id.clone(),
                target: target.path().to_path_buf(),
                ..restore::Options::default()
            };
            let restored = restore::run(repo, &options, &Control::default())?;
            let told = restored.problems.iter();
            broken.extend(told.map(|problem| format!("{id}: {problem}")));
            let differences = compare_trees(original, &target.path().join(&self.name));
            broken.extend(differences.iter().map(|what| format!("{id}: {what}")));
        }
        Ok(broken)
    }

    /// The next runs need no help, and wait for nobody.
    fn broken_later(&self, repo: &Path, private_dir: &Path) -> Result<Vec<String>> {
        let options = backup::Options {
            sources: vec![self.source.clone()],
            store_as: Some(self.name.clone().into_bytes()),
            allow_empty: true,
            ..backup::Options::default()
        };
        let made =
            Backup::begin(options, None, &Control::default())?.run(&open(repo)?, &Control::default())?;
        let mut broken: Vec<String> =
            made.problems.iter().map(|problem| format!("next backup: {}", problem.message)).collect();
        let options =
            gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
        let report = gc::run(&open(repo)?, &options, &Control::default())?;
        broken.extend(report.waiting_for.iter().map(|who| format!("gc waits for {who}")));
        broken.extend(
            self.broken_now(repo, private_dir).iter().map(|what| format!("after a backup and gc: {what}")),
        );
        Ok(broken)
    }
}
