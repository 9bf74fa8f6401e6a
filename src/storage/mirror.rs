//! Writes packs to two storages, for `backup --mirror`, so that they are not read again for the second one.
//!
//! Only packs and their parity go to both, as soon as they are made. Everything else that a copy needs is
//! transferred afterwards (`ops/sync`), which also finds what is missing. So the second storage may fail at
//! any time, and the first never waits for it to recover.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::storage::{Capacity, CreateOutcome, Listed, LockGuard, ObjectKind, Storage};
use crate::util::threads::Beside;

/// A storage, and a second one that gets its packs as well.
pub struct Mirrored {
    first: Arc<dyn Storage>,
    second: Arc<dyn Storage>,
    failed: Mutex<Option<Error>>,
}

impl fmt::Debug for Mirrored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mirrored({:?})", self.first)
    }
}

impl Mirrored {
    /// Combines two storages, which must hold the same repository.
    pub fn new(first: Arc<dyn Storage>, second: Arc<dyn Storage>) -> Self {
        Self { first, second, failed: Mutex::default() }
    }

    /// Returns the error because of which the second storage is no longer written, if any.
    pub fn failed(&self) -> Option<Error> {
        self.failed.lock().take()
    }
}

impl Storage for Mirrored {
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        if !area.is_spread() || self.failed.lock().is_some() {
            return self.first.create(area, name, parts);
        }
        std::thread::scope(|scope| {
            let second = Beside::begin(scope, "mirror", || self.second.create(area, name, parts));
            let created = self.first.create(area, name, parts);
            if let Err(err) = second.join().unwrap_or(Err(Error::Stopped)) {
                self.failed.lock().get_or_insert(err);
            }
            created
        })
    }

    fn location(&self) -> String {
        self.first.location()
    }

    fn is_remote(&self) -> bool {
        self.first.is_remote()
    }

    fn local_dir(&self) -> Option<&Path> {
        self.first.local_dir()
    }

    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        self.first.list(area)
    }

    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.first.read(area, name, limit)
    }

    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.first.read_range(area, name, offset, out)
    }

    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        self.first.create_held(area, name, bytes)
    }

    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.first.replace(area, name, bytes)
    }

    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        self.first.is_held(area, name)
    }

    fn strays(&self, area: ObjectKind) -> Result<Vec<String>> {
        self.first.strays(area)
    }

    fn weakness(&self) -> Result<Option<String>> {
        self.first.weakness()
    }

    fn cautions(&self) -> Vec<String> {
        [self.first.cautions(), self.second.cautions()].concat()
    }

    fn move_to(&self, from: (ObjectKind, &str), to: (ObjectKind, &str)) -> Result<CreateOutcome> {
        self.first.move_to(from, to)
    }

    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.first.remove(area, name)
    }

    fn release_reserve(&self) -> Result<()> {
        self.first.release_reserve()
    }

    fn keep_reserve(&self) {
        self.first.keep_reserve();
    }

    fn capacity(&self) -> Option<Capacity> {
        self.first.capacity()
    }

    fn remove_stale_temp_files(&self) -> Result<()> {
        self.first.remove_stale_temp_files()
    }

    fn sync(&self, area: ObjectKind) -> Result<()> {
        self.first.sync(area)
    }
}
