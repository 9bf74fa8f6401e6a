//! A storage that fails from the n-th change on, as for a process that is killed there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{CreateOutcome, Listed, LockGuard, ObjectKind, Storage};
use snap_backup::{Error, Result};

#[derive(Debug)]
pub struct Cut {
    pub inner: Arc<MemoryStorage>,
    left: AtomicUsize,
}

impl Cut {
    /// Lets so many changes through.
    pub fn after(inner: &Arc<MemoryStorage>, changes: usize) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), left: AtomicUsize::new(changes) })
    }

    fn change<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_or_else(
            |_| Err(Error::io("reach", "the store")(io::ErrorKind::BrokenPipe.into())),
            |_| work(),
        )
    }
}

impl Storage for Cut {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        self.inner.list(area)
    }
    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.inner.read(area, name, limit)
    }
    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.inner.read_range(area, name, offset, out)
    }
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        self.change(|| self.inner.create(area, name, parts))
    }
    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        self.change(|| self.inner.create_held(area, name, bytes))
    }
    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.change(|| self.inner.replace(area, name, bytes))
    }
    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        self.inner.is_held(area, name)
    }
    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.change(|| self.inner.remove(area, name))
    }
    fn sync(&self, area: ObjectKind) -> Result<()> {
        self.inner.sync(area)
    }
}
