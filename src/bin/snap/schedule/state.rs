//! The saved state of the schedule, and locks that prevent two instances from running the same schedule or
//! using the same repository.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use snap_backup::codec::crypto::hash;
use snap_backup::ops::schedule::scheduler::JobState;
use snap_backup::util::new_file;
use snap_backup::{Error, Result};

/// A file in the state directory, one for each configuration.
#[derive(Debug)]
pub(crate) struct ScheduleState {
    dir: PathBuf,
    key: String,
    /// The configuration that the schedule belongs to.
    owner: String,
}

#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(rename = "of")]
    owner: String,
    jobs: BTreeMap<String, JobState>,
}

impl ScheduleState {
    /// Creates the state of the schedule of a configuration.
    pub(crate) fn new(dir: PathBuf, owner: String) -> Self {
        Self { dir, key: short_hash(&owner), owner }
    }

    fn file(&self) -> PathBuf {
        self.dir.join(format!("schedule-{}.json", self.key))
    }

    /// Loads the state. If the file is invalid, returns an empty state and the reason.
    pub(crate) fn load(&self) -> (BTreeMap<String, JobState>, Option<String>) {
        let file = self.file();
        let forgotten = |why: String| {
            let text = format!("{}: {why}: it is not known which runs were missed before", file.display());
            (BTreeMap::new(), Some(text))
        };
        match fs::read(&file) {
            Ok(bytes) => match serde_json::from_slice::<Content>(&bytes) {
                Ok(content) => (content.jobs, None),
                Err(err) => forgotten(err.to_string()),
            },
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(err) => forgotten(err.to_string()),
        }
    }

    /// Saves the state. After a crash either the old or the new file exists.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, jobs: &BTreeMap<String, JobState>) -> Result<()> {
        let (file, temp) = (self.file(), self.file().with_extension("new"));
        let content = Content { owner: self.owner.clone(), jobs: jobs.clone() };
        let text = serde_json::to_vec(&content).map_err(|err| Error::io("describe", &file)(err.into()))?;
        let failed = || Error::io("write the state of the schedule to", &file);
        self.create_dir()?;
        let mut new = new_file::create(&temp).map_err(failed())?;
        new.write_all(&text).and_then(|()| new.sync_all()).map_err(failed())?;
        fs::rename(&temp, &file).map_err(failed())
    }

    /// Locks the schedule; `None` if another process has the lock. It is released when the process ends,
    /// however that happens.
    ///
    /// # Errors
    /// The lock file cannot be created.
    pub(crate) fn lock(&self) -> Result<Option<File>> {
        self.create_dir()?;
        try_lock(&self.dir.join(format!("schedule-{}.lock", self.key)))
    }

    /// Locks a repository against other schedules and runs of `snap serve`; `None` if it is locked.
    ///
    /// # Errors
    /// The lock file cannot be created.
    pub(crate) fn lock_repository(&self, location: &str) -> Result<Option<File>> {
        self.create_dir()?;
        try_lock(&self.dir.join(format!("repository-{}.lock", short_hash(location))))
    }

    fn create_dir(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(Error::io("create the directory", &self.dir))
    }
}

fn try_lock(path: &Path) -> Result<Option<File>> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = opened.map_err(Error::io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(err)) => Err(Error::io("lock", path)(err)),
    }
}

fn short_hash(text: &str) -> String {
    hash::sha256(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
