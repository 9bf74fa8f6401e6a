//! A repository in memory for staging events between two calls of a collector.

use std::fs;
use std::sync::Arc;

use snap_backup::Control;
use snap_backup::codec::crypto::sealed_object;
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::model::records::{SessionKind, SessionRecord};
use snap_backup::ops::gc::{MaxUnused, Report};
use snap_backup::ops::{backup, forget, gc};
use snap_backup::repo::objects;
use snap_backup::repo::options::InitOptions;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::util::host;

use super::Random;
use super::hooked::Hooked;
use super::library::Library;

/// A repository in memory, and the library to use it with.
pub struct Stage {
    pub library: Library,
    pub storage: Arc<Hooked>,
}

impl Stage {
    pub fn new() -> Arc<Self> {
        let storage = Arc::new(Hooked::default());
        Arc::new(Self { library: Library::on(storage.clone(), None), storage })
    }

    /// One in which no block may be a delta.
    pub fn without_deltas() -> Arc<Self> {
        let storage = Arc::new(Hooked::default());
        let options = InitOptions { deltas: false, ..InitOptions::default() };
        Arc::new(Self { library: Library::with(storage.clone(), options), storage })
    }

    /// Returns a different file for each seed.
    pub fn write(&self, source: &str, seeds: &[u64]) {
        let _ = fs::remove_dir_all(self.library.path(source));
        for seed in seeds {
            self.library.write(source, &[(&format!("f{seed}"), &Random::new(*seed).bytes(100_000))]);
        }
    }

    pub fn backup(&self, source: &str) -> SnapshotId {
        self.library.backup(source, backup::Options::default()).snapshot.unwrap()
    }

    pub fn forget(&self, id: SnapshotId) {
        let options = forget::Options {
            selectors: vec![id.hex()],
            allow_remove_all: true,
            ..forget::Options::default()
        };
        forget::run(&self.library.open(), &options).unwrap();
    }

    pub fn gc(&self) -> Report {
        let options =
            gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
        let report = gc::run(&self.library.open(), &options, &Control::default());
        report.unwrap_or_else(|err| panic!("{}", err.chain()))
    }

    /// Runs gc, but purges nothing.
    pub fn gc_without_purge(&self) -> Report {
        let options = gc::Options { max_unused: MaxUnused::Bytes(0), ..gc::Options::default() };
        let report = gc::run(&self.library.open(), &options, &Control::default());
        report.unwrap_or_else(|err| panic!("{}", err.chain()))
    }

    /// A session of a process that is gone.
    pub fn stand(&self, id: SnapshotId) {
        self.stand_on(id, host::host_name());
    }

    /// A session of a writer on some machine: on another one it cannot be known at once that it is gone.
    pub fn stand_on(&self, id: SnapshotId, host: String) {
        let repo = self.library.open();
        let record = SessionRecord {
            kind: SessionKind::Writer,
            host,
            boot: host::boot_id(),
            pid: 1,
            started: Time::now(),
        };
        let (storage, suite) = (repo.storage(), repo.suite());
        objects::create(storage, suite, sealed_object::SESSION, ObjectKind::Sessions, &id.hex(), &record)
            .unwrap();
    }

    pub fn names(&self, area: ObjectKind) -> Vec<String> {
        self.storage.inner.list(area).unwrap().into_iter().map(|found| found.name).collect()
    }

    pub fn bytes(&self) -> u64 {
        self.storage.inner.list(ObjectKind::Packs).unwrap().iter().map(|found| found.len).sum()
    }

    /// Everything that exists is complete.
    pub fn assert_sound(&self) {
        assert!(self.storage.is_spent(), "the run never came to the moment that was staged");
        assert_eq!(self.library.errors(), Vec::<String>::new());
        assert_eq!(self.names(ObjectKind::Sessions), Vec::<String>::new(), "a session was left behind");
    }
}
